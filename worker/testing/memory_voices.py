"""Speakers and their voices in memory: what forget_voices and write_voices of worker/sql do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID, uuid4

from worker.models import KnownSpeaker, MeetingSpeaker
from worker.testing.memory_tables import MeetingRow, SpeakerRow


class MemoryVoices:
    def __init__(self, meetings: Mapping[UUID, MeetingRow]) -> None:
        self._meetings = meetings
        self.rows: dict[UUID, SpeakerRow] = {}

    def meeting_ids(self, speaker_id: UUID) -> tuple[UUID, ...]:
        """What `speakers.meeting_ids` holds."""
        return tuple(
            sorted(
                meeting_id
                for meeting_id, row in self._meetings.items()
                if any(voice.speaker_id == speaker_id for voice in row.voices)
            )
        )

    def are_known(self, user_id: UUID | None, voices: Collection[MeetingSpeaker]) -> bool:
        wanted = {voice.speaker_id for voice in voices if voice.speaker_id is not None}
        return all(speaker in self.rows and self.rows[speaker].user_id == user_id for speaker in wanted)

    def forget(self, meeting_id: UUID, *, gone: bool, keep: Collection[UUID]) -> None:
        """Before a meeting is completed anew, or because it is deleted (`gone`)."""
        row = self._meetings[meeting_id]
        touched = {voice.speaker_id for voice in row.voices if voice.speaker_id is not None} | {*keep}
        touched |= {
            speaker.id for speaker in self.rows.values() if any(heard == meeting_id for heard, _ in speaker.embeddings)
        }
        row.voices = []
        for speaker in [self.rows[speaker_id] for speaker_id in touched]:
            if gone or speaker.name is None or speaker.id in keep:
                speaker.embeddings = [entry for entry in speaker.embeddings if entry[0] != meeting_id]
            is_used = speaker.embeddings or self.meeting_ids(speaker.id)
            if speaker.name is None and speaker.id not in keep and not is_used:
                del self.rows[speaker.id]

    def write(self, meeting_id: UUID, voices: Collection[MeetingSpeaker]) -> None:
        row = self._meetings[meeting_id]
        for voice in voices:
            speaker_id = voice.speaker_id or uuid4()
            speaker = self.rows.setdefault(speaker_id, SpeakerRow(speaker_id, row.value.user_id))
            speaker.embeddings.extend((meeting_id, embedding) for embedding in voice.embeddings)
            row.voices.append(voice.model_copy(update={"speaker_id": speaker_id, "name": None, "embeddings": ()}))

    def of_meeting(self, meeting_id: UUID) -> tuple[MeetingSpeaker, ...]:
        """The voices with the names their speakers have now."""
        voices = sorted(self._meetings[meeting_id].voices, key=lambda voice: voice.label)
        return tuple(
            voice.model_copy(update={"name": self.rows[voice.speaker_id].name if voice.speaker_id else None})
            for voice in voices
        )

    def known_to(self, meeting_id: UUID) -> tuple[KnownSpeaker, ...]:
        """The owner's speakers, but for what this meeting itself left at an earlier time."""
        user_id = self._meetings[meeting_id].value.user_id
        known = []
        for speaker in sorted(self.rows.values(), key=lambda row: row.id):
            embeddings = tuple(
                embedding for heard, embedding in speaker.embeddings if speaker.name is not None or heard != meeting_id
            )
            if speaker.user_id == user_id and embeddings:
                known.append(KnownSpeaker(id=speaker.id, name=speaker.name, embeddings=embeddings))
        return tuple(known)

    def delete_speaker(self, speaker_id: UUID) -> None:
        """By hand; the meetings keep their voices without a speaker."""
        del self.rows[speaker_id]
        for row in self._meetings.values():
            row.voices = [
                voice.model_copy(update={"speaker_id": None}) if voice.speaker_id == speaker_id else voice
                for voice in row.voices
            ]
