"""
What the way over PostgREST costs: claims with 1 and with 24 workers against a direct connection, and idle polling.

Clients, PostgREST and Postgres share this machine's cores; there is no gateway and no network in between. Fsync is on.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tests.support import project_keys
from tests.support.embedded_postgres import reachable_directory
from tests.support.postgrest import Postgrest, WithoutGateway
from tests.support.queue_values import worker_info
from tests.support.supabase_project import make_project
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.adapters.store_supabase import SupabaseStore
from worker.app import SystemClock
from worker.daemon import Pace, PCWorker
from worker.models import WorkerInfo
from worker.pipeline import Limits, Pipeline
from worker.ports import Store
from worker.testing.scripted import ScriptedDecoder, ScriptedDiarizer, ScriptedSummarizer, ScriptedTranscriber
from worker.testing.stages_inline import InlineStages
from worker.testing.storage_memory import MemoryStorage

NUM_CLAIMS_ALONE = 300
NUM_CLAIMS_TOGETHER = 1200
FLEET = 24

NUM_IDLE = 50
IDLE_S = 40.0
SPEED_UP = 10.0
"""Idle workers are watched at ten times their pace: what a look costs is measured, how many come in an hour scaled."""
WARM_UP_S = 15.0
"""At that pace the pauses between looks have grown to their longest by then."""

Client = Callable[[], Store]


def run() -> list[dict[str, Any]]:
    with reachable_directory() as directory:
        server = EmbeddedPostgres(directory)
        try:
            dsn = server.start()
            migrate(make_project(dsn))
            _count_function_calls(dsn)
            with Postgrest(dsn, num_connections=10) as postgrest:
                return asyncio.run(_measured(dsn, postgrest))
        finally:
            server.stop()


async def _measured(dsn: str, postgrest: Postgrest) -> list[dict[str, Any]]:
    def direct() -> Store:
        return PostgresStore(dsn, application_name="benchmark")

    def over_postgrest() -> Store:
        return SupabaseStore(postgrest.url, project_keys.token("service_role"), transport=WithoutGateway())

    rows = []
    for num_workers, num_claims in ((1, NUM_CLAIMS_ALONE), (FLEET, NUM_CLAIMS_TOGETHER)):
        ours = await _claims(dsn, over_postgrest, num_workers, num_claims)
        reference = await _claims(dsn, direct, num_workers, num_claims)
        workers = f"{num_workers} worker{'s' * (num_workers > 1)}"
        rows += [
            _row(f"claim p50, {workers}, over PostgREST", ours[0], reference[0], "ms (reference: psycopg)"),
            _row(f"claims per second, {workers}, over PostgREST", ours[1], reference[1], "1/s (reference: psycopg)"),
        ]
    return rows + await _idle_rows(dsn, over_postgrest)


def _row(name: str, ours: float, reference: float, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "ratio": round(ours / reference, 2),
        "unit": unit,
    }


# --- claims ------------------------------------------------------------------------------------------------------


async def _claims(dsn: str, client: Client, num_workers: int, num_claims: int) -> tuple[float, float]:
    """Median seconds of a claim in ms, and claims per second, when every worker claims as fast as it can."""
    await asyncio.to_thread(_refill, dsn, num_claims)
    stores = [client() for _ in range(num_workers)]
    infos = [worker_info(f"w{number}") for number in range(num_workers)]
    try:
        for store, info in zip(stores, infos, strict=True):
            await store.register(info)
        began = time.perf_counter()
        found = await asyncio.gather(*(_claim_all(s, i) for s, i in zip(stores, infos, strict=True)))
        seconds = time.perf_counter() - began
    finally:
        await asyncio.gather(*(store.close() for store in stores))
    durations_ms = [duration_ms for each in found for duration_ms, _ in each]
    assert len({meeting_id for each in found for _, meeting_id in each}) == num_claims
    return statistics.median(durations_ms), num_claims / seconds


async def _claim_all(store: Store, info: WorkerInfo) -> list[tuple[float, UUID]]:
    """(ms, meeting) of each claim until nothing is left."""
    found: list[tuple[float, UUID]] = []
    while True:
        began = time.perf_counter()
        answer = await store.claim(info.worker_id, info.instance_id, uuid4())
        if answer.claim is None:
            return found
        found.append(((time.perf_counter() - began) * 1000, answer.claim.meeting.id))


def _refill(dsn: str, num_meetings: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("delete from public.meetings")
        connection.execute("delete from pc_worker.workers")
        connection.execute(
            "insert into public.meetings (title, audio_path) select 'meeting', 'lab/a.wav' from generate_series(1, %s)",
            [num_meetings],
        )
        connection.execute("vacuum analyze")


# --- idle polling ------------------------------------------------------------------------------------------------


async def _idle_rows(dsn: str, client: Client) -> list[dict[str, Any]]:
    """One idle worker at the default pace, for an hour; the reference column is a fleet of a thousand."""
    await asyncio.to_thread(_refill, dsn, 0)
    await asyncio.to_thread(_speed_up, dsn)
    with TemporaryDirectory() as folder:
        workers = [_idle_worker(number, client(), Path(folder) / str(number)) for number in range(NUM_IDLE)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await asyncio.sleep(WARM_UP_S)
        before = await asyncio.to_thread(_spent, dsn)
        await asyncio.sleep(IDLE_S)
        after = await asyncio.to_thread(_spent, dsn)
        for worker in workers:
            worker.request_stop()
        await asyncio.gather(*running)
        await asyncio.gather(*(worker.store.close() for worker in workers))
    watched_hours = IDLE_S * SPEED_UP / 3600 * NUM_IDLE
    num_requests, database_s = ((later - earlier) / watched_hours for later, earlier in zip(after, before, strict=True))
    return [
        {"name": name, "ours": round(one, 3), "reference": round(1000 * one), "ratio": 0.001, "unit": unit}
        for name, one, unit in (
            ("idle worker, requests per hour", num_requests, "(reference: 1000 workers)"),
            ("idle worker, database time per hour", database_s, "s (reference: 1000 workers)"),
        )
    ]


def _idle_worker(number: int, store: Store, folder: Path) -> PCWorker:
    folder.mkdir()
    storage, clock = MemoryStorage(), SystemClock()
    stages = InlineStages(
        decoder=ScriptedDecoder(),
        transcriber=ScriptedTranscriber(),
        diarizer=ScriptedDiarizer(),
        summarizer=ScriptedSummarizer(),
        settings={},
    )
    return PCWorker(
        info=worker_info(f"idle-{number}", host=f"pc-{number}"),
        store=store,
        pipeline=Pipeline(storage, storage, stages, _ignore, clock, Limits(max_audio_bytes=1)),
        temp_dir=folder,
        observe=_ignore,
        clock=clock,
        random=Random(number),
        pace=Pace(polling_s=Pace().polling_s / SPEED_UP),
    )


def _ignore(event: object) -> None:
    """Nobody looks."""


def _count_function_calls(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter role all set track_functions = 'all'")


def _speed_up(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "update pc_worker.settings set lease_s = lease_s / %(by)s, heartbeat_s = heartbeat_s / %(by)s",
            {"by": SPEED_UP},
        )


def _spent(dsn: str) -> tuple[float, float]:
    """Requests so far, and seconds that the database worked on statements of any kind."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_stat_clear_snapshot()")
        row = connection.execute(
            """
            select (select sum(calls) from pg_stat_user_functions
                     where schemaname = 'public' and starts_with(funcname, 'worker_')),
                   (select active_time / 1000 from pg_stat_database where datname = current_database())
            """
        ).fetchone()
    assert row is not None
    return float(row[0]), float(row[1])
