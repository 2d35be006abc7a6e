"""
Any recording to 16 kHz mono PCM-16, with PyAV's bundled FFmpeg libraries, in bounded memory and on two cores.

One thread reads and decodes, a second one mixes, resamples and spools, a third one hashes the file; the heavy parts run
outside of Python's lock. Meant for a child process that may be thrown away: what is not foreseen here costs one attempt.
"""

from __future__ import annotations

import errno
import hashlib
import math
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from worker.adapters.decode_mono import ChannelStatistics, MonoMixer
from worker.adapters.decode_packets import Silence, Sound, open_sound
from worker.adapters.decode_spool import RATE_HZ, Resampler, Spool
from worker.exceptions import (
    AudioCorruptedError,
    AudioEmptyError,
    AudioMissingError,
    AudioNotFiniteError,
    AudioPreprocessingError,
    AudioSilentError,
    AudioTooBigError,
    AudioTooLongError,
    AudioTooShortError,
    AudioTruncatedError,
    DiskFullError,
    PCWorkerException,
)
from worker.models import AudioMetadata, ResultWarning, Stage
from worker.ports import Report

if TYPE_CHECKING:
    from av import AudioFrame

QUEUE_BLOCKS = 4
HASH_BLOCK_BYTES = 1 << 20

SHORTEST_S = 0.1
"""Less sound than this is none."""

SILENT_PEAK = 10 ** (-90 / 20)
"""-90 dBFS: one step of 16 bits, what dithered or lossily coded silence reaches."""

TRUNCATED_S = 2.0
TRUNCATED_SHARE = 0.01
"""Shorter than the header says by more than both: worth a warning. Headers count in packets, some in whole seconds."""

UNUSABLE_SHARE = 0.5
"""Of the packets damaged: what is left makes no transcript."""

MIN_BIT_RATE = 500
"""Bits per second; a header that states so long a recording for so few bytes is wrong, so it is not believed."""

WAV_LIMIT_S = (2**32 - 2**16) / (2 * RATE_HZ)
"""What the 32-bit lengths of a WAV file can hold, 37 hours."""


@dataclass(frozen=True)
class Take:
    """One pass over a recording; its samples are in the spool."""

    sound: Sound
    statistics: ChannelStatistics


class PyavDecoder:
    """
    Implements `ports.Decoder` for the containers and codecs of the bundled FFmpeg, playlists excepted.

    Time: the first sample written is the first sound of the recording, with the encoder's priming removed where the file
    tells of it (m4a, opus, mp3 with an Info tag; other mp3 and ADTS begin 21 to 26 ms late). Packets that were lost leave
    silence of their length. So the times of words are seconds of the sound track as a player shows them; in a file whose
    sound begins after its picture, the player's clock is ahead by `start_offset_s`.

    A damaged recording is used as far as it goes: bad packets, gaps, an early end and cancelling channels are warnings of
    the result. An error says that no transcript can come of it.
    """

    def __init__(self, *, max_hours: float, max_bytes: int) -> None:
        self._max_s = min(max_hours * 3600.0, WAV_LIMIT_S)
        self._max_bytes = max_bytes

    def decode(self, source: Path, target: Path, report: Report) -> AudioMetadata:
        """See `ports.Decoder`; raises AudioMissingError too, and AudioPreprocessingError for what failed on our side."""
        with typed_errors():
            size_bytes = self._size_of(source)
            with hashed(source) as sha256, Spool(target.parent) as spool:
                take, warnings = self._best_take(source, size_bytes, spool, report)
                check_usable(take, spool)
                metadata = describe(take, spool, size_bytes, sha256.result(), warnings)
                spool.write_wav(target)
                report(1.0)
                return metadata

    def _size_of(self, source: Path) -> int:
        try:
            found = source.stat()
        except FileNotFoundError as error:
            raise AudioMissingError from error
        if not stat.S_ISREG(found.st_mode):
            raise AudioCorruptedError(
                "The recording is not a file. Upload the recording itself, then retry the meeting."
            )
        if found.st_size == 0:
            raise AudioEmptyError
        if found.st_size > self._max_bytes:
            raise AudioTooBigError
        return found.st_size

    def _best_take(
        self, source: Path, size_bytes: int, spool: Spool, report: Report
    ) -> tuple[Take, tuple[ResultWarning, ...]]:
        """The mean of the channels, or the loudest of them where the mean cancels."""
        take = self._take(source, size_bytes, spool, report)
        if not take.statistics.cancels:
            return take, ()
        spool.clear()
        channel = take.statistics.loudest
        warning = warn(
            "audio_channels_cancel",
            f"The channels of the recording cancel each other; only channel {channel + 1} was used. Check the wiring.",
        )
        return self._take(source, size_bytes, spool, report, channel), (warning,)

    def _take(self, source: Path, size_bytes: int, spool: Spool, report: Report, channel: int | None = None) -> Take:
        mixer, resampler = MonoMixer(channel), Resampler()

        def work(block: AudioFrame | Silence) -> None:
            if isinstance(block, Silence):
                spool.write(resampler.resample(block.rate_hz, np.zeros(block.num_samples, np.float32)))
            else:
                spool.write(resampler.resample(block.sample_rate, mixer.mix(block)))
            if spool.duration_s > self._max_s:
                raise self._too_long()

        with open_sound(source, size_bytes) as sound:
            if believable_s(sound, size_bytes) > self._max_s:
                raise self._too_long()
            reported = 0.0
            with second_thread(work) as put:
                for block in sound.blocks():
                    if not put(block):
                        break
                    if sound.progress >= reported + 0.01:
                        reported = sound.progress
                        report(min(reported, 0.99))
            spool.write(resampler.flush())
            return Take(sound, mixer.statistics)

    def _too_long(self) -> AudioTooLongError:
        return AudioTooLongError(
            f"The recording is longer than the {self._max_s / 3600:.4g} hours allowed. Split it, or raise MAX_AUDIO_HOURS."
        )


