"""Which database address will do for migrations, and what is said when a connection fails: never with a password."""

from __future__ import annotations

import re

import pytest

from worker.adapters.migrate_address import connect_parameters, connection_failure, refuse_other_project
from worker.adapters.migrate_postgres import migrate
from worker.exceptions import ConfigurationError, SupabaseConnectionError

PASSWORD = "s3cr3t-word"
SESSION = f"postgresql://postgres.abcdefghijkl:{PASSWORD}@aws-0-eu-central-1.pooler.supabase.com:5432/postgres"
DIRECT = f"postgresql://postgres:{PASSWORD}@db.abcdefghijkl.supabase.co:5432/postgres"


@pytest.mark.parametrize("dsn", [SESSION, DIRECT, "postgresql://me@localhost:6543/lab", "host=/tmp dbname=postgres"])
def test_addresses_that_will_do(dsn: str) -> None:
    """The session pooler, the direct one, and any other Postgres, whatever its port."""
    assert connect_parameters(dsn)["host"]


@pytest.mark.parametrize("dsn", [SESSION.replace(":5432", ":6543"), DIRECT.replace(":5432", ":6543")])
def test_the_transaction_pooler_is_refused_before_anything_is_connected(dsn: str) -> None:
    """It gives every statement another session: neither the lock nor the settings of a migration would hold."""
    with pytest.raises(ConfigurationError, match=r"transaction pooler.*session pooler.*port 5432") as error:
        migrate(dsn)
    assert PASSWORD not in str(error.value)


def test_the_pooler_needs_the_project_in_the_user() -> None:
    """With `postgres` alone it would not know which project is meant."""
    with pytest.raises(ConfigurationError, match=r"user is postgres\.<project>, not postgres\b"):
        connect_parameters(SESSION.replace("postgres.abcdefghijkl", "postgres"))


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    """A password that was not percent-encoded would stand in the message."""
    with pytest.raises(ConfigurationError, match="percent-encoded") as error:
        connect_parameters(f"postgresql://postgres:{PASSWORD}%@host/postgres")
    assert PASSWORD not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    ("said", "host", "told"),
    [
        ("Network is unreachable", "db.abcdefghijkl.supabase.co", "IPv6 only.*session pooler"),
        ("could not translate host name ...", "db.abcdefghijkl.supabase.co", "IPv6 only.*session pooler"),
        ("connection timeout expired", "db.abcdefghijkl.supabase.co", "IPv6 only"),
        ("FATAL:  Tenant or user not found", "aws-0-eu-central-1.pooler.supabase.com", r"postgres\.<project>.*region"),
        ('FATAL:  password authentication failed for user "postgres"', "any", "refuses the password"),
        (f'could not translate host name "{PASSWORD}"', PASSWORD, "not known.*percent-encoded"),
        ('FATAL:  database "lab" does not exist', "localhost", "no such database or user"),
        ("Connection refused", "localhost", "cannot be reached"),
    ],
)
def test_a_failed_connection_names_the_likely_remedy(said: str, host: str, told: str) -> None:
    """From what libpq says, of which nothing is repeated."""
    error = connection_failure(said, host)
    assert isinstance(error, SupabaseConnectionError)
    assert re.search(told, str(error))
    assert PASSWORD not in f"{error} {error.details}"


@pytest.mark.parametrize("dsn", [SESSION, DIRECT])
def test_the_database_of_another_project_is_refused(dsn: str) -> None:
    """Two projects in two terminals: the wrong one must not be migrated."""
    refuse_other_project(dsn, "https://abcdefghijkl.supabase.co")
    refuse_other_project(dsn, "https://supabase.example.org")  # a domain of one's own: nothing to compare
    with pytest.raises(ConfigurationError, match="of the project abcdefghijkl, SUPABASE_URL of zzzzzz"):
        refuse_other_project(dsn, "https://zzzzzz.supabase.co")


def test_a_server_that_is_no_supabase_is_not_compared() -> None:
    refuse_other_project("postgresql://me@localhost/lab", "https://abcdefghijkl.supabase.co")
