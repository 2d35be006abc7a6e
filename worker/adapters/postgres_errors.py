"""
What a psycopg exception means to us, decided by SQLSTATE.

Source of the classes: PostgreSQL documentation, appendix A (error codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.exceptions import (
    PCWorkerException,
    SchemaMismatchError,
    SupabaseConnectionError,
    SupabaseQueryError,
)

if TYPE_CHECKING:
    import psycopg

TRANSIENT_CLASSES = ("08", "53", "57P", "58")
"""Connection lost; out of memory, disk or connections; shutting down, crashed or starting; files out of reach."""

TRANSIENT_STATES = frozenset(
    {
        "57014",  # query_canceled: a statement timeout
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "25006",  # read_only_sql_transaction: a standby after a failover, or a project whose disk is full
        "25P03",  # idle_in_transaction_session_timeout
        "25P04",  # transaction_timeout
    }
)

ACCESS_CLASSES = ("28", "3D")
"""Wrong password or role; no such database: for the administrator, and asking again at once cannot help."""

SCHEMA_STATES = frozenset(
    {
        "3F000",  # invalid_schema_name
        "42883",  # undefined_function
        "42P01",  # undefined_table
        "42703",  # undefined_column
        "42704",  # undefined_object
    }
)


def is_transient(error: BaseException) -> bool:
    """The same call may succeed in a moment."""
    import psycopg

    if isinstance(error, TimeoutError | OSError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        # raised on our side of the wire: the connection broke, could not be made, or is closed
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in TRANSIENT_STATES or state.startswith(TRANSIENT_CLASSES) or _has_ended_the_session(error)


def _has_ended_the_session(error: psycopg.Error) -> bool:
    """What a pooler says (with states of all kinds) when it has no server for us: that is not about what was asked."""
    is_over = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
    return is_over and not str(error.sqlstate).startswith(ACCESS_CLASSES)


def mapped(error: BaseException) -> PCWorkerException:
    """Our error for a foreign one; the original's text goes into `details`, for administrators only."""
    state: str | None = getattr(error, "sqlstate", None)
    details = {"sqlstate": state, "cause": f"{type(error).__name__}: {error}".strip()}
    if is_transient(error):
        return SupabaseConnectionError(**details)
    if state is not None and state.startswith(ACCESS_CLASSES):
        return SupabaseConnectionError(
            "The database refuses this worker. Check user, password and database name in its settings.", **details
        )
    if state in SCHEMA_STATES:
        return SchemaMismatchError(**details)
    return SupabaseQueryError(_refusal(error), **details)


def _refusal(error: BaseException) -> str | None:
    """Our own SQL raises sentences for people (SQLSTATE P0001); anything else is not theirs to read."""
    diagnostic = getattr(error, "diag", None)
    if getattr(error, "sqlstate", None) != "P0001" or diagnostic is None:
        return None
    return " ".join(part for part in (diagnostic.message_primary, diagnostic.message_hint) if part)
