"""Which meeting and which stage a line belongs to: kept per task, so that no call has to pass it on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

_EMPTY: Mapping[str, object] = MappingProxyType({})
_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=_EMPTY)


def bound() -> Mapping[str, object]:
    """What is bound here and now."""
    return _fields.get()


@contextlib.contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Put these fields on every line logged inside, in tasks and threads (asyncio.to_thread) begun inside as well."""
    token = _fields.set(_merged(fields))
    try:
        yield
    finally:
        _fields.reset(token)


def bind_to_task(**fields: object) -> None:
    """Put these fields on every further line of the current task. None takes a field away."""
    _fields.set(_merged(fields))


def _merged(fields: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in {**_fields.get(), **fields}.items() if value is not None}
