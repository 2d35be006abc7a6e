"""
Words to segments, and the summary, of ten hours of talk.

References: for turns `whisperx.assign_word_speakers`, which labels words and no more (ours also smooths, cuts and
joins); for the summary the budget of 10 s that a ten-hour meeting may take.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

from worker.models import Diarization, SpeakerTurn, Word
from worker.summarize.extractive import ExtractiveSummarizer
from worker.turns import assign_speakers

NUM_WORDS = 100_000
"""About ten hours: 170 words a minute."""

NUM_TERMS = 15_000
SUMMARY_BUDGET_S = 10.0


def run() -> list[dict[str, object]]:
    words, diarization = _meeting(Random(1))
    ours_s = _seconds(lambda: assign_speakers(words, diarization))
    whisperx_s = _seconds_of_whisperx(words, diarization.exclusive)
    segments = assign_speakers(words, diarization)
    summary_s = _seconds(
        lambda: ExtractiveSummarizer().summarize(segments, language=None, report=lambda progress: None)
    )
    return [
        _row(f"turns: {NUM_WORDS} words to segments (reference: whisperx, labels only)", ours_s, whisperx_s),
        _row(f"extractive summary of {len(segments)} segments (reference: budget)", summary_s, SUMMARY_BUDGET_S),
    ]


def _meeting(random: Random) -> tuple[tuple[Word, ...], Diarization]:
    """Four voices in turns of 1 to 20 s; the vocabulary is Zipf's, with its own terms in each eighth of the time."""
    vocabulary = [f"word{i}" for i in range(NUM_TERMS)]
    weights = [1 / (i + 5) for i in range(NUM_TERMS)]
    words: list[Word] = []
    at_s = 0.0
    for number, text in enumerate(random.choices(vocabulary, weights, k=NUM_WORDS)):
        is_topical = random.random() < 0.1
        written = f"topic{number * 8 // NUM_WORDS}x{random.randrange(12)}" if is_topical else text
        end_s = at_s + random.uniform(0.1, 0.5)
        words.append(Word(text=written, start_s=at_s, end_s=end_s))
        at_s = end_s + random.choice([0.0, 0.02, 0.05, 0.1, 0.3])
    turns: list[SpeakerTurn] = []
    turn_s = 0.0
    while turn_s < at_s:
        end_s = turn_s + random.uniform(1.0, 20.0)
        turns.append(SpeakerTurn(start_s=turn_s, end_s=end_s, label=f"SPEAKER_{random.randrange(4):02}"))
        turn_s = end_s + random.choice([0.0, 0.2, 0.5])
    track = tuple(turns)
    return tuple(words), Diarization(turns=track, exclusive=track, embeddings=(), diarizer="made", model="none")


def _seconds_of_whisperx(words: tuple[Word, ...], turns: tuple[SpeakerTurn, ...]) -> float:
    """Segments of 20 words; building its input is not counted."""
    import pandas  # type: ignore[import-untyped]  # ships no types

    with warnings.catch_warnings(action="ignore"):  # torchcodec misses an FFmpeg that nothing here needs
        from whisperx.diarize import assign_word_speakers

    heard = pandas.DataFrame([{"start": t.start_s, "end": t.end_s, "speaker": t.label} for t in turns])
    spoken: list[dict[str, Any]] = [{"word": w.text, "start": w.start_s, "end": w.end_s} for w in words]
    pieces = [spoken[i : i + 20] for i in range(0, len(spoken), 20)]
    segments = [{"start": piece[0]["start"], "end": piece[-1]["end"], "text": "", "words": piece} for piece in pieces]
    return _seconds(lambda: assign_word_speakers(heard, {"segments": segments}))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(name: str, ours_s: float, reference_s: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": round(ours_s, 3),
        "reference": round(reference_s, 3),
        "ratio": round(ours_s / reference_s, 4),
        "unit": "s",
    }
