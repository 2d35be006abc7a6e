"""What summaries should be like, in memory."""

from __future__ import annotations

from uuid import UUID

from worker.models import MeetingStatus, MeetingSummary, WriteAnswer
from worker.testing.memory_tables import MeetingRow


class MemorySummaries:
    def __init__(self) -> None:
        self._guidance: dict[UUID | None, str] = {}

    def guidance_for_meeting_of(self, user_id: UUID | None) -> str | None:
        """The owner's own, else the lab's."""
        return self._guidance.get(user_id) or self._guidance.get(None)

    def set_guidance(self, text: str | None, user_id: UUID | None) -> WriteAnswer:
        wanted = (text or "").strip()
        if wanted == self._guidance.get(user_id, ""):
            return WriteAnswer(outcome="already_done")
        self._guidance[user_id] = wanted
        return WriteAnswer(outcome="done")

    def write(self, row: MeetingRow | None, summary: MeetingSummary, *, replace_edits: bool) -> WriteAnswer:
        """The one before becomes a version."""
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such meeting.")
        if row.value.status is not MeetingStatus.COMPLETED:
            return WriteAnswer(outcome="refused", message="The meeting is not completed, so it gets a summary anyway.")
        if row.summary is not None and row.summary.is_edited and not replace_edits:
            return WriteAnswer(outcome="refused", message="Somebody corrected this summary. Say that it may go.")
        row.replace_summary(summary)
        return WriteAnswer(outcome="done")
