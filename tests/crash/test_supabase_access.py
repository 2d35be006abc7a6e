"""The three ways to run a PC on a Supabase project, and what is refused: real processes through the real PostgREST."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.queue_worlds import fresh_database
from tests.support.shell import Shell
from tests.support.supabase_project import add_user
from tests.support.supabase_stack import SupabaseStack, supabase_stack
from tests.support.worker_process import environment_in, scripted_worker

pytestmark = pytest.mark.crash

TEN_YEARS_S = 10 * 365 * 86400.0  # of the legacy keys that a project is born with
SECRET, PUBLISHABLE = project_keys.SECRET_KEY, project_keys.PUBLISHABLE_KEY


@dataclass(frozen=True)
class Project:
    """One for all tests here; each brings PCs of its own."""

    stack: SupabaseStack
    storage: FakeStorage
    folder: Path

    def pc(self, *, key: str, worker_token: str = "", **variables: str) -> Shell:
        """A PC that holds nothing but the project's address and these."""
        name = f"pc-{uuid4().hex[:8]}"
        (self.folder / name).mkdir()
        access = {"SUPABASE_URL": self.stack.url, "SUPABASE_KEY": key, "SUPABASE_WORKER_TOKEN": worker_token}
        return Shell(self.folder / name, environment_in(self.folder / name, "", name) | access | variables)

    def admin(self) -> Shell:
        return self.pc(key="", SUPABASE_ADMIN_KEY=SECRET, SUPABASE_JWT_SECRET=project_keys.LEGACY_SECRET)

    def enqueue(self, **scripts: Any) -> str:
        """A meeting whose recording tells the scripted engines what to do."""
        file = self.folder / f"{uuid4()}.json"
        file.write_text(json.dumps(scripts))
        done = self.admin()("enqueue", str(file))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def meeting(self, meeting_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin().json("show", meeting_id)["meeting"]
        return found

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.stack.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="module")
def project(crash_server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with (
        fresh_database(crash_server_dsn, name=f"access_{uuid4().hex[:12]}") as dsn,
        FakeStorage() as storage,
        supabase_stack(dsn, storage_url=storage.url) as stack,
    ):
        yield Project(stack, storage, tmp_path_factory.mktemp("access"))


@pytest.fixture(scope="module")
def minted(project: Project) -> dict[str, str]:
    """Worker tokens by what signed them, from the real command."""
    key_file = project.folder / "signing-key.json"
    key_file.write_text(json.dumps(project_keys.signing_key()))
    tokens = {
        "legacy secret": project.admin()("token", "--days", "90"),
        "imported key": project.admin()("token", "--days", "90", "--signing-key", str(key_file)),
    }
    assert {done.returncode for done in tokens.values()} == {0}
    return {name: done.stdout.strip() for name, done in tokens.items()}


def ways(minted: dict[str, str]) -> dict[str, tuple[str, str]]:
    """SUPABASE_KEY and SUPABASE_WORKER_TOKEN."""
    return {
        "service_role": (project_keys.token("service_role", expires_in_s=TEN_YEARS_S), ""),
        "secret": (SECRET, ""),
        "publishable, legacy secret": (PUBLISHABLE, minted["legacy secret"]),
        "publishable, imported key": (PUBLISHABLE, minted["imported key"]),
        "anon, legacy secret": (project_keys.token("anon", expires_in_s=TEN_YEARS_S), minted["legacy secret"]),
    }


WAYS = [
    pytest.param(way, marks=() if way == "publishable, imported key" else pytest.mark.slow)
    for way in ways({"legacy secret": "", "imported key": ""})
]
"""`make test` takes the one that the README recommends."""


@pytest.mark.parametrize("way", WAYS)
def test_the_doctor_is_content_with_each_way(project: Project, minted: dict[str, str], way: str) -> None:
    key, worker_token = ways(minted)[way]
    found = project.pc(key=key, worker_token=worker_token).json("doctor")
    of_project = {"settings", "clock", "key", "database", "schema", "functions", "worker_id", "storage"}
    assert {check["name"]: check["state"] for check in found["checks"] if check["name"] in of_project} == dict.fromkeys(
        of_project, "ok"
    )
    assert project.pc(key=key, worker_token=worker_token).json("status")["workers"] == [], "it registers nobody"


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_run_a_pc_completes_a_meeting(project: Project, minted: dict[str, str], way: str) -> None:
    meeting_id = project.enqueue()
    key, worker_token = ways(minted)[way]
    pc = project.pc(key=key, worker_token=worker_token)
    with scripted_worker({k: v for k, v in pc.environment.items() if v}, "--once") as worker:
        worker.wait_for("MeetingCompleted", meeting_id=meeting_id)
        assert worker.wait() == 0, worker.errors
    assert project.meeting(meeting_id)["status"] == "completed"
    seen = worker.errors + "".join(path.read_text() for path in pc.folder.glob("logs-*/*.log"))
    assert not [secret for secret in (key, worker_token) if secret and secret in seen]


@pytest.mark.parametrize(
    ("key", "worker_token", "because"),
    [
        (project_keys.user_token(uuid4()), "", "the token of a signed-in user; a worker cannot run with it"),
        (project_keys.token("anon"), "", "the project's anon key, which may not run a worker alone"),
        (PUBLISHABLE, "", "the project's publishable key, which may not run a worker alone"),
        (project_keys.token(project_keys.WORKER_ROLE), "", "Move it to SUPABASE_WORKER_TOKEN"),
        (PUBLISHABLE, project_keys.token(project_keys.WORKER_ROLE, expires_in_s=-60), "it expired on"),
    ],
)
def test_what_cannot_run_a_worker_ends_at_the_start_with_the_reason(
    project: Project, key: str, worker_token: str, because: str
) -> None:
    """Exit code 78: a service manager does not try again and again."""
    done = project.pc(key=key, worker_token=worker_token)("run", "--once")
    assert (done.returncode, done.stdout) == (78, "")
    assert because in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert key not in done.stderr


def test_a_pc_that_may_only_run_the_worker_says_where_an_admin_key_goes(
    project: Project, minted: dict[str, str]
) -> None:
    pc = project.pc(key=PUBLISHABLE, worker_token=minted["legacy secret"])
    for command in (["list"], ["show", str(uuid4())], ["cancel", str(uuid4())], ["enqueue", "a.wav"]):
        done = pc(*command)
        assert (done.returncode, done.stdout) == (78, "")
        assert "This PC may only run the worker. For this command put" in done.stderr
        assert "SUPABASE_ADMIN_KEY into .env.admin" in done.stderr
    assert pc("status").returncode == 0


def test_an_admin_key_in_its_own_file_opens_these_commands(project: Project, minted: dict[str, str]) -> None:
    pc = project.pc(key=PUBLISHABLE, worker_token=minted["legacy secret"])
    file = pc.folder / ".env.admin"
    file.write_text(f"SUPABASE_ADMIN_KEY={SECRET}\n")
    file.chmod(0o600)
    assert pc("list").returncode == 0
    file.rename(pc.folder / ".env")
    done = pc("run", "--once")
    assert done.returncode == 78
    assert "SUPABASE_ADMIN_KEY: must not stand in .env" in done.stderr


@pytest.mark.parametrize(
    ("key", "worker_token"),
    [
        (PUBLISHABLE, project_keys.token(project_keys.WORKER_ROLE, secret="x" * 40)),
        (project_keys.token("service_role", secret="x" * 40), ""),
        ("sb_secret_another_projects_key_0123456", ""),
    ],
)
def test_the_doctor_names_a_key_of_another_project(project: Project, key: str, worker_token: str) -> None:
    found = project.pc(key=key, worker_token=worker_token).json("doctor", returncode=1)
    assert [check["name"] for check in found["checks"] if check["state"] == "failed"] == ["access"]
    assert key not in str(found)


@pytest.mark.proves("the key or token is refused")
def test_a_worker_that_is_locked_out_stays_up_says_so_and_goes_on_when_it_is_let_in(
    project: Project, minted: dict[str, str]
) -> None:
    claim = "execute on function public.worker_claim_v1 {} meeting_worker"
    pc = project.pc(key=PUBLISHABLE, worker_token=minted["imported key"])
    with scripted_worker({k: v for k, v in pc.environment.items() if v}) as worker:
        worker.wait_for("WorkerStarted")
        project.execute("revoke " + claim.format("from"))
        try:
            told = worker.wait_for("StoreUnavailable", call="claim", code="supabase_access_denied")
        finally:
            project.execute("grant " + claim.format("to"))
        assert "meeting_worker" in told["message"]
        assert worker.is_running
        meeting_id = project.enqueue()
        worker.wait_for("MeetingCompleted", meeting_id=meeting_id)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_a_token_that_only_the_project_can_refuse_does_not_end_the_worker(project: Project) -> None:
    """Somebody may be rotating keys: it says what is wrong and goes on asking."""
    foreign = project_keys.token(project_keys.WORKER_ROLE, secret="another project's secret, also long enough")
    pc = project.pc(key=PUBLISHABLE, worker_token=foreign)
    with scripted_worker({k: v for k, v in pc.environment.items() if v}) as worker:
        told = worker.wait_for("StoreUnavailable", call="register", code="supabase_access_denied")
        assert "SUPABASE_WORKER_TOKEN" in told["message"]
        assert worker.is_running
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    once = pc("run", "--once")
    assert once.returncode == 1
    assert "supabase_access_denied" in once.stderr


def test_a_meeting_of_a_user_whom_the_project_has_not_is_refused_by_name(project: Project) -> None:
    user, nobody = add_user(project.stack.dsn), uuid4()
    file = project.folder / "talk.json"
    file.write_text("{}")
    admin = project.admin()
    done = admin("enqueue", str(file), "--user", str(nobody))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"The project has no user {nobody}" in done.stderr
    done = admin("enqueue", str(file), "--user", str(user))
    meeting_id = done.stdout.strip()
    assert project.meeting(meeting_id)["audio_path"] == f"{user}/{meeting_id}/audio.json"
    assert f"{user}/{meeting_id}/audio.json" in project.storage.objects
    assert admin("cancel", meeting_id).returncode == 0


def test_a_running_worker_tells_of_its_tokens_end(project: Project) -> None:
    worker_token = project_keys.token(project_keys.WORKER_ROLE, expires_in_s=3 * 86400 + 60)
    pc = project.pc(key=PUBLISHABLE, worker_token=worker_token)
    with scripted_worker({k: v for k, v in pc.environment.items() if v}) as worker:
        worker.wait_for("KeyExpiring", variable="SUPABASE_WORKER_TOKEN", days_left=3)
        worker.wait_for("WorkerStarted")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
