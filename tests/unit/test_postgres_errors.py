"""Every psycopg exception becomes one of ours, and the right one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from worker.adapters.postgres_errors import is_transient, mapped
from worker.exceptions import SchemaMismatchError, SupabaseConnectionError, SupabaseQueryError


def all_psycopg_errors(cls: type[psycopg.Error] = psycopg.Error) -> Iterator[type[psycopg.Error]]:
    yield cls
    for child in cls.__subclasses__():
        yield from all_psycopg_errors(child)


@pytest.mark.parametrize("cls", sorted(set(all_psycopg_errors()), key=repr))
def test_no_psycopg_error_is_left_out(cls: type[psycopg.Error]) -> None:
    """Each of the classes psycopg knows has an error of ours, with the original's text for administrators only."""
    ours = mapped(cls("secret detail"))
    assert isinstance(ours, SupabaseConnectionError | SupabaseQueryError | SchemaMismatchError)
    assert "secret detail" not in str(ours)
    assert "secret detail" in ours.details["cause"]
    assert ours.details["sqlstate"] == cls.sqlstate


def by_state(state: str) -> psycopg.Error:
    return errors.lookup(state)("message")


@pytest.mark.parametrize(
    "state",
    ["08006", "08003", "53100", "53200", "53300", "57014", "57P01", "57P02", "57P03", "40001", "40P01", "55P03"],
)
def test_what_may_pass_is_tried_again(state: str) -> None:
    """Connection, resources, shutdown, timeout, deadlock, lock."""
    assert is_transient(by_state(state))
    assert isinstance(mapped(by_state(state)), SupabaseConnectionError)


@pytest.mark.parametrize(
    "error", [psycopg.OperationalError("x"), psycopg.InterfaceError("x"), TimeoutError(), OSError()]
)
def test_a_broken_connection_is_tried_again(error: Exception) -> None:
    """The server said nothing: there is no SQLSTATE."""
    assert is_transient(error)
    assert isinstance(mapped(error), SupabaseConnectionError)


@pytest.mark.parametrize("state", ["42883", "42P01", "3F000", "42703"])
def test_what_is_missing_is_a_schema_mismatch(state: str) -> None:
    """A function, table, schema or column: the database is not migrated."""
    assert not is_transient(by_state(state))
    assert isinstance(mapped(by_state(state)), SchemaMismatchError)


@pytest.mark.parametrize("state", ["22023", "22P02", "23502", "23505", "23514", "42501", "42601", "P0001", "XX000"])
def test_a_refusal_is_not_tried_again(state: str) -> None:
    """It would be refused the same way."""
    assert not is_transient(by_state(state))
    assert isinstance(mapped(by_state(state)), SupabaseQueryError)


@pytest.mark.parametrize("state", ["28P01", "28000", "3D000"])
def test_wrong_credentials_point_at_the_settings(state: str) -> None:
    """Asking again at once is useless, but it is no fault of the meeting either."""
    assert not is_transient(by_state(state))
    ours = mapped(by_state(state))
    assert isinstance(ours, SupabaseConnectionError)
    assert "settings" in str(ours)
