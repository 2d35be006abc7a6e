"""README, "For the dashboard developer": its tables are those of the database, its examples run as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.postgrest import Postgrest
from tests.support.project_gateway import ProjectGateway
from tests.support.queue_values import result, worker_info
from tests.support.queue_worlds import PostgresWorld, fresh_database
from tests.support.supabase_project import add_user, make_project
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingStatus, Stage

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.split("\n## For the dashboard developer\n")[1].split("\n## ")[0]
TABLES = re.findall(r"^#### `(\w+)`$", SECTION, re.MULTILINE)
NOT_FOR_PEOPLE = {"speaker_embeddings"}


def part(heading: str) -> str:
    """The text below a heading of the section, up to the next one; above all of them for an empty heading."""
    text = SECTION.split(f"\n{heading}\n")[1] if heading else SECTION
    return re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]


def example(heading: str, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", part(heading), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{heading} has {len(found)} examples in {language}"
    text: str = found[0]
    return text


def first_cells(heading: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", part(heading), re.MULTILINE)


# --- the project ---


class UsersProject:
    """A project with one user, who can sign in, upload and subscribe; `admin` is who uses the SQL editor."""

    def __init__(self, dsn: str, gateway: ProjectGateway, storage: FakeStorage) -> None:
        self.dsn, self.gateway, self.storage = dsn, gateway, storage
        self.admin = psycopg.connect(dsn, autocommit=True)

    def close(self) -> None:
        self.admin.close()

    def as_written_for(self, text: str) -> str:
        """An example with the project's address and key instead of the placeholders: all that a reader fills in."""
        text = text.replace("https://PROJECT.supabase.co", self.gateway.url)
        return text.replace("sb_publishable_...", project_keys.PUBLISHABLE_KEY)

    async def complete_next(self) -> None:
        """As a worker does."""
        store = PostgresStore(self.dsn, application_name="worker")
        worker = worker_info()
        await store.register(worker)
        claim = (await store.claim(worker.worker_id, worker.instance_id, UUID(int=1))).claim
        assert claim is not None
        answer = await store.complete(claim.meeting.id, claim.token, result("good morning", "good-bye"))
        assert answer.outcome == "completed"
        await store.close()

    def meetings(self) -> list[tuple[Any, ...]]:
        return self.admin.execute("select title, status, user_id from public.meetings order by created_at").fetchall()


def may_write_own_folder(claims: dict[str, Any], action: str, bucket: str, name: str) -> bool:
    """The bucket's policy for signed-in users, which FakeStorage does not read from the database."""
    return action in ("read", "write") and name.startswith(f"{claims.get('sub')}/")


@pytest.fixture(scope="module")
def users_project(server_dsn: str) -> Iterator[UsersProject]:
    with fresh_database(server_dsn) as dsn, FakeStorage(may=may_write_own_folder) as storage:
        owner_dsn = make_project(dsn)
        migrate(owner_dsn)
        user_id = add_user(dsn)
        with Postgrest(dsn) as postgrest:
            gateway = ProjectGateway(postgrest.url, storage.url, user_id)
            with gateway, contextlib.closing(UsersProject(owner_dsn, gateway, storage)) as project:
                yield project


# --- tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
async def test_every_column_is_explained_in_its_order(postgres: PostgresWorld, table: str) -> None:
    """As the table editor shows them."""
    cursor = postgres.admin.execute(f"select * from public.{table}".encode())
    assert first_cells(f"#### `{table}`") == [column.name for column in cursor.description or ()]


async def test_every_table_that_people_see_is_explained(postgres: PostgresWorld) -> None:
    """Views as well."""
    rows = postgres.rows("select table_name from information_schema.tables where table_schema = 'public'")
    assert set(TABLES) | NOT_FOR_PEOPLE == {row["table_name"] for row in rows}


def test_every_status_and_stage_is_explained() -> None:
    """In the order in which a meeting goes through them."""
    assert first_cells("### Statuses and stages") == [*MeetingStatus, *Stage]


async def test_what_a_user_may_write_is_what_is_granted(users_project: UsersProject) -> None:
    """Column by column, function by function; the words of the table name each of them."""
    rows = users_project.admin.execute(
        """
        select privilege_type, table_name, column_name from information_schema.column_privileges
         where grantee = 'authenticated' and table_schema = 'public' and privilege_type <> 'SELECT' order by 1, 2
        """
    ).fetchall()
    lines = {
        line.split("|")[1].strip(): line
        for line in part("### What a signed-in user may do").splitlines()
        if "|" in line
    }
    inserted = {
        "enqueue a meeting": "meetings",
        "change one's own vocabulary": "vocabulary",
        "say what one's own summaries should be like": "summary_guidance",
    }
    for what, into in inserted.items():
        insert = set(re.findall(r"`(\w+)`", lines[what])) - {into}
        assert insert == {column for kind, table, column in rows if (kind, table) == ("INSERT", into)}
    assert {table for kind, table, _ in rows if kind == "INSERT"} == set(inserted.values())
    updates = {(table, column) for kind, table, column in rows if kind == "UPDATE"}
    named = {("meetings", "title"), ("meetings", "status"), ("speakers", "name"), ("vocabulary", "word")}
    for what, table in (("correct a transcript", "transcript_segments"), ("correct a summary", "meeting_summaries")):
        named |= {(table, column) for column in re.findall(r"`(\w+)`", lines[what]) if column != table}
    assert updates == named | {("summary_guidance", "text")}
    assert {kind for kind, _, _ in rows} == {"INSERT", "UPDATE"}


