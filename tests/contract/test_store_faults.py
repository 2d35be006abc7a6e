"""
Every call of the Store port, on a line that spoils it: it succeeds by itself or raises an infrastructure error in
bounded time, and repeated it has done what one call does. With the real psycopg, supabase-py and PostgREST.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.every_store_call import CASES, Call, calls_of_the_port
from tests.support.fault_proxy import FaultProxy, socket_of, through
from tests.support.fault_proxy_faults import Answered, Fault, LostAnswer, Reset, Silence, Truncated
from tests.support.queue_worlds import PostgresWorld, postgres_world
from tests.support.supabase_stack import SupabaseStack
from tests.support.supabase_world import supabase_world
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_supabase import SupabaseStore
from worker.exceptions import SupabaseConnectionError
from worker.models import NewMeeting
from worker.ports import Store

PATIENT_S = 20.0
HURRIED_S = 0.3
"""For one try, where there are black holes on the way."""

IN_TURN: dict[str, list[Fault]] = {
    "postgres": [
        *(LostAnswer(), Reset(), Truncated()),
        *(Reset(is_executed=True), Silence(), Silence(is_executed=True)),
    ],
    "supabase": [
        *(LostAnswer(), Reset(), Truncated()),
        *(Reset(is_executed=True), Answered(502), Answered(504)),
        *(Silence(), Silence(is_executed=True)),
    ],
}
"""What the tries of one call meet, three by three: both stores give up after as many."""

LOST = {"claim", "complete", "fail", "forget_speaker"}
"""Those whose lost answers are tried in each run: to be done twice would hurt."""

PATIENT = {"complete"}
"""It waits for more than a minute, whatever the timeout of the others is."""

NEWS = {"enqueue", "add_words", "remove_words"}
"""These answer with an id, or with what was new: the second time nothing is."""

STATEMENT = {"postgres": r"public\.", "supabase": r"^[A-Z]+ /rest/v1/"}


@dataclass
class Line:
    """A world, and a store that reaches it by way of the proxy."""

    transport: str
    world: PostgresWorld
    proxy: FaultProxy

    def store(self, call_timeout_s: float) -> Store:
        if self.transport == "postgres":
            dsn = through(self.proxy, self.world.dsn)
            return PostgresStore(dsn, application_name="fault test", call_timeout_s=call_timeout_s)
        key = self.world.stack.service_key  # type: ignore[attr-defined]  # of a SupabaseWorld
        return SupabaseStore(self.proxy.url, key, call_timeout_s=call_timeout_s)


@dataclass
class Done:
    """What one call without a fault has answered and left behind."""

    answer: Any
    state: dict[str, list[str]] = field(repr=False)


@pytest.fixture(scope="module")
def proxies(queue_dsn: str, request: pytest.FixtureRequest) -> Iterator[dict[str, FaultProxy]]:
    stack: SupabaseStack = request.getfixturevalue("queue_stack")
    with FaultProxy(socket_of(queue_dsn)) as postgres, FaultProxy(stack.gateway.url) as supabase:
        yield {"postgres": postgres, "supabase": supabase}


@pytest.fixture(scope="module")
def done_once() -> dict[tuple[str, str], Done]:
    return {}


@pytest.fixture
async def line(request: pytest.FixtureRequest, transport: str, proxies: dict[str, FaultProxy]) -> AsyncIterator[Line]:
    opened = (
        postgres_world(request.getfixturevalue("queue_dsn"))
        if transport == "postgres"
        else supabase_world(request.getfixturevalue("queue_stack"), "service")
    )
    async with opened as world:
        yield Line(transport, world, proxies[transport])


def state_of(world: PostgresWorld) -> dict[str, list[str]]:
    """Every row of every table, without what is chosen by chance or counted by the server."""
    tables = world.rows(
        "select format('%%I.%%I', table_schema, table_name) as name from information_schema.tables"
        " where table_schema in ('public', 'pc_worker') and table_type = 'BASE TABLE'"
    )
    rows = {table["name"]: world.rows(f"select to_jsonb(t) as row from {table['name']} t") for table in tables}
    return {name: sorted(_without_numbers(each["row"]) for each in found) for name, found in rows.items()}


def _without_numbers(row: dict[str, Any]) -> str:
    counted = {"id", "token", "voice_id", "last_id", "marks", "created_at"}
    return _without_chance(json.dumps({name: row[name] for name in sorted(row) if name not in counted}))


def _without_chance(told: object) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "uuid", str(told))


async def once(name: str, line: Line, known: dict[tuple[str, str], Done]) -> Done:
    """What the call does where nothing is wrong; looked at once, in a world that is emptied again."""
    key = (line.transport, name)
    if key not in known:
        answer = await (await CASES[name](line.world))(line.world.store)
        known[key] = Done(answer, state_of(line.world))
        line.world.empty()
    return known[key]


@asynccontextmanager
async def store_of(line: Line, call_timeout_s: float) -> AsyncIterator[Store]:
    store = line.store(call_timeout_s)
    try:
        await store.schema()  # a connection is there already, as after hours of work
        yield store
    finally:
        await store.close()


def test_every_call_of_the_port_is_tried() -> None:
    """A new one needs a case."""
    assert set(CASES) == calls_of_the_port()


def _marks(name: str) -> list[Any]:
    return [] if name in LOST else [pytest.mark.slow]


@pytest.mark.proves("claim or complete response lost")
@pytest.mark.parametrize("transport", ["postgres", "supabase"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in CASES])
async def test_a_lost_answer_is_asked_for_again_by_the_store_itself(
    line: Line, name: str, done_once: dict[tuple[str, str], Done]
) -> None:
    """The server has done it; the second try gets the answer to what was done once."""
    expected = await once(name, line, done_once)
    call = await CASES[name](line.world)
    async with store_of(line, PATIENT_S) as store:
        armed = line.proxy.arm(LostAnswer(), STATEMENT[line.transport])
        answer = await call(store)
    assert armed.num_met == 1
    assert_same(name, answer, expected)
    assert state_of(line.world) == expected.state


@pytest.mark.parametrize("transport", IN_TURN)
async def test_a_meeting_without_an_id_is_made_once_though_its_answer_is_lost(line: Line) -> None:
    """The store gives it one before its first try."""
    async with store_of(line, PATIENT_S) as store:
        armed = line.proxy.arm(LostAnswer(), STATEMENT[line.transport], times=2)
        meeting_id = await store.enqueue(NewMeeting(title="new", audio_path="lab/a.wav"))
    assert armed.num_met == 2
    assert [row["id"] for row in line.world.rows("select id from public.meetings")] == [meeting_id]


@pytest.mark.slow
@pytest.mark.parametrize("transport", IN_TURN)
@pytest.mark.parametrize("name", CASES)
async def test_a_call_that_meets_every_fault_is_repeated_until_it_gets_through(
    line: Line, name: str, done_once: dict[tuple[str, str], Done]
) -> None:
    """Each three spoiled tries are an infrastructure error; all executions together have done what one does."""
    expected = await once(name, line, done_once)
    call = await CASES[name](line.world)
    async with store_of(line, HURRIED_S) as store:
        faults = [each for each in IN_TURN[line.transport] if not (name in PATIENT and isinstance(each, Silence))]
        armed = [line.proxy.arm(fault, STATEMENT[line.transport]) for fault in faults]
        num_errors, answer = await insisted(call, store)
    assert [(each.fault, each.num_met) for each in armed] == [(each.fault, 1) for each in armed]
    assert num_errors >= len(faults) // 3
    assert_same(name, answer, expected)
    assert state_of(line.world) == expected.state


async def insisted(call: Call, store: Store) -> tuple[int, Any]:
    """How often the store has given up, and the answer in the end."""
    num_errors = 0
    while True:
        try:
            return num_errors, await call(store)
        except SupabaseConnectionError:
            num_errors += 1


def assert_same(name: str, answer: Any, expected: Done) -> None:
    """What was done already may be answered so; what only tells something tells the same."""
    assert isinstance(answer, type(expected.answer))
    outcome = getattr(expected.answer, "outcome", None)
    if outcome is not None:
        assert answer.outcome in (outcome, "already_done")
    elif name not in NEWS:
        assert re.sub(r"\d+", "#", _without_chance(answer)) == re.sub(r"\d+", "#", _without_chance(expected.answer))
