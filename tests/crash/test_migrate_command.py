"""`python -m worker migrate` as an administrator runs it against a project, with what stands in .env.admin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.old_project import FIFTY_MEETINGS, PLAIN_MEETINGS, everything, run
from tests.support.queue_worlds import fresh_database
from tests.support.shell import Shell
from tests.support.supabase_project import make_project
from tests.support.worker_process import url_of

pytestmark = pytest.mark.crash


@pytest.fixture
def project(crash_server_dsn: str) -> Iterator[str]:
    with fresh_database(crash_server_dsn) as dsn:
        yield make_project(dsn)


@pytest.fixture
def shell(project: str, tmp_path: Path) -> Shell:
    """An administrator's folder: the project's address in .env, its database's in .env.admin."""
    (tmp_path / ".env").write_text("SUPABASE_URL=http://127.0.0.1:9\n")
    (tmp_path / ".env.admin").write_text(f"SUPABASE_DB_URL={url_of(project)}\n")
    (tmp_path / ".env.admin").chmod(0o600)
    return Shell(tmp_path, {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})


def test_an_old_project_is_adopted_from_the_command_line(shell: Shell, project: str) -> None:
    """A dry run, the adoption, and once more: each says what it did, and no key of the API is needed."""
    run(project, FIFTY_MEETINGS)
    before = everything(project)
    tried = shell("migrate", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "would be applied 0001_tables" in tried.stderr
    assert "would be adopted public.meetings: 50 rows kept" in tried.stderr
    assert tried.stderr.endswith("Nothing was changed: this was a dry run.\n")
    assert everything(project) == before

    done = shell("migrate")
    assert done.returncode == 0, done.stderr
    assert done.stderr == tried.stderr.replace("would be ", "").replace(
        "Nothing was changed: this was a dry run.", "The database is up to date."
    )
    assert "note: 5 meetings were in processing" in done.stderr
    assert shell("migrate").stderr == "The database is up to date.\n"


def test_a_clash_is_an_exit_code_and_a_list(shell: Shell, project: str) -> None:
    """On stderr, each with its SQL on a line of its own."""
    run(project, PLAIN_MEETINGS + "alter table public.meetings add progress integer, add stage varchar(5)")
    done = shell("migrate")
    assert done.returncode == 1
    assert "[schema_clash]" in done.stderr
    statements = [line.strip() for line in done.stderr.splitlines() if line.startswith("    alter table")]
    assert len(statements) == 2
    for statement in statements:
        run(project, statement)
    assert shell("migrate").returncode == 0


def test_without_the_database_address_it_says_which_one_to_take(tmp_path: Path) -> None:
    """The key of the API cannot migrate."""
    done = Shell(tmp_path, {"PATH": "/usr/bin:/bin", "SUPABASE_URL": "http://127.0.0.1:9"})("migrate")
    assert done.returncode == 78
    assert "SUPABASE_DB_URL: not set" in done.stderr
    assert "Session pooler" in done.stderr
