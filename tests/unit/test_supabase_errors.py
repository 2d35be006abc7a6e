"""Every exception of supabase-py and what is under it becomes one of ours, and so does every answer of a project."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
import supabase
from postgrest import APIError
from pydantic import TypeAdapter, ValidationError
from supabase_auth.errors import AuthError, AuthRetryableError

from worker.adapters.supabase_errors import foreign_errors, mapped
from worker.exceptions import (
    ConfigurationError,
    Disposition,
    PCWorkerException,
    SchemaMismatchError,
    SupabaseAccessError,
    SupabaseConnectionError,
    SupabaseQueryError,
)

PACKAGES = {"httpx", "postgrest", "supabase", "supabase_auth"}

FAMILIES: tuple[tuple[type[Exception], type[PCWorkerException]], ...] = (
    (httpx.UnsupportedProtocol, ConfigurationError),
    (httpx.InvalidURL, ConfigurationError),
    (supabase.AsyncSupabaseException, ConfigurationError),
    (supabase.SyncSupabaseException, ConfigurationError),
    (httpx.HTTPError, SupabaseConnectionError),
    (httpx.StreamError, SupabaseConnectionError),
    (httpx.CookieConflict, SupabaseQueryError),
    (APIError, SupabaseConnectionError),
    (AuthRetryableError, SupabaseConnectionError),
    (AuthError, SupabaseAccessError),
    (json.JSONDecodeError, SupabaseConnectionError),
    (UnicodeDecodeError, SupabaseConnectionError),
    (ValidationError, SupabaseConnectionError),
    (ValueError, SupabaseQueryError),
    (TypeError, SupabaseQueryError),
    (OSError, SupabaseConnectionError),
)
"""The first that holds a class says what becomes of it. An APIError and an HTTP error without an answer come from the
network; those with one are below."""


def below(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for child in cls.__subclasses__():
        yield from below(child)


FOREIGN = sorted(
    {cls for cls in below(Exception) if cls.__module__.split(".")[0] in PACKAGES}
    | {json.JSONDecodeError, UnicodeDecodeError, ValidationError, TimeoutError, ConnectionResetError},
    key=lambda cls: (cls.__module__, cls.__name__),
)


def made(cls: type[Exception]) -> Exception:
    """An instance, without asking what its constructor wants."""
    if cls is APIError:
        return APIError({"message": "secret detail", "code": "502"})
    if cls is httpx.HTTPStatusError:
        return answered(502, "secret detail")
    if cls is UnicodeDecodeError:
        return UnicodeDecodeError("utf-8", b"secret detail", 0, 1, "secret detail")
    if cls is ValidationError:
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(int).validate_python("secret detail")
        return caught.value
    error = cls.__new__(cls)
    error.args = ("secret detail",)
    return error


def answered(status: int, body: object) -> httpx.HTTPStatusError:
    text = body if isinstance(body, str) else json.dumps(body)
    response = httpx.Response(status, text=text, request=httpx.Request("POST", "https://x.supabase.co/rest/v1/rpc/f"))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    return caught.value


def test_no_foreign_exception_is_left_out() -> None:
    """A library that brings a new family fails here, with its name."""
    assert len(FOREIGN) > 40
    assert [cls for cls in FOREIGN if not issubclass(cls, foreign_errors())] == []
    assert [cls for cls in FOREIGN if not issubclass(cls, tuple(family for family, _ in FAMILIES))] == []


@pytest.mark.parametrize("cls", FOREIGN, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_each_foreign_exception_has_its_error(cls: type[Exception]) -> None:
    """Its own text is for administrators at most."""
    ours = mapped(made(cls))
    assert type(ours) is next(expected for family, expected in FAMILIES if issubclass(cls, family))
    assert "secret detail" not in str(ours)
    assert ours.details["cause"]


def test_a_header_that_could_not_be_sent_is_not_quoted() -> None:
    """It would be the key."""
    assert "hunter2" not in str(mapped(httpx.LocalProtocolError("Illegal header value b'Bearer hunter2'")).details)


HTML = "<html><h1>502 Bad Gateway</h1></html>"


def said(code: str, message: str = "said", hint: str | None = None) -> dict[str, str | None]:
    """An error as PostgREST writes it."""
    return {"code": code, "message": message, "details": "Failing row contains (words of a meeting).", "hint": hint}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 540, 544])
@pytest.mark.parametrize("body", [HTML, "", {"message": "upstream request timeout"}, [1], '{"cut'])
def test_a_gateway_in_trouble_is_a_connection_error(status: int, body: object) -> None:
    """Whatever it writes into the body."""
    assert type(mapped(answered(status, body))) is SupabaseConnectionError


@pytest.mark.parametrize(("status", "body"), [(404, HTML), (302, ""), (400, HTML), (404, {"message": "no Route"})])
def test_an_answer_of_somebody_else_points_at_the_address(status: int, body: object) -> None:
    """A login page of the network, or another site."""
    ours = mapped(answered(status, body))
    assert type(ours) is SupabaseConnectionError
    assert "SUPABASE_URL" in str(ours)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((503, code) for code in ("PGRST000", "PGRST001", "PGRST002")),
        (504, "PGRST003"),
        *((503, code) for code in ("08006", "53300", "57P01", "57P02", "57P03")),
        *((500, code) for code in ("57014", "40001", "40P01", "55P03", "58030")),
    ],
)
def test_a_database_in_trouble_is_a_connection_error(status: int, code: str) -> None:
    """A connection, a resource, a timeout, a lock: the same call may succeed in a moment."""
    assert type(mapped(answered(status, said(code)))) is SupabaseConnectionError


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, said("PGRST301", "JWT expired"), "expired"),
        (401, said("PGRST303", "JWT expired"), "expired"),
        (401, said("PGRST301", "JWSError JWSInvalidSignature"), "cannot verify"),
        (401, said("PGRST302"), "cannot verify"),
        (401, {"message": "Invalid API key", "hint": "Double check your API key."}, "SUPABASE_KEY"),
        (401, {"message": "No API key found in request"}, "SUPABASE_KEY"),
        (403, HTML, "SUPABASE_KEY"),
        (402, {"message": "exceed_egress_quota"}, "restricted"),
        (403, said("42501", "permission denied for function worker_claim_v1"), "does not allow"),
        (401, said("42501", "permission denied for table meetings"), "does not allow"),
        (403, said("42501", 'permission denied to set role "meeting_worker"'), "does not allow"),
        (400, said("22023", 'role "meeting_worker" does not exist'), "migrate"),
        (406, said("PGRST106", "The schema must be one of the following: api"), "exposed schemas"),
    ],
)
def test_a_key_that_may_not_is_an_access_error(status: int, body: object, hint: str) -> None:
    """It says what to check, and waits: an administrator is needed, and no meeting is to blame."""
    ours = mapped(answered(status, body))
    assert type(ours) is SupabaseAccessError
    assert hint in str(ours)
    assert ours.disposition is Disposition.INFRASTRUCTURE


@pytest.mark.parametrize("code", ["PGRST202", "PGRST204", "PGRST205", "42883", "42P01", "42703", "3F000"])
def test_what_is_missing_is_a_schema_mismatch(code: str) -> None:
    """A function, table or column: migrate."""
    ours = mapped(answered(404, said(code)))
    assert type(ours) is SchemaMismatchError
    assert "migrate" in str(ours)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "22P02"), (400, "22023"), (409, "23505"), (400, "23514"), (500, "XX000"), (400, "PGRST100"), (500, "P0002")],
)
def test_a_refusal_is_not_tried_again(status: int, code: str) -> None:
    """It would be refused the same way. The row that was refused is nobody's to read."""
    ours = mapped(answered(status, said(code)))
    assert type(ours) is SupabaseQueryError
    assert str(ours) == SupabaseQueryError.default_message
    assert ours.details == {"status": status, "answer_code": code, "cause": "said"}


def test_our_own_sql_speaks_to_people() -> None:
    """SQLSTATE P0001: message and hint are sentences."""
    ours = mapped(answered(400, said("P0001", "It cannot be changed.", "Cancel it first.")))
    assert type(ours) is SupabaseQueryError
    assert str(ours) == "It cannot be changed. Cancel it first."


def test_a_result_that_no_gateway_takes_is_no_outage() -> None:
    """Waiting would not make it smaller."""
    assert type(mapped(answered(413, HTML))) is SupabaseQueryError
