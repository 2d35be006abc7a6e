"""A worker whose database is older or newer stays up, says which migration it is, and works once that is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.crash.conftest import Lab
from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.gateway import Gateway
from tests.support.postgrest import Postgrest
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from tests.support.worker_process import environment_in, scripted_worker
from worker.adapters.migrate_postgres import migrate, migrations

pytestmark = pytest.mark.crash

LAST = migrations()[-1].name


@pytest.fixture
async def empty_lab(crash_server_dsn: str, tmp_path: Path) -> AsyncIterator[Lab]:
    """A database that nobody has migrated."""
    with fresh_database(crash_server_dsn, name=f"lab_{uuid4().hex[:12]}") as dsn:
        lab = Lab(dsn, tmp_path)
        try:
            yield lab
        finally:
            await lab.close()


async def test_an_empty_database_is_waited_for(empty_lab: Lab) -> None:
    """The PC was set up before the project was: the first migration is named, and nobody has to start it again."""
    worker = empty_lab.worker("w1")
    for _ in range(2):
        told = worker.wait_for("StoreUnavailable", call="register", code="schema_mismatch")
        assert migrations()[0].name in told["message"]
        assert "python -m worker migrate" in told["message"]
    await asyncio.to_thread(migrate, empty_lab.dsn)
    worker.wait_for("StoreRecovered", call="register")
    worker.wait_for("WorkerStarted")
    meeting_id = await empty_lab.enqueue()
    worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"SUPABASE_KEY": project_keys.SECRET_KEY}, "schema_mismatch"),
        (
            {
                "SUPABASE_KEY": project_keys.PUBLISHABLE_KEY,
                "SUPABASE_WORKER_TOKEN": project_keys.token(project_keys.WORKER_ROLE),
            },
            None,  # the role belongs to the server, where another test's project may have made it
        ),
    ],
    ids=["secret key", "worker token"],
)
async def test_an_empty_project_is_waited_for(
    crash_server_dsn: str, tmp_path: Path, keys: dict[str, str], code: str | None
) -> None:
    """The same over PostgREST: the worker says what to run, and begins when the API knows the new functions."""
    with fresh_database(crash_server_dsn, name=f"lab_{uuid4().hex[:12]}") as dsn:
        owner_dsn = make_project(dsn)
        with Postgrest(dsn) as postgrest, FakeStorage() as storage, Gateway(postgrest.url, storage.url) as gateway:
            worker_id = f"w1-{uuid4().hex[:12]}"
            environment = environment_in(tmp_path, "", worker_id) | {"SUPABASE_URL": gateway.url} | keys
            del environment["DATABASE_URL"]
            with scripted_worker(environment) as worker:
                told = worker.wait_for("StoreUnavailable", call="register")
                assert code in (told["code"], None)
                assert "python -m worker migrate" in told["message"]
                await asyncio.to_thread(migrate, owner_dsn)
                worker.wait_for("WorkerStarted")
                assert worker.is_running


async def test_an_older_database_is_waited_for(empty_lab: Lab) -> None:
    """The PC was updated first: what the database lacks is named."""
    await asyncio.to_thread(migrate, empty_lab.dsn, migrations()[:-1])
    worker = empty_lab.worker("w1")
    told = worker.wait_for("StoreUnavailable", call="register", code="schema_mismatch")
    assert told["message"] == f"The database lacks the migration {LAST}. Run `python -m worker migrate`."
    await asyncio.to_thread(migrate, empty_lab.dsn)
    worker.wait_for("WorkerStarted")
    assert worker.is_running


async def test_a_newer_database_is_waited_for(lab: Lab) -> None:
    """Another PC was updated first: what this worker does not know is named, and it claims nothing meanwhile."""
    lab.execute("insert into pc_worker.migrations (name, checksum) values ('9999_future', 'x')")
    meeting_id = await lab.enqueue()
    worker = lab.worker("w1")
    told = worker.wait_for("StoreUnavailable", call="register", code="schema_mismatch")
    assert "does not know 9999_future. Update the worker." in told["message"]
    assert await lab.status(meeting_id) == "pending"
    lab.execute("delete from pc_worker.migrations where name = '9999_future'")
    worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))
