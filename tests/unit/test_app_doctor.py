"""Each check of the doctor: what it says of a PC that works, and of one that does not."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.project_keys import PUBLISHABLE_KEY, SECRET_KEY, WORKER_ROLE, token
from tests.support.settings import settings_in
from tests.unit.conftest import RealClock
from worker.adapters.pc_facts import available_memory_bytes, free_bytes
from worker.adapters.store_probe import HARMLESS
from worker.app_doctor import examine, usable_settings
from worker.app_doctor_check import CHECKS, Check, Lines, State, guarded, guarded_sync
from worker.app_doctor_engine import hf_token_check, model_check, model_space_check, telemetry_check
from worker.app_doctor_pc import PcSenses, unit_check, unit_of
from worker.app_doctor_project import key_checks, latency_check, schema_check, storage_check
from worker.config import Settings, load_settings
from worker.engine.whisper_cache import download_bytes
from worker.exceptions import SchemaMismatchError
from worker.supabase_keys import SECONDS_PER_DAY
from worker.testing.store_memory import MemoryStore

WORKER = Path(worker.__file__).parent
NOBODY = "http://127.0.0.1:9"


def project(key: str, worker_token: str | None = None) -> Settings:
    tokens = {"SUPABASE_WORKER_TOKEN": worker_token} if worker_token else {}
    return load_settings(environ={"SUPABASE_URL": NOBODY, "SUPABASE_KEY": key, **tokens}, env_file=None)


def worker_token(days: float) -> str:
    return token(WORKER_ROLE, expires_in_s=days * SECONDS_PER_DAY + 3600)


OF_A_PROJECT = {"settings", "clock", "key", "database", "access", "schema", "functions", "worker_id", "storage"}


def names_and_states(found: list[Check]) -> list[tuple[str, State]]:
    """Without the lines about the PC that runs the tests."""
    return [(check.name, check.state) for check in found if check.name in OF_A_PROJECT]


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
    assert re.search(r"answers in \d+ ms", check.sentence)
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
    ], "once: of the storage, which is as far away, nothing is said"


# --- the recordings ----------------------------------------------------------------------------------------------


async def test_a_folder_that_is_not_there_yet_is_a_warning(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert (await storage_check(settings)).state is State.OK
    settings.storage_dir.rmdir()
    assert (await storage_check(settings)).state is State.WARNING
    assert not settings.storage_dir.exists(), "it changes nothing"


# --- the PC and its engines --------------------------------------------------------------------------------------


def senses(**eyes: Any) -> PcSenses:
    return replace(PcSenses(hostname=lambda: "lab-pc-1"), **eyes)


def whisperx_in(folder: Path, **variables: str) -> Settings:
    return settings_in(folder, ASR_ENGINE="whisperx", **variables)


def test_free_space_is_that_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0


def test_memory_is_what_linux_says_is_available(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       100 kB\nMemFree:  1 kB\nMemAvailable:      42 kB\n")
    assert available_memory_bytes(file) == 42 * 1024
    assert available_memory_bytes() > 0


@pytest.mark.parametrize(
    ("worker_id", "unit"),
    [
        ("lab-pc-1-gpu0", "pc-worker@gpu0.service"),
        ("anything", "pc-worker@anything.service"),
        ("lab-pc-1", "pc-worker@lab-pc-1.service"),
    ],
)
def test_the_service_of_a_worker_is_known_by_its_name(worker_id: str, unit: str) -> None:
    assert unit_of(worker_id, "lab-pc-1") == unit


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (None, State.OK),
        ("enabled", State.OK),
        ("enabled-runtime", State.OK),
        ("disabled", State.WARNING),
        ("masked", State.WARNING),
        ("not-found", State.WARNING),
    ],
)
def test_a_service_that_does_not_start_with_the_pc_is_a_warning(
    tmp_path: Path, answer: str | None, state: State
) -> None:
    check = unit_check(settings_in(tmp_path), senses(unit_state=lambda _: answer))
    assert check is not None
    assert check.state is state


async def test_a_model_in_a_folder_or_in_the_cache_is_here(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    own = whisperx_in(tmp_path, WHISPER_MODEL=str(tmp_path / "mine"))
    assert (await model_check(own, {})).state is State.FAILED, "there is nothing in it"
    (tmp_path / "mine" / "model.bin").touch()
    assert (await model_check(own, {})).state is State.OK
    named = whisperx_in(tmp_path, WHISPER_MODEL="large")
    offline = {"HF_HUB_OFFLINE": "1"}
    told = await model_check(named, offline)
    assert (told.state, "HF_HUB_OFFLINE" in told.sentence) == (State.FAILED, True)
    revision = named.model_cache_dir / "whisper/models--Systran--faster-whisper-large-v3/snapshots/abc"
    revision.mkdir(parents=True)
    assert (await model_check(named, offline)).state is State.FAILED, "the download was cut off"
    (revision / "model.bin").touch()
    assert (await model_check(named, offline)).state is State.OK


def test_room_for_a_model_is_asked_for_only_while_it_is_not_here(tmp_path: Path) -> None:
    settings = whisperx_in(tmp_path, WHISPER_MODEL="owner/any-whisper")
    tight = senses(free_bytes=lambda _: 10**9)
    check = model_space_check(settings, tight)
    assert (check.state, "WHISPER_MODEL" in check.sentence) == (State.FAILED, True)
    revision = settings.model_cache_dir / "whisper/models--owner--any-whisper/snapshots/abc"
    revision.mkdir(parents=True)
    (revision / "model.bin").touch()
    assert model_space_check(settings, tight).state is State.OK


def test_larger_models_take_more_room() -> None:
    sizes = [download_bytes(name) for name in ("tiny", "base.en", "small", "medium", "large-v3")]
    assert sizes == sorted(sizes)
    assert download_bytes("turbo") < download_bytes("large") == download_bytes("owner/unknown")


@pytest.mark.parametrize(("token", "state"), [("", State.OK), ("hf_abc", State.OK), ("abc", State.WARNING)])
def test_a_token_of_the_hub_is_optional_and_looks_like_one(tmp_path: Path, token: str, state: State) -> None:
    check = hf_token_check(settings_in(tmp_path, HF_TOKEN=token))
    assert check.state is state
    assert not token or token not in check.sentence


def test_engines_are_told_to_report_to_nobody_whatever_the_pc_says(tmp_path: Path) -> None:
    assert telemetry_check(settings_in(tmp_path), {"PYANNOTE_METRICS_ENABLED": "1"}).state is State.OK


# --- the list ----------------------------------------------------------------------------------------------------


async def test_a_check_that_breaks_is_a_line_and_not_the_end() -> None:
    async def broken() -> Lines:
        raise RuntimeError("a secret")

    def broken_too() -> Lines:
        raise OSError("/etc/secret")

    found = [*await guarded("model", broken), *await guarded_sync("unit", broken_too)]
    assert [(check.name, check.state) for check in found] == [("model", State.WARNING), ("unit", State.WARNING)]
    assert "RuntimeError" in found[0].sentence
    assert not [check for check in found if "secret" in check.sentence]


def test_every_function_that_a_worker_calls_is_tried() -> None:
    source = (WORKER / "adapters" / "store_functions.py").read_text()
    assert set(HARMLESS) == set(re.findall(r'"(worker_\w+_v\d+)"', source))


def test_every_line_has_a_name_of_the_table() -> None:
    sources = "".join(path.read_text() for path in WORKER.glob("app_doctor*.py"))
    assert set(re.findall(r'Check\(\s*"(\w+)"', sources)) | {"access", "database"} == set(CHECKS)


def test_the_readme_shows_the_table() -> None:
    readme = (WORKER.parent / "README.md").read_text()
    part = readme.split("\n### What doctor looks at\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    assert {name.strip("`"): (what, remedy) for name, what, remedy in rows} == CHECKS
    assert [row[0].strip("`") for row in rows] == list(CHECKS)
