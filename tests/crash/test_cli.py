"""The command line as scripts and people use it: real processes, exit codes, stdout and stderr apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
import soundfile

from tests.support import project_keys
from tests.support.embedded_postgres import temporary_postgres
from tests.support.shell import Shell
from tests.support.worker_process import ROOT, environment_in, url_of
from worker.adapters.host_lock import worker_id_lock
from worker.models import MeetingStatus

pytestmark = pytest.mark.crash


def shell_in(folder: Path, database_url: str) -> Shell:
    return Shell(folder, environment_in(folder, database_url, f"cli-{uuid4().hex[:8]}"))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with temporary_postgres() as dsn:
        yield shell_in(tmp_path_factory.mktemp("cli"), url_of(dsn))


@pytest.fixture(scope="module")
def migrated(shell: Shell) -> Shell:
    assert shell("migrate").returncode == 0
    return shell


def tone(path: Path) -> Path:
    seconds = np.arange(16000) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * seconds), 16000)
    return path


def test_help_explains_every_command_and_loads_nothing_heavy(shell: Shell) -> None:
    done = shell("--help")
    assert done.returncode == 0
    for command in (
        "run",
        "demo",
        "enqueue",
        "list",
        "status",
        "show",
        "retry",
        "cancel",
        "speakers",
        "vocabulary",
        "resummarize",
        "guidance",
        "doctor",
        "token",
        "migrate",
    ):
        assert command in done.stdout
        assert shell(command, "--help").returncode == 0
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "typer" in loaded
    assert not [name for name in ("torch", "numpy", "pydantic", "psycopg", "whisperx") if f" {name}\n" in loaded]


def test_without_a_database_it_says_what_to_set(shell: Shell) -> None:
    done = shell("run", DATABASE_URL="", WORKER_ID="")
    assert done.returncode == 78
    assert "DATABASE_URL=embedded" in done.stderr
    assert "WORKER_ID: not set" in done.stderr
    assert done.stdout == ""


def test_wrong_usage_is_exit_code_2(shell: Shell) -> None:
    assert shell("list", "--status", "nonsense").returncode == 2
    assert shell("show", "not-an-id").returncode == 2
    assert shell("enqueue").returncode == 2
    wrong_stage = shell("retry", str(uuid4()), "--from", "transcribe")
    assert wrong_stage.returncode == 2
    assert "'diarize', 'identify', 'summarize'" in wrong_stage.stderr
    assert shell("enqueue", "a.wav", "--min-speakers", "3", "--max-speakers", "2").returncode == 2


def test_a_database_that_was_never_migrated_says_so(tmp_path: Path) -> None:
    with temporary_postgres() as dsn:
        done = shell_in(tmp_path, url_of(dsn))("list")
    assert done.returncode == 1
    assert "python -m worker migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there_is_a_sentence_not_a_trace(shell: Shell) -> None:
    done = shell("list", DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/x")
    assert done.returncode == 1
    assert "database_unreachable" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_migrate_twice_is_the_same_as_once_and_print_gives_sql(migrated: Shell) -> None:
    assert migrated("migrate").returncode == 0
    printed = migrated("migrate", "--print")
    assert "create table public.meetings" in printed.stdout.lower()


def test_what_was_enqueued_is_listed_shown_and_cancelled(migrated: Shell, tmp_path: Path) -> None:
    name = tmp_path / "räksmörgås möte; drop table.wav"
    done = migrated("enqueue", str(tone(name)), "--language", "en", "--priority", "-3", "--max-speakers", "4")
    assert done.returncode == 0, done.stderr
    meeting_id = UUID(done.stdout.strip())
    listed = migrated.json("list", "--status", "pending")["meetings"]
    assert isinstance(listed, list)
    (row,) = [row for row in listed if row["id"] == str(meeting_id)]
    assert (row["title"], row["language"], row["priority"], row["max_speakers"]) == (name.name, "en", -3, 4)
    assert name.name in migrated("show", str(meeting_id)).stdout
    shown = migrated.json("show", str(meeting_id))
    assert shown == json.loads(migrated("show", str(meeting_id), "--format", "json").stdout)
    assert migrated("cancel", str(meeting_id)).returncode == 0
    assert migrated.json("show", str(meeting_id))["meeting"]["status"] == "cancelled"
    assert migrated("retry", str(meeting_id)).returncode == 0
    assert migrated.json("show", str(meeting_id))["meeting"]["status"] == "pending"
    assert migrated("cancel", str(meeting_id)).returncode == 0


def test_what_does_not_exist_is_refused_with_a_sentence(migrated: Shell) -> None:
    nobody = str(uuid4())
    for command in ("show", "retry", "cancel"):
        done = migrated(command, nobody)
        assert done.returncode == 1
        assert f"no meeting {nobody}" in done.stderr
    done = migrated("enqueue", "/nonexistent/file.wav")
    assert done.returncode == 1
    assert "no file" in done.stderr


def test_the_vocabulary_is_added_to_listed_and_removed_from(migrated: Shell) -> None:
    """The lab's and a user's apart; words on stdout, one a line, sentences on stderr."""
    user = str(uuid4())
    done = migrated("vocabulary", "add", "Ada  Lovelace", "gluon", "Gluon")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Added: Ada Lovelace, gluon." in done.stderr
    assert migrated("vocabulary", "add", "[axion]", "--user", user).returncode == 0
    assert migrated("vocabulary", "list").stdout == "Ada Lovelace\ngluon\n"
    assert migrated.json("vocabulary", "list", "--user", user) == {"words": ["[axion]"]}
    refused = migrated("vocabulary", "add", "one, two")
    assert refused.returncode == 1
    assert "no comma" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = migrated("vocabulary", "remove", "ADA LOVELACE", "gluon", "meson")
    assert (done.returncode, "Removed: Ada Lovelace, gluon." in done.stderr) == (0, True)
    empty = migrated("vocabulary", "list")
    assert (empty.returncode, empty.stdout, "vocabulary add WORD" in empty.stderr) == (0, "", True)


def test_an_address_and_a_users_file_go_into_the_queue(migrated: Shell, tmp_path: Path) -> None:
    """Both in one call; the file lies below its owner's id, and its name is the title."""
    user = str(uuid4())
    file = tone(tmp_path / "Möte 3.WAV")
    done = migrated("enqueue", str(file), "https://media.example.org/talk.mp3?sig=1", "--user", user)
    assert done.returncode == 0, done.stderr
    of_file, of_url = (migrated.json("show", line)["meeting"] for line in done.stdout.split())
    assert (of_file["title"], of_file["user_id"]) == ("Möte 3.WAV", user)
    assert of_file["audio_path"] == f"{user}/{of_file['id']}/audio.wav"
    assert (migrated.folder / "recordings" / of_file["audio_path"]).read_bytes() == file.read_bytes()
    assert (of_url["title"], of_url["audio_path"]) == ("talk.mp3", None)
    assert of_url["audio_url"] == "https://media.example.org/talk.mp3?sig=1"
    for meeting in (of_file, of_url):
        assert migrated("cancel", meeting["id"]).returncode == 0


