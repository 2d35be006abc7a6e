"""
Which of a Supabase project's three database addresses will do for migrations, and why a connection failed.

Source: Supabase documentation, "Connect to your database": the direct address has IPv6 only; the session pooler keeps
one server connection for a session; the transaction pooler (port 6543) does not.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from worker.exceptions import ConfigurationError, PCWorkerException, SupabaseConnectionError

POOLER = ".pooler.supabase.com"
DIRECT = ".supabase.co"
TRANSACTION_PORT = "6543"

USE_SESSION_POOLER = (
    "Use the address of the session pooler: in the project's dashboard, Connect, Session pooler (port 5432 at "
    "...pooler.supabase.com, user postgres.<project>)."
)

_NO_ROUTE = (
    "network is unreachable",
    "no route to host",
    "could not translate host name",
    "cannot assign requested address",
    "address family not supported",
    "timeout expired",
    "connection timed out",
)


def connect_parameters(dsn: str) -> dict[str, str]:
    """
    What libpq makes of an address.

    Raises ConfigurationError when it is none, or one through which migrations cannot be run. No message quotes it: it
    holds a password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "The database address cannot be read. It must look like postgresql://user:password@host:5432/postgres, "
            "with special characters of the password percent-encoded (@ is %40, # is %23, / is %2F)."
        ) from None
    host, user = parameters.get("host", ""), parameters.get("user", "")
    if parameters.get("port") == TRANSACTION_PORT and host.endswith((POOLER, DIRECT)):
        raise ConfigurationError(
            f"The database address leads to the project's transaction pooler (port 6543), which cannot run migrations. "
            f"{USE_SESSION_POOLER}"
        )
    if host.endswith(POOLER) and "." not in user:
        raise ConfigurationError(
            f"The database address leads to the project's pooler, where the user is postgres.<project>, not "
            f"{user or 'empty'}. {USE_SESSION_POOLER}"
        )
    return parameters


def refuse_other_project(dsn: str, project_url: str) -> None:
    """
    ConfigurationError when both addresses name their project and it is not the same one: another project's database
    would be changed.
    """
    parameters = connect_parameters(dsn)
    host = parameters.get("host", "")
    if host.endswith(POOLER):
        theirs = parameters.get("user", "").partition(".")[2]
    else:
        theirs = host.removeprefix("db.").removesuffix(DIRECT) if host.endswith(DIRECT) else ""
    ours = urlsplit(project_url).hostname or ""
    if theirs and ours.endswith(DIRECT) and ours.removesuffix(DIRECT) != theirs:
        raise ConfigurationError(
            f"SUPABASE_DB_URL is of the project {theirs}, SUPABASE_URL of {ours.removesuffix(DIRECT)}. "
            "Use the two addresses of one project."
        )


def connection_failure(text: str, host: str) -> PCWorkerException:
    """
    Our error for a connection that was not made.

    Args:
        text: what libpq said; it goes nowhere else, because a mistyped address can put the password into it.
    """
    said = text.lower()
    if "tenant or user not found" in said:
        return SupabaseConnectionError(
            "The project's pooler does not know this user. The user must be postgres.<project>, and the host the one "
            f"that the project's dashboard shows: each region has its own. {USE_SESSION_POOLER}"
        )
    if "password authentication failed" in said or "wrong password" in said:
        return SupabaseConnectionError(
            "The database refuses the password. Check it in the address (special characters percent-encoded: @ is "
            "%40); a forgotten one is reset in the project's dashboard, Database, Settings."
        )
    if host.startswith("db.") and host.endswith(DIRECT) and any(sign in said for sign in _NO_ROUTE):
        return SupabaseConnectionError(
            f"The project's direct address has IPv6 only, and this PC does not reach it. {USE_SESSION_POOLER}"
        )
    if "could not translate host name" in said:
        return SupabaseConnectionError(
            "The host in the database address is not known. Check it for a typing error, and this PC's network; a "
            "password with @, # or / in it must be percent-encoded."
        )
    if "does not exist" in said and "fatal" in said:
        return SupabaseConnectionError(
            "The database server is there, and has no such database or user. Check both in the database address."
        )
    return SupabaseConnectionError(
        "The database cannot be reached. Check the host and port in its address, and this PC's network."
    )