def believable_s(sound: Sound, size_bytes: int) -> float:
    """The stated length as far as the bytes can hold it; 0 when there is none to believe."""
    stated_s = sound.header.duration_s
    if stated_s is None or stated_s * MIN_BIT_RATE > size_bytes * 8:
        return 0.0
    if sound.header.pcm_bit_rate:
        return min(stated_s, size_bytes * 8 / sound.header.pcm_bit_rate)
    return stated_s


def check_usable(take: Take, spool: Spool) -> None:
    sound = take.sound
    if not math.isfinite(spool.peak):
        raise AudioNotFiniteError
    if sound.num_bad_packets > UNUSABLE_SHARE * sound.num_packets:
        raise AudioCorruptedError(num_bad_packets=sound.num_bad_packets, num_packets=sound.num_packets)
    if spool.duration_s < SHORTEST_S:
        raise AudioTruncatedError if (sound.header.duration_s or 0.0) > TRUNCATED_S else AudioTooShortError
    if spool.peak < SILENT_PEAK:
        raise AudioSilentError


def describe(
    take: Take, spool: Spool, size_bytes: int, sha256: str, warnings: tuple[ResultWarning, ...]
) -> AudioMetadata:
    header = take.sound.header
    return AudioMetadata(
        sha256=sha256,
        size_bytes=size_bytes,
        container=header.container,
        codec=header.codec,
        rate_hz=header.rate_hz,
        num_channels=header.num_channels,
        duration_s=spool.duration_s,
        start_offset_s=header.start_offset_s,
        loudness_dbfs=decibel(spool.rms),
        peak_dbfs=decibel(spool.peak),
        clipped_share=take.statistics.clipped_share,
        gap_s=take.sound.gap_s,
        num_bad_packets=take.sound.num_bad_packets,
        warnings=warnings + tuple(findings(take.sound, spool.duration_s)),
    )


def findings(sound: Sound, duration_s: float) -> Iterator[ResultWarning]:
    """What a reader of the transcript should know about the recording."""
    stated_s = sound.header.duration_s
    if stated_s is not None and stated_s - duration_s > max(TRUNCATED_S, TRUNCATED_SHARE * stated_s):
        message = f"The recording ends after {duration_s:.0f} s of {stated_s:.0f} s; the upload was probably cut off."
        yield warn("audio_truncated", message + " What there is was transcribed.")
    if sound.num_bad_packets:
        message = f"{sound.num_bad_packets} of {sound.num_packets} packets of the recording are damaged"
        yield warn("audio_damaged", message + "; words may be missing.")
    if sound.gap_s > 1.0:
        yield warn("audio_gaps", f"{sound.gap_s:.0f} s of the recording are missing and were replaced by silence.")
    if sound.header.num_tracks > 1:
        message = f"The file has {sound.header.num_tracks} sound tracks; only the main one was transcribed."
        yield warn("audio_tracks_ignored", message)


def warn(code: str, message: str) -> ResultWarning:
    return ResultWarning(code=code, message=message, stage=Stage.DECODE)


def decibel(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 2) if amplitude > 0 else None


@contextmanager
def second_thread(work: Callable[[AudioFrame | Silence], None]) -> Iterator[Callable[[AudioFrame | Silence], bool]]:
    """Gives `put`, which hands a block to `work` in another thread, and is False once that failed; the end raises why."""
    queue: Queue[AudioFrame | Silence | None] = Queue(QUEUE_BLOCKS)
    failed = Event()

    def run() -> None:
        try:
            while (block := queue.get()) is not None:
                work(block)
        except BaseException:
            failed.set()
            for _ in iter(queue.get, None):  # the other side must not wait on a full queue
                pass
            raise

    def put(block: AudioFrame | Silence) -> bool:
        queue.put(block)
        return not failed.is_set()

    with ThreadPoolExecutor(1, thread_name_prefix="mix") as pool:
        future = pool.submit(run)
        try:
            yield put
        finally:
            queue.put(None)
        future.result()


@contextmanager
def hashed(source: Path) -> Iterator[Future[str]]:
    """The SHA-256 of the file, made in another thread while it is decoded."""
    stopped = Event()

    def run() -> str:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(HASH_BLOCK_BYTES))
        with source.open("rb", buffering=0) as file:
            while not stopped.is_set() and (num_bytes := file.readinto(buffer)):
                digest.update(buffer[:num_bytes])
        return digest.hexdigest()

    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        try:
            yield pool.submit(run)
        finally:
            stopped.set()


@contextmanager
def typed_errors() -> Iterator[None]:
    """Nothing foreign leaves the decoder."""
    try:
        yield
    except PCWorkerException:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError from error
        raise AudioPreprocessingError(reason=f"{type(error).__name__}: {error}") from error
