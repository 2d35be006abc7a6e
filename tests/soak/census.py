"""After the night: every meeting that was ever inserted is looked for, and its rows are held against its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.soak.plan import PlannedMeeting
from tests.support.queue_invariants import BROKEN

Rows = Callable[[str], list[tuple[Any, ...]]]
"""Asks the database."""

DEGRADED = {"diarize_failed", "summarize_failed"}
"""Warnings of a meeting whose engine died twice in a stage that a transcript can do without."""

_MEETINGS = """
select m.id, m.status, m.error_code,
       (select coalesce(array_agg(w ->> 'code'), '{}') from jsonb_array_elements(m.warnings) as w),
       (select count(*) from pc_worker.job_attempts a where a.meeting_id = m.id and a.outcome = 'completed'),
       (select count(*) from soak.notes n where n.meeting_id = m.id and n.note = 'retried'),
       (select count(*) from public.meeting_summaries s where s.meeting_id = m.id),
       (select count(*) from public.meeting_speakers s where s.meeting_id = m.id)
  from public.meetings m
"""
_SEGMENTS = "select meeting_id, text from public.transcript_segments order by meeting_id, segment_index"
_ATTEMPTS = "select outcome, count(*) from pc_worker.job_attempts group by 1"
_SALVAGED = """
select count(distinct n.token) from soak.notes n join pc_worker.job_attempts a on a.token = n.token
 where n.note in ('revived', 'completed late', 'beat late') and a.outcome = 'completed'
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What its users have done to the fleet's meetings."""

    inserted: Collection[UUID]
    asked_to_cancel: Collection[UUID] = ()
    cancelled: Collection[UUID] = ()
    asked_to_delete: Collection[UUID] = ()


@dataclass(slots=True)
class Census:
    """Sentences about meetings; all lists but `degraded` must be empty."""

    num_inserted: int = 0
    num_completed: int = 0
    num_cancelled: int = 0
    num_deleted: int = 0
    num_salvaged: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """One row of _MEETINGS."""

    id: UUID
    status: str
    error_code: str | None
    warnings: list[str]
    num_completions: int
    num_retries: int
    num_summaries: int
    num_speakers: int


def take_census(rows: Rows, plan: Sequence[PlannedMeeting], asked: Asked) -> Census:
    """Of a database at rest, with the notes that `soak.database` keeps."""
    found = {row[0]: Found(*row) for row in rows(_MEETINGS)}
    texts: dict[UUID, list[str]] = {}
    for meeting_id, text in rows(_SEGMENTS):
        texts.setdefault(meeting_id, []).append(text)
    census = Census(
        num_inserted=len(asked.inserted),
        num_salvaged=rows(_SALVAGED)[0][0],
        attempts={str(outcome): count for outcome, count in rows(_ATTEMPTS)},
        broken=[name for (name,) in rows(BROKEN)],
    )
    for meeting in plan:
        if meeting.id in asked.inserted:
            _count(census, meeting, found.get(meeting.id), texts.get(meeting.id, []), asked)
    return census


def _count(census: Census, meeting: PlannedMeeting, found: Found | None, texts: list[str], asked: Asked) -> None:
    if found is None:
        census.num_deleted += meeting.id in asked.asked_to_delete
        if meeting.id not in asked.asked_to_delete:
            census.lost.append(f"{meeting.mark} has disappeared")
        return
    if meeting.id in asked.asked_to_delete:
        census.unwanted.append(f"{meeting.mark} was deleted and is there")
    if meeting.id in asked.cancelled and found.status != "cancelled":
        census.unwanted.append(f"{meeting.mark} was cancelled and is {found.status}")
    match found.status:
        case "completed":
            census.num_completed += 1
            _compare(census, meeting, found, texts)
        case "cancelled" if meeting.id in asked.asked_to_cancel:
            census.num_cancelled += 1
        case _:
            census.lost.append(f"{meeting.mark} is {found.status} ({found.error_code}) and nobody asked for that")
    if found.num_completions > 1 + found.num_retries:
        census.duplicated.append(f"{meeting.mark} was completed {found.num_completions} times")


def _compare(census: Census, meeting: PlannedMeeting, found: Found, texts: list[str]) -> None:
    """What a completed meeting holds with what was said in it."""
    said = [f"{meeting.mark}{turn}-{word}" for turn in range(meeting.num_turns) for word in range(3)]
    heard = " ".join(texts).split()
    foreign = sorted({word for word in heard if word not in said})
    twice = sorted(word for word, count in Counter(heard).items() if count > 1)
    if foreign or twice:
        census.duplicated.append(f"{meeting.mark} holds words of others {foreign} or one of its own twice {twice}")
    gone = _gone(meeting, found, texts)
    is_degraded = DEGRADED.issuperset(found.warnings) and bool(found.warnings)
    if missing := [word for word in said if word not in heard]:
        census.partial.append(f"{meeting.mark} lacks the words {missing}")
    elif gone and is_degraded:
        census.degraded.append(f"{meeting.mark} has the warnings {found.warnings}")
    elif gone or found.warnings:
        census.partial.append(f"{meeting.mark}: {gone}, warnings {found.warnings}")


def _gone(meeting: PlannedMeeting, found: Found, texts: list[str]) -> Mapping[str, int]:
    """What there should be more, or less, of."""
    counted = {
        "segments": (len(texts), meeting.num_turns),
        "summaries": (found.num_summaries, 1),
        "speakers": (found.num_speakers, 2),
    }
    return {name: is_ for name, (is_, should_be) in counted.items() if is_ != should_be}
