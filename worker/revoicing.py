"""
The voices of meetings that are done, described anew from their recordings: so that a new model knows people too.

A recording is taken only if it is the same that was transcribed, and its description is written only if the meeting was
not done anew meanwhile: labels would mean others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from worker.exceptions import AudioMissingError, AudioProcessingError, EngineError, SupabaseStorageError
from worker.job_folder import open_job_folder
from worker.models import Meeting, MeetingStatus, SpeakerEmbedding, SpeakerTurn
from worker.ports import Fetcher, Stages, Storage, Store, unheard


@dataclass(frozen=True, slots=True)
class Revoiced:
    """`outcome`: done, already_done, gone, refused, or failed; `message` says why."""

    meeting_id: UUID
    title: str | None
    outcome: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Revoicing:
    """
    Attributes:
        temp_dir: one recording at a time lies in a folder of its own below it.
        max_bytes: of a recording.
    """

    store: Store
    storage: Storage
    web: Fetcher
    stages: Stages
    temp_dir: Path
    max_bytes: int

    async def revoice(self, meeting_id: UUID) -> Revoiced:
        """
        Describe the voices of one meeting, unless all of them are described.

        Raises SupabaseConnectionError, SupabaseAccessError and SchemaMismatchError: the next meeting would fare alike.
        A recording that cannot be had or understood is an outcome.
        """
        found = await self.store.meeting(meeting_id)
        if found is None:
            return Revoiced(meeting_id, None, "gone", f"There is no meeting {meeting_id}.")
        meeting = found.meeting
        turns = _turns(meeting)
        if meeting.status is not MeetingStatus.COMPLETED or meeting.completed_at is None or not turns:
            return Revoiced(meeting_id, meeting.title, "refused", "It is not completed, or no voices are told apart.")
        try:
            embeddings = await self._described(meeting, turns)
        except (AudioProcessingError, EngineError, SupabaseStorageError) as error:
            return Revoiced(meeting_id, meeting.title, "failed", f"{error} [{error.code}]")
        if embeddings is None:
            return Revoiced(meeting_id, meeting.title, "refused", "The recording is another one than was transcribed.")
        answer = await self.store.refresh_voices(meeting_id, meeting.completed_at, embeddings)
        return Revoiced(meeting_id, meeting.title, answer.outcome, answer.message)

    async def _described(self, meeting: Meeting, turns: tuple[SpeakerTurn, ...]) -> tuple[SpeakerEmbedding, ...] | None:
        """None: it is not the recording that was transcribed."""
        # a folder like a job's, so that a worker sweeps it if this process is killed
        folder = open_job_folder(self.temp_dir, uuid4(), token=0)
        try:
            await self._fetch(meeting, folder.source)
            audio = await self.stages.decode(folder.source, folder.wav, unheard)
            known = ((meeting.result or {}).get("audio") or {}).get("sha256")
            if known is not None and audio.sha256 != known:
                return None
            async with self.stages.engine() as engine:
                return await engine.describe(folder.wav, turns, unheard)
        finally:
            folder.remove()

    async def _fetch(self, meeting: Meeting, target: Path) -> None:
        if meeting.audio_path:
            await self.storage.fetch(meeting.audio_path, target, max_bytes=self.max_bytes, report=unheard)
        elif meeting.audio_url:
            await self.web.fetch(meeting.audio_url, target, max_bytes=self.max_bytes, report=unheard)
        else:
            raise AudioMissingError("The meeting names no recording.")


def _turns(meeting: Meeting) -> tuple[SpeakerTurn, ...]:
    """As the result keeps them: [label, start, end]."""
    kept = (meeting.result or {}).get("turns") or ()
    return tuple(SpeakerTurn(label=label, start_s=start_s, end_s=end_s) for label, start_s, end_s in kept)
