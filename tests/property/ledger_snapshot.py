"""Who is who at one moment, read the same way from both stores; ids still differ, `Pairs` says which are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.support.queue_invariants import BROKEN
from tests.support.queue_worlds import MemoryWorld, PostgresWorld

Ids = Callable[[UUID | None], Any]
"""What to call a speaker."""

LIKE = ("kind", "meeting_id", "label", "name", "score", "runner_up_score", "model", "thresholds")
"""What is the same in both stores about one decision."""


@dataclass
class LedgerSeen:
    """Rows as they are, in an order that is the same in both stores."""

    voices: list[dict[str, Any]]  # meeting_id, label, home, is_current, is_erased
    decisions: list[dict[str, Any]]
    speakers: list[dict[str, Any]]
    shown: list[dict[str, Any]]  # meeting_speakers
    segments: list[tuple[Any, ...]]
    embeddings: list[dict[str, Any]]
    broken: list[str]

    def as_model(self, name_of: Ids) -> dict[str, Any]:
        """The derived rows, with the speakers called by the names of `name_of`."""
        return {
            "voices": [(row["meeting_id"], row["label"], row["is_current"], row["is_erased"]) for row in self.voices],
            "decisions": [self._decision(row, name_of) for row in self.decisions],
            "speakers": sorted(
                (str(name_of(row["id"])), row["name"], row["keeps_voice"], sorted(row["meeting_ids"]), row["user_id"])
                for row in self.speakers
            ),
            "shown": [
                (
                    *(row[column] for column in ("meeting_id", "label", "decision", "score")),
                    name_of(row["speaker_id"]),
                    name_of(row["suggested_id"]),
                )
                for row in self.shown
            ],
            "segments": [(*row[:2], name_of(row[2])) for row in self.segments],
            "embeddings": sorted(
                (str(name_of(row["speaker_id"])), row["meeting_id"], row["label"], row["model"], tuple(row["vector"]))
                for row in self.embeddings
            ),
        }

    def centroids(self, name_of: Ids) -> dict[Any, tuple[float, ...] | None]:
        return {name_of(row["id"]): row["embedding"] and tuple(row["embedding"]) for row in self.speakers}

    def _decision(self, row: dict[str, Any], name_of: Ids) -> tuple[Any, ...]:
        whose = row["decided_by"] if row["decided_by"].startswith(("worker:", "table")) else "somebody"
        speakers = (name_of(row["speaker_id"]), name_of(row["other_speaker_id"]))
        return (*(row[column] for column in LIKE), *speakers, whose, row["undone_at"] is not None)


class Pairs:
    """Which speaker of the one store is which of the other, as their voices and decisions show it."""

    def __init__(self) -> None:
        self.names: tuple[dict[UUID, int], dict[UUID, int]] = ({}, {})
        self.ids: list[tuple[UUID, UUID]] = []

    def learn(self, memory: LedgerSeen, postgres: LedgerSeen) -> None:
        for ours, theirs in zip(memory.voices, postgres.voices, strict=True):
            self._pair(ours["home"], theirs["home"])
        for ours, theirs in zip(memory.decisions, postgres.decisions, strict=True):
            for column in ("speaker_id", "other_speaker_id"):
                self._pair(ours[column], theirs[column])

    def _pair(self, ours: UUID | None, theirs: UUID | None) -> None:
        if ours is None or theirs is None:
            assert ours is theirs, "one of the stores speaks of nobody"
            return
        name = self.names[0].get(ours)
        assert name == self.names[1].get(theirs), "the stores speak of two different people"
        if name is None:
            self.names[0][ours] = self.names[1][theirs] = len(self.ids)
            self.ids.append((ours, theirs))

    def name_of(self, which: int) -> Ids:
        return lambda speaker_id: None if speaker_id is None else self.names[which].get(speaker_id, "a stranger")


# --- Postgres ----------------------------------------------------------------------------------------------------

_ORDER = """coalesce(meeting_id::text, '') collate "C", coalesce(label, '') collate "C", id"""
_EVERYTHING = f"""
select (select coalesce(jsonb_agg(to_jsonb(v) order by {_ORDER}), '[]') from pc_worker.voices v) as voices,
       (select coalesce(jsonb_agg(to_jsonb(d) order by {_ORDER}), '[]') from public.speaker_decisions d) as decisions,
       (select coalesce(jsonb_agg(to_jsonb(s)), '[]') from public.speakers s) as speakers,
       (select coalesce(jsonb_agg(to_jsonb(ms) order by meeting_id::text, label), '[]')
          from public.meeting_speakers ms) as shown,
       (select coalesce(jsonb_agg(jsonb_build_array(meeting_id, segment_index, speaker_id)
                                  order by meeting_id::text, segment_index), '[]')
          from public.transcript_segments) as segments,
       (select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('vector', e.embedding)), '[]')
          from public.speaker_embeddings e) as embeddings,
       (select coalesce(jsonb_agg(b.broken), '[]') from ({BROKEN}) b) as broken
