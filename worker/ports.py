"""
What the core needs from the world, as Protocols.

A port is wholly async (it waits for something) or wholly sync (it computes, in a child process). Each has one suite of
contract tests in tests/contract that every implementation and its in-memory twin in worker/testing pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from worker.ledger_port import Ledger
from worker.models import (
    AudioMetadata,
    Beat,
    ClaimAnswer,
    Diarization,
    Failure,
    FleetStatus,
    HeartbeatAnswer,
    KnownSpeakers,
    Meeting,
    MeetingDetail,
    MeetingStatus,
    MeetingSummary,
    NewMeeting,
    ProcessingResult,
    Registration,
    SpeakerEmbedding,
    SpeakerTurn,
    Stage,
    StageUsage,
    Transcript,
    TranscriptSegment,
    Trouble,
    WorkerInfo,
    WriteAnswer,
)

Report = Callable[[float], None]
"""Called with the finished part of a stage, in [0, 1]; cheap, and never fails."""


def unheard(_progress: float) -> None:
    """The Report of a caller that does not listen."""


class Store(Ledger, Protocol):
    """
    The queue and its results. All behaviour lives in SQL functions; an implementation only carries calls there.

    Expected outcomes are answers, not exceptions. Raises SupabaseConnectionError when the database cannot be reached
    (any call may then be repeated: each is idempotent), SupabaseQueryError when it refuses, SchemaMismatchError when
    a function is missing.
    """

    async def register(self, worker: WorkerInfo) -> Registration: ...

    async def claim(self, worker_id: str, instance_id: UUID, claim_id: UUID, *, min_wait_s: float = 0.0) -> ClaimAnswer:
        """The next meeting that has waited at least `min_wait_s`. The same `claim_id` again gives the same answer."""
        ...

    async def heartbeat(
        self, worker_id: str, instance_id: UUID, beats: Sequence[Beat], troubles: Sequence[Trouble] = ()
    ) -> HeartbeatAnswer:
        """
        One call for the worker and all its jobs; an empty list says only that the worker is alive. `troubles` is what
        keeps it from its work now, and is shown by `status` until the next heartbeat says otherwise.
        """
        ...

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer: ...

    async def fail(self, meeting_id: UUID, token: int, failure: Failure) -> WriteAnswer: ...

    async def release(self, meeting_id: UUID, token: int) -> WriteAnswer:
        """Give the meeting back; the attempt is refunded."""
        ...

    async def speakers(self, meeting_id: UUID, token: int, models: Sequence[str]) -> KnownSpeakers:
        """
        The people whom the meeting's owner already knows, with the voices described by one of `models`: of each person
        and model ten, those that somebody confirmed first, then those made from most speech; of people without a name
        the 500 that changed last. What this meeting itself left at an earlier time counts only where somebody has
        named it.

        Raises LeaseLostError, MeetingCancelledError or MeetingGoneError when the token may not write any more.
        """
        ...

    async def guidance(self, meeting_id: UUID, token: int) -> str | None:
        """
        What the meeting's owner (else the lab) wants of a summary, in words for whoever writes it.

        Raises as `speakers`.
        """
        ...

    async def vocabulary(self, meeting_id: UUID, token: int) -> tuple[str, ...]:
        """
        Names and terms that may occur in the meeting: those of its owner, then those of the lab, oldest first. Some may
        be there twice, and in upper and lower case.

        Raises LeaseLostError, MeetingCancelledError or MeetingGoneError when the token may not write any more.
        """
        ...

    async def statuses(self, meeting_ids: Sequence[UUID]) -> dict[UUID, MeetingStatus]:
        """What became of these meetings. One that is not in the answer is not there."""
        ...

    async def drain(self, worker_id: str, *, draining: bool) -> WriteAnswer: ...

    async def status(self) -> FleetStatus: ...

    async def schema(self) -> str | None:
        """Which migrations the database lacks or has too much for this worker, in words; None when it fits."""
        ...

    async def cancel(self, meeting_id: UUID) -> WriteAnswer: ...

    async def retry(
        self, meeting_id: UUID, *, replace_edits: bool = False, from_stage: Stage | None = None
    ) -> WriteAnswer:
        """
        Have a meeting done again. Stages whose values are still kept on the PC that claims it are not worked again, but
        for `from_stage` (DIARIZE, IDENTIFY or SUMMARIZE, else `refused`) and those after it.
        """
        ...

    async def enqueue(self, meeting: NewMeeting) -> UUID:
        """Its id; a new one where it brings none. A repeat of the caller's needs the id, or makes a second meeting."""
        ...

    async def meetings(self, status: MeetingStatus | None = None, *, limit: int = 100) -> tuple[Meeting, ...]:
        """Newest first."""
        ...

    async def meeting(self, meeting_id: UUID) -> MeetingDetail | None: ...

    async def write_summary(
        self,
        meeting_id: UUID,
        summary: MeetingSummary,
        *,
        replace_edits: bool = False,
        completed_at: datetime | None = None,
    ) -> WriteAnswer:
        """
        A completed meeting's new summary; the one before is kept as a version.

        `refused` while the meeting is worked on, without `replace_edits` where somebody corrected the summary, and when
        the result is not the one of `completed_at` any more. The meeting's warnings of the earlier summary go, those of
        this one come. `already_done` where it is the same.
        """
        ...

    async def extractive_meetings(
        self, *, after: UUID | None = None, limit: int = 100, with_edited: bool = False
    ) -> tuple[UUID, ...]:
        """
        Completed meetings in which somebody spoke and that no language model has summarized, oldest first, behind
        `after` in that order; those whose summary somebody corrected only `with_edited`.
        """
        ...

    async def own_guidance(self, user_id: UUID | None = None) -> str | None:
        """The guidance of this user, or of the lab (None), and nobody's in its place."""
        ...

    async def set_guidance(self, text: str | None, user_id: UUID | None = None) -> WriteAnswer:
        """
        What summaries should be like, for one user's meetings or (None) for those of all who have none of their own.
        An empty text takes it away; one of over 4000 characters is `refused`.
        """
        ...

    async def words(self, user_id: UUID | None = None) -> tuple[str, ...]:
        """The vocabulary of a user, or of the lab (None), oldest first."""
        ...

    async def add_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        """
        Those that are new; one that is there in any case stays as it is. White space in a word becomes one blank.

        Raises SupabaseQueryError with a sentence, and adds none, when a word is none or there would be over 500.
        """
        ...

    async def remove_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        """Those that were there; upper and lower case are the same."""
        ...

    async def close(self) -> None: ...