# --- examples ----------------------------------------------------------------------------------------------------

DONE = "--- done"
CONNECT, ENQUEUE, LOOK = "", "### Enqueue a meeting", "### Show the meetings"
READ, FOLLOW, CHANGE = "### Read a transcript", "### Follow a meeting", "### Change a meeting"
SAY, TEACH = "### Say who spoke", "### Teach it names"


@pytest.mark.parametrize("heading", [CONNECT, ENQUEUE, LOOK, READ, FOLLOW, CHANGE, SAY, TEACH])
def test_javascript_and_python_have_the_same_examples(heading: str) -> None:
    """JavaScript was tried by hand: no test here has it."""
    assert example(heading, "js")
    assert example(heading, "python")


@contextlib.contextmanager
def python_examples(codes: list[str], folder: Path) -> Iterator[Callable[[], list[str]]]:
    """
    One program in a process of its own, which pauses after each example: `run_next()` runs one and returns its output.

    In a process of its own because supabase-py leaves its connections to the end of the program.
    """
    program = "".join(f"input()\n{code}\nprint({DONE!r}, flush=True)\n" for code in codes)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_process, from_process = process.stdin, process.stdout

        def run_next() -> list[str]:
            to_process.write("\n")
            to_process.flush()
            lines = list(itertools.takewhile(lambda line: line != DONE + "\n", from_process))
            assert process.poll() is None or process.returncode == 0, "the example failed; stderr says why"
            return [line.rstrip("\n") for line in lines]

        yield run_next
        assert process.wait(10) == 0


def assert_is_subscription_to(meeting_id: str, project: UsersProject) -> None:
    """What Realtime is asked for: updates of one row of a table, with the rights of who is signed in."""
    (sent,) = (join["payload"] for join in project.gateway.joins)
    (wanted,) = sent["config"]["postgres_changes"]
    asked = (wanted["event"], wanted["schema"], wanted["table"], wanted["filter"])
    assert asked == ("UPDATE", "public", "meetings", f"id=eq.{meeting_id}")
    assert project_keys.claims_of(sent["access_token"])["sub"] == str(project.gateway.user_id)


def test_the_python_examples_run_as_they_are_written(users_project: UsersProject, tmp_path: Path) -> None:
    """One after the other, by a signed-in user, with the recording in the folder where they are run."""
    (tmp_path / "seminar.m4a").write_bytes(b"sound")
    headings = (CONNECT, ENQUEUE, LOOK, READ, FOLLOW, CHANGE, SAY, TEACH)
    codes = [users_project.as_written_for(example(heading, "python")) for heading in headings]
    with python_examples(codes, tmp_path) as run_next:
        assert run_next() == run_next() == []
        user_id = users_project.gateway.user_id
        assert users_project.meetings() == [("Seminar of 3 May", "pending", user_id)]
        ((meeting_id, audio_path),) = users_project.admin.execute("select id, audio_path from public.meetings")
        assert users_project.storage.objects[audio_path].size_bytes == len(b"sound")
        assert run_next() == ["Seminar of 3 May pending No worker has ever been started."]
        asyncio.run(users_project.complete_next())
        assert run_next() == ["SPEAKER_00 good morning", "SPEAKER_00 good-bye"]
        assert run_next() == ["processing transcribe 0.5", "completed None None"]
        assert_is_subscription_to(str(meeting_id), users_project)
        assert run_next() == []
        assert run_next() == ["done "]
        assert run_next() == []
    assert users_project.meetings() == [("Seminar, first part", "pending", user_id)]
    names = {name for (name,) in users_project.admin.execute("select name from public.speakers")}
    assert names == {"Ada Lovelace", None}


def test_the_sql_examples_run_as_they_are_written(users_project: UsersProject) -> None:
    """By the administrator."""
    admin = users_project.admin
    admin.execute("delete from public.meetings")
    assert len(admin.execute(example(ENQUEUE, "sql").encode()).fetchall()) == 1
    asyncio.run(users_project.complete_next())
    (line,) = admin.execute(example(LOOK, "sql").encode()).fetchall()
    assert line[:2] == ("Lab meeting", "completed")
    words = [row[1:] for row in admin.execute(example(READ, "sql").encode())]
    assert words == [("SPEAKER_00", "good morning"), ("SPEAKER_00", "good-bye")]
    admin.execute("update public.meetings set status = 'pending'")  # only what is not over can be cancelled
    for statement in example(CHANGE, "sql").splitlines():
        admin.execute(statement.encode())
    assert users_project.meetings() == [("Lab meeting", "pending", None)]
    assert admin.execute(example(SAY, "sql").encode()).fetchall()[0][0]["outcome"] == "done"
    admin.execute(example(TEACH, "sql").encode())
    assert admin.execute("select word, user_id from public.vocabulary").fetchall() == [("analytical engine", None)]
