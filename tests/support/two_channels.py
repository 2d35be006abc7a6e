"""A conversation of two with each voice on a track of its own, and the stereo recordings that come of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tests.support.spoken_meetings import RATE_HZ, SpokenText, sensible_meeting

Tracks = npt.NDArray[np.float64]
"""In [-1, 1], shape (num_samples, 2), 16 000 Hz; the first speaker of the meeting is on the first channel."""


def tracks(spoken: SpokenText | None = None) -> Tracks:
    """The voices of a meeting, each on its own track, digital silence where only the other one speaks."""
    meeting = spoken or sensible_meeting()
    turns = meeting.turns()
    apart = np.zeros((len(meeting.samples), 2))
    for turn in turns:
        first, end = round((turn.start_s - 0.05) * RATE_HZ), round((turn.end_s + 0.05) * RATE_HZ)
        apart[first:end, int(turn.label != turns[0].label)] = meeting.samples[first:end]
    return apart


def noise(num_samples: int, level_db: float = -65.0) -> Tracks:
    return np.random.default_rng(0).normal(0, 10 ** (level_db / 20), (num_samples, 2))


def with_crosstalk(apart: Tracks, level_db: float) -> Tracks:
    """As two lapel microphones hear it: the other one's voice comes later, and weaker, and with its echoes."""
    rng = np.random.default_rng(1)
    echoes = rng.normal(size=RATE_HZ // 4) * 10 ** (-3 * np.arange(RATE_HZ // 4) / (RATE_HZ // 4))
    echoes *= 0.5 / np.sqrt(np.square(echoes).sum())
    echoes[0] += 1.0
    num_samples, size = len(apart), 1 << (len(apart) + len(echoes)).bit_length()
    leaked = np.fft.irfft(np.fft.rfft(apart, size, axis=0) * np.fft.rfft(echoes, size)[:, None], size, axis=0)
    return apart + np.roll(leaked[:num_samples], 40, axis=0)[:, ::-1] * 10 ** (level_db / 20)
