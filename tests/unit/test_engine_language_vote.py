"""Where Whisper listens for the language, and what is made of its answers."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engine.grid import FRAME_S
from worker.engine.heard_speech import HeardSpeech
from worker.engine.language_vote import vote, windows_of

WINDOWS = [(0.0, 30.0), (100.0, 130.0), (200.0, 230.0)]


def heard(*spans_s: tuple[float, float], length_s: float) -> HeardSpeech:
    scores = np.zeros(round(length_s / FRAME_S), dtype=np.float32)
    for start_s, end_s in spans_s:
        scores[round(start_s / FRAME_S) : round(end_s / FRAME_S)] = 0.9
    return HeardSpeech(scores)


def test_windows_are_spread_over_the_speech_and_not_over_the_silence() -> None:
    """Nobody speaks for the first ten minutes: that is why the first 30 s say nothing."""
    speech = heard((600.0, 1200.0), length_s=1200.0)
    windows = windows_of(speech, 1200.0)
    assert len(windows) == 5
    assert all(end_s - start_s == pytest.approx(30.0) for start_s, end_s in windows)
    assert [start_s for start_s, _ in windows] == pytest.approx([645.0, 765.0, 885.0, 1005.0, 1125.0], abs=0.1)


@pytest.mark.parametrize("length_s", [12.0, 31.0, 95.0, 599.0])
def test_short_recordings_have_three_windows_too(length_s: float) -> None:
    windows = windows_of(heard((0.0, length_s), length_s=length_s), length_s)
    assert len(windows) == 3
    assert all(start_s >= 0 and end_s <= length_s + 0.01 for start_s, end_s in windows)
    expected_s = max(10.0, min(30.0, length_s / 3))
    assert all(end_s - start_s == pytest.approx(expected_s, abs=0.02) for start_s, end_s in windows)


def test_a_very_short_recording_is_one_window_and_silence_none() -> None:
    assert windows_of(heard((0.0, 4.0), length_s=4.0), 4.0) == [(0.0, 4.0)]
    assert windows_of(heard(length_s=60.0), 60.0) == []


def test_speech_is_counted_where_it_is() -> None:
    speech = heard((10.0, 20.0), length_s=60.0)
    assert speech.total_s == pytest.approx(10.0, abs=0.05)
    assert speech.between(0.0, 15.0) == pytest.approx(5.0, abs=0.05)
    assert speech.between(15.0, 500.0) == pytest.approx(5.0, abs=0.05)
    assert speech.between(30.0, 20.0) == 0.0


def test_the_mean_decides_and_is_kept_with_its_windows() -> None:
    found = vote(
        [
            (WINDOWS[0], {"en": 0.9, "de": 0.1}),
            (WINDOWS[1], {"en": 0.7, "de": 0.3}),
            (WINDOWS[2], {"en": 0.8, "de": 0.2}),
        ]
    )
    assert (found.language, found.probability, found.is_doubtful) == ("en", 0.8, False)
    assert [(window.start_s, window.end_s) for window in found.windows] == WINDOWS
    assert found.windows[1].probabilities == (("en", 0.7), ("de", 0.3))


def test_windows_that_disagree_are_a_doubt_however_sure_they_are() -> None:
    found = vote(
        [(WINDOWS[0], {"en": 1.0, "de": 0.0}), (WINDOWS[1], {"en": 1.0}), (WINDOWS[2], {"de": 0.9, "en": 0.1})]
    )
    assert (found.language, found.is_doubtful) == ("en", True)


def test_a_low_probability_is_a_doubt_though_all_agree() -> None:
    found = vote([(window, {"no": 0.4, "sv": 0.3, "da": 0.3}) for window in WINDOWS])
    assert (found.language, found.probability, found.is_doubtful) == ("no", 0.4, True)


def test_only_allowed_languages_are_found_and_share_the_probability() -> None:
    found = vote([(window, {"nl": 0.6, "de": 0.3, "en": 0.1}) for window in WINDOWS], allowed=("de", "en"))
    assert (found.language, found.probability, found.is_doubtful) == ("de", 0.75, False)
    assert found.windows[0].probabilities == (("de", 0.75), ("en", 0.25))


def test_allowed_languages_that_the_model_does_not_know_are_no_choice() -> None:
    assert vote([(WINDOWS[0], {"nl": 0.6, "de": 0.4})], allowed=("tlh",)).language == "nl"


def test_nothing_is_divided_by_zero() -> None:
    found = vote([(WINDOWS[0], {"nl": 1.0, "de": 0.0, "en": 0.0})], allowed=("de", "en"))
    assert (found.language, found.probability) == ("de", 0.5)


def test_of_a_hundred_languages_five_are_kept() -> None:
    found = vote([(WINDOWS[0], {f"l{number}": number / 100 for number in range(100)})])
    assert [code for code, _ in found.windows[0].probabilities] == ["l99", "l98", "l97", "l96", "l95"]
