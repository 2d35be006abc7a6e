"""
Everything that can go wrong, as one tree.

    PCWorkerException
     +- ConfigurationError                     a setting is missing or wrong
     +- WorkerIdTakenError                     the same WORKER_ID is alive elsewhere
     +- GpuTakenError                          another worker on this PC has the GPU
     +- BreakerOpenError                       everything fails on this PC, so it takes no meetings
     +- SchemaMismatchError                    the database is older or newer than this worker
     |   +- SchemaClashError                   tables of our names are there and do not fit
     +- SupabaseError                          the shared project, or the Postgres and folder standing in for it
     |   +- SupabaseConnectionError            not reachable, or not answering
     |   +- SupabaseAccessError                it does not let this key or token in
     |   +- SupabaseQueryError                 it answered, and refused
     |   +- SupabaseStorageError               Storage is reachable and cannot serve
     +- AudioProcessingError
     |   +- AudioDownloadError                 the audio could not be brought here
     |   |   +- AudioMissingError              there is no such file (yet)
     |   |   +- AudioPathRefusedError          the path leads out of its place
     |   |   +- AudioUrlRefusedError           not https, or an address inside somebody's network
     |   |   +- AudioTooBigError               more bytes than MAX_AUDIO_BYTES
     |   +- AudioCorruptedError                it is here and cannot be used
     |   |   +- AudioEmptyError                zero bytes
     |   |   +- AudioChecksumError             not the bytes that were uploaded
     |   |   +- NotAudioError                  no audio format at all
     |   |   +- NoAudioStreamError             a video without sound, say
     |   |   +- AudioTruncatedError            it ends before it should
     |   |   +- AudioTooShortError             no sound, or next to none
     |   |   +- AudioSilentError               nothing but silence
     |   |   +- AudioNotFiniteError            samples that are no numbers
     |   +- AudioPreprocessingError            decoding failed on our side
     |       +- AudioTooLongError              more hours than MAX_AUDIO_HOURS
     +- EngineError                            transcription or diarization failed
     |   +- ModelUnavailableError              weights cannot be loaded on this PC
     |   +- UnsupportedLanguageError           the engine does not know the meeting's language
     |   +- GpuOutOfMemoryError
     |   +- ChildCrashedError                  the process died
     |   +- ChildStalledError                  the process was silent for too long, and was killed
     |   +- DeadlineExceededError              the meeting took longer than it may
     +- DiskFullError
     +- DiskFailedError                        it is read-only, or broken
     +- OutOfMemoryError                       this PC's memory, not the GPU's
     +- LeaseLostError                         the meeting is no longer ours
     |   +- MeetingCancelledError              somebody cancelled it
     |   +- MeetingGoneError                   somebody deleted it
     +- WorkerStoppedError                     a stop is not a failure
     +- RetryExhaustedError                    a call was repeated often enough

Each class has a stable `code` (the word a dashboard, a script or an alarm looks for) and a `disposition` (what the
worker does next). `str(error)` is written for people: what happened, and the next action. It holds no secret, no signed
URL and no path of this PC, because it ends up in `meetings.error_message`; what only an administrator needs goes into
`details`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, ClassVar


class Disposition(StrEnum):
    RETRY = "retry"  # this attempt failed; another one may succeed
    PERMANENT = "permanent"  # another attempt would end the same way
    INFRASTRUCTURE = "infrastructure"  # not the meeting's fault: wait and try again, counted apart
    LEASE_LOST = "lease_lost"  # stop working and write nothing
    STOP = "stop"  # the worker stops; the meeting is given back


class FailureKind(StrEnum):
    """How an attempt ended, which decides what it counts against."""

    FAILURE = "failure"  # three of them and the meeting fails
    CRASH = "crash"  # a child or a worker died; two of them and the recording is called poison
    INFRASTRUCTURE = "infrastructure"  # network, database, storage, disk: retried for 24 h
    WAITING = "waiting"  # the audio is not there yet: up to 1 h, no attempt spent
    PERMANENT = "permanent"  # trying again cannot help


class PCWorkerException(Exception):
    """The root of the tree; also what an unforeseen error of our own is reported as."""

    code: ClassVar[str] = "internal_error"
    disposition: ClassVar[Disposition] = Disposition.RETRY
    counts_as: ClassVar[FailureKind] = FailureKind.FAILURE
    default_message: ClassVar[str] = (
        "Something unforeseen went wrong while this meeting was processed. "
        "If the meeting ends as failed, ask the administrator to look into pc_worker_errors.log."
    )

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message or self.default_message)
        self.details = details


class ConfigurationError(PCWorkerException):
    code = "config_invalid"
    disposition = Disposition.STOP
    default_message = "The settings are not complete. Compare .env with .env.example."


class WorkerIdTakenError(PCWorkerException):
    code = "worker_id_taken"
    disposition = Disposition.STOP
    default_message = "Another worker with the same WORKER_ID is running. Give each worker its own WORKER_ID."


class GpuTakenError(PCWorkerException):
    code = "gpu_taken"
    disposition = Disposition.STOP
    default_message = "Another worker on this PC has the GPU. Give each worker a GPU of its own (CUDA_DEVICE)."


class BreakerOpenError(PCWorkerException):
    code = "breaker_open"
    disposition = Disposition.STOP
    default_message = "Every engine fails on this PC, so it takes no meetings. Run `python -m worker doctor` on it."


class SchemaMismatchError(PCWorkerException):
    code = "schema_mismatch"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "The database does not match this version of the worker. Run `python -m worker migrate`."


class SchemaClashError(SchemaMismatchError):
    code = "schema_clash"
    disposition = Disposition.STOP
    counts_as = FailureKind.FAILURE
    default_message = "The database holds tables of our names that do not fit. Nothing was changed; follow the list."


# --- the shared project ------------------------------------------------------------------------------------------


class SupabaseError(PCWorkerException):
    code = "supabase_error"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "The database or the file storage had a problem. The worker tries again by itself."


class SupabaseConnectionError(SupabaseError):
    code = "database_unreachable"
    default_message = "The database cannot be reached. The worker tries again by itself; check network and database."


class SupabaseAccessError(SupabaseError):
    code = "supabase_access_denied"
    default_message = (
        "The Supabase project refuses this worker's key or token. "
        "Ask the administrator to run `python -m worker doctor`."
    )


class SupabaseQueryError(SupabaseError):
    code = "database_refused"
    disposition = Disposition.RETRY
    counts_as = FailureKind.FAILURE
    default_message = "The database refused a request of the worker. Check that its migrations are up to date."


class SupabaseStorageError(SupabaseError):
    code = "storage_unavailable"
    default_message = "The file storage cannot serve the recording right now. The worker tries again by itself."


# --- audio -------------------------------------------------------------------------------------------------------


class AudioProcessingError(PCWorkerException):
    code = "audio_error"
    default_message = (
        "The recording could not be processed. If the meeting ends as failed, export the recording again and retry it."
    )


class AudioDownloadError(AudioProcessingError):
    code = "audio_download_failed"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "The recording could not be fetched. The worker tries again by itself."


class AudioMissingError(AudioDownloadError):
    code = "audio_missing"
    disposition = Disposition.RETRY
    counts_as = FailureKind.WAITING
    default_message = "There is no recording at the meeting's audio_path. Upload it, then retry the meeting."


class AudioPathRefusedError(AudioDownloadError):
    code = "audio_path_refused"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = "The meeting's audio_path leads out of its folder. Use a plain path such as lab/meeting.wav."


class AudioUrlRefusedError(AudioDownloadError):
    code = "audio_url_refused"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = "The meeting's audio_url may not be fetched. Use an https address on the public internet."


class AudioTooBigError(AudioDownloadError):
    code = "audio_too_big"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = "The recording has more bytes than allowed. Compress it, or raise MAX_AUDIO_BYTES."


class AudioCorruptedError(AudioProcessingError):
    code = "audio_corrupted"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = "The recording is damaged. Open it in a player to check, export it again and retry the meeting."


class AudioEmptyError(AudioCorruptedError):
    code = "audio_empty"
    default_message = "The recording is an empty file (0 bytes). Upload it again, then retry the meeting."


class AudioChecksumError(AudioCorruptedError):
    code = "audio_checksum_mismatch"
    default_message = "The stored recording is not the one that was uploaded. Upload it again, then retry the meeting."


class NotAudioError(AudioCorruptedError):
    code = "audio_not_audio"
    default_message = (
        "The file is not an audio or video recording that can be read. Upload a recording (wav, mp3, m4a ...)."
    )


class NoAudioStreamError(AudioCorruptedError):
    code = "audio_no_stream"
    default_message = "The file has no sound track. Export the recording with its sound and retry the meeting."


class AudioTruncatedError(AudioCorruptedError):
    code = "audio_truncated"
    default_message = "The recording ends before it should; the upload was probably cut off. Upload it again."


class AudioTooShortError(AudioCorruptedError):
    code = "audio_too_short"
    default_message = (
        "The recording holds no sound, or less than a tenth of a second. Check the file and upload it again."
    )


class AudioSilentError(AudioCorruptedError):
    code = "audio_silent"
    default_message = "The recording is silent from beginning to end. Check the microphone or the export."


class AudioNotFiniteError(AudioCorruptedError):
    code = "audio_not_finite"
    default_message = "The recording holds samples that are not numbers. Export it again as 16-bit PCM or mp3."


class AudioPreprocessingError(AudioProcessingError):
    code = "audio_preprocessing_failed"
    default_message = (
        "The recording could not be prepared. If the meeting ends as failed, export the recording again and retry it."
    )


class AudioTooLongError(AudioPreprocessingError):
    code = "audio_too_long"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = "The recording is longer than allowed. Split it, or raise MAX_AUDIO_HOURS."


# --- engines and children ----------------------------------------------------------------------------------------

_SEE_LOG = "If the meeting ends as failed, ask the administrator to look into the log."


class EngineError(PCWorkerException):
    code = "engine_failed"
    default_message = f"The speech engine failed on this recording. {_SEE_LOG}"


class ModelUnavailableError(EngineError):
    code = "model_unavailable"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = (
        "A speech model cannot be loaded on this PC. Ask the administrator to check the worker's settings."
    )


class UnsupportedLanguageError(EngineError):
    code = "language_unsupported"
    disposition = Disposition.PERMANENT
    counts_as = FailureKind.PERMANENT
    default_message = (
        "The speech engine does not know the meeting's language. Change the language and retry the meeting."
    )


class GpuOutOfMemoryError(EngineError):
    code = "gpu_out_of_memory"
    default_message = "The GPU had too little free memory. If the meeting ends as failed, retry it on a larger GPU."


class ChildCrashedError(EngineError):
    code = "engine_crashed"
    counts_as = FailureKind.CRASH
    default_message = f"The process working on this recording died. {_SEE_LOG}"


class ChildStalledError(EngineError):
    code = "engine_stalled"
    counts_as = FailureKind.CRASH
    default_message = f"The process working on this recording made no progress and was ended. {_SEE_LOG}"


class DeadlineExceededError(EngineError):
    code = "deadline_exceeded"
    default_message = (
        "The recording took longer than a meeting may take. "
        "If the meeting ends as failed, use a faster PC or raise DEADLINE_FACTOR."
    )


class DiskFullError(PCWorkerException):
    code = "disk_full"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "The disk of the PC is full. The worker goes on by itself as soon as there is room."


class DiskFailedError(PCWorkerException):
    code = "disk_failed"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "The disk of the PC cannot be read or written as it should. Ask the administrator to look at it."


class OutOfMemoryError(PCWorkerException):
    code = "out_of_memory"
    default_message = (
        "The PC had too little memory for this recording. "
        "If the meeting ends as failed, retry it when a PC with more memory is on."
    )


# --- not failures ------------------------------------------------------------------------------------------------


class LeaseLostError(PCWorkerException):
    code = "lease_lost"
    disposition = Disposition.LEASE_LOST
    default_message = "Another worker has taken this meeting over; the work done here is dropped."


class MeetingCancelledError(LeaseLostError):
    code = "meeting_cancelled"
    default_message = "The meeting was cancelled."


class MeetingGoneError(LeaseLostError):
    code = "meeting_gone"
    default_message = "The meeting was deleted."


class WorkerStoppedError(PCWorkerException):
    code = "worker_stopped"
    disposition = Disposition.STOP
    default_message = "The worker is stopping; the meeting is given back and another worker can take it."


class RetryExhaustedError(PCWorkerException):
    code = "retry_exhausted"
    disposition = Disposition.INFRASTRUCTURE
    counts_as = FailureKind.INFRASTRUCTURE
    default_message = "A request was repeated several times without success. The worker tries again later."


def all_errors() -> Iterator[type[PCWorkerException]]:
    """Every class of the tree, parents first."""
    queue: list[type[PCWorkerException]] = [PCWorkerException]
    while queue:
        cls = queue.pop(0)
        yield cls
        queue.extend(cls.__subclasses__())


def from_code(code: str, message: str | None = None, **details: Any) -> PCWorkerException:
    """The error that another process reported; an unknown code comes back as the root, with the code in `details`."""
    for cls in all_errors():
        if cls.code == code:
            return cls(message, **details)
    return PCWorkerException(message, reported_code=code, **details)
