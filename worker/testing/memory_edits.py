"""What people do in the table editor, in memory."""

from __future__ import annotations

from uuid import UUID

from worker.exceptions import SupabaseQueryError
from worker.models import MeetingStatus, TranscriptSegment
from worker.testing.memory_ledger import MemoryLedger


class TableEdits(MemoryLedger):
    """Each raises SupabaseQueryError with a sentence when that change is refused."""

    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None:
        self.queue.edit_status(meeting_id, status)

    def edit_text(self, meeting_id: UUID, index: int, text: str) -> None:
        row = self.queue.meetings[meeting_id]
        for segment in row.segments:
            if segment.value.index != index or segment.value.text == text:
                continue
            if row.value.status in (MeetingStatus.PENDING, MeetingStatus.PROCESSING):
                raise SupabaseQueryError(
                    "This meeting is being transcribed again, so a correction made now would be lost."
                )
            segment.value = TranscriptSegment.model_validate(segment.value.model_dump() | {"text": text})
            segment.is_edited = True

    def edit_priority(self, meeting_id: UUID, priority: int) -> None:
        self.queue.jobs[meeting_id].priority = priority
        self.queue.set_meeting(meeting_id, priority=priority)

    def edit_name(self, speaker_id: UUID, name: str | None) -> None:
        answer = self.decide_name(speaker_id, name, "table")
        if answer.outcome == "refused":
            raise SupabaseQueryError(answer.message or "")

    def delete_speaker(self, speaker_id: UUID) -> None:
        """The meetings keep their voices, which are nobody's then; what was kept of them is erased."""
        voices = self.queue.voices
        row = voices.rows()[speaker_id]
        for voice in voices.voices_of(row.id):
            voice.erase()
            columns = {"speaker_id": None, "other_speaker_id": row.id}
            self.decide("deleted", row.user_id, voice=voice, places=True, decided_by="table", **columns)
        self.decide("deleted", row.user_id, speaker_id=row.id, decided_by="table")

    def delete_meeting(self, meeting_id: UUID) -> None:
        """With its voices, and what was decided about them."""
        queue = self.queue
        user_id = queue.meetings[meeting_id].value.user_id
        del queue.meetings[meeting_id], queue.jobs[meeting_id]
        for token in [token for token, past in queue.attempts.items() if past.meeting_id == meeting_id]:
            del queue.attempts[token]
        queue.voices.drop_meeting(meeting_id)
        queue.voices.settle(user_id)
