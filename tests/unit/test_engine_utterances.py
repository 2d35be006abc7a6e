"""Cutting a recording into utterances, with a judge that calls every sample above zero speech."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from worker.engine.utterances import CutRule, Samples, Utterance, cut_utterances

FRAME = 480
RULE = CutRule()


def frames(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), FRAME):
        yield samples[start : start + FRAME]


def is_loud(frame: bytes) -> bool:
    return bool(np.frombuffer(frame, dtype=np.int16).any())


def sound(*parts: tuple[float, int]) -> Samples:
    """(seconds, level) after each other."""
    return np.concatenate([np.full(round(s * 16_000), level, dtype=np.int16) for s, level in parts])


def cut(samples: Samples) -> list[Utterance]:
    return list(cut_utterances(frames(samples), is_loud, RULE))


def test_silence_gives_no_utterance() -> None:
    assert cut(sound((3, 0))) == []
    assert cut(np.empty(0, dtype=np.int16)) == []


def test_a_pause_separates_two_utterances_and_a_short_breath_does_not() -> None:
    """Each keeps a margin of sound on both sides, and no more of the pause than that."""
    recording = sound((1, 0), (2, 50), (0.3, 0), (1, 50), (2, 0), (1, 70), (3, 0))
    first, second = cut(recording)
    for utterance, start_s, end_s in ((first, 1.0, 4.3), (second, 6.3, 7.3)):
        assert abs(utterance.start / 16_000 - (start_s - RULE.margin_s)) <= 0.03
        assert abs((utterance.start + len(utterance.samples)) / 16_000 - (end_s + RULE.margin_s)) <= 0.06


def test_an_utterance_holds_the_samples_that_stand_at_its_place() -> None:
    recording = sound((0.7, 0), (2, 1), (1, 0), (30, 1), (1, 0), (1, 1))
    recording = np.where(recording > 0, np.arange(len(recording)) % 1000 + 1, 0).astype(np.int16)
    for utterance in cut(recording):
        there = recording[utterance.start : utterance.start + len(utterance.samples)]
        np.testing.assert_array_equal(utterance.samples, there)


def test_speech_without_a_pause_is_cut_at_its_quietest_spot() -> None:
    recording = sound((8, 900), (0.3, 20), (9, 900))
    first, second = cut(recording)
    assert abs(len(first.samples) / 16_000 - 8.15) < 0.1
    assert second.start == len(first.samples)
    assert second.start + len(second.samples) == len(recording)


def test_speech_is_covered_in_order_once_and_no_utterance_is_too_long() -> None:
    recording = sound((0.5, 0), (50, 300), (0.4, 0), (25, 200), (2, 0), (4, 100))
    covered = np.zeros(len(recording), dtype=int)
    for utterance in cut(recording):
        assert len(utterance.samples) <= RULE.max_s * 16_000
        covered[utterance.start : utterance.start + len(utterance.samples)] += 1
    assert covered.max() == 1
    assert covered[recording > 0].all()


def test_a_click_is_no_utterance() -> None:
    assert cut(sound((1, 0), (0.06, 500), (2, 0))) == []
