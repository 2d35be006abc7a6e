"""README, .env.example, Makefile and code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from dotenv import dotenv_values

from worker.cli import cli
from worker.config import VARIABLES, Settings
from worker.exceptions import Disposition, all_errors
from worker.models import MeetingStatus, Stage

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def table_below(heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading: first cell (without backticks) to the other cells."""
    part = README.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}


def shown_default(variable: str) -> str:
    default = Settings.model_fields[VARIABLES[variable]].default
    if default is None or default == ():
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_env_example_names_every_setting_and_nothing_else() -> None:
    text = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#? ?([A-Z][A-Z_]+)=", text, re.MULTILINE)) == set(VARIABLES)


def test_env_example_shows_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))
    wanted = {name: shown_default(name).strip("`") for name in shown if shown_default(name)}
    assert {name: value for name, value in shown.items() if name in wanted} == wanted


def test_env_example_can_be_copied_as_it_is() -> None:
    """What it sets without a comment sign is only what everybody must fill in."""
    values = dotenv_values(ROOT / ".env.example")
    assert {name: value for name, value in values.items() if value} == {}


def test_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = table_below("## Settings")
    assert set(rows) == set(VARIABLES)
    for name, (default, meaning) in rows.items():
        assert default == shown_default(name), name
        assert meaning == Settings.model_fields[VARIABLES[name]].description, name


def test_readme_lists_every_command() -> None:
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]  # a group has them
    assert set(table_below("## Commands")) == set(commands)


def test_readme_lists_every_error_a_meeting_can_carry() -> None:
    codes = {
        error.code
        for error in all_errors()
        if error.disposition in (Disposition.RETRY, Disposition.PERMANENT, Disposition.INFRASTRUCTURE)
    }
    sql = "".join(path.read_text() for path in (ROOT / "worker" / "sql").glob("*.sql"))
    by_the_queue = set(re.findall(r"error_code = '(\w+)'", sql))
    assert "poison" in by_the_queue
    assert set(table_below("### When a meeting fails")) == codes | by_the_queue


def test_readme_lists_every_warning_a_result_can_carry() -> None:
    source = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    codes = set(re.findall(r'(?:ResultWarning|(?<![.\w])warning)\(\s*(?:code=)?"(\w+)"', source))
    assert len(codes) > 5
    of_stages_that_may_fail = {f"{stage}_failed" for stage in (Stage.DIARIZE, Stage.SUMMARIZE)}
    assert set(table_below("### When a result comes with a warning")) == codes | of_stages_that_may_fail


def test_readme_lists_every_trouble_of_a_worker() -> None:
    """Those of the database carry the code of its error."""
    from worker import breaker, daemon, trouble_watch
    from worker.exceptions import DiskFailedError, DiskFullError, GpuTakenError

    own = {breaker.CODE, daemon.DRAINED, trouble_watch.QUEUE_OLD, trouble_watch.KEY_EXPIRING, trouble_watch.KEY_EXPIRED}
    of_errors = {DiskFullError.code, DiskFailedError.code, GpuTakenError.code}
    of_the_database = {"database_unreachable", "supabase_access_denied", "schema_mismatch"}
    codes = own | of_errors | of_the_database | {"health_unavailable"}
    source = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    assert set(re.findall(r'Trouble\(code="(\w+)"', source)) <= codes
    assert set(table_below("### Troubles")) == codes


def test_readme_names_every_status_and_stage() -> None:
    assert all(f"`{word}`" in README for word in (*MeetingStatus, *Stage))


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets


def test_the_tested_command_is_the_one_ci_runs() -> None:
    assert "make test\n" in README
    assert "make test\n" in (ROOT / ".ci" / "run").read_text()


def test_every_pin_has_a_purpose() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-nodeps.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert all(re.fullmatch(r"\S+==\S+\s+# \S.*", line) for line in lines), name
