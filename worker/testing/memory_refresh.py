"""Voices described anew, in memory: what worker/sql/0020_refresh.sql does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from worker.models import MeetingStatus, SpeakerEmbedding, WriteAnswer
from worker.testing.memory_queue import MemoryQueue
from worker.testing.memory_tables import VoiceRow


class MemoryRefresh:
    """This part of ports.Ledger without a database."""

    queue: MemoryQueue

    async def stale_voices(self, models: Sequence[str]) -> tuple[UUID, ...]:
        meetings = sorted(
            (row.value for row in self.queue.meetings.values()),
            key=lambda meeting: (-meeting.created_at.timestamp(), meeting.id),
        )
        return tuple(
            meeting.id
            for meeting in meetings
            if meeting.status is MeetingStatus.COMPLETED
            and any(
                voice.embeddings and not any(embedding.model in models for embedding in voice.embeddings)
                for voice in self._kept_voices(meeting.id)
            )
        )

    async def refresh_voices(
        self, meeting_id: UUID, completed_at: datetime, embeddings: Sequence[SpeakerEmbedding]
    ) -> WriteAnswer:
        row = self.queue.meetings.get(meeting_id)
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such meeting.")
        if row.value.status is not MeetingStatus.COMPLETED or row.value.completed_at != completed_at:
            return WriteAnswer(outcome="refused", message="The meeting was done anew. Try again.")
        owners = {
            self.queue.voices.owners[voice.home]
            for voice in self._kept_voices(meeting_id)
            if _describe(voice, embeddings)
        }
        for owner in owners:
            self.queue.voices.settle(owner)
        return WriteAnswer(outcome="done" if owners else "already_done")

    def _kept_voices(self, meeting_id: UUID) -> list[VoiceRow]:
        """Of the present result: those of which something may be kept."""
        voices = self.queue.voices
        speakers = [(voice, voices.speaker_of(voice)) for voice in voices.current(meeting_id) if not voice.is_erased]
        return [voice for voice, speaker in speakers if speaker is not None and voices.keeps_voice(speaker)]


def _describe(voice: VoiceRow, embeddings: Sequence[SpeakerEmbedding]) -> bool:
    """Whether anything is new."""
    known = {embedding.model for embedding in voice.embeddings}
    new = tuple(one for one in embeddings if one.label == voice.label and one.model not in known)
    voice.embeddings += new
    return bool(new)
