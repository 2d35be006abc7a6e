"""A Postgres server of a test's own, which dies when it is told to, and a gate that holds a call while it does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from tests.support.embedded_postgres import reachable_directory
from worker.adapters.embedded_postgres import EmbeddedPostgres

PATIENCE_S = 60.0


class Death(StrEnum):
    """What ends a call that is on its way."""

    SERVER = "kill -9 of the postmaster"
    BACKEND = "kill -9 of the backend"  # Postgres ends all others, recovers and goes on
    CONNECTION = "pg_terminate_backend"


class MortalPostgres:
    """Without fsync: what was committed survives every kill, though not a power cut."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder, durable=False)
        self._pid_file = folder / "cluster" / "data" / "postmaster.pid"
        self.dsn = self._server.start()

    def new_database(self) -> str:
        """The conninfo of an empty one, which is there for as long as the server is."""
        name = f"lab_{uuid4().hex[:12]}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f'create database "{name}"'.encode())
        return make_conninfo(self.dsn, dbname=name)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """A fast shutdown: sessions are cut, and told so."""
        self._server.stop()

    def kill(self) -> None:
        """The postmaster alone, as an out-of-memory killer would; its backends end when they notice."""
        os.kill(int(self._pid_file.read_text().split()[0]), signal.SIGKILL)

    def die(self, death: Death, backend: int) -> None:
        """Returns when nothing of the backend is left, and new sessions are taken."""
        if death is Death.SERVER:
            self.kill()
            self.start()
        elif death is Death.BACKEND:
            os.kill(backend, signal.SIGKILL)
            self._wait_until_it_answers(backend)
        else:
            with psycopg.connect(self.dsn) as connection:
                connection.execute("select pg_terminate_backend(%s, 10000)", [backend])

    def _wait_until_it_answers(self, killed: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.dsn) as connection:
                if not connection.execute("select from pg_stat_activity where pid = %s", [killed]).fetchall():
                    return
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.02)


@contextlib.contextmanager
def mortal_postgres() -> Iterator[MortalPostgres]:
    with reachable_directory() as folder:
        server = MortalPostgres(folder)
        try:
            yield server
        finally:
            server.stop()


BEFORE, AFTER = "before its work", "before its commit"

_GATES = """
create schema test_gate;
create table test_gate.closed (function text, moment text);
create function test_gate.go_through(p_function text, p_moment text) returns void language plpgsql as $$
begin
    while exists (select from test_gate.closed where function = p_function and moment = p_moment) loop
        perform pg_advisory_xact_lock_shared(4711, abs(hashtext(p_function)));
        perform pg_sleep(0.02);
    end loop;
end $$
"""

_WRAP = """
do $do$
declare
    original pg_proc;
    names text;
begin
    select * into strict original from pg_proc
     where proname = '{function}' and pronamespace = 'public'::regnamespace;
    select string_agg(format('%1$I => $%2$s', name, number), ', ' order by number) into names
      from unnest(original.proargnames) with ordinality as x (name, number);
    execute format('alter function %s rename to {function}_itself', original.oid::regprocedure);
    execute format($make$
        create function public.{function}(%s) returns jsonb language plpgsql as $body$
        declare
            answer jsonb;
        begin
            perform test_gate.go_through('{function}', '{before}');
            answer := public.{function}_itself(%s);
            perform test_gate.go_through('{function}', '{after}');
            return answer;
        end $body$ $make$, pg_get_function_arguments(original.oid), names);
end $do$
"""


class CallGates:
    """
    Holds the calls of a worker's SQL functions: BEFORE or AFTER their work, always within the transaction. A gate is a
    committed row, so that it is as it was when the server comes back.
    """

    def __init__(self, dsn: str, *functions: str) -> None:
        self._dsn = dsn
        self._execute(_GATES)
        for function in functions:
            self._execute(_WRAP.format(function=function, before=BEFORE, after=AFTER))

    def close(self, function: str, moment: str) -> None:
        self._execute(f"insert into test_gate.closed values ('{function}', '{moment}')")

    def open(self, function: str) -> None:
        self._execute(f"delete from test_gate.closed where function = '{function}'")

    async def caught(self, function: str) -> int:
        """The backend that stands at the closed gate."""
        query = f"""
            select pid from pg_locks where locktype = 'advisory' and classid = 4711 and granted
               and objid::bigint = abs(hashtext('{function}'))
               and database = (select oid from pg_database where datname = current_database())
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with psycopg.connect(self._dsn) as connection:
                    row = connection.execute(query.encode()).fetchone()
                if row is not None:
                    return int(row[0])
                await asyncio.sleep(0.02)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute(statement.encode())
