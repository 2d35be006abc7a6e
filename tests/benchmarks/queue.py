"""
How long a worker waits for the queue: p50 of claim, heartbeat and complete over psycopg, with real fsync.

The reference is a bare `select 1` over the same kind of connection, taken in turn with each call: it holds what the
connection, the event loop and a busy machine cost, and nothing of ours.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.embedded_postgres import reachable_directory
from tests.support.queue_values import worker_info
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import (
    Beat,
    Claim,
    MeetingSpeaker,
    MeetingSummary,
    NewMeeting,
    ProcessingResult,
    SpeakerEmbedding,
    Stage,
    TranscriptSegment,
    Word,
)

NUM_CALLS = 200
NUM_COMPLETES = 30
NUM_WAITING = 1000
NUM_SEGMENTS, WORDS_PER_SEGMENT = 600, 15
"""About an hour of talk."""


def run() -> list[dict[str, Any]]:
    with reachable_directory() as directory:
        server = EmbeddedPostgres(directory)
        try:
            dsn = server.start()
            migrate(dsn)
            return asyncio.run(_measured(dsn))
        finally:
            server.stop()


async def _measured(dsn: str) -> list[dict[str, Any]]:
    store, w1 = PostgresStore(dsn, application_name="benchmark"), worker_info()
    bare = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await store.register(w1)
    for number in range(NUM_WAITING):
        await store.enqueue(NewMeeting(title=f"meeting {number}", audio_path="lab/a.wav"))
    claims: list[Claim] = []

    async def claim(_: int) -> None:
        answer = await store.claim(w1.worker_id, w1.instance_id, uuid4())
        assert answer.claim is not None
        claims.append(answer.claim)

    async def heartbeat(number: int) -> None:
        beats = [
            Beat(meeting_id=held.meeting.id, token=held.token, stage=Stage.TRANSCRIBE, progress=number % 100 / 100)
            for held in claims[:2]
        ]
        answer = await store.heartbeat(w1.worker_id, w1.instance_id, beats)
        assert [job.outcome for job in answer.jobs] == ["ok", "ok"]

    hour = _an_hour()

    async def complete(number: int) -> None:
        held = claims[2 + number]
        assert (await store.complete(held.meeting.id, held.token, hour)).outcome == "completed"

    try:
        return [
            await _row(f"queue: claim p50, {NUM_WAITING} waiting", claim, NUM_CALLS, bare),
            await _row("queue: heartbeat p50, 2 jobs", heartbeat, NUM_CALLS, bare),
            await _row("queue: complete p50, one hour of talk", complete, NUM_COMPLETES, bare),
        ]
    finally:
        await bare.close()
        await store.close()


async def _row(
    name: str, call: Callable[[int], Awaitable[None]], num_calls: int, bare: psycopg.AsyncConnection
) -> dict[str, Any]:
    ours_ms, reference_ms = [], []
    for number in range(num_calls):
        ours_ms.append(await _duration_ms(call(number)))
        reference_ms.append(await _duration_ms(bare.execute("select 1")))
    ours, reference = statistics.median(ours_ms), statistics.median(reference_ms)
    return {
        "name": name,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "ratio": round(ours / reference, 2),
        "unit": "ms (reference: select 1)",
    }


async def _duration_ms(call: Awaitable[Any]) -> float:
    begin = time.perf_counter()
    await call
    return (time.perf_counter() - begin) * 1000


def _an_hour() -> ProcessingResult:
    random = Random(1)
    length_s = 3600 / NUM_SEGMENTS
    segments = []
    for index in range(NUM_SEGMENTS):
        begin_s = index * length_s
        words = tuple(
            Word(
                text=f"word{random.randrange(5000)}", start_s=round(at_s, 2), end_s=round(at_s + 0.3, 2), confidence=0.9
            )
            for at_s in (begin_s + length_s * number / WORDS_PER_SEGMENT for number in range(WORDS_PER_SEGMENT))
        )
        segments.append(
            TranscriptSegment(
                index=index,
                start_s=words[0].start_s,
                end_s=words[-1].end_s,
                speaker_label=f"SPEAKER_0{index % 4}",
                text=" ".join(word.text for word in words),
                confidence=0.9,
                words=words,
            )
        )
    return ProcessingResult(
        segments=tuple(segments),
        speakers=tuple(_speaker(f"SPEAKER_0{number}", random) for number in range(4)),
        summary=MeetingSummary(overview="An hour of talk.", method="extractive"),
        language="en",
        duration_s=3600.0,
        result={},
    )


def _speaker(label: str, random: Random) -> MeetingSpeaker:
    embeddings = tuple(
        SpeakerEmbedding(
            label=label,
            model=model,
            dim=256,
            vector=tuple(round(random.gauss(0, 0.06), 6) for _ in range(256)),
            speech_s=900.0,
        )
        for model in ("ge2e-wide", "ge2e-narrow")
    )
    return MeetingSpeaker(label=label, speech_s=900.0, embeddings=embeddings)
