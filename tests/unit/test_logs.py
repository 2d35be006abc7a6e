"""Log lines: where they go, what they look like, and that they never stop the work."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.observe import logs as module
from worker.observe.logs import Logs, bind, bind_to_task, configure_logging

logger = logging.getLogger("worker.test")
LINE = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] - \[[\w.]+\] - \[[A-Z]+\] - \[\w+\.py:\d+\] - .*")


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Callable[..., Logs]]:
    opened: list[Logs] = []

    def _configure(**changes: object) -> Logs:
        arguments = {"log_dir": tmp_path, "level": "INFO", "format": "text", "secrets": [], "worker_id": "lab-1"}
        opened.append(configure_logging(**{**arguments, **changes}))  # type: ignore[arg-type]  # changes are the tests' own
        return opened[-1]

    yield _configure
    for logs in reversed(opened):
        logs.close()


def _lines(path: Path) -> list[str]:
    """Without the first one, which says where the files are."""
    return path.read_text().splitlines()[1:]


def test_a_line_has_time_logger_level_place_message_and_fields(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure()
    logger.info("stage_finished", extra={"fields": {"seconds": 1.5, "reused": False}, "engine": "sphinx"})
    (line,) = _lines(tmp_path / "pc_worker.log")
    assert LINE.fullmatch(line)
    assert line.endswith("] - stage_finished | engine=sphinx | seconds=1.5 | reused=False")
    assert "[worker.test] - [INFO] - [test_logs.py:" in line


def test_console_from_its_level_main_file_everything_errors_file_errors(
    configure: Callable[..., Logs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level="warning")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, "at %d", level)
    assert [line[-5:] for line in capsys.readouterr().err.splitlines()] == ["at 30", "at 40"]
    assert [line[-5:] for line in _lines(tmp_path / "pc_worker.log")] == ["at 10", "at 20", "at 30", "at 40"]
    assert [line[-5:] for line in (tmp_path / "pc_worker_errors.log").read_text().splitlines()] == ["at 40"]


def test_stack_traces_go_to_the_files_and_the_console_gets_one_line(
    configure: Callable[..., Logs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    assert "Traceback" in (tmp_path / "pc_worker_errors.log").read_text()
    *_, last = capsys.readouterr().err.splitlines()
    assert last.endswith("failed | error=ValueError: broken")


def test_without_a_console_stderr_stays_silent(
    configure: Callable[..., Logs], capsys: pytest.CaptureFixture[str]
) -> None:
    configure(console=False)
    logger.error("failed")
    assert capsys.readouterr().err == ""


def test_json_is_one_object_per_line(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure(format="json")
    with bind(meeting_id="m1"):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("failed", extra={"progress": 0.5, "level": "mine", "broken": float("nan")})
    (line,) = map(json.loads, _lines(tmp_path / "pc_worker.log"))
    assert (line["level"], line["logger"], line["file"], line["message"]) == (
        "ERROR",
        "worker.test",
        "test_logs.py",
        "failed",
    )
    assert (line["meeting_id"], line["progress"], line["field_level"], line["broken"]) == ("m1", 0.5, "mine", "nan")
    assert line["exception"].endswith("ValueError: two\nlines")


# --- context -----------------------------------------------------------------------------------------------------


def test_bound_fields_stand_on_every_line_inside_and_on_none_outside(
    configure: Callable[..., Logs], tmp_path: Path
) -> None:
    configure()
    with bind(meeting_id="m1"):
        with bind(stage="decode"):
            logger.info("in")
        logger.info("between")
    logger.info("out")
    ends = [line.split(" - ")[-1] for line in _lines(tmp_path / "pc_worker.log")]
    assert ends == ["in | meeting_id=m1 | stage=decode", "between | meeting_id=m1", "out"]


async def test_tasks_keep_their_fields_apart_and_pass_them_to_threads(
    configure: Callable[..., Logs], tmp_path: Path
) -> None:
    configure()
    both_bound = asyncio.Barrier(2)

    async def work(name: str) -> None:
        bind_to_task(meeting_id=name, stage="decode")
        await both_bound.wait()
        await asyncio.to_thread(logger.info, name)
        bind_to_task(stage=None)
        logger.info(name)

    await asyncio.gather(work("m1"), work("m2"))
    logger.info("none")
    ends = sorted(line.split(" - ")[-1] for line in _lines(tmp_path / "pc_worker.log"))
    assert ends == [
        "m1 | meeting_id=m1",
        "m1 | meeting_id=m1 | stage=decode",
        "m2 | meeting_id=m2",
        "m2 | meeting_id=m2 | stage=decode",
        "none",
    ]


# --- nothing is forged -------------------------------------------------------------------------------------------


def test_a_title_cannot_forge_a_line_or_a_field(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure()
    forged = "x\r\n[2026-01-01T00:00:00.000Z] - [worker] - [ERROR] - [a.py:1] - forged | meeting_id=m2"
    forged += "\u2028\x1b[2J\x85\u202e"
    try:
        raise ValueError(forged)
    except ValueError:
        logger.exception("title %s", forged, extra={"title": forged})
    text = (tmp_path / "pc_worker.log").read_text()
    starts = [line for line in text.splitlines() if line.startswith("[")]
    assert len(starts) == 2
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
    assert " | meeting_id=" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", starts[1])
    assert starts[1].count(" | title=") == 1


def test_half_a_character_and_a_failing_str_do_not_lose_the_line(
    configure: Callable[..., Logs], tmp_path: Path
) -> None:
    class Failing:
        def __str__(self) -> str:
            raise RuntimeError

    configure()
    logger.info("name \udcff", extra={"value": Failing()})
    logger.info("%d and %d", *[1])
    lines = _lines(tmp_path / "pc_worker.log")
    assert lines[0].endswith("name \\udcff | value=<Failing>")
    assert lines[1].endswith("'%d and %d' (its arguments do not fit)")


def test_a_value_without_end_is_cut(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure()
    logger.info("x" * 1_000_000)
    (line,) = _lines(tmp_path / "pc_worker.log")
    assert len(line) < 10_000
    assert line.endswith("more characters)")


# --- where lines come from ---------------------------------------------------------------------------------------


def test_other_peoples_loggers_speak_from_warning_on(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure()
    chatty = logging.getLogger("httpx")
    before = chatty.level
    chatty.setLevel(logging.DEBUG)
    try:
        chatty.info("HTTP Request: GET https://...")
        chatty.warning("trouble")
    finally:
        chatty.setLevel(before)
    assert [line.split(" - ")[-1] for line in _lines(tmp_path / "pc_worker.log")] == ["trouble"]


def test_python_warnings_are_logged(configure: Callable[..., Logs], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs = configure()
        warnings.warn("careful", UserWarning, stacklevel=1)
        logs.close()
    (line,) = _lines(tmp_path / "pc_worker.log")
    assert "[py.warnings] - [WARNING]" in line
    assert "UserWarning: careful" in line


def test_close_puts_everything_back(configure: Callable[..., Logs], tmp_path: Path) -> None:
    before = (logging.root.handlers[:], logging.root.level, logging.raiseExceptions, warnings.showwarning)
    logs = configure()
    logs.close()
    logs.close()
    logger.warning("after")
    assert (logging.root.handlers, logging.root.level, logging.raiseExceptions, warnings.showwarning) == before
    assert _lines(tmp_path / "pc_worker.log") == []


# --- files -------------------------------------------------------------------------------------------------------


def test_a_file_rotates_at_its_size_and_five_old_ones_are_kept(
    configure: Callable[..., Logs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (module.MAX_BYTES, module.NUM_BACKUPS) == (10 * 1024 * 1024, 5)
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    configure(console=False)
    for i in range(200):
        logger.info("line %d", i)
    names = sorted(path.name for path in tmp_path.glob("pc_worker.log*"))
    assert names == ["pc_worker.log", *(f"pc_worker.log.{i}" for i in range(1, 6))]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.glob("pc_worker.log*"))
    assert (tmp_path / "pc_worker.log").read_text().splitlines()[-1].endswith("line 199")


def test_two_workers_never_share_a_file(configure: Callable[..., Logs], tmp_path: Path) -> None:
    first = configure(console=False)
    second = configure(console=False, worker_id="lab 2/../x")
    third = configure(console=False, worker_id="lab 2/../x")
    assert first.directory == tmp_path
    assert second.directory == tmp_path / "lab_2_.._x"
    assert third.directory is not None
    assert third.directory.parent == tmp_path
    assert len({first.directory, second.directory, third.directory}) == 3
    assert f"log_dir={second.directory}" in (second.directory / "pc_worker.log").read_text().splitlines()[0]


def test_the_directory_of_a_killed_worker_is_free_again(configure: Callable[..., Logs], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from worker.observe.logs import configure_logging\n"
        "configure_logging(log_dir=Path(sys.argv[1]), level='INFO', format='text', secrets=[], worker_id='a')\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert configure(console=False).directory == tmp_path / "lab-1"
        other.kill()
    assert configure(console=False).directory == tmp_path


# --- it never stops the work -------------------------------------------------------------------------------------


def test_a_log_dir_that_cannot_be_made_costs_one_warning(
    configure: Callable[..., Logs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    logs = configure(log_dir=tmp_path / "file" / "logs", console=False)
    logger.error("failed")
    assert logs.directory is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "log files cannot be written (Not a directory)" in line


def test_a_full_disk_costs_one_warning_and_no_exception(
    configure: Callable[..., Logs], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pc_worker.log", "pc_worker_errors.log"):
        (tmp_path / name).symlink_to("/dev/full")
    configure(console=False)
    for i in range(3):
        logger.error("line %d", i)
    assert capsys.readouterr().err.splitlines() == [
        "pc-worker: log files cannot be written (No space left on device). "
        "The work goes on; make room or correct LOG_DIR."
    ]


def test_when_rotating_fails_lines_still_arrive(
    configure: Callable[..., Logs], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pc_worker.log.4").write_text("")
    (tmp_path / "pc_worker.log.5" / "in the way").mkdir(parents=True)
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    configure(console=False)
    for i in range(50):
        logger.info("line %d", i)
    assert [line.split(" - ")[-1] for line in _lines(tmp_path / "pc_worker.log")] == [f"line {i}" for i in range(50)]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_closed_stderr_does_not_matter(
    configure: Callable[..., Logs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    configure()
    sys.stderr.close()
    logger.error("failed")
    assert _lines(tmp_path / "pc_worker.log")[0].endswith("failed")


def test_threads_may_log_at_once(configure: Callable[..., Logs], tmp_path: Path) -> None:
    configure(console=False)

    def log() -> None:
        for _ in range(50):
            logger.info("line")

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = _lines(tmp_path / "pc_worker.log")
    assert len(lines) == 200
    assert all(LINE.fullmatch(line) for line in lines)


# --- colour ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_a_terminal_gets_colours_unless_no_color_is_set(
    configure: Callable[..., Logs], monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        logs = configure()
        logger.error("failed")
        logs.close()
        seen = b""
        while b"failed" not in seen:
            seen += screen.read(4096)
        assert (b"\x1b[31mERROR" in seen) is coloured


def test_a_file_or_pipe_gets_no_colours(configure: Callable[..., Logs], capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logger.error("failed")
    assert "\x1b" not in capsys.readouterr().err
