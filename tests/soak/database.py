"""The fleet's Postgres: a server of its own that can be killed, and a client that comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.support.worker_process import PATIENCE_S
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.embedded_postgres_home import settled_home
from worker.adapters.embedded_postgres_processes import living, wait_for_end
from worker.adapters.migrate_postgres import migrate

POLL_S = 0.1

_NOTES = """
create schema soak;
create table soak.notes (
    at timestamptz not null default clock_timestamp(), meeting_id uuid not null, token bigint, note text not null
);

create function soak.note_job() returns trigger language plpgsql security definer set search_path = '' as $$
declare
    note text := case
        when old.state = 'completed' and new.state = 'pending' then 'retried'
        when old.state = 'failed' and new.state = 'pending' then 'retried after it had failed'
        when old.state = 'processing' and old.lease_expires_at >= clock_timestamp() then null
        when old.state = 'processing' and new.state = 'completed' then 'completed late'
        when new.state = 'processing' and new.token is distinct from old.token then null
        when old.state in ('pending', 'failed') and new.state = 'processing' then 'revived'
        when old.state = 'processing' and new.state = 'processing' then 'beat late'
    end;
begin
    if note is not null then
        insert into soak.notes (meeting_id, token, note) values (old.meeting_id, old.token, note);
    end if;
    return null;
end $$;
create trigger note_job after update on pc_worker.jobs for each row execute function soak.note_job();
"""
"""What the rows themselves do not keep: a lease that had run out before its holder came back."""


_EXPECTED_ERRORS = ("terminating connection", "canceling statement due to user request")


class Server:
    """An embedded Postgres with the fleet's numbers set. Commits survive every kill."""

    def __init__(self, directory: Path, *, lease_s: float, heartbeat_s: float, grace_s: float) -> None:
        self._directory = directory
        self._postgres = EmbeddedPostgres(directory, durable=False)
        self.dsn = self._postgres.start()
        migrate(self.dsn)
        keep_notes(self.dsn)
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "update pc_worker.settings set lease_s = %s, heartbeat_s = %s, grace_s = %s",
                [lease_s, heartbeat_s, grace_s],
            )

    @property
    def pids(self) -> frozenset[int]:
        """All its processes."""
        return living(self._tag)

    def start(self) -> None:
        """Start it, or find that it runs."""
        self._postgres.start()

    def kill(self) -> None:
        """The postmaster, as an out-of-memory killer would."""
        os.kill(self._postmaster, signal.SIGKILL)

    def restart(self) -> None:
        """SIGINT, the fast shutdown: every session is cut."""
        postmaster = self._postmaster
        os.kill(postmaster, signal.SIGINT)
        wait_for_end(self._tag, PATIENCE_S, postmaster=postmaster)
        self.start()

    @property
    def complaints(self) -> list[str]:
        """Deadlocks, and errors in our own functions, from the server's log."""
        home = settled_home(self._directory)
        lines = home.log.read_text(errors="replace").splitlines() if home else []
        return [line for line in lines if "ERROR:" in line and not any(known in line for known in _EXPECTED_ERRORS)]

    def close(self) -> None:
        self._postgres.start()  # whoever killed it last
        self._postgres.stop()

    @property
    def _postmaster(self) -> int:
        return int((self._directory / "cluster" / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def _tag(self) -> str:
        home = settled_home(self._directory)
        assert home is not None
        return home.tag


def keep_notes(dsn: str) -> None:
    """From now on the database notes what the census wants to know and the rows do not keep."""
    with psycopg.connect(dsn) as connection:
        connection.execute(_NOTES)


class Client:
    """
    One connection that is opened anew when it breaks; a statement is repeated until it gets through. So the statements
    must bear to be done twice. May be used by several threads, one at a time.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self.name = dsn, name
        self._connection: psycopg.Connection | None = None
        self._mutex = threading.Lock()

    def rows(self, statement: str, *parameters: Any, patience_s: float = PATIENCE_S) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with self._mutex:
                    cursor = self._open().execute(statement.encode(), parameters or None)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def close(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True, application_name=self.name)
        return self._connection
