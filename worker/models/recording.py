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
    channels_apart: bool = Field(
        default=False, description="each channel is one person's, and lies beside the mono sound as a file of its own"
    )
    channel_speech_s: tuple[float, ...] = Field(default=(), description="of either channel, where they are apart")
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
    channel: int | None = Field(default=None, description="from 0; of a recording whose channels are one person's each")


class Passage(Value):
    """
    What an engine wrote in one go, at most about 30 s, and what speaks against it.

    A doubtful passage was decoded a second time, more carefully; both texts are kept, and `text` is the chosen one.
    """

    start_s: float
    end_s: float
    text: str
    avg_logprob: float | None = Field(default=None, description="mean log-probability of a token")
    compression_ratio: float | None = Field(default=None, description="of its text by zlib; repetitions make it large")
    speech_s: float | None = Field(default=None, description="how much of it the voice detector takes for speech")
    doubts: tuple[str, ...] = Field(default=(), description="'low_confidence', 'repetition', 'over_silence'")
    decoding: str = Field(default="batched", description="whose text was kept: 'batched' or 'sequential'")
    other_text: str | None = Field(default=None, description="what the other decoding wrote")
    channel: int | None = Field(default=None, description="as of a word")


class LanguageWindow(Value):
    """What one stretch of speech sounds like; probabilities of the languages that were allowed, the best first."""

    start_s: float
    end_s: float
    probabilities: tuple[tuple[str, float], ...]


class LanguageVote(Value):
    """How the language was found: over several windows of speech, or told by the meeting (no windows)."""

    language: str
    probability: float
    is_doubtful: bool = False
    windows: tuple[LanguageWindow, ...] = ()


class EnginePlan(Value):
    """What to compute with on this PC's GPU or CPU, and why; `reasons` are sentences for people."""

    model: str = Field(description="a name of the catalogue, owner/repository, or a folder")
    device: str = Field(description="'cpu' or 'cuda'")
    compute_type: str
    batch_size: int = Field(description="passages at once in Whisper; at least 2")
    diarization_batch_size: int = 32
    unload_asr: bool = Field(default=False, description="give Whisper's memory back before diarization")
    is_makeshift: bool = Field(
        default=False, description="less than the PC is meant to do: memory is short, or lately was"
    )
    reasons: tuple[str, ...] = ()


class Alignment(Value):
    """Who placed the words in time."""

    model: str
    language: str
    device: str = "cpu"
    compute_type: str = "float32"
    num_estimated: int = Field(default=0, description="words whose times are shared out, not heard")


class Transcript(Value):
    """Words in time order, and who wrote them down. Silence gives no words; it is not an error."""

    words: tuple[Word, ...]
    language: str | None
    engine: str
    model: str
    device: str = "cpu"
    compute_type: str | None = None
    revision: str | None = Field(default=None, description="the model's version: the hub's commit, or a checksum")
    batch_size: int | None = None
    plan: EnginePlan | None = None
    language_vote: LanguageVote | None = None
    passages: tuple[Passage, ...] = ()
    alignment: Alignment | None = None
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
    revision: str | None = None
    batch_size: int | None = None
    num_speakers_range: tuple[int, int] | None = Field(
        default=None, description="fewest and most speakers that a slightly other threshold would give"
    )
    warnings: tuple[ResultWarning, ...] = ()


AudioMetadata.model_rebuild()
