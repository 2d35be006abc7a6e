"""
From decoded frames to one channel: the mean of all of them, as librosa's `to_mono` does it.

FFmpeg's own downmix is not used. Its weights depend on the layout: a voice on the left channel only would come out 3 dB
louder, the centre of a 5.1 file six times as loud.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from worker.adapters.decode_measures import Measures

if TYPE_CHECKING:
    from av import AudioFrame

Samples = NDArray[np.float32]

FULL_SCALE = 0.9999
"""A sample counts as clipped from here on; 32767 / 32768, the largest 16-bit value, is above it."""

ENERGY_STEP = 8
"""Whether channels cancel shows in every eighth batch as well."""

# Sample format of FFmpeg, without the `p` of planar -> numpy type, factor to [-1, 1], value of silence.
_FORMATS: dict[str, tuple[Any, float, float]] = {
    "u8": (np.uint8, 1 / 2**7, 128.0),
    "s16": (np.int16, 1 / 2**15, 0.0),
    "s32": (np.int32, 1 / 2**31, 0.0),
    "s64": (np.int64, 1 / 2**63, 0.0),
    "flt": (np.float32, 1.0, 0.0),
    "dbl": (np.float64, 1.0, 0.0),
}


class MonoMixer:
    """Channels -> mono samples. `channel` takes that channel alone instead of the mean, where the frame has it."""

    def __init__(self, measures: Measures, channel: int | None = None) -> None:
        self._measures = measures
        self._channel = channel
        self._num_batches = 0

    def mix(self, arrays: list[Samples], num_channels: int) -> Samples:
        """`arrays` as `samples_of` gives them -> shape (num_samples,); in [-1, 1] unless the recording goes beyond."""
        with np.errstate(over="ignore", invalid="ignore"):  # hostile floats: whoever measures the peak notices them
            self._count_clipped(arrays)
            channels = separate(arrays, num_channels)
            if len(channels) == 1:
                return channels[0]
            mono = channels[0] + channels[1]
            for channel in channels[2:]:
                mono += channel
            mono *= np.float32(1 / len(channels))
            if self._num_batches % ENERGY_STEP == 0:
                self._measure_energy(channels, mono)
            self._num_batches += 1
        if self._channel is not None and self._channel < len(channels):
            return channels[self._channel]
        return mono

    def _count_clipped(self, arrays: list[Samples]) -> None:
        for samples in arrays:
            self._measures.num_source_samples += len(samples)
            if max(samples.max(), -samples.min()) >= FULL_SCALE:
                self._measures.num_clipped += int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))

    def _measure_energy(self, channels: list[Samples], mono: Samples) -> None:
        energies = [energy_of(channel) for channel in channels]
        self._measures.add_channel_energy(energies)
        self._measures.unrelated_energy += sum(energies) / len(channels) ** 2
        self._measures.mono_energy += energy_of(mono)


def energy_of(samples: Samples) -> float:
    """Sum of squares. Not np.dot: that wakes OpenBLAS's threads, which spin and take the cores from the decoder."""
    return float(np.einsum("i,i->", samples, samples))


def samples_of(frame: AudioFrame) -> list[Samples]:
    """
    The frame as float32: an array of shape (num_samples,) per channel when it is planar, else a single one of shape
    (num_samples * num_channels,), channels in turns. Float frames are not copied: the arrays are not to be written to.
    """
    from av.audio.plane import AudioPlane

    name, num_channels = frame.format.name, frame.layout.nb_channels
    dtype, scale, zero = _FORMATS[name.removesuffix("p")]
    num_planes, length = (num_channels, frame.samples) if frame.format.is_planar else (1, frame.samples * num_channels)
    # not `frame.planes`: from 8 channels on PyAV 18.1 finds more planes than there are, and those point anywhere
    planes = [AudioPlane(frame, index) for index in range(num_planes)]
    return [to_float(np.frombuffer(memoryview(plane), dtype, length), scale, zero) for plane in planes]


def separate(arrays: list[Samples], num_channels: int) -> list[Samples]:
    """One view of shape (num_samples,) per channel."""
    if len(arrays) == num_channels:
        return arrays
    return [arrays[0][index::num_channels] for index in range(num_channels)]


def to_float(values: NDArray[Any], scale: float, zero: float) -> Samples:
    with np.errstate(over="ignore", invalid="ignore"):  # as in `mix`
        samples = values.astype(np.float32, copy=False)
    if zero:
        samples -= np.float32(zero)
    if scale != 1.0:
        samples *= np.float32(scale)
    return samples
