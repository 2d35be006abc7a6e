"""
The way of the samples to the disk: any rate -> 16 kHz -> float32 scratch file -> peak-normalised PCM-16 WAV.

The peak is known only at the end, so the samples wait in a scratch file of 230 MB per hour; memory holds one block. The
scratch file has no name from the start (O_TMPFILE where the file system has it): a killed process leaves nothing of it.
"""

from __future__ import annotations

import os
import tempfile
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, FileIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.adapters.decode_measures import RATE_HZ, Measures
from worker.adapters.decode_mono import Samples, energy_of

BLOCK_SAMPLES = 1 << 16
WAV_HEADER_BYTES = 44


class Resampler:
    """Mono blocks of any rate, which may change in between -> mono blocks at 16 kHz (soxr HQ, as librosa does it)."""

    def __init__(self) -> None:
        self._rate_hz = RATE_HZ
        self._stream: Any = None

    def resample(self, rate_hz: int, samples: Samples) -> list[Samples]:
        if rate_hz == self._rate_hz:
            return [self._next(samples)]
        rest = self.flush()
        self._start(rate_hz)
        return [rest, self._next(samples)]

    def flush(self) -> Samples:
        """The rest that the filter still holds; afterwards it begins anew."""
        nothing: Samples = np.zeros(0, np.float32)
        rest: Samples = nothing if self._stream is None else self._stream.resample_chunk(nothing, True)
        self._stream, self._rate_hz = None, RATE_HZ
        return rest

    def _next(self, samples: Samples) -> Samples:
        whole = np.ascontiguousarray(samples)
        result: Samples = whole if self._stream is None else self._stream.resample_chunk(whole, False)
        return result

    def _start(self, rate_hz: int) -> None:
        import soxr

        self._rate_hz = rate_hz
        if rate_hz != RATE_HZ:
            self._stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, "float32", "HQ")


class Spool:
    """
    Takes mono samples at 16 kHz, drops what lies outside of its window, measures and keeps the rest in `scratch`.

    The window leaves out the first `num_skipped` samples and all beyond `num_kept` after them.
    """

    def __init__(
        self, scratch: FileIO, measures: Measures, *, num_skipped: int = 0, num_kept: int | None = None
    ) -> None:
        self._scratch = scratch
        self._measures = measures
        self._num_to_skip = num_skipped
        self._num_kept = num_kept

    def write(self, samples: Samples) -> None:
        skipped = min(self._num_to_skip, len(samples))
        self._num_to_skip -= skipped
        kept = samples[skipped:]
        if self._num_kept is not None:
            kept = kept[: self._num_kept - self._measures.num_samples]
        if not len(kept):
            return
        self._measures.add_peak(float(np.maximum(kept.max(), -kept.min())))
        with np.errstate(over="ignore", invalid="ignore"):
            self._measures.energy += energy_of(kept)
        self._measures.num_samples += len(kept)
        write_all(self._scratch, kept)


def scratch_file(folder: Path) -> FileIO:
    """An empty file in `folder` without a name, to be closed by the caller."""
    file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by the caller
    return file  # type: ignore[no-any-return]  # unbuffered, so a FileIO


Gains = Callable[[int, int], Samples]
"""From the number of the first sample, and how many: the factor for each."""


def write_wav(
    target: Path, scratches: Sequence[FileIO], *, num_samples: int, peak: float, gains: Gains | None = None
) -> None:
    """
    What lies in the scratch files, one after the other, with its peak at full scale; on disk completely, or not there.
    `gains` are applied on the way.

    Rounded exactly as libsndfile does it, so that the bytes equal `soundfile.write(target, samples / peak, 16000)`. The
    scratch files are empty afterwards.
    """
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb", buffering=0) as file:
            file.write(wav_header(num_samples))
            write_pcm(file.fileno(), scratches, 1.0 / peak, gains)
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def wav_header(num_samples: int) -> bytes:
    """The 44 bytes before the samples, written by the standard library."""
    header = BytesIO()
    with wave.open(header, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE_HZ)
        wav.setnframes(num_samples)
        wav.writeframesraw(b"")
        return header.getvalue()


def write_pcm(target: int, scratches: Sequence[FileIO], gain: float, gains: Gains | None = None) -> None:
    """Each scratch file in a thread of its own: arithmetic and disk work outside of Python's lock."""
    sizes = [scratch.seek(0, os.SEEK_END) for scratch in scratches]
    with ThreadPoolExecutor(len(scratches), thread_name_prefix="wav") as pool:
        offsets = (WAV_HEADER_BYTES + before // 2 for before in accumulate(sizes, initial=0))
        for future in [
            pool.submit(move_pcm, scratch, target, at, gain, gains)
            for scratch, at in zip(scratches, offsets, strict=False)
        ]:
            future.result()


def move_pcm(scratch: FileIO, target: int, offset: int, gain: float, gains: Gains | None = None) -> None:
    buffer = np.empty(BLOCK_SAMPLES, np.float32)
    scratch.seek(0)
    while num_bytes := scratch.readinto(buffer.data):
        samples = buffer[: num_bytes // 4]
        if gains is not None:
            samples *= gains((offset - WAV_HEADER_BYTES) // 2, len(samples))
        left = to_pcm16(samples, gain).data.cast("B")
        while left:  # the disk may take only a part; the next write then raises why
            num_written = os.pwrite(target, left, offset)
            left, offset = left[num_written:], offset + num_written
    scratch.truncate(0)  # here and not when it is closed: giving back the pages takes as long as all the rest


def to_pcm16(samples: Samples, gain: float) -> NDArray[np.int16]:
    """Little-endian int16 of `samples * gain`, done in place. libsndfile scales by 32768, rounds down and clips."""
    samples *= np.float32(gain)
    samples *= np.float32(32768)
    np.floor(samples, out=samples)
    np.minimum(samples, np.float32(32767), out=samples)
    return samples.astype("<i2")


def write_all(file: FileIO, samples: Samples) -> None:
    """A raw write may take only a part, on a disk that is filling up say; the next one then raises why."""
    left = np.ascontiguousarray(samples).data.cast("B")
    while left:
        left = left[file.write(left) :]
