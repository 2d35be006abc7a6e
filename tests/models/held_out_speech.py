"""
The speech that the tests hear, made once and shipped in tests/data/speech: nothing of it is heard in training.

Opus at about 24 kbit/s, and truth.json with the words of each recording; tests/support/spoken_meetings.py reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from tests.models.corpus import held_out
from tests.models.synthesis import RATE_HZ, Synthesizer, Voice

_SEED = 5
_COMPRESSION = 0.93
"""Of libsndfile's Opus: 0 is 256 kbit/s, 1 is 6 kbit/s."""

_NUM_SENTENCES = 100
_SILENCE_S = 0.5
"""Before the first and after each sentence of sentences.opus, and at both ends of a meeting."""

_VOICES = ("en-us", "en", "en-us+m3", "en+f2", "en-us+f4", "en+m7", "en-us+m1", "en-gb-scotland", "en-gb-x-rp+f1")
_PAIRS = (
    (Voice("en-us+m3", 150, 40), Voice("en+f2", 165, 60)),
    (Voice("en-us", 140, 50), Voice("en-us+f4", 175, 45)),
)
"""A man and a woman."""

_SPEAKERS = ("A", "B")
_TURN_SENTENCES = (1, 3)
_PAUSE_S = (0.2, 0.9)
_NOISE = 0.004


@dataclass(frozen=True)
class _Said:
    """A sentence, who says it, and the silence after it."""

    text: str
    voice: Voice
    speaker: str
    pause_s: float


@dataclass(frozen=True)
class _Recording:
    samples: npt.NDArray[np.float32]
    rows: list[dict[str, Any]]


def make_held_out_speech(folder: Path) -> None:
    """sentences.opus, meeting-1.opus to meeting-6.opus, sensible-1.opus, truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    synthesizer, texts, rng = Synthesizer(), held_out(), Random(_SEED)
    rows: list[dict[str, Any]] = []
    sentences = _singles(synthesizer, texts.mixed[:_NUM_SENTENCES], rng)
    rows += _write(folder / "sentences.opus", sentences)
    rest = iter(texts.mixed[_NUM_SENTENCES:])
    for number in range(1, 7):
        said = _conversation(rest, _PAIRS[number % 2], (33.0, 50.0)[number % 2], synthesizer, rng)
        noise = _NOISE if number > 4 else 0.0
        rows += _write(folder / f"meeting-{number}.opus", _meeting(f"meeting-{number}", said, synthesizer, noise))
    said = _conversation(iter(texts.meeting), _PAIRS[0], 42.0, synthesizer, rng)
    rows += _write(folder / "sensible-1.opus", _meeting("sensible-1", said, synthesizer, 0.0))
    (folder / "truth.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def _write(path: Path, recording: _Recording) -> list[dict[str, Any]]:
    soundfile.write(path, recording.samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=_COMPRESSION)
    return [{**row, "file": path.name} for row in recording.rows]


def _singles(synthesizer: Synthesizer, texts: Sequence[str], rng: Random) -> _Recording:
    """One after the other; each row says where its sentence with half the silence around it begins and ends."""
    pieces, place_s = [_silence(_SILENCE_S)], _SILENCE_S
    rows = []
    for number, text in enumerate(texts, start=1):
        voice = Voice(_VOICES[number % len(_VOICES)], rng.randint(130, 190), rng.randint(30, 70))
        said = _Said(text=text, voice=voice, speaker="A", pause_s=_SILENCE_S)
        samples, words = _spoken(said, synthesizer, _SILENCE_S / 2)
        length_s = len(samples) / RATE_HZ
        start_s = place_s - _SILENCE_S / 2
        rows.append(_row(f"sentence-{number}", text, words, start_s, start_s + length_s))
        pieces.append(samples)
        place_s += length_s
    return _Recording(samples=np.concatenate(pieces), rows=rows)


def _conversation(
    texts: Iterator[str], voices: tuple[Voice, Voice], length_s: float, synthesizer: Synthesizer, rng: Random
) -> list[_Said]:
    """Turns of one to three sentences until the length is reached."""
    said: list[_Said] = []
    spoken_s, turn = 0.0, 0
    while spoken_s < length_s:
        for _ in range(rng.randint(*_TURN_SENTENCES)):
            sentence = _Said(next(texts), voices[turn % 2], _SPEAKERS[turn % 2], rng.uniform(*_PAUSE_S))
            said.append(sentence)
            spoken_s += len(synthesizer.say(sentence.text, sentence.voice).samples) / RATE_HZ + sentence.pause_s
        turn += 1
    return said


def _meeting(name: str, said: Sequence[_Said], synthesizer: Synthesizer, noise: float) -> _Recording:
    pieces, place_s, words = [_silence(_SILENCE_S)], _SILENCE_S, []
    for sentence in said:
        samples, spoken = _spoken(sentence, synthesizer, place_s)
        pieces.append(samples)
        words += spoken
        place_s += len(samples) / RATE_HZ
    samples = np.concatenate(pieces)
    samples = samples + np.random.default_rng(_SEED).standard_normal(len(samples)).astype(np.float32) * noise
    text = " ".join(sentence.text for sentence in said)
    return _Recording(samples=samples, rows=[_row(name, text, words, 0.0, len(samples) / RATE_HZ)])


def _spoken(said: _Said, synthesizer: Synthesizer, place_s: float) -> tuple[npt.NDArray[np.float32], list[list[Any]]]:
    """The sentence with its pause, and its words (text, start, end, speaker) when it begins at `place_s`."""
    speech = synthesizer.say(said.text, said.voice)
    words: list[list[Any]] = [
        [word.text, round(place_s + word.start_s, 3), round(place_s + word.end_s, 3), said.speaker]
        for word in speech.words
    ]
    return np.concatenate([speech.samples, _silence(said.pause_s)]), words


def _silence(seconds: float) -> npt.NDArray[np.float32]:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def _row(name: str, text: str, words: list[list[Any]], start_s: float, end_s: float) -> dict[str, Any]:
    return {"name": name, "start_s": round(start_s, 3), "end_s": round(end_s, 3), "text": text, "words": words}
