"""A worker whose database is older or newer stays up, says which migration it is, and works once that is mended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
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


@pytest.mark.proves("schema older or newer than the worker")
async def test_an_older_database_is_waited_for(empty_lab: Lab) -> None:
    """The PC was updated first: what the database lacks is named."""
    await asyncio.to_thread(migrate, empty_lab.dsn, migrations()[:-1])
    worker = empty_lab.worker("w1")
    told = worker.wait_for("StoreUnavailable", call="register", code="schema_mismatch")
    assert told["message"] == f"The database lacks the migration {LAST}. Run `python -m worker migrate`."
    await asyncio.to_thread(migrate, empty_lab.dsn)
    worker.wait_for("WorkerStarted")
    assert worker.is_running


@pytest.mark.proves("schema older or newer than the worker")
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


# --- while it runs -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_database_that_becomes_newer_is_worked_with_until_the_next_start(lab: Lab) -> None:
    """What workers call stays as it was (a new behaviour has a new name), so nobody has to stop for a migration."""
    go = lab.folder / "go"
    before = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    lab.execute("insert into pc_worker.migrations (name, checksum) values ('9999_future', 'x')")
    lab.execute("alter table public.meetings add column later text; alter table pc_worker.jobs add column later text")
    go.touch()
    after = await lab.enqueue()
    for _ in (before, after):
        worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(before)
    await lab.assert_done_once(after)
    worker.kill()
    again = lab.worker("w1")
    assert "9999_future" in again.wait_for("StoreUnavailable", call="register", code="schema_mismatch")["message"]


CALLED_ALL_THE_TIME = ("worker_heartbeat_v2", "worker_claim_v1")


@pytest.mark.slow
@pytest.mark.proves("schema older or newer than the worker")
async def test_functions_that_are_gone_for_a_while_are_waited_for(lab: Lab) -> None:
    """Somebody tidied up, or put an older backup in place: the work in progress goes on."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1")
    worker.wait_for("StageStarted", stage="transcribe")
    with gone(lab, *CALLED_ALL_THE_TIME, "worker_complete_v2"):
        worker.wait_for("StoreUnavailable", call="heartbeat", code="schema_mismatch")
        go.touch()
        worker.wait_for("StoreUnavailable", call="complete", code="schema_mismatch")
    worker.wait_for("MeetingCompleted", meeting_id=str(meeting_id))
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


@contextlib.contextmanager
def gone(lab: Lab, *functions: str) -> Iterator[None]:
    ours = "pronamespace = 'public'::regnamespace and proname"
    for name in functions:
        (signature,) = lab.rows(f"select oid::regprocedure::text from pg_proc where {ours} = '{name}'")[0]
        lab.execute(f"alter function {signature} rename to {name}_gone")
    yield
    for name in functions:
        (signature,) = lab.rows(f"select oid::regprocedure::text from pg_proc where {ours} = '{name}_gone'")[0]
        lab.execute(f"alter function {signature} rename to {name}")


@pytest.mark.slow
async def test_a_database_that_has_forgotten_the_worker_gets_to_know_it_again(lab: Lab) -> None:
    """An older backup was put in place; a meeting that it knows nothing of is dropped, without any error."""
    lab.execute("update pc_worker.settings set heartbeat_s = 0.5")
    meeting_id = await lab.enqueue(transcribe={"until": "/nonexistent"})
    worker = lab.worker("w1", MAX_CONCURRENT_JOBS="1")
    worker.wait_for("StageStarted", stage="transcribe")
    lab.execute("delete from pc_worker.workers; delete from public.meetings")
    assert worker.wait_for("MeetingDropped", meeting_id=str(meeting_id))["outcome"] == "gone"
    later = await lab.enqueue()
    worker.wait_for("MeetingCompleted", meeting_id=str(later))
    await lab.assert_done_once(later)
    assert len(lab.rows("select from pc_worker.workers")) == 1