def channel_paths(audio: Path) -> tuple[Path, Path]:
    """Where the two channels of a recording lie whose channels are one person's each: beside the mono sound."""
    return audio.with_name(f"{audio.stem}-1{audio.suffix}"), audio.with_name(f"{audio.stem}-2{audio.suffix}")


class Fetcher(Protocol):
    """Brings recordings here. An address is an `audio_path` of the Storage, or an `audio_url` of anywhere else."""

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        """
        Bring the recording to `target`, complete or not at all. The same bytes get the same modification time, by
        which the next attempt knows that it is the same recording.

        Raises AudioMissingError, AudioPathRefusedError or AudioUrlRefusedError, AudioTooBigError, AudioChecksumError,
        AudioDownloadError or SupabaseStorageError (try again later), SupabaseAccessError, DiskFullError.
        """
        ...


class Storage(Fetcher, Protocol):
    """Where recordings lie."""

    async def put(self, source: Path, audio_path: str, *, report: Report = unheard) -> None:
        """Keep a copy of `source` under `audio_path`, complete or not at all. Raises as `fetch` does."""
        ...


class Engine(Protocol):
    """The models on one GPU (or a share of the CPU), held by one meeting at a time."""

    async def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript: ...

    async def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript: ...

    async def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization: ...

    async def describe(
        self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report
    ) -> tuple[SpeakerEmbedding, ...]:
        """As `Describer`; a part of the stage in which speakers are told apart."""
        ...

    def usage(self, stage: Stage) -> StageUsage:
        """What that stage took at its most; asked for right after it has ended."""
        ...


class Stages(Protocol):
    """
    The computing stages as the pipeline sees them: awaited here, worked in child processes.

    Cancelling the awaiting task ends the work (the child is killed). Raises the errors of the sync ports below, and
    ChildCrashedError, ChildStalledError.
    """

    async def decode(
        self, source: Path, target: Path, report: Report, *, channels: str | None = None
    ) -> AudioMetadata: ...

    def engine(self) -> AbstractAsyncContextManager[Engine]:
        """Wait for a free engine and hold it, so that a meeting's stages follow each other; served in order."""
        ...

    async def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary: ...

    def usage(self, stage: Stage) -> StageUsage:
        """As `Engine.usage`, for the stages that need no engine."""
        ...

    def settings_key(self) -> dict[str, str]:
        """For each stage name, what its value depends on besides the audio; a kept value is reused only when equal."""
        ...

    async def close(self) -> None: ...


# --- sync: these compute, inside a child -------------------------------------------------------------------------


class Decoder(Protocol):
    def decode(self, source: Path, target: Path, report: Report, *, channels: str | None = None) -> AudioMetadata:
        """
        Any recording to `target`: WAV, 16 000 Hz, mono, PCM-16, peak-normalised, written completely or not at all.

        channels: 'separate' (each is one person's), 'mixed', or None: as it sounds. Where they are separate,
        `channel_paths(target)` get one each as well, on the same time line, and the metadata says `channels_apart`.

        Raises AudioCorruptedError and its children, AudioTooLongError, AudioTooBigError, DiskFullError.
        """
        ...


class Transcriber(Protocol):
    """`audio` is always a WAV file as Decoder writes it."""

    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript: ...

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        """The same words with exact times; an engine whose words are timed already returns them as they are."""
        ...

    def rest(self) -> None:
        """Give back the memory that a diarizer on the same device needs; the next call takes it again. Never fails."""
        ...


class Diarizer(Protocol):
    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization: ...


class Describer(Protocol):
    def describe(self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report) -> tuple[SpeakerEmbedding, ...]:
        """What each label sounds like, where no diarizer says it; nothing about one that is hardly heard alone."""
        ...


class Summarizer(Protocol):
    def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        """
        names: of the labels whose people are known. guidance: what the owner wants of a summary.

        What could be done only in part is said in `warnings`. Owners of action items are labels where they speak.
        """
        ...


class Observer(Protocol):
    """The one seam for logs, progress bars, metrics: it is handed frozen events (worker.events) and never fails."""

    def __call__(self, event: object) -> None: ...


class Gate(Protocol):
    """Asked before each claim whether this PC may take another meeting."""

    def trouble(self) -> Trouble | None:
        """Why not; None to go on. Cheap, and never fails. It closes and opens by itself."""
        ...


class Clock(Protocol):
    """Time as the core sees it; tests bring their own."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
