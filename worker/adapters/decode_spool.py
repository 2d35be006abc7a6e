"""
The way of the samples to the disk: any rate -> 16 kHz -> float32 scratch file -> peak-normalised PCM-16 WAV.

The peak is known only at the end, so the samples wait in a scratch file of 230 MB per hour; memory holds one block. The
scratch file has no name from the start (O_TMPFILE where the file system has it): a killed process leaves nothing of it.
"""

from __future__ import annotations

import os
import tempfile
import wave
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from worker.adapters.decode_mono import Samples

RATE_HZ = 16_000
BLOCK_SAMPLES = 1 << 16


class Resampler:
    """Mono blocks of any rate, which may change in between -> mono blocks at 16 kHz (soxr HQ, as librosa does it)."""

    def __init__(self) -> None:
        self._rate_hz = RATE_HZ
        self._stream: Any = None

    def resample(self, rate_hz: int, samples: Samples) -> Samples:
        head = self.flush() if rate_hz != self._rate_hz else samples[:0]
        if rate_hz != self._rate_hz:
            self._start(rate_hz)
        out = samples if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(samples), False)
        return np.concatenate((head, out)) if len(head) else out

    def flush(self) -> Samples:
        """The rest that the filter still holds."""
        empty = np.zeros(0, np.float32)
        stream, self._stream = self._stream, None
        self._rate_hz = RATE_HZ
        return empty if stream is None else stream.resample_chunk(empty, True)

    def _start(self, rate_hz: int) -> None:
        import soxr

        self._rate_hz = rate_hz
        if rate_hz != RATE_HZ:
            self._stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, "float32", "HQ")


class Spool:
    """Mono samples at 16 kHz wait here until the peak is known."""

    def __init__(self, folder: Path) -> None:
        self._scratch = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by __exit__
        self._energy = 0.0
        self.num_samples = 0
        self.peak = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._scratch.close()

    @property
    def duration_s(self) -> float:
        return self.num_samples / RATE_HZ

    @property
    def rms(self) -> float:
        return float(np.sqrt(self._energy / self.num_samples)) if self.num_samples else 0.0

    def write(self, samples: Samples) -> None:
        if not len(samples):
            return
        self.peak = float(np.maximum(self.peak, max(samples.max(), -samples.min())))  # NaN stays NaN
        self._energy += float(np.square(samples, dtype=np.float64).sum())
        self.num_samples += len(samples)
        write_all(self._scratch.fileno(), np.ascontiguousarray(samples).data)

    def clear(self) -> None:
        """Begin again."""
        self._scratch.seek(0)
        self._scratch.truncate()
        self._energy, self.num_samples, self.peak = 0.0, 0, 0.0

    def write_wav(self, target: Path) -> None:
        """Peak at full scale, rounded exactly as libsndfile does; complete and on disk, or not there at all."""
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                self._write_pcm(file)
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _write_pcm(self, file: Any) -> None:
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(RATE_HZ)
            wav.setnframes(self.num_samples)
            self._scratch.seek(0)
            buffer = np.empty(BLOCK_SAMPLES, np.float32)
            while num_bytes := self._scratch.readinto(buffer.data):
                wav.writeframesraw(to_pcm16(buffer[: num_bytes // 4], 1.0 / self.peak).data)


def to_pcm16(samples: Samples, gain: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Little-endian int16 of `samples * gain`; works in place. libsndfile scales by 32768, rounds down and clips."""
    np.multiply(samples, np.float32(gain), out=samples)
    np.multiply(samples, np.float32(32768), out=samples)
    np.floor(samples, out=samples)
    np.minimum(samples, np.float32(32767), out=samples)
    return samples.astype("<i2")


def write_all(descriptor: int, data: memoryview) -> None:
    """A raw write may take only a part, on a disk that is filling up say; the next one then says why."""
    left = data.cast("B")
    while left:
        left = left[os.write(descriptor, left) :]
