"""The whole queue at one moment, read the same way from both stores, without what must differ (random ids, tokens)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.support.queue_invariants import BROKEN
from tests.support.queue_worlds import MemoryWorld, PostgresWorld
from worker.testing.memory_tables import MeetingRow

SHOWN = ("status", "stage", "progress", "error_code", "processed_by", "priority", "duration_s", "result")
MOMENTS = ("started_at", "completed_at")
COUNTS = ("state", "num_attempts", "num_failures", "num_crashes")
PAST = ("attempt", "worker_id", "outcome", "code", "stage")


@dataclass
class MeetingSeen:
    shown: dict[str, Any]
    job: dict[str, Any]
    history: list[tuple[Any, ...]]
    texts: list[str]
    voices: list[tuple[str, str | None]]
    overview: str | None
    tokens: list[tuple[int, str | None]] = field(default_factory=list, compare=False)


@dataclass
class Snapshot:
    meetings: dict[UUID, MeetingSeen]
    speakers: list[tuple[str, list[str], int]]
    broken: list[str] = field(default_factory=list, compare=False)


# --- Postgres ----------------------------------------------------------------------------------------------------

_EVERYTHING = f"""
select jsonb_build_object(
    'meetings', (select jsonb_agg(to_jsonb(m) || jsonb_build_object(
        'job', (select to_jsonb(j) from pc_worker.jobs j where j.meeting_id = m.id),
        'attempts', (select coalesce(jsonb_agg(to_jsonb(a) order by a.token), '[]')
                       from pc_worker.job_attempts a where a.meeting_id = m.id),
        'texts', (select coalesce(jsonb_agg(s.text order by s.segment_index), '[]')
                    from public.transcript_segments s where s.meeting_id = m.id),
        'voices', (select coalesce(jsonb_agg(jsonb_build_array(v.label, p.name) order by v.label), '[]')
                     from public.meeting_speakers v left join public.speakers p on p.id = v.speaker_id
                    where v.meeting_id = m.id),
        'overview', (select y.overview from public.meeting_summaries y where y.meeting_id = m.id)))
        from public.meetings m),
    'speakers', (select jsonb_agg(jsonb_build_array(coalesce(s.name, ''), s.meeting_ids, (select count(*)
        from public.speaker_embeddings e where e.speaker_id = s.id))) from public.speakers s),
    'broken', (select coalesce(jsonb_agg(b.broken), '[]') from ({BROKEN}) b)) as everything
"""


def postgres_snapshot(world: PostgresWorld) -> Snapshot:
    everything = world.rows(_EVERYTHING)[0]["everything"]
    return Snapshot(
        meetings={UUID(row["id"]): _from_row(row) for row in everything["meetings"] or []},
        speakers=sorted(_speaker(*row) for row in everything["speakers"] or []),
        broken=everything["broken"],
    )


def _from_row(row: dict[str, Any]) -> MeetingSeen:
    moments = {name: row[name] and datetime.fromisoformat(row[name]) for name in MOMENTS}
    return MeetingSeen(
        shown={name: row[name] for name in SHOWN} | moments | {"has_message": row["error_message"] is not None},
        job={name: row["job"][name] for name in COUNTS} | {"open": row["job"]["token"] is not None},
        history=[tuple(past[name] for name in PAST) for past in row["attempts"]],
        texts=row["texts"],
        voices=[(label, name) for label, name in row["voices"]],
        overview=row["overview"],
        tokens=[(past["token"], past["outcome"]) for past in row["attempts"]],
    )


def _speaker(name: str, meeting_ids: list[str], num_embeddings: int) -> tuple[str, list[str], int]:
    return name, sorted(meeting_ids), num_embeddings


# --- memory ------------------------------------------------------------------------------------------------------


def memory_snapshot(world: MemoryWorld) -> Snapshot:
    queue = world.memory.queue
    speakers = [
        _speaker(row.name or "", [str(one) for one in row.meeting_ids], len(row.embeddings))
        for row in queue.voices.rows().values()
    ]
    return Snapshot(
        meetings={meeting_id: _from_memory(world, meeting_id, row) for meeting_id, row in queue.meetings.items()},
        speakers=sorted(speakers),
    )


def _from_memory(world: MemoryWorld, meeting_id: UUID, row: MeetingRow) -> MeetingSeen:
    queue, meeting = world.memory.queue, row.value
    job = queue.jobs[meeting_id]
    attempts = [past for past in queue.attempts.values() if past.meeting_id == meeting_id]
    return MeetingSeen(
        shown={name: getattr(meeting, name) for name in (*SHOWN, *MOMENTS)}
        | {"has_message": meeting.error_message is not None},
        job={name: getattr(job, name) for name in COUNTS} | {"open": job.token is not None},
        history=[tuple(getattr(past, name) for name in PAST) for past in attempts],
        texts=[segment.value.text for segment in row.segments],
        voices=[(voice.label, voice.name) for voice in queue.voices.of_meeting(meeting_id)],
        overview=row.summary.overview if row.summary else None,
    )
