"""
What a log line looks like.

Text: `[time] - [logger] - [level] - [file:line] - message | key=value | ...`, times in UTC. A line cannot be forged:
control characters are escaped, a value that holds a separator is quoted, and the lines of a stack trace are indented.
JSON: one object per line: time, logger, level, file, line, message, then the fields, then `exception`.
"""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from worker.observe.log_context import bound
from worker.observe.redaction import MASK, Redactor, names_a_secret, one_line

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MAX_CHARS = 8_000  # of a message or a value: one line stays one screen or two
_MAX_TRACE_CHARS = 100_000
_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


class LineFormatter(logging.Formatter):
    """
    The common part of both formats: everything that came from outside is redacted first, then cut, then escaped.

    Args:
        redact: applied to message, fields and stack trace.
        traces: with stack traces; without, an exception becomes one field, `error`.
    """

    def __init__(self, redact: Redactor, *, traces: bool) -> None:
        super().__init__()
        self._redact = redact
        self._traces = traces

    def clean(self, text: str) -> str:
        return one_line(_cut(self._redact(text), _MAX_CHARS))

    def message(self, record: logging.LogRecord) -> str:
        try:
            return self.clean(record.getMessage().rstrip())
        except Exception:  # noqa: BLE001 - a wrong format string, or a __str__ that fails, must not lose the line
            return self.clean(f"{record.msg!r} (its arguments do not fit)")

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """The bound context, the record's `extra`, and, without traces, the exception; in this order."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        nested = extra.pop("fields", {})
        found = {**bound(), **extra, **(nested if isinstance(nested, Mapping) else {"fields": nested})}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._traces:
            found["error"] = f"{type(error).__name__}: {_text(error)}"
        return {self.clean(str(name)): self._value(str(name), value) for name, value in found.items()}

    def _value(self, name: str, value: object) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        return MASK if names_a_secret(name) else self.clean(_text(value))

    def trace(self, record: logging.LogRecord) -> str:
        """The stack trace, lines ended by a newline, or nothing."""
        if not self._traces:
            return ""
        parts = traceback.format_exception(record.exc_info[1]) if record.exc_info and record.exc_info[1] else []
        if record.stack_info:
            parts.append(record.stack_info)
        text = _cut(self._redact("".join(parts)), _MAX_TRACE_CHARS)
        return "\n".join(one_line(line) for line in text.splitlines())


class TextFormatter(LineFormatter):
    """For people. `colour`: the level in ANSI colours, for a terminal."""

    def __init__(self, redact: Redactor, *, traces: bool, colour: bool = False) -> None:
        super().__init__(redact, traces=traces)
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        place = f"[{record.filename}:{record.lineno}]"
        head = f"[{_time(record)}] - [{record.name}] - [{self._level(record)}] - {place}"
        message = self.message(record).replace("|", "\\|")
        fields = [f" | {name}={_quoted(value)}" for name, value in self.fields(record).items()]
        trace = self.trace(record)
        indented = "\n    " + trace.replace("\n", "\n    ") if trace else ""
        return f"{head} - {message}{''.join(fields)}{indented}"

    def _level(self, record: logging.LogRecord) -> str:
        code = _COLOURS.get(record.levelno) if self._colour else None
        return f"\x1b[{code}m{record.levelname}\x1b[0m" if code else record.levelname


class JsonFormatter(LineFormatter):
    """For machines."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "logger": record.name,
            "level": record.levelname,
            "file": record.filename,
            "line": record.lineno,
            "message": self.message(record),
        }
        for name, value in self.fields(record).items():
            line[f"field_{name}" if name in line or name == "exception" else name] = value
        if trace := self.trace(record):
            line["exception"] = trace
        return json.dumps(line, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return f"<{type(value).__name__}>"


def _quoted(value: object) -> str:
    """Quoted where it would otherwise read as something else: empty, a separator, a quote, blanks at the ends."""
    text = str(value)
    if text and text == text.strip() and not any(mark in text for mark in '|"'):
        return text
    return json.dumps(text, ensure_ascii=False)


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[:max_chars]}... ({len(text) - max_chars} more characters)"