"""
_IDS = ("id", "home", "speaker_id", "other_speaker_id", "suggested_id", "user_id")


def postgres_ledger(world: PostgresWorld) -> LedgerSeen:
    row = world.rows(_EVERYTHING)[0]
    tables = {
        name: [_with_ids(one) for one in row[name]]
        for name in ("voices", "decisions", "speakers", "shown", "embeddings")
    }
    segments = [(meeting, index, speaker and UUID(speaker)) for meeting, index, speaker in row["segments"]]
    return LedgerSeen(**tables, segments=segments, broken=row["broken"])


def _with_ids(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: UUID(row[name]) for name in _IDS if isinstance(row.get(name), str)}


# --- memory ------------------------------------------------------------------------------------------------------


def memory_ledger(world: MemoryWorld) -> LedgerSeen:
    queue, facts = world.memory.queue, world.memory.queue.voices
    meetings = sorted(queue.meetings, key=str)
    of_meeting = {meeting_id: facts.of_meeting(meeting_id) for meeting_id in meetings}
    whose = {(meeting_id, one.label): one.speaker_id for meeting_id in meetings for one in of_meeting[meeting_id]}
    decisions = [_on_paper(row.value.model_dump()) for row in facts.decisions]
    return LedgerSeen(
        voices=sorted(
            (_on_paper(vars(voice)) for voice in facts.voices),
            key=lambda row: (row["meeting_id"], row["label"], row["id"]),
        ),
        decisions=sorted(decisions, key=lambda row: (row["meeting_id"] or "", row["label"] or "", row["id"])),
        speakers=[
            {
                "id": row.id,
                "user_id": row.user_id,
                "name": row.name,
                "keeps_voice": row.keeps_voice,
                "meeting_ids": [str(meeting_id) for meeting_id in row.meeting_ids],
                "embedding": row.centroid,
            }
            for row in facts.rows().values()
        ],
        shown=[
            {"meeting_id": str(meeting_id), **one.model_dump()}
            for meeting_id in meetings
            for one in of_meeting[meeting_id]
        ],
        segments=[
            (str(meeting_id), part.value.index, whose.get((meeting_id, part.value.speaker_label or "")))
            for meeting_id in meetings
            for part in queue.meetings[meeting_id].segments
        ],
        embeddings=[
            {"speaker_id": facts.speaker_of(voice), "meeting_id": str(voice.meeting_id), **embedding.model_dump()}
            for voice in facts.voices
            for embedding in voice.embeddings
        ],
        broken=[],
    )


def _on_paper(row: dict[str, Any]) -> dict[str, Any]:
    """Meetings are the same in both stores, and are text in what Postgres answers."""
    return row | {"meeting_id": row["meeting_id"] and str(row["meeting_id"])}
