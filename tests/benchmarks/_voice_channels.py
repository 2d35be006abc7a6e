"""Ways in which a voice reaches a recording, simulated: telephones, rooms, noise, another day."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

RATE_HZ = 16_000

Sound = npt.NDArray[np.float32]
"""Shape (num_samples,), 16 000 Hz."""
Channel = Callable[[Sound], Sound]


def as_recorded(sound: Sound) -> Sound:
    return sound


def telephone(order: int = 4, low_hz: int = 300, high_hz: int = 3400) -> Channel:
    """A Butterworth band pass with skirts of this order, 8000 samples a second, mu-law with 8 bits, and back."""

    def channel(sound: Sound) -> Sound:
        band = sosfilt(butter(order, (low_hz, high_hz), "bandpass", fs=RATE_HZ, output="sos"), sound)
        return np.asarray(soxr.resample(_mu_law(soxr.resample(band, RATE_HZ, 8000)), 8000, RATE_HZ), np.float32)

    return channel


def _mu_law(sound: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    scaled = 0.9 * sound / max(1e-9, float(np.abs(sound).max()))
    coded = np.round(127 * np.sign(scaled) * np.log1p(255 * np.abs(scaled)) / np.log(256)) / 127
    decoded: npt.NDArray[np.floating] = np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    return decoded


def room(reverberation_s: float = 0.4, reflected: float = 0.7) -> Channel:
    """
    Noise that begins 2.5 ms after the direct sound, `reflected` times as loud in all, and dies away by 60 dB in
    `reverberation_s`.
    """

    def channel(sound: Sound) -> Sound:
        random = np.random.default_rng(0)
        num = round(reverberation_s * RATE_HZ)
        response = random.normal(size=num) * 10 ** (-3 * np.arange(num) / num)
        response[:40] = 0
        response *= reflected / np.linalg.norm(response)
        response[0] = 1
        return np.asarray(fftconvolve(sound, response)[: len(sound)], np.float32)

    return channel


def noise(ratio_db: float) -> Channel:
    """Pink noise, so far below the speech."""

    def channel(sound: Sound) -> Sound:
        spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=len(sound)))
        pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(sound))
        pink *= np.sqrt(np.mean(sound**2) / np.mean(pink**2) / 10 ** (ratio_db / 10))
        return np.asarray(sound + pink, np.float32)

    return channel


def another_day(speed: float, treble_db: float) -> Channel:
    """
    Tempo and pitch changed together, so the sound gets longer or shorter; another microphone (a tilt above 1 kHz), a
    small room, a little noise.
    """

    def channel(sound: Sound) -> Sound:
        moved = soxr.resample(sound, RATE_HZ * speed, RATE_HZ)
        treble = sosfilt(butter(1, 1000, "highpass", fs=RATE_HZ, output="sos"), moved)
        tilted = np.asarray(moved + (10 ** (treble_db / 20) - 1) * treble, np.float32)
        return noise(25)(room(0.25, 0.4)(tilted))

    return channel


CHANNELS: Mapping[str, Channel] = {
    "as recorded": as_recorded,
    "telephone": telephone(),
    "telephone, flat skirts": telephone(order=2),
    "telephone, steep skirts": telephone(order=8),
    "telephone over IP": telephone(order=3, low_hz=80, high_hz=3700),
    "room": room(),
    "noise at 10 dB": noise(10),
    "another day, lower": another_day(0.98, -3),
    "another day, higher": another_day(1.02, 3),
}
