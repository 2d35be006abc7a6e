"""
The queue in a Supabase project: supabase-py's async client carries each call to PostgREST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from worker.adapters import store_wire as wire
from worker.adapters.retry_after import at_least_as_asked
from worker.adapters.store_functions import StoreFunctions
from worker.adapters.supabase_errors import NOT_A_PROJECT, foreign_errors, mapped
from worker.exceptions import ConfigurationError, SupabaseConnectionError
from worker.models import Meeting, MeetingDetail, MeetingStatus, NewMeeting

if TYPE_CHECKING:
    import httpx
    from supabase import AsyncClient

NUM_TRIES = 3
COMPLETE_TIMEOUT_S = 300.0
"""For one try of `complete`: a result of 25 MB passes at 1 Mbit/s, while the heartbeats go on."""
LONGEST_ASKED_S = 5.0
"""So long a try waits for a project that asks for it; whoever repeats the call waits longer by itself."""
PAGE_ROWS = 1000
"""PostgREST's usual limit; it cuts longer lists without a word."""


class Query(Protocol):
    """A request of postgrest, ready to be sent."""

    async def execute(self) -> Any: ...


class SupabaseStore(StoreFunctions):
    """
    ports.Store over supabase-py. Every call is tried up to three times when the project cannot be reached or does not
    answer, and may also be repeated by the caller: each is idempotent. Belongs to one event loop.

    Args:
        url: https://PROJECT.supabase.co
        key: what goes into the header `apikey`: a service_role or secret key, or a publishable (anon) key.
        worker_token: who is asking, when it is not the key itself: a JWT of the role meeting_worker.
        call_timeout_s: for one try of any call but `complete`, connecting included. Three tries must fit well into a
            lease, or a heartbeat on a dead line would cost the job.
        transport: in place of httpx's own.

    Raises ConfigurationError for a key or token that no header can carry.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        worker_token: str | None = None,
        call_timeout_s: float = 20.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        for name, value in (("SUPABASE_KEY", key), ("SUPABASE_WORKER_TOKEN", worker_token or key)):
            if not value or not value.isascii() or not value.isprintable():
                raise ConfigurationError(f"{name} holds characters that no key has. Copy it anew.")
        self._url = url
        self._key = key
        self._bearer = worker_token or key
        self._call_timeout_s = call_timeout_s
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncClient | None = None

    async def call(self, function: str, **parameters: Any) -> dict[str, Any]:
        timeout_s = COMPLETE_TIMEOUT_S if function.startswith("worker_complete") else self._call_timeout_s
        answer = await self._answer(lambda client: client.rpc(function, parameters), _is_outcome, timeout_s)
        assert isinstance(answer, dict)
        return answer

    async def enqueue(self, meeting: NewMeeting) -> UUID:
        from postgrest import ReturnMethod

        meeting_id = meeting.id or uuid4()
        row = {**wire.storable(meeting.model_dump(mode="json")), "id": str(meeting_id)}
        await self._answer(
            lambda client: client.table("meetings").upsert(
                row, on_conflict="id", ignore_duplicates=True, returning=ReturnMethod.minimal
            ),
            _is_list,
        )
        return meeting_id

    async def meetings(self, status: MeetingStatus | None = None, *, limit: int = 100) -> tuple[Meeting, ...]:
        rows: list[dict[str, Any]] = []
        while len(rows) < limit:
            page = await self._answer(_page_of_meetings(status, limit - len(rows), rows[-1:]), _is_list)
            if not page:
                break
            rows += page
        return tuple(wire.meeting(row) for row in rows)

    async def meeting(self, meeting_id: UUID) -> MeetingDetail | None:
        row = await self._answer(
            lambda client: client.rpc("meeting_detail_v2", {"p_meeting_id": meeting_id}), _is_detail_or_none
        )
        return None if row is None else wire.meeting_detail(row)

    async def close(self) -> None:
        http, self._http, self._client = self._http, None, None
        if http is not None:
            await http.aclose()

    async def _answer(
        self,
        query: Callable[[AsyncClient], Query],
        is_answer: Callable[[object], bool],
        timeout_s: float | None = None,
    ) -> Any:
        """Raises as ports.Store states; `is_answer` tells our project's answers from those of a login page, say."""
        tries = AsyncRetrying(
            retry=retry_if_exception_type(SupabaseConnectionError),
            stop=stop_after_attempt(NUM_TRIES),
            wait=at_least_as_asked(wait_random_exponential(multiplier=0.2, max=2), most_s=LONGEST_ASKED_S),
            reraise=True,
        )
        return await tries(self._once, query, is_answer, timeout_s or self._call_timeout_s)

    async def _once(
        self, query: Callable[[AsyncClient], Query], is_answer: Callable[[object], bool], timeout_s: float
    ) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                answer = (await query(await self._project()).execute()).data
        except foreign_errors() as error:
            raise mapped(error) from error
        if not is_answer(answer):
            raise SupabaseConnectionError(NOT_A_PROJECT, cause=f"an answer of type {type(answer).__name__}")
        return answer

    async def _project(self) -> AsyncClient:
        if self._client is None:
            from supabase import AsyncClientOptions, acreate_client

            from worker.adapters.supabase_http import open_http

            if self._http is None:
                self._http = open_http(self._transport)
            options = AsyncClientOptions(
                auto_refresh_token=False,
                persist_session=False,
                postgrest_client_retry=False,  # it would repeat some calls and not others
                httpx_client=self._http,
            )
            # given beforehand, it is not looked up in a session, and nobody signs in here who could replace it
            options.headers["Authorization"] = f"Bearer {self._bearer}"
            self._client = await acreate_client(self._url, self._key, options)
        return self._client


# --- answers -----------------------------------------------------------------------------------------------------


def _is_outcome(answer: object) -> bool:
    return isinstance(answer, dict) and "outcome" in answer


def _is_list(answer: object) -> bool:
    return isinstance(answer, list)


def _is_detail_or_none(answer: object) -> bool:
    return answer is None or (isinstance(answer, dict) and "meeting" in answer)


def _page_of_meetings(
    status: MeetingStatus | None, num_rows: int, last: list[dict[str, Any]]
) -> Callable[[AsyncClient], Query]:
    """At most so many meetings, newest first, that come after `last` (one row, or none for the beginning)."""

    def query(client: AsyncClient) -> Query:
        rows = client.table("meetings").select("*")
        if status is not None:
            rows = rows.eq("status", status.value)
        for row in last:
            at, meeting_id = f'"{row["created_at"]}"', row["id"]
            rows = rows.or_(f"created_at.lt.{at},and(created_at.eq.{at},id.gt.{meeting_id})")
        return rows.order("created_at", desc=True).order("id").limit(min(num_rows, PAGE_ROWS))

    return query