def test_what_cannot_be_enqueued_is_refused_with_a_sentence(migrated: Shell, tmp_path: Path) -> None:
    done = migrated("enqueue", "http://media.example.org/talk.mp3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "must begin with https://" in done.stderr
    done = migrated("enqueue", str(tone(tmp_path / "big.wav")), MAX_AUDIO_BYTES="1000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "audio_too_big" in done.stderr


def test_the_doctor_finds_nothing_wrong_with_a_pc_that_works(migrated: Shell) -> None:
    found = migrated.json("doctor")
    assert found["ok"] is True
    of_database = {"settings", "clock", "database", "schema", "functions", "worker_id"}  # not of the PC that tests
    states = {check["name"]: check["state"] for check in found["checks"] if check["name"] in of_database}
    assert states == dict.fromkeys(of_database, "ok")
    assert "answers in" in migrated("doctor").stdout
    assert migrated.json("status")["workers"] == [], "it registers nobody"


def test_the_doctor_says_what_is_wrong_and_exits_with_1(migrated: Shell) -> None:
    gone = migrated.json("doctor", returncode=1, DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/x")
    assert gone["ok"] is False
    assert ("database", "failed") in [(check["name"], check["state"]) for check in gone["checks"]]
    assert "hunter2" not in str(gone)
    nothing = migrated.json("doctor", returncode=1, DATABASE_URL="")
    assert [check["name"] for check in nothing["checks"] if check["state"] == "failed"] == ["settings"]
    assert "DATABASE_URL=embedded" in nothing["checks"][0]["sentence"]


def test_the_doctor_starts_no_embedded_database(shell: Shell, tmp_path: Path) -> None:
    found = shell.json("doctor", DATABASE_URL=f"embedded:{tmp_path / 'postgres'}")
    assert ("database", "warning") in [(check["name"], check["state"]) for check in found["checks"]]
    assert not (tmp_path / "postgres").exists()


def test_a_token_is_all_that_is_printed(shell: Shell, tmp_path: Path) -> None:
    """Verified as the project does; the facts go to stderr, the secret nowhere."""
    done = shell("token", "--days", "7", SUPABASE_JWT_SECRET=project_keys.LEGACY_SECRET)
    assert done.returncode == 0, done.stderr
    claims = project_keys.claims_of(done.stdout.strip())
    assert (claims["role"], claims["exp"] - claims["iat"]) == ("meeting_worker", 7 * 86400)
    assert "Role meeting_worker, expires on" in done.stderr
    assert project_keys.LEGACY_SECRET not in done.stderr
    file = tmp_path / "key.json"
    file.write_text(json.dumps(project_keys.signing_key()))
    done = shell("token", "--signing-key", str(file))
    assert project_keys.claims_of(done.stdout.strip())["role"] == "meeting_worker"
    assert f"signed by key {project_keys.SIGNING_KEY_ID}" in " ".join(done.stderr.split())


def test_without_secret_or_key_no_token_is_minted(shell: Shell) -> None:
    done = shell("token")
    assert (done.returncode, done.stdout) == (78, "")
    assert "SUPABASE_JWT_SECRET: not set" in done.stderr


def test_status_names_queue_and_workers(migrated: Shell) -> None:
    state = migrated.json("status")
    assert set(state) == {"counts", "oldest_pending_s", "workers"}
    assert migrated("status").returncode == 0


def test_an_error_is_shown_with_its_code_and_what_to_do(migrated: Shell, tmp_path: Path) -> None:
    """Through the real decoder: a text file named .wav."""
    (tmp_path / "notes.wav").write_text("these are my notes, not a recording\n" * 50)
    meeting_id = migrated("enqueue", str(tmp_path / "notes.wav")).stdout.strip()
    done = migrated("run", "--once")
    assert done.returncode == 0, done.stderr
    meeting = migrated.json("show", meeting_id)["meeting"]
    assert isinstance(meeting, dict)
    assert (meeting["status"], meeting["error_code"]) == (MeetingStatus.FAILED, "audio_not_audio")
    assert meeting["error_message"] in " ".join(migrated("show", meeting_id).stdout.split())
    assert str(tmp_path) not in meeting["error_message"]
    logs = "".join(path.read_text() for path in migrated.folder.glob("logs-*/pc_worker*.log"))
    assert "meeting_failed" in logs
    assert f"meeting_id={meeting_id}" in logs


def test_the_supervisor_never_loads_torch_or_numpy() -> None:
    code = (
        "import sys, worker.app, worker.daemon, worker.cli, worker.demo, worker.adapters.store_postgres,"
        "worker.adapters.stages_children, worker.adapters.storage_local, worker.observe.event_log;"
        "print(sorted({'torch', 'numpy', 'scipy', 'av', 'whisperx', 'pyannote'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_worker_id_that_is_taken_on_this_pc_is_exit_code_78(migrated: Shell) -> None:
    """So that a service manager does not start it again and again."""
    with worker_id_lock(migrated.environment["WORKER_ID"]):
        done = migrated("run", "--once")
    assert done.returncode == 78
    assert "already running on this PC" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_printed_sql_makes_a_database_that_a_worker_accepts(tmp_path: Path) -> None:
    """As it is pasted into an SQL editor: nothing else is run against the database."""
    with temporary_postgres() as dsn:
        pasted = shell_in(tmp_path, url_of(dsn))
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(pasted("migrate", "--print").stdout.encode())
        done = pasted("run", "--once")
        assert done.returncode == 0, done.stderr
        assert pasted("migrate").stderr.strip() == "The database is up to date."
