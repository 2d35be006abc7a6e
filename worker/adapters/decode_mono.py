"""
From decoded frames to one channel: the mean of all channels, and what was seen on the way.

The mean is what librosa's `to_mono` gives; FFmpeg's own downmix is not used, because its weights depend on the layout (a
voice on the left channel only would come out 3 dB louder, the centre of a 5.1 file six times as loud).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import AudioFrame

Samples = NDArray[np.float32]

FULL_SCALE = 0.9999
"""A sample counts as clipped from here on; 32767 / 32768, the largest 16-bit value, is above it."""

CANCELS_BELOW = 0.1
"""Energy of the mean over the energy that unrelated channels would give. For two equally loud channels with correlation
r it is 1 + r: 2 when they are the same, 1 when they are unrelated, 0.1 when r is -0.9, 0 when they cancel entirely."""

# Sample format of FFmpeg, without the `p` of planar -> numpy type, factor to [-1, 1], value of silence.
_FORMATS: dict[str, tuple[Any, float, float]] = {
    "u8": (np.uint8, 1 / 2**7, 128.0),
    "s16": (np.int16, 1 / 2**15, 0.0),
    "s32": (np.int32, 1 / 2**31, 0.0),
    "s64": (np.int64, 1 / 2**63, 0.0),
    "flt": (np.float32, 1.0, 0.0),
    "dbl": (np.float64, 1.0, 0.0),
}


@dataclass
class ChannelStatistics:
    """What the channels looked like before they became one."""

    num_samples: int = 0
    num_clipped: int = 0
    mono_energy: float = 0.0
    unrelated_energy: float = 0.0
    energy: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, channels: Samples, mono: Samples) -> None:
        """`channels` is (num_channels, num_samples), `mono` their mean, (num_samples,)."""
        num_channels = len(channels)
        self.num_samples += channels.size
        if max(channels.max(), -channels.min()) >= FULL_SCALE:
            self.num_clipped += int(np.count_nonzero(np.abs(channels) >= FULL_SCALE))
        if num_channels == 1:
            return
        energy = np.einsum("ij,ij->i", channels, channels)  # np.dot would wake OpenBLAS's threads, which spin
        if len(self.energy) < num_channels:
            self.energy = np.pad(self.energy, (0, num_channels - len(self.energy)))
        self.energy[:num_channels] += energy
        self.unrelated_energy += float(energy.sum()) / num_channels**2
        self.mono_energy += float(np.einsum("i,i->", mono, mono))

    @property
    def clipped_share(self) -> float:
        return self.num_clipped / self.num_samples if self.num_samples else 0.0

    @property
    def cancels(self) -> bool:
        """Whether the mean lost most of what the channels held (one wired the wrong way round, say)."""
        return self.mono_energy < CANCELS_BELOW * self.unrelated_energy

    @property
    def loudest(self) -> int:
        return int(np.argmax(self.energy))


class MonoMixer:
    """Frame -> mono samples. `channel` takes that channel alone instead of the mean, where the frame has it."""

    def __init__(self, channel: int | None = None) -> None:
        self.statistics = ChannelStatistics()
        self._channel = channel

    def mix(self, frame: AudioFrame) -> Samples:
        """Float32 in [-1, 1] unless the recording itself goes beyond, shape (num_samples,)."""
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # hostile floats; the spool's peak notices what is left of them
            channels = channels_of(frame)
            mono: Samples = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
            self.statistics.add(channels, mono)
        if self._channel is not None and self._channel < len(channels):
            mono = channels[self._channel]
        return mono


def channels_of(frame: AudioFrame) -> Samples:
    """Float32, shape (num_channels, num_samples), C order."""
    name, num_channels, num_samples = frame.format.name, frame.layout.nb_channels, frame.samples
    dtype, scale, zero = _FORMATS[name.removesuffix("p")]
    if frame.format.is_planar:
        raw = [np.frombuffer(memoryview(plane), dtype, num_samples) for plane in frame.planes]
    else:
        flat = np.frombuffer(memoryview(frame.planes[0]), dtype, num_samples * num_channels)
        raw = [flat[index::num_channels] for index in range(num_channels)]
    channels = np.empty((num_channels, num_samples), np.float32)
    for out, values in zip(channels, raw, strict=True):
        if zero:
            np.subtract(values, zero, out=out, casting="unsafe")
            out *= np.float32(scale)
        else:
            np.multiply(values, np.float32(scale), out=out, casting="unsafe")
    return channels
