"""
The queue over a direct connection: an embedded Postgres, or any other that has our migrations.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from worker.adapters import store_wire as wire
from worker.adapters.postgres_connections import STATEMENT_TIMEOUT_S, Connections
from worker.adapters.postgres_errors import is_transient, mapped
from worker.adapters.store_functions import StoreFunctions
from worker.models import Meeting, MeetingDetail, MeetingStatus, NewMeeting

NUM_TRIES = 3
COMPLETE_TIMEOUT_S = STATEMENT_TIMEOUT_S + 15.0
"""Longer than the server allows itself: this bound is for a server that does not answer at all."""

_CASTS = {
    str: "text",
    int: "bigint",
    float: "double precision",
    UUID: "uuid",
    dict: "jsonb",
    list: "jsonb",
    bool: "jsonb",
}
"""psycopg would bind a small integer as smallint, which matches no function."""

_ENQUEUE = """
insert into public.meetings
    (id, user_id, title, audio_path, audio_url, language, min_speakers, max_speakers, prompt, hotwords, channels,
     priority)
values (%(id)s, %(user_id)s, %(title)s, %(audio_path)s, %(audio_url)s, %(language)s, %(min_speakers)s, %(max_speakers)s,
        %(prompt)s, %(hotwords)s, %(channels)s, %(priority)s)
on conflict (id) do nothing
"""

_MEETINGS = """
select to_jsonb(m) from public.meetings m
 where %(status)s::text is null or m.status = %(status)s
 order by m.created_at desc, m.id limit %(limit)s
"""

_MEETING_DETAIL = "select public.meeting_detail_v2(%(id)s)"


class PostgresStore(StoreFunctions):
    """
    ports.Store over psycopg 3.

    Every call is tried up to three times when the connection breaks or the server is away, on a fresh connection each
    time, and may also be repeated by the caller: each is idempotent. Belongs to one event loop.

    Args:
        dsn: what libpq understands, as `host=... dbname=...` or postgresql://...
        application_name: shown in pg_stat_activity, so that an administrator sees which worker a connection is.
        call_timeout_s: for one try of any call but `complete`, connecting included. Three tries must fit well into a
            lease, or a heartbeat on a dead line would cost the job.
    """

    def __init__(self, dsn: str, *, application_name: str, call_timeout_s: float = 20.0) -> None:
        self._connections = Connections(dsn, application_name=application_name)
        self._call_timeout_s = call_timeout_s

    async def call(self, function: str, **parameters: Any) -> dict[str, Any]:
        from psycopg.types.json import Jsonb

        arguments = ", ".join(f"{name} => %({name})s::{_CASTS[type(value)]}" for name, value in parameters.items())
        bound = {name: Jsonb(value) if _CASTS[type(value)] == "jsonb" else value for name, value in parameters.items()}
        timeout_s = COMPLETE_TIMEOUT_S if function.startswith("worker_complete") else self._call_timeout_s
        answer = await self._value(f"select public.{function}({arguments})", bound, timeout_s)
        assert isinstance(answer, dict)
        return answer

    async def enqueue(self, meeting: NewMeeting) -> UUID:
        meeting_id = meeting.id or uuid4()
        await self._rows(_ENQUEUE, {**wire.storable(meeting.model_dump()), "id": meeting_id})
        return meeting_id

    async def meetings(self, status: MeetingStatus | None = None, *, limit: int = 100) -> tuple[Meeting, ...]:
        rows = await self._rows(_MEETINGS, {"status": status and status.value, "limit": limit})
        return tuple(wire.meeting(row[0]) for row in rows)

    async def meeting(self, meeting_id: UUID) -> MeetingDetail | None:
        row = await self._value(_MEETING_DETAIL, {"id": meeting_id})
        return None if row is None else wire.meeting_detail(row)

    async def close(self) -> None:
        await self._connections.close()

    async def _value(self, statement: str, parameters: dict[str, Any], timeout_s: float | None = None) -> Any:
        rows = await self._rows(statement, parameters, timeout_s)
        return rows[0][0] if rows else None

    async def _rows(
        self, statement: str, parameters: dict[str, Any], timeout_s: float | None = None
    ) -> list[tuple[Any, ...]]:
        import psycopg

        tries = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(NUM_TRIES),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )
        try:
            return await tries(self._once, statement, parameters, timeout_s or self._call_timeout_s)
        except (psycopg.Error, OSError) as error:  # OSError holds TimeoutError
            raise mapped(error) from error

    async def _once(self, statement: str, parameters: dict[str, Any], timeout_s: float) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connections.rows(statement, parameters)
        except Exception as error:
            if is_transient(error):
                await self._connections.drop_idle()
            raise
