"""Summaries and what they should be like, in memory: what worker/sql/0014_summaries.sql and 0018_guidance.sql do."""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

from worker.exceptions import SupabaseQueryError
from worker.models import Meeting, MeetingStatus, MeetingSummary, ResultWarning, Stage, WriteAnswer
from worker.testing.memory_edits import TableEdits
from worker.testing.memory_queue import MemoryQueue
from worker.testing.memory_tables import PastSummary

MAX_GUIDANCE_CHARS = 4000


class MemorySummaries(TableEdits):
    """The part of ports.Store that is about summaries, and what people do to them in the table editor."""

    def __init__(self, queue: MemoryQueue) -> None:
        super().__init__(queue)
        self._guidance: dict[UUID | None, str] = {}

    async def write_summary(
        self,
        meeting_id: UUID,
        summary: MeetingSummary,
        *,
        replace_edits: bool = False,
        completed_at: datetime | None = None,
    ) -> WriteAnswer:
        row = self.queue.meetings.get(meeting_id)
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such meeting.")
        if row.value.status is not MeetingStatus.COMPLETED:
            sentence = f"The meeting is {row.value.status}. Only a completed meeting can be summarized anew."
            return WriteAnswer(outcome="refused", message=sentence)
        if completed_at not in (None, row.value.completed_at):
            sentence = (
                "The meeting was transcribed again meanwhile, and has a summary of that. "
                "Try again if it should be another."
            )
            return WriteAnswer(outcome="refused", message=sentence)
        if row.is_summary_edited and not replace_edits:
            sentence = (
                "The summary was corrected by hand. To replace it all the same, use resummarize with --replace-edits."
            )
            return WriteAnswer(outcome="refused", message=sentence)
        self.queue.set_meeting(meeting_id, warnings=_with_warnings_of(row.value, summary))
        if not row.is_summary_edited and _as_stored(summary) == row.summary:
            return WriteAnswer(outcome="already_done")
        row.release_summary("resummarize")
        row.replace_summary(_as_stored(summary), "resummarize")
        return WriteAnswer(outcome="done")

    async def extractive_meetings(
        self, *, after: UUID | None = None, limit: int = 100, with_edited: bool = False
    ) -> tuple[UUID, ...]:
        rows = sorted(self.queue.meetings.values(), key=lambda row: (row.value.created_at, row.value.id))
        last = None if after is None else self.queue.meetings[after].value
        found = [
            row.value.id
            for row in rows
            if row.value.status is MeetingStatus.COMPLETED
            and row.segments
            and (row.summary is None or row.summary.method != "llm")
            and (with_edited or not row.is_summary_edited)
            and (last is None or (row.value.created_at, row.value.id) > (last.created_at, last.id))
        ]
        return tuple(found[:limit])

    async def own_guidance(self, user_id: UUID | None = None) -> str | None:
        return self._guidance.get(user_id)

    async def set_guidance(self, text: str | None, user_id: UUID | None = None) -> WriteAnswer:
        wanted = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text or "").strip(" \t\n")
        if len(wanted) > MAX_GUIDANCE_CHARS:
            return WriteAnswer(outcome="refused", message="Guidance for summaries has 1 to 4000 characters.")
        if wanted == self._guidance.get(user_id, ""):
            return WriteAnswer(outcome="already_done")
        self._guidance.pop(user_id, None)
        if wanted:
            self._guidance[user_id] = wanted
        return WriteAnswer(outcome="done")

    def guidance_for_meeting_of(self, user_id: UUID | None) -> str | None:
        """The owner's own, else the lab's."""
        return self._guidance.get(user_id) or self._guidance.get(None)

    # --- by hand -----------------------------------------------------------------------------------------------------

    def edit_overview(self, meeting_id: UUID, overview: str) -> None:
        """Raises SupabaseQueryError with a sentence while the meeting is in the queue or in work."""
        row = self.queue.meetings[meeting_id]
        if row.summary is None or row.summary.overview == overview:
            return
        if row.value.status in (MeetingStatus.PENDING, MeetingStatus.PROCESSING):
            raise SupabaseQueryError("This meeting is being transcribed again, so a correction made now would be lost.")
        row.edit_summary(row.summary.model_copy(update={"overview": overview}), "table")

    def past_summaries(self, meeting_id: UUID) -> list[PastSummary]:
        """Oldest first."""
        return sorted(self.queue.meetings[meeting_id].past_summaries)


def _as_stored(summary: MeetingSummary) -> MeetingSummary:
    """Its warnings are the meeting's."""
    return summary.model_copy(update={"warnings": (), "is_edited": False})


def _with_warnings_of(meeting: Meeting, summary: MeetingSummary) -> tuple[ResultWarning, ...]:
    """Those of the earlier summary go."""
    others = (
        warning
        for warning in meeting.warnings
        if warning.stage is not Stage.SUMMARIZE and not warning.code.startswith(("summary_", "summarize_"))
    )
    return (*others, *summary.warnings)
