"""
Speech that the tests own, with the truth: single sentences and meetings of two voices, from tests/data/speech.

Spoken by espeak-ng; the truth says when each word begins and ends, and who says it (tests/models/README.md). Nothing
here needs espeak-ng.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from worker.models import SpeakerTurn

RATE_HZ = 16_000
SPEECH = Path(__file__).parents[1] / "data" / "speech"
MODELS = Path(__file__).parents[1] / "data" / "models"
WHISPER = MODELS / "whisper-meeting-words"
"""A Whisper in CTranslate2 format that knows the 96 words of this speech."""

ALIGNER = MODELS / "wav2vec2-meeting-words"
"""A wav2vec2 for English in transformers format that knows when they are said."""

REAL_ENGINES: dict[str, Any] = {
    "ASR_ENGINE": "whisperx",
    "WHISPER_MODEL": str(WHISPER),
    "ALIGN_MODEL": str(ALIGNER),
    "DIARIZER": "bundled",
    "ENABLE_GPU": "false",
    "MODELS_OFFLINE": "true",
}
"""Settings of a worker that works with these models."""


@dataclass(frozen=True)
class TrueWord:
    """`text` as it is written, without the full stop; seconds from the beginning of the recording."""

    text: str
    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True)
class SpokenText:
    """
    A recording, or one sentence of sentences.opus, with what is said in it.

    Attributes:
        text: all sentences, each with its full stop.
        words: in the order of time; the voices do not overlap.
        file, start_s, end_s: where its sound lies in tests/data/speech.
    """

    name: str
    text: str
    words: tuple[TrueWord, ...]
    file: str
    start_s: float
    end_s: float

    @cached_property
    def samples(self) -> npt.NDArray[np.float32]:
        """float32 in [-1, 1], shape (num_samples,), 16 000 Hz."""
        first, last = round(self.start_s * RATE_HZ), round(self.end_s * RATE_HZ)
        return _sound(self.file)[first:last]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ

    def write_wav(self, folder: Path) -> Path:
        """As a worker gets it: 16 kHz, mono, PCM-16."""
        path = folder / f"{self.name}.wav"
        soundfile.write(path, self.samples, RATE_HZ, subtype="PCM_16")
        return path

    def turns(self) -> tuple[SpeakerTurn, ...]:
        """Who speaks when: the words of one voice, until the other one speaks."""
        turns: list[SpeakerTurn] = []
        for word in self.words:
            if turns and turns[-1].label == word.speaker:
                turns[-1] = turns[-1].model_copy(update={"end_s": word.end_s})
            else:
                turns.append(SpeakerTurn(start_s=word.start_s, end_s=word.end_s, label=word.speaker))
        return tuple(turns)


def sentences() -> tuple[SpokenText, ...]:
    """A hundred, of nine voices; half of them with words in random order."""
    return _named("sentence")


def meetings() -> tuple[SpokenText, ...]:
    """Six of two voices, 35 to 60 s; sentences like `sentences()`, two of the meetings with a little noise."""
    return _named("meeting")


def sensible_meeting() -> SpokenText:
    """One of two voices in which every sentence is one that people might say."""
    return _named("sensible")[0]


@cache
def _sound(file: str) -> npt.NDArray[np.float32]:
    samples, rate_hz = soundfile.read(SPEECH / file, dtype="float32")
    assert rate_hz == RATE_HZ
    return np.asarray(samples, np.float32)


def _named(kind: str) -> tuple[SpokenText, ...]:
    rows = json.loads((SPEECH / "truth.json").read_text())
    return tuple(
        SpokenText(**{**row, "words": tuple(TrueWord(*word) for word in row["words"])})
        for row in rows
        if row["name"].startswith(f"{kind}-")
    )
