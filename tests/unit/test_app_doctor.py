"""Each check of the doctor: what it says of a PC that works, and of one that does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.project_keys import PUBLISHABLE_KEY, SECRET_KEY, WORKER_ROLE, token
from tests.support.settings import settings_in
from tests.unit.conftest import RealClock
from worker.app_doctor import (
    Check,
    State,
    examine,
    key_checks,
    latency_check,
    schema_check,
    storage_check,
    usable_settings,
)
from worker.config import Settings, load_settings
from worker.exceptions import SchemaMismatchError
from worker.supabase_keys import SECONDS_PER_DAY
from worker.testing.store_memory import MemoryStore

NOBODY = "http://127.0.0.1:9"


def project(key: str, worker_token: str | None = None) -> Settings:
    tokens = {"SUPABASE_WORKER_TOKEN": worker_token} if worker_token else {}
    return load_settings(environ={"SUPABASE_URL": NOBODY, "SUPABASE_KEY": key, **tokens}, env_file=None)


def worker_token(days: float) -> str:
    return token(WORKER_ROLE, expires_in_s=days * SECONDS_PER_DAY + 3600)


def names_and_states(found: list[Check]) -> list[tuple[str, State]]:
    return [(check.name, check.state) for check in found]


# --- settings and keys -------------------------------------------------------------------------------------------


async def test_every_problem_of_the_settings_is_a_line(tmp_path: Path) -> None:
    found = await examine({"MAX_CONCURRENT_JOBS": "many"}, tmp_path / ".env")
    assert {(name, state) for name, state in names_and_states(found)} == {("settings", State.FAILED)}
    assert {check.sentence.split(":")[0] for check in found} >= {"MAX_CONCURRENT_JOBS", "WORKER_ID"}


async def test_a_missing_name_does_not_keep_it_from_looking_further(tmp_path: Path) -> None:
    """And a key that an administrator has on this PC is not the worker's."""
    (tmp_path / ".env.admin").write_text(f"SUPABASE_ADMIN_KEY={SECRET_KEY}\n")
    (tmp_path / ".env.admin").chmod(0o600)
    environ = {"SUPABASE_URL": NOBODY, "SUPABASE_KEY": PUBLISHABLE_KEY, "SUPABASE_WORKER_TOKEN": worker_token(100)}
    settings, found = usable_settings(environ, tmp_path / ".env")
    assert [check.sentence.split(":")[0] for check in found] == ["WORKER_ID"]
    assert settings is not None
    assert settings.supabase_admin_key is None
    assert [check.sentence.split(" ")[0] for check in key_checks(settings, time.time())] == [
        "SUPABASE_KEY",
        "SUPABASE_WORKER_TOKEN",
    ]


async def test_a_key_that_cannot_run_a_worker_is_told_once_and_not_tried(tmp_path: Path) -> None:
    found = await examine(
        {"WORKER_ID": "a", "SUPABASE_URL": NOBODY, "SUPABASE_KEY": PUBLISHABLE_KEY}, tmp_path / ".env"
    )
    assert names_and_states(found) == [("settings", State.FAILED)]
    assert "may not run a worker alone" in found[0].sentence


def test_a_key_is_named_with_its_kind_and_role() -> None:
    (check,) = key_checks(project(SECRET_KEY), time.time())
    assert check == ("key", State.OK, "SUPABASE_KEY is the project's secret key. It does not expire.")
    _, check = key_checks(project(PUBLISHABLE_KEY, worker_token(100)), time.time())
    assert check.state is State.OK
    assert "SUPABASE_WORKER_TOKEN is a worker token, role meeting_worker. It expires on 2" in check.sentence


@pytest.mark.parametrize(("days", "state"), [(31, State.OK), (30, State.OK), (29, State.WARNING), (0, State.WARNING)])
def test_a_month_before_a_token_ends_it_warns(days: int, state: State) -> None:
    _, check = key_checks(project(PUBLISHABLE_KEY, worker_token(days)), time.time())
    assert check.state is state
    assert f"in {days} days." in check.sentence
    assert ("python -m worker token" in check.sentence) == (state is State.WARNING)


# --- the database ------------------------------------------------------------------------------------------------


class OddStore(MemoryStore):
    """A database that is slow, or of another schema."""

    def __init__(self, *, difference: str | None = None, has_question: bool = True) -> None:
        super().__init__(RealClock())
        self._difference, self._has_question = difference, has_question

    async def schema(self) -> str | None:
        if not self._has_question:
            raise SchemaMismatchError
        return self._difference


async def test_a_database_that_answers_is_told_with_its_latency() -> None:
    check = await latency_check(OddStore())
    assert check.state is State.OK
    assert "answers in 0 ms" in check.sentence
    assert (await latency_check(OddStore(), slow_s=-1.0)).state is State.WARNING


@pytest.mark.parametrize(
    ("store", "state", "sentence"),
    [
        (OddStore(), State.OK, "has the migrations"),
        (OddStore(difference="The database lacks the migration 0007_x."), State.FAILED, "lacks the migration 0007_x"),
        (OddStore(has_question=False), State.FAILED, "python -m worker migrate"),
    ],
)
async def test_a_difference_of_schema_is_told(store: OddStore, state: State, sentence: str) -> None:
    check = await schema_check(store)
    assert (check.name, check.state) == ("schema", state)
    assert sentence in check.sentence


async def test_a_project_that_cannot_be_reached_is_a_failure_with_what_to_check(tmp_path: Path) -> None:
    found = await examine({"WORKER_ID": "a", "SUPABASE_URL": NOBODY, "SUPABASE_KEY": SECRET_KEY}, tmp_path / ".env")
    assert names_and_states(found) == [
        ("settings", State.OK),
        ("key", State.OK),
        ("database", State.FAILED),
        ("storage", State.FAILED),
    ]


# --- the recordings ----------------------------------------------------------------------------------------------


async def test_a_folder_that_is_not_there_yet_is_a_warning(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert (await storage_check(settings)).state is State.OK
    settings.storage_dir.rmdir()
    assert (await storage_check(settings)).state is State.WARNING
    assert not settings.storage_dir.exists(), "it changes nothing"
