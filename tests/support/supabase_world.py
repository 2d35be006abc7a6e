"""The queue worlds of a Supabase project: calls go through supabase-py, the gateway and PostgREST."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import psycopg

from tests.support import project_keys
from tests.support.gateway import Gateway
from tests.support.postgrest import Postgrest
from tests.support.queue_worlds import STILL_CLOCK, PostgresWorld, fresh_database
from tests.support.supabase_project import add_user, make_project
from tests.support.supabase_stack import SupabaseStack
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_supabase import SupabaseStore
from worker.models import Meeting, MeetingDetail, MeetingStatus, NewMeeting
from worker.ports import Store


class WorkerRoleStore(SupabaseStore):
    """What a lab PC without a master key may call, and beside it, with a key of their own, the people."""

    def __init__(self, stack: SupabaseStack) -> None:
        super().__init__(stack.url, project_keys.PUBLISHABLE_KEY, worker_token=stack.worker_token)
        self._people = SupabaseStore(stack.url, project_keys.SECRET_KEY)

    async def call(self, function: str, **parameters: Any) -> dict[str, Any]:
        if function.startswith("worker_"):
            return await super().call(function, **parameters)
        return await self._people.call(function, **parameters)

    async def enqueue(self, meeting: NewMeeting) -> UUID:
        return await self._people.enqueue(meeting)

    async def meetings(self, status: MeetingStatus | None = None, *, limit: int = 100) -> tuple[Meeting, ...]:
        return await self._people.meetings(status, limit=limit)

    async def meeting(self, meeting_id: UUID) -> MeetingDetail | None:
        return await self._people.meeting(meeting_id)

    async def close(self) -> None:
        await super().close()
        await self._people.close()


class KillsBetween(httpx.AsyncHTTPTransport):
    """Before every second request PostgREST is killed and started anew, unless another request is on its way."""

    def __init__(self, postgrest: Postgrest) -> None:
        super().__init__()
        self._postgrest = postgrest
        self._num_requests = self._num_on_the_way = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._num_requests += 1
        if self._num_requests % 2 == 0 and self._num_on_the_way == 0:
            self._postgrest.kill()
            self._postgrest.start()
        self._num_on_the_way += 1
        try:
            response = await super().handle_async_request(request)
            await response.aread()
            return response
        finally:
            self._num_on_the_way -= 1


@dataclass(frozen=True)
class Credentials:
    """Who the stores of a world call as."""

    name: str

    def store(self, stack: SupabaseStack) -> Store:
        if self.name == "worker":
            return WorkerRoleStore(stack)
        if self.name == "shaken":
            return SupabaseStore(stack.url, stack.service_key, transport=KillsBetween(stack.postgrest))
        return SupabaseStore(stack.url, stack.service_key)


class SupabaseWorld(PostgresWorld):
    """People who edit tables have a direct connection, as Supabase's table editor has; the store has not."""

    def __init__(self, stack: SupabaseStack, credentials: Credentials) -> None:
        self.stack, self._credentials = stack, credentials
        super().__init__(stack.dsn)

    def new_store(self) -> Store:
        return self._credentials.store(self.stack)

    async def enqueue(self, title: str = "meeting", **columns: Any) -> UUID:
        """A meeting's owner is somebody who may sign in."""
        if columns.get("user_id") is not None:
            add_user(self.dsn, columns["user_id"])
        return await super().enqueue(title, **columns)


@contextlib.contextmanager
def still_stack(server_dsn: str) -> Iterator[SupabaseStack]:
    """A project whose queue's clock stands still. About a second: share it."""
    with fresh_database(server_dsn) as dsn:
        owner_dsn = make_project(dsn)
        migrate(owner_dsn)
        with psycopg.connect(owner_dsn, autocommit=True) as connection:
            connection.execute(STILL_CLOCK.encode())
        with Postgrest(dsn) as postgrest, Gateway(postgrest.url) as gateway:
            yield SupabaseStack(dsn, owner_dsn, postgrest, gateway)


@contextlib.asynccontextmanager
async def supabase_world(stack: SupabaseStack, credentials: str) -> AsyncIterator[SupabaseWorld]:
    """The world of a stack that still_stack made, emptied. `credentials`: service, worker, or shaken."""
    world = SupabaseWorld(stack, Credentials(credentials))
    try:
        world.empty()
        yield world
    finally:
        await world.close()
