"""One Postgres server per session, one migrated database, emptied for each test, and the queue worlds over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.access_probe import ProbedProject, probed_project
from tests.support.embedded_postgres import temporary_postgres
from tests.support.fake_storage import FakeStorage
from tests.support.queue_worlds import MemoryWorld, PostgresWorld, QueueWorld, make_template, postgres_world
from tests.support.storage_downloads import Downloads
from tests.support.storage_uploads import LARGE, SMALL
from tests.support.supabase_stack import SupabaseStack
from tests.support.supabase_world import still_stack, supabase_world


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A Postgres server without fsync."""
    with temporary_postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def queue_dsn(server_dsn: str) -> str:
    """A migrated database whose queue's clock stands still."""
    return make_template(server_dsn)


@pytest.fixture(scope="session")
def queue_stack(server_dsn: str) -> Iterator[SupabaseStack]:
    """The same as a Supabase project, with PostgREST and its gateway."""
    with still_stack(server_dsn) as stack:
        yield stack


@pytest.fixture(scope="session")
def shaken_stack(server_dsn: str) -> Iterator[SupabaseStack]:
    """One more, whose PostgREST may be killed."""
    with still_stack(server_dsn) as stack:
        yield stack


SHAKEN = pytest.param("supabase-shaken", marks=pytest.mark.slow)
"""PostgREST is killed and started anew between the calls."""


BY_HTTP = [pytest.param(name, marks=pytest.mark.slow) for name in ("supabase-service", "supabase-worker")]
MOSTLY_IN_SQL = pytest.mark.parametrize("world", ["memory", "postgres", *BY_HTTP, SHAKEN], indirect=True)
"""For rules of which a Supabase project only carries the calls, which other tests show: those are slow there."""


SERVICE = pytest.param("supabase-service", marks=pytest.mark.slow)
"""As with a worker token, which is what lab PCs should have, but for the rights."""


@pytest.fixture(params=["memory", "postgres", SERVICE, "supabase-worker", SHAKEN])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[QueueWorld]:
    """The queue under test: every rule holds for each store."""
    if request.param == "memory":
        yield MemoryWorld()
    elif request.param == "postgres":
        async with postgres_world(request.getfixturevalue("queue_dsn")) as world:
            yield world
    else:
        credentials = request.param.removeprefix("supabase-")
        stack = request.getfixturevalue("shaken_stack" if credentials == "shaken" else "queue_stack")
        async with supabase_world(stack, credentials) as world:
            yield world


@pytest.fixture(scope="module")
def project(server_dsn: str) -> Iterator[ProbedProject]:
    """A Supabase project with rows to attack."""
    with probed_project(server_dsn) as probed:
        yield probed


@pytest.fixture
async def postgres(queue_dsn: str) -> AsyncIterator[PostgresWorld]:
    """For what only a database can show."""
    async with postgres_world(queue_dsn) as world:
        yield world


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    """A bucket of a fake Storage and a job folder."""
    (tmp_path / "job").mkdir()
    with FakeStorage() as fake:
        yield Downloads(fake, tmp_path / "job")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file that is uploaded in one request."""
    path = tmp_path / "small"
    path.write_bytes(SMALL)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is uploaded in several pieces."""
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path
