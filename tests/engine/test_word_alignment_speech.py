"""Words of speech that the aligner understands (tests/data): where they are said, and as exactly with fewer digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.aligned_speech import Speech, by_whisperx
from tests.support.spoken_meetings import ALIGNER, SpokenText, TrueWord, meetings
from worker.engine.aligner_models import load_aligner
from worker.engine.whisperx_library import hushed
from worker.engine.word_alignment import WordAligner
from worker.models import Passage, Word

pytestmark = pytest.mark.timeout(120)

Times = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def heard(meeting: SpokenText) -> Speech:
    """As Whisper would hand it on: the words of about 20 s each, their times shared out."""
    words: list[Word] = []
    passages: list[Passage] = []
    for said in cut(meeting.words):
        start_s, end_s = round(said[0].start_s - 0.2, 3), round(said[-1].end_s + 0.2, 3)
        texts = [word.text for word in said]
        passages.append(Passage(start_s=start_s, end_s=end_s, text=" ".join(texts)))
        edges = np.linspace(start_s, end_s, len(said) + 1).round(3).tolist()
        words += [Word(text=t, start_s=a, end_s=b) for t, (a, b) in zip(texts, pairwise(edges), strict=True)]
    return Speech(meeting.samples, words, passages)


def cut(words: Sequence[TrueWord]) -> Iterator[Sequence[TrueWord]]:
    """Where somebody else begins to speak, after 20 s or more."""
    first = 0
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if word.speaker != before.speaker and word.start_s - words[first].start_s > 20.0:
            yield words[first:index]
            first = index
    yield words[first:]


def nobody(progress: float) -> None:
    """Nobody watches."""


def times(spoken: Speech, home: Path, compute_type: str) -> Times:
    """Seconds, shape (num_words, 2): start, end."""
    aligner = WordAligner(cache=home, device="cpu", num_threads=2, model=str(ALIGNER), compute_type=compute_type)
    answer = aligner.align(spoken.words, "en", spoken.samples, nobody, spoken.passages)
    assert answer.warning is None
    return np.array([(word.start_s, word.end_s) for word in answer.words])


@pytest.fixture(scope="module")
def spoken() -> list[tuple[SpokenText, Speech]]:
    return [(meeting, heard(meeting)) for meeting in meetings()]


@pytest.fixture(scope="module")
def exact(spoken: list[tuple[SpokenText, Speech]], tmp_path_factory: pytest.TempPathFactory) -> list[Times]:
    home = tmp_path_factory.mktemp("align")
    return [times(one, home, "float32") for _, one in spoken]


def share_within(limit_s: float, ours: Sequence[Times], others: Sequence[Times]) -> float:
    apart_s = np.abs(np.concatenate(list(ours)) - np.concatenate(list(others))).max(axis=1)
    return float((apart_s <= limit_s + 1e-6).mean())


def test_words_are_found_where_they_are_said(spoken: list[tuple[SpokenText, Speech]], exact: list[Times]) -> None:
    truth = [np.array([(word.start_s, word.end_s) for word in meeting.words]) for meeting, _ in spoken]
    assert share_within(0.3, exact, truth) >= 0.99


def test_words_of_speech_are_where_whisperx_places_them(
    spoken: list[tuple[SpokenText, Speech]], exact: list[Times], tmp_path: Path
) -> None:
    with hushed():
        model = load_aligner("en", cache=tmp_path, device="cpu", model=str(ALIGNER), offline=True)
        found = [by_whisperx(one, model, "en", tmp_path) for _, one in spoken]
    reference = [np.array([(word["start"], word["end"]) for word in one]) for one in found]
    assert share_within(0.02, exact, reference) >= 0.99


@pytest.mark.slow
def test_fewer_digits_move_no_word(spoken: list[tuple[SpokenText, Speech]], exact: list[Times], tmp_path: Path) -> None:
    """What `auto` chooses where the processor has bfloat16."""
    rounded = [times(one, tmp_path, "bfloat16") for _, one in spoken]
    assert share_within(0.02, rounded, exact) >= 0.99
