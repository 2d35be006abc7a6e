"""
Where log lines go: a console for people, `pc_worker.log` (everything) and `pc_worker_errors.log` (errors).

Logging never stops the work: a directory that cannot be written, or a full disk, costs lines and one warning on stderr.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sys
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from worker.observe.log_context import bind, bind_to_task
from worker.observe.log_format import JsonFormatter, LineFormatter, TextFormatter
from worker.observe.redaction import Redactor

__all__ = ["Logs", "bind", "bind_to_task", "configure_logging"]

MAX_BYTES = 10 * 1024 * 1024
NUM_BACKUPS = 5
MAIN_FILE = "pc_worker.log"
ERRORS_FILE = "pc_worker_errors.log"
_OURS = "worker"

logger = logging.getLogger(__name__)


class Logs:
    """
    Logging as it was configured, until `close`, which puts everything back. `directory`: where the files are; None when
    there are none.
    """

    def __init__(self, handlers: Sequence[logging.Handler], directory: Path | None, lock_fd: int | None) -> None:
        self.directory = directory
        self._lock_fd = lock_fd
        self._handlers = handlers
        self._before = (logging.root.level, logging.getLogger(_OURS).level, logging.raiseExceptions)
        self._is_open = True
        for handler in handlers:
            handler.addFilter(_is_wanted)
            logging.root.addHandler(handler)
        # httpx, say, would log every URL at INFO
        logging.root.setLevel(logging.WARNING)
        logging.getLogger(_OURS).setLevel(logging.DEBUG)
        logging.raiseExceptions = False
        logging.captureWarnings(True)

    def close(self) -> None:
        """May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        logging.captureWarnings(False)
        root_level, our_level, logging.raiseExceptions = self._before
        logging.root.setLevel(root_level)
        logging.getLogger(_OURS).setLevel(our_level)
        for handler in self._handlers:
            logging.root.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk may speak up only now
                handler.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def configure_logging(
    *,
    log_dir: Path,
    level: str,
    format: str,
    secrets: Sequence[str],
    worker_id: str,
    console: bool = True,
) -> Logs:
    """
    Send what is logged from here on to console and files. Never fails.

    Args:
        log_dir: for the files. Two workers never share one: when another process holds `log_dir`, ours go to
            `log_dir/WORKER_ID` (the first line says where). The kernel frees it when that process ends, anyhow.
        level: of the console, such as "INFO"; the files always get everything from DEBUG on.
        format: "text" or "json", of console and files.
        secrets: replaced wherever they occur.
        console: whether to log to stderr as well, coloured on a terminal, without stack traces.
    """
    redact = Redactor(secrets)
    directory, lock_fd = _own_directory(log_dir, worker_id)
    handlers = _file_handlers(directory, format, redact) if directory else []
    if console:
        handlers.append(_console_handler(sys.stderr, level, format, redact))
    logs = Logs(handlers, directory, lock_fd)
    if directory is not None:
        logger.info("logging_started", extra={"worker": worker_id, "log_dir": str(directory)})
    return logs


# --- handlers ----------------------------------------------------------------------------------------------------


class _WarnOnce:
    """The log files are lost, so stderr hears of it; once, not with every line."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, reason: str) -> None:
        if self._done:
            return
        self._done = True
        with contextlib.suppress(Exception):  # stderr may be closed or full too
            sys.stderr.write(
                f"pc-worker: log files cannot be written ({reason}). The work goes on; make room or correct LOG_DIR.\n"
            )


def _is_wanted(record: logging.LogRecord) -> bool:
    """Other people's loggers from WARNING on, also those that set a level of their own."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == _OURS


class _Console(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - a closed terminal is nobody's problem
        return


class _File(RotatingFileHandler):
    """Goes on when it cannot open, write or rotate its file. `warn` is told why."""

    def __init__(self, path: Path, warn: _WarnOnce) -> None:
        self._warn = warn
        # opened with the first line, inside `emit`: an error of opening is then treated as one of writing
        super().__init__(
            path, maxBytes=MAX_BYTES, backupCount=NUM_BACKUPS, encoding="utf-8", errors="backslashreplace", delay=True
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the line is lost, whichever it was
        error = sys.exc_info()[1]
        self._warn(getattr(error, "strerror", None) or type(error).__name__)

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            self.handleError(logging.makeLogRecord({}))
            self.stream = self.stream or self._open()  # closed for a renaming that failed: go on in the same file


def _console_handler(stream: TextIO, level: str, format: str, redact: Redactor) -> logging.Handler:
    handler = _Console(stream)
    handler.setLevel(level.upper())
    handler.setFormatter(_formatter(format, redact, traces=False, colour=_wants_colour(stream)))
    return handler


def _file_handlers(directory: Path, format: str, redact: Redactor) -> list[logging.Handler]:
    warn = _WarnOnce()
    handlers: list[logging.Handler] = []
    for name, level in ((MAIN_FILE, logging.DEBUG), (ERRORS_FILE, logging.ERROR)):
        handler = _File(directory / name, warn)
        handler.setLevel(level)
        handler.setFormatter(_formatter(format, redact, traces=True))
        handlers.append(handler)
    return handlers


def _formatter(format: str, redact: Redactor, *, traces: bool, colour: bool = False) -> LineFormatter:
    if format == "json":
        return JsonFormatter(redact, traces=traces)
    return TextFormatter(redact, traces=traces, colour=colour)


def _wants_colour(stream: TextIO) -> bool:
    """A terminal that can, and no NO_COLOR (no-color.org): rich knows how to ask."""
    if not stream.isatty():
        return False
    from rich.console import Console

    console = Console(file=stream)
    return console.color_system is not None and not console.no_color


# --- the directory -----------------------------------------------------------------------------------------------


def _own_directory(log_dir: Path, worker_id: str) -> tuple[Path | None, int | None]:
    """`log_dir`, or the first directory below it that no other process holds; (None, None) when none can be made."""
    name = re.sub(r"[^\w.-]", "_", worker_id).strip(".") or "worker"
    warn = _WarnOnce()
    try:
        for directory in (log_dir, log_dir / name, log_dir / f"{name}-{os.getpid()}"):
            directory.mkdir(parents=True, exist_ok=True)
            if (fd := _locked(directory / ".lock")) is not None:
                return directory, fd
        warn("other workers use them")
    except OSError as error:
        warn(error.strerror or type(error).__name__)
    return None, None


def _locked(path: Path) -> int | None:
    """A file descriptor that holds the lock; None when somebody else holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return fd
