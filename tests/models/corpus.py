"""
The sentences that the models learn from, spoken once: 16 000 in 35 s on two cores, 10 hours, 1.2 GB.

Sentences kept for tests are never among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from tests.models.sentences import meeting_sentence, sentence
from tests.models.synthesis import RATE_HZ, SpokenWord, Synthesizer, random_voice

NUM_UTTERANCES = 16_000
_NUM_PARTS = 2
_TRAINING_SEED = 777
_HELD_OUT_SEED = 12_345
_HELD_OUT_MEETING_SEED = 4_242
_MIN_WORDS = 3


@dataclass(frozen=True)
class HeldOut:
    """Sentences that no model hears in training: any, and such as are said in meetings."""

    mixed: tuple[str, ...]
    meeting: tuple[str, ...]


@dataclass(frozen=True)
class Utterance:
    """Where a sentence lies in its part's samples, and its words with seconds from its own beginning."""

    offset: int
    num_samples: int
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True)
class Part:
    """`samples`: int16, shape (num_samples,), 16 000 Hz; all utterances one after the other."""

    samples: npt.NDArray[np.int16]
    utterances: tuple[Utterance, ...]


def held_out() -> HeldOut:
    rng, meeting_rng = Random(_HELD_OUT_SEED), Random(_HELD_OUT_MEETING_SEED)
    mixed: dict[str, None] = {}
    while len(mixed) < 400:
        text = sentence(rng)
        if len(text.split()) >= _MIN_WORDS:
            mixed[text] = None
    meeting: dict[str, None] = {}
    while len(meeting) < 80:
        text = meeting_sentence(meeting_rng)
        if len(text.split()) > _MIN_WORDS and text not in mixed:
            meeting[text] = None
    return HeldOut(mixed=tuple(mixed), meeting=tuple(meeting))


def training_texts(num: int) -> list[str]:
    kept = held_out()
    unseen = {*kept.mixed, *kept.meeting}
    rng = Random(_TRAINING_SEED)
    texts: list[str] = []
    while len(texts) < num:
        text = sentence(rng)
        if text not in unseen:
            texts.append(text)
    return texts


def make_corpus(folder: Path, num_utterances: int = NUM_UTTERANCES) -> float:
    """Speak all sentences into the folder; hours of speech."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = training_texts(num_utterances)
    with ProcessPoolExecutor(_NUM_PARTS, mp_context=get_context("spawn")) as pool:
        made = pool.map(_make_part, [folder] * _NUM_PARTS, range(_NUM_PARTS), [texts[n::2] for n in range(_NUM_PARTS)])
        return sum(made) / RATE_HZ / 3600


def _make_part(folder: Path, number: int, texts: Sequence[str]) -> int:
    rng, synthesizer = Random(number), Synthesizer()
    pieces: list[npt.NDArray[np.int16]] = []
    utterances: list[Utterance] = []
    offset = 0
    for text in texts:
        speech = synthesizer.say(text, random_voice(rng))
        pieces.append((np.clip(speech.samples, -1, 1) * 32767).astype(np.int16))
        utterances.append(Utterance(offset=offset, num_samples=len(pieces[-1]), words=speech.words))
        offset += len(pieces[-1])
    np.save(folder / f"samples-{number}.npy", np.concatenate(pieces))
    (folder / f"index-{number}.json").write_text(json.dumps([asdict(utterance) for utterance in utterances]))
    return offset


def read_corpus(folder: Path) -> tuple[Part, ...]:
    """The samples stay on disk until they are read."""
    return tuple(_read_part(folder, number) for number in range(_NUM_PARTS))


def _read_part(folder: Path, number: int) -> Part:
    rows = json.loads((folder / f"index-{number}.json").read_text())
    utterances = tuple(
        Utterance(r["offset"], r["num_samples"], tuple(SpokenWord(**word) for word in r["words"])) for r in rows
    )
    return Part(samples=np.load(folder / f"samples-{number}.npy", mmap_mode="r"), utterances=utterances)
