"""
Whether the two channels of a recording are one person's each, and when each of them is heard; from their levels alone.

Telephone recorders and interview recorders with two lapel microphones write such files. In a room recorded in stereo
everybody is on both channels, about equally loud. A wrong "apart" costs more than a wrong "mixed", which is what every
recording was before, so that all doubts mean mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.adapters.decode_levels import Levels
from worker.adapters.decode_measures import FRAMES_PER_S, QUIETEST_DB, RATE_HZ

Flags = NDArray[np.bool_]

DOMINATES_DB = 8.0
EQUAL_DB = 5.0
"""One channel is clearly louder, or neither is; both channels brought to the same loudness of speech before. The lapel
microphone of the other one picks up a voice 10 to 20 dB weaker; a pair of microphones in one place 0 to 6 dB."""

MIN_DOMINATED_SHARE = 0.6
MAX_EQUAL_SHARE = 0.13
MAX_COMMON_SHARE = 0.06
MAX_THIRD_SHARE = 0.005
MIN_SHARE_EACH = 0.08
MIN_SPEECH_EACH_S = 3.0
MIN_EXCHANGES = 3
MAX_ECHO = 0.5
"""See `judge`. Our choice, between what `python -m tests.benchmarks.channels` measures (CONTRIBUTING, "Channels"). Of
telephone calls, also with echo or much overlap, nine in ten are dominated in 85 % of the speech or more, equal in 8 %
or less, common in 2 % or less, and have no third one. With a third one between two lapel microphones nine in ten are
equal in 13 % or more, common in 6 % or more, and the third one is seen in 0.7 % or more. The echo is 0.35 or less but
for lapel microphones, of a late copy 0.97 or more. Half of what two lapel microphones record is lost to the doubt."""

MIN_RUN_FRAMES = 15
"""0.3 s: a click or a cough is no speech."""

BRIDGE_FRAMES = 6
"""0.12 s: a gap between two syllables belongs to both."""

COMMON_BRIDGE_FRAMES = 4
COMMON_FRAMES = 20
"""Equally loud on both for 0.4 s: two who talk at once hardly are, somebody in the middle is."""

MIN_RANGE_DB = 15.0
"""Between the noise of a channel and its speech; a dead channel, or one with a steady hum, has less."""

MAX_ECHO_S = 1.0

NUM_STRETCHES = 12
STRETCH_FRAMES = 150 * FRAMES_PER_S
"""Of a longer recording than half an hour so many stretches of two and a half minutes are judged, evenly spread: twelve
hours need no more memory than one, and whoever has a channel has it all the time."""

STEADY_FRAMES = 15
STEADY_DB = 2.0
NO_LEAK_DB = 8.0
"""See `_third_share`."""

HOLD_FRAMES = 5
TAIL_FRAMES = 6
LEAK_MARGIN_DB = 6.0
MAX_LEAK_DB = -4.0
"""See `openings`."""


@dataclass(frozen=True)
class Judgement:
    """What speaks for and against it; shares are of the frames in which somebody speaks audibly."""

    dominated_share: float = 0.0
    equal_share: float = 1.0
    common_share: float = 1.0
    third_share: float = 1.0
    speech_s: tuple[float, float] = (0.0, 0.0)
    num_exchanges: int = 0
    echo: float = 1.0

    @property
    def are_apart(self) -> bool:
        total_s = sum(self.speech_s)
        return (
            self.dominated_share >= MIN_DOMINATED_SHARE
            and self.equal_share <= MAX_EQUAL_SHARE
            and self.common_share <= MAX_COMMON_SHARE
            and self.third_share <= MAX_THIRD_SHARE
            and min(self.speech_s) >= max(MIN_SPEECH_EACH_S, MIN_SHARE_EACH * total_s)
            and self.num_exchanges >= MIN_EXCHANGES
            and self.echo <= MAX_ECHO
        )


def judge(levels: Levels) -> Judgement:
    """
    Who dominates, in how much of the speech, how often that changes, and whether one channel follows the other.

    A stretch counts as a channel's speech if the channel dominates for MIN_RUN_FRAMES. `echo` is the correlation of the
    loudness of both, at the shift of up to MAX_ECHO_S that makes it greatest: a delayed copy would dominate in turns.
    Of long recordings stretches are judged; seconds are then scaled to the whole.
    """
    whole, levels = len(levels), _stretches(levels)
    if len(levels) < 2 or min(_range_db(levels)) < MIN_RANGE_DB:
        return Judgement()
    relative = levels - _speech_db(levels)
    audible = _audible(relative)
    if not audible.any():
        return Judgement()
    difference = relative[:, 0] - relative[:, 1]
    is_equal = audible & (np.abs(difference) < EQUAL_DB)
    speech = [_runs(audible & (sign * difference >= DOMINATES_DB)) for sign in (1, -1)]
    seconds = whole / len(levels) / FRAMES_PER_S
    holder = (speech[0].astype(np.int8) - speech[1])[speech[0] != speech[1]]
    return Judgement(
        dominated_share=float(np.mean(np.abs(difference[audible]) >= DOMINATES_DB)),
        equal_share=float(is_equal.sum() / audible.sum()),
        common_share=float(_runs(is_equal, bridge=COMMON_BRIDGE_FRAMES, shortest=COMMON_FRAMES).sum() / audible.sum()),
        third_share=_third_share(relative, audible),
        speech_s=(seconds * float(speech[0].sum()), seconds * float(speech[1].sum())),
        num_exchanges=int(np.count_nonzero(np.diff(holder))),
        echo=_echo(relative),
    )


def _stretches(levels: Levels) -> Levels:
    if len(levels) <= NUM_STRETCHES * STRETCH_FRAMES:
        return levels
    starts = np.linspace(0, len(levels) - STRETCH_FRAMES, NUM_STRETCHES).astype(int)
    return np.concatenate([levels[start : start + STRETCH_FRAMES] for start in starts])


def _floor_db(levels: Levels) -> NDArray[np.float32]:
    return np.percentile(levels, 10, axis=0).astype(np.float32)


def _speech_db(levels: Levels) -> NDArray[np.float32]:
    """How loud each channel is when it is loud. Shape (2,)."""
    return np.percentile(levels, 97, axis=0).astype(np.float32)


def _range_db(levels: Levels) -> list[float]:
    """Of each channel; nothing for one that is silent but for single steps of 16 bits."""
    speech, floor = _speech_db(levels), _floor_db(levels)
    return [float(s - f) if s > -QUIETEST_DB + 24 else 0.0 for s, f in zip(speech, floor, strict=True)]


def _audible(relative: Levels) -> Flags:
    """Frames in which a channel is loud enough that the noise of the other one could not hide who it is."""
    noise = float(_floor_db(relative).max())
    flags: Flags = relative.max(axis=1) >= max(noise + DOMINATES_DB + 4.0, -25.0)
    return flags


def _runs(flags: Flags, bridge: int = BRIDGE_FRAMES, shortest: int = MIN_RUN_FRAMES) -> Flags:
    """Without gaps of up to BRIDGE_FRAMES, then without runs that are shorter than MIN_RUN_FRAMES."""
    return _without_short(~_without_short(~flags, bridge + 1), shortest)


def _without_short(flags: Flags, min_length: int) -> Flags:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    kept = np.zeros(len(flags) + 1, np.int8)
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= min_length
    kept[starts[long]] += 1
    kept[ends[long]] -= 1
    result: Flags = np.cumsum(kept[:-1]) > 0
    return result


def _third_share(relative: Levels, audible: Flags) -> float:
    """
    How much is said by somebody who is on both channels, and whose channel is neither.

    The channels differ then by the same, within STEADY_DB, for STEADY_FRAMES; while two talk at once that hardly
    happens. And they differ by NO_LEAK_DB less than while the person of the louder channel speaks.
    """
    difference = (relative[:, 0] - relative[:, 1]).astype(np.float64)
    is_on_both = (relative >= np.maximum(_floor_db(relative) + NO_LEAK_DB, -45.0)).all(axis=1)
    usual = [_usual_db(sign * difference[audible]) for sign in (1, -1)]
    mean = _moving_mean(difference)
    spread = np.sqrt(np.maximum(_moving_mean(np.square(difference)) - np.square(mean), 0.0))
    is_steady = (spread < STEADY_DB) & (_moving_mean(is_on_both) > 0.99)
    is_third = is_steady & (np.abs(mean) < np.where(mean > 0, usual[0], usual[1]) - NO_LEAK_DB)
    return float(is_third.sum() / audible.sum())


def _usual_db(difference: NDArray[np.float64]) -> float:
    """By how much a channel is louder while its person speaks; a third one makes it less, so that it is no median."""
    dominated = difference[difference >= DOMINATES_DB]
    return float(np.percentile(dominated, 70)) if len(dominated) else DOMINATES_DB


def _moving_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Over STEADY_FRAMES around each frame; as long as `values`, whose ends count on."""
    sums = np.cumsum(np.pad(values.astype(np.float64), (STEADY_FRAMES // 2 + 1, STEADY_FRAMES // 2), mode="edge"))
    return (sums[STEADY_FRAMES:] - sums[:-STEADY_FRAMES]) / STEADY_FRAMES


def _echo(relative: Levels) -> float:
    """Greatest correlation of both amplitudes over the shifts. By FFT: a product per shift would take seconds."""
    amplitude = 10 ** (relative / 20)
    amplitude -= amplitude.mean(axis=0)
    power = np.sqrt(np.prod(np.square(amplitude).sum(axis=0)))
    if power == 0:
        return 1.0
    num_shifts = round(MAX_ECHO_S * FRAMES_PER_S)
    spectrum = np.fft.rfft(amplitude, len(amplitude) + num_shifts, axis=0)
    products = np.fft.irfft(spectrum[:, 0] * spectrum[:, 1].conj(), len(amplitude) + num_shifts)
    near = np.concatenate((products[: num_shifts + 1], products[-num_shifts:]))
    return float(near.max() / power)


def openings(levels: Levels) -> tuple[Flags, Flags]:
    """
    For each channel, in which frames it is let through, shape (num_frames,): where what it holds is more than what the
    other voice leaks into it.

    The leak is the median of how much weaker the channel is while the other one dominates, measured for each recording;
    LEAK_MARGIN_DB above it are its echoes in the room. Where nothing leaks, as on the telephone, this opens for the
    softest word in between. A word is followed by HOLD_FRAMES, another voice's reverberation lasts TAIL_FRAMES.
    """
    relative = levels - _speech_db(levels)
    return _opening(relative[:, 0], relative[:, 1]), _opening(relative[:, 1], relative[:, 0])


def _opening(own: NDArray[np.float32], other: NDArray[np.float32]) -> Flags:
    lasting = other.copy()
    for delay in range(1, TAIL_FRAMES + 1):
        np.maximum(lasting[delay:], other[:-delay], out=lasting[delay:])
    leaks = (own - other)[(own - other <= -DOMINATES_DB) & (other >= -20.0)]
    leak = min(float(np.median(leaks)) + LEAK_MARGIN_DB, MAX_LEAK_DB) if len(leaks) else -QUIETEST_DB
    is_own = _without_short(own > lasting + leak, 3)
    held = is_own.copy()
    for shift in range(1, HOLD_FRAMES + 1):
        held[shift:] |= is_own[:-shift]
        held[:-shift] |= is_own[shift:]
    return held


def gains_at(opening: Flags, first: int, num_samples: int) -> NDArray[np.float32]:
    """
    The opening as a factor for each of the 16 kHz samples from `first` on, fading from frame to frame.

    A frame fades within itself towards a closed one, so that nothing clicks; HOLD_FRAMES keep words away from there.
    """
    centres = np.arange(first, first + num_samples) * (FRAMES_PER_S / RATE_HZ) - 0.5
    near = slice(max(0, int(centres[0]) - 1), int(centres[-1]) + 3)
    gains: NDArray[np.float32] = np.interp(centres, np.arange(len(opening))[near], opening[near]).astype(np.float32)
    return gains
