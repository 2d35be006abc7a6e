"""A recording and what the engines hear in it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen value; unknown fields are an error, so that two versions never half-understand each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(StrEnum):
    """The steps of one meeting's work. `waiting_for_audio` is shown while the row is there and its file is not."""

    WAITING_FOR_AUDIO = "waiting_for_audio"
    FETCH = "fetch"
    DECODE = "decode"
    TRANSCRIBE = "transcribe"
    ALIGN = "align"
    DIARIZE = "diarize"
    TURNS = "turns"
    IDENTIFY = "identify"
    SUMMARIZE = "summarize"
    COMMIT = "commit"


class AudioMetadata(Value):
    """What the recording is, measured while it was decoded to 16 kHz mono PCM-16."""

    sha256: str
    size_bytes: int
    container: str
    codec: str
    rate_hz: int
    num_channels: int
    duration_s: float = Field(description="length of the decoded sound, on the time line of the original")
    start_offset_s: float = Field(default=0.0, description="how late the sound begins within its container")
    loudness_dbfs: float | None = Field(default=None, description="RMS of the mono mix before normalisation")
    peak_dbfs: float | None = None
    clipped_share: float = Field(default=0.0, description="share of samples at full scale, in [0, 1]")
    gap_s: float = Field(default=0.0, description="silence put in for packets that were lost")
    num_bad_packets: int = 0
    warnings: tuple[ResultWarning, ...] = ()


class ResultWarning(Value):
    """Something a reader should know about a result that is nevertheless there."""

    code: str
    message: str
    stage: Stage | None = None


class Word(Value):
    text: str
    start_s: float
    end_s: float
    confidence: float | None = Field(default=None, description="in [0, 1], on the engine's own scale")


class Transcript(Value):
    """Words in time order, and who wrote them down. Silence gives no words; it is not an error."""

    words: tuple[Word, ...]
    language: str | None
    engine: str
    model: str
    device: str = "cpu"
    compute_type: str | None = None
    warnings: tuple[ResultWarning, ...] = ()


class SpeakerTurn(Value):
    start_s: float
    end_s: float
    label: str


class SpeakerEmbedding(Value):
    """One description of one voice: float values, shape (dim,), L2-normalised. Comparable within `model` only."""

    label: str
    model: str
    dim: int
    vector: tuple[float, ...]
    speech_s: float = Field(description="seconds of clean single-voice speech it was made from")


class Diarization(Value):
    """
    Who speaks when. Turns are sorted by start; turns of different voices may overlap.
    `exclusive` holds the same voices without overlap, for giving words to speakers.
    """

    turns: tuple[SpeakerTurn, ...]
    exclusive: tuple[SpeakerTurn, ...]
    embeddings: tuple[SpeakerEmbedding, ...]
    diarizer: str
    model: str
    device: str = "cpu"
    warnings: tuple[ResultWarning, ...] = ()


AudioMetadata.model_rebuild()
