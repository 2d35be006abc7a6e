"""
What an exception of supabase-py, postgrest or httpx means to us, decided by what was answered.

An answer is judged by the code in its body first (PostgREST's own PGRSTxxx, or Postgres's SQLSTATE passed on), then by
its HTTP status, which is all that a gateway in front of them gives. Sources: PostgREST documentation, "Errors";
Supabase documentation, "HTTP status codes"; PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from worker.adapters.postgres_errors import ACCESS_CLASSES, SCHEMA_STATES, TRANSIENT_CLASSES, TRANSIENT_STATES
from worker.adapters.retry_after import asked_of
from worker.exceptions import (
    ConfigurationError,
    PCWorkerException,
    SchemaMismatchError,
    SupabaseAccessError,
    SupabaseConnectionError,
    SupabaseQueryError,
)

if TYPE_CHECKING:
    import httpx

TRANSIENT_STATUSES = frozenset({408, 425, 429})
"""Of the client errors those that pass; every status from 500 on passes too, unless a code in the body knows better."""

ACCESS_STATUSES = frozenset({401, 402, 403})
"""402: the project is restricted, for its bill or for its size."""

TOO_LARGE = 413

TRANSIENT_CODES = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003", "PGRSTX00"})
"""No connection to the database, none free, no schema yet, an error in PostgREST itself."""

ACCESS_CODES = frozenset({"PGRST300", "PGRST301", "PGRST302", "PGRST303"})
"""No secret to verify tokens with; a token that does not verify or is expired; no token; claims that do not hold."""

SCHEMA_CODES = frozenset({"PGRST200", "PGRST202", "PGRST203", "PGRST204", "PGRST205"})
"""A relationship, function (none, or several that fit), column or table that PostgREST does not find."""

NOT_EXPOSED = "PGRST106"
DENIED = "42501"
NO_SUCH_ROLE = ("22023", re.compile(r'role ".*" does not exist'))
OUR_SENTENCE = "P0001"

_SQLSTATE = re.compile(r"[0-9A-Z]{5}")

EXPIRED = (
    "The Supabase project says that this PC's token has expired. Put a new SUPABASE_WORKER_TOKEN (or SUPABASE_KEY) "
    "into .env and restart the worker."
)
NOT_VERIFIED = (
    "The Supabase project cannot verify this PC's token. Check that SUPABASE_WORKER_TOKEN (or SUPABASE_KEY) was made "
    "with the keys of the project at SUPABASE_URL, and copy it anew."
)
NOT_ALLOWED = (
    "The Supabase project does not allow this to the key or token of this PC. Use a service_role or secret key, or a "
    "token of the role meeting_worker, and bring the project up to date with `python -m worker migrate`."
)
ROLE_MISSING = (
    "The Supabase project does not have the role that this PC's token is for. Bring the project up to date with "
    "`python -m worker migrate`, and check the role in SUPABASE_WORKER_TOKEN."
)
KEY_UNKNOWN = (
    "The Supabase project refuses the key of this PC. Copy SUPABASE_KEY anew from the project's API settings, and "
    "check that SUPABASE_URL is of the same project."
)
RESTRICTED = "The Supabase project is restricted and answers nobody. Look at its dashboard for the reason."
SCHEMA_HIDDEN = (
    "The API of the Supabase project does not show the schema public. Add it under exposed schemas in its API settings."
)
FUNCTION_MISSING = (
    "The database lacks something that this version of the worker needs, or its API has not noticed it yet. "
    "Run `python -m worker migrate`."
)
NOT_A_PROJECT = (
    "Something else than the Supabase project answered. The worker tries again by itself; check SUPABASE_URL, and "
    "whether a gateway or a login page of the network stands in between."
)
NOT_AN_ADDRESS = "SUPABASE_URL is not the address of a Supabase project. It looks like https://PROJECT.supabase.co."
RESULT_TOO_LARGE = "The Supabase project's gateway refuses a request of this size. Split the recording."


def foreign_errors() -> tuple[type[Exception], ...]:
    """Every family of exceptions that a call can end with; what else there is would be a mistake of ours."""
    import httpx
    from postgrest import APIError
    from supabase import AsyncSupabaseException, SyncSupabaseException
    from supabase_auth.errors import AuthError

    of_supabase = (APIError, AsyncSupabaseException, SyncSupabaseException, AuthError)
    of_httpx = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
    # ValueError holds those of json and pydantic; OSError holds TimeoutError
    return (*of_supabase, *of_httpx, ValueError, TypeError, OSError)


def mapped(error: BaseException) -> PCWorkerException:
    """Our error for a foreign one; what the other side said goes into `details`, for administrators only."""
    import httpx
    from postgrest import APIError
    from pydantic import ValidationError
    from supabase import AsyncSupabaseException, SyncSupabaseException
    from supabase_auth.errors import AuthError, AuthRetryableError

    cause = {"cause": type(error).__name__}
    match error:
        case httpx.HTTPStatusError():
            return of_answer(error.response)
        case APIError():
            return _judged(_number(error.code), error.code, error.message, error.hint, cause)
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | AsyncSupabaseException() | SyncSupabaseException():
            return ConfigurationError(NOT_AN_ADDRESS, **cause)
        case AuthError() if not isinstance(error, AuthRetryableError):
            return SupabaseAccessError(**cause)
        case httpx.LocalProtocolError():  # its text may quote a header
            return SupabaseConnectionError(**cause)
        case httpx.HTTPError() | httpx.StreamError() | AuthError() | OSError():
            return SupabaseConnectionError(cause=f"{type(error).__name__}: {error}".strip(": "))
        case json.JSONDecodeError() | UnicodeDecodeError() | ValidationError():
            return SupabaseConnectionError(NOT_A_PROJECT, **cause)
    return SupabaseQueryError(**cause)


def of_answer(response: httpx.Response) -> PCWorkerException:
    """Our error for an answer that is none of success, whose body has been read."""
    body = _object(response.content)
    if body == {} and response.status_code == 404:  # how PostgREST answers a write to a table that it does not find
        return SchemaMismatchError(FUNCTION_MISSING, status=404)
    code, message, hint = (_text((body or {}).get(name)) for name in ("code", "message", "hint"))
    details = {"status": response.status_code, "answer_code": code, "cause": message or "no words"}
    details |= asked_of(response.headers)
    return _judged(response.status_code, code, message, hint, details, is_json=body is not None)


def _judged(
    status: int | None,
    code: str | None,
    message: str | None,
    hint: str | None,
    details: dict[str, Any],
    *,
    is_json: bool = True,
) -> PCWorkerException:
    if code is not None and code.startswith("PGRST"):
        return _of_postgrest(code, message, details)
    if code is not None and _SQLSTATE.fullmatch(code):
        return _of_postgres(code, message, hint, details)
    return _of_gateway(status, details, is_json=is_json)


def _of_postgrest(code: str, message: str | None, details: dict[str, Any]) -> PCWorkerException:
    if code in TRANSIENT_CODES:
        return SupabaseConnectionError(**details)
    if code in ACCESS_CODES:
        return SupabaseAccessError(EXPIRED if "expired" in (message or "") else NOT_VERIFIED, **details)
    if code == NOT_EXPOSED:
        return SupabaseAccessError(SCHEMA_HIDDEN, **details)
    if code in SCHEMA_CODES:
        return SchemaMismatchError(FUNCTION_MISSING, **details)
    return SupabaseQueryError(**details)


def _of_postgres(state: str, message: str | None, hint: str | None, details: dict[str, Any]) -> PCWorkerException:
    if state in TRANSIENT_STATES or state.startswith(TRANSIENT_CLASSES):
        return SupabaseConnectionError(**details)
    if state == NO_SUCH_ROLE[0] and NO_SUCH_ROLE[1].search(message or ""):
        return SupabaseAccessError(ROLE_MISSING, **details)
    if state == DENIED or state.startswith(ACCESS_CLASSES):
        return SupabaseAccessError(NOT_ALLOWED, **details)
    if state in SCHEMA_STATES:
        return SchemaMismatchError(FUNCTION_MISSING, **details)
    sentence = " ".join(part for part in (message, hint) if part) if state == OUR_SENTENCE else None
    return SupabaseQueryError(sentence, **details)


def _of_gateway(status: int | None, details: dict[str, Any], *, is_json: bool) -> PCWorkerException:
    if status is None or status in TRANSIENT_STATUSES or status >= 500:
        return SupabaseConnectionError(**details)
    if status in ACCESS_STATUSES:
        return SupabaseAccessError(RESTRICTED if status == 402 else KEY_UNKNOWN, **details)
    if status == TOO_LARGE:
        return SupabaseQueryError(RESULT_TOO_LARGE, **details)
    if status == 404 or not is_json:
        return SupabaseConnectionError(NOT_A_PROJECT, **details)
    return SupabaseQueryError(**details)


def _object(content: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer holds; None for anything else, an HTML page say."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(code: str | None) -> int | None:
    """postgrest puts the HTTP status where a code belongs when the body has none."""
    return int(code) if code is not None and code.isdecimal() and len(code) == 3 else None
