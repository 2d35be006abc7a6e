"""
Any recording to 16 kHz mono PCM-16, with PyAV's bundled FFmpeg libraries, in bounded memory and on two cores; and to a
file per channel as well where each is one person's.

Meant for a child process that may be thrown away: what is not foreseen here costs one attempt.
"""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from io import FileIO
from pathlib import Path
from threading import Event

from worker.adapters.decode_bounds import bounded_memory
from worker.adapters.decode_channels import Apart, told_apart, write_channels
from worker.adapters.decode_container import Header
from worker.adapters.decode_halves import decode_halves
from worker.adapters.decode_measures import RATE_HZ, Measures
from worker.adapters.decode_part import IrregularError, Plan, Source, decode_whole, make_plan
from worker.adapters.decode_spool import scratch_file, write_wav
from worker.disk_errors import disk_error
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
    OutOfMemoryError,
    PCWorkerException,
)
from worker.models import AudioMetadata, ResultWarning, Stage
from worker.ports import Report

HASH_BLOCK_BYTES = 1 << 20

SHORTEST_S = 0.1
"""Less sound than this is none."""

SILENT_PEAK = 2 / 32768
"""-84 dBFS, two steps of 16 bits: what dithered or lossily coded silence reaches after resampling."""

TRUNCATED_S = 2.0
TRUNCATED_SHARE = 0.01
"""Shorter than the header says by more than both: worth a warning. Headers count in packets, some in whole seconds."""

UNUSABLE_SHARE = 0.5
"""Of the packets damaged: what is left makes no transcript."""

AUDIBLE_GAP_S = 1.0
"""Shorter gaps cost no word, so they are counted and not warned of."""

CUT_FROM_S = 900.0
"""Shorter recordings are decoded in one piece: starting a second process takes a quarter of a second."""

WAV_LIMIT_S = (2**32 - 2**16) / (2 * RATE_HZ)
"""What the 32-bit lengths of a WAV file can hold, 37 hours."""


class PyavDecoder:
    """
    Implements `ports.Decoder` for the containers and codecs of the bundled FFmpeg, playlists excepted.

    Time: the first sample written is the first sound of the recording, with the encoder's priming removed where the
    file tells of it (m4a, opus, mp3 with an Info tag; other mp3 and ADTS begin 21 to 26 ms late). Lost packets leave
    silence of their length. So the times of words are seconds of the sound track as a player shows them; in a file
    whose sound begins after its picture, the player's clock is ahead by `start_offset_s`.

    A damaged recording is used as far as it goes: bad packets, gaps, an early end and cancelling channels are warnings
    of the result. An error says that no transcript can come of it.

    Args:
        max_hours, max_bytes: longer or bigger recordings are refused, from the header where it can be believed.
        cut_from_s: recordings of this length are decoded by two processes; infinity for always one.
    """

    def __init__(self, *, max_hours: float, max_bytes: int, cut_from_s: float = CUT_FROM_S) -> None:
        self._max_s = min(max_hours * 3600.0, WAV_LIMIT_S)
        self._max_bytes = max_bytes
        self._cut_from_s = cut_from_s

    def decode(self, source: Path, target: Path, report: Report, *, channels: str | None = None) -> AudioMetadata:
        """See `ports.Decoder`. Raises also AudioMissingError, and AudioPreprocessingError when it is our fault."""
        with typed_errors(), bounded_memory(), scratch_files(target.parent) as scratches:
            what = Source(source, self._checked_size(source), self._max_s)
            with hashed(source) as sha256:
                plan = make_plan(what, cut_from_s=self._cut_from_s)
                report(0.0)  # a hostile file may have taken its time to open, and is opened again
                if plan.header.believable_s(what.size_bytes) > self._max_s:
                    raise AudioTooLongError
                what = replace(what, is_metered=plan.header.num_channels == 2 and channels != "mixed")
                step = in_steps(report)
                measures, warnings = decode_audible(what, plan, scratches, step)
                check_usable(plan.header, measures)
                apart, unfit = told_apart(measures, plan.header, channels)
                metadata = describe(what, plan.header, measures, sha256.result(), [*warnings, *unfit], apart)
            write_wav(target, scratches, num_samples=measures.num_samples, peak=measures.peak)
            if apart is not None:
                again = partial(decode_fast, plan=plan, scratches=scratches, report=step)
                write_channels(target, what, apart, scratches, again)
            report(1.0)
            return metadata

    def _checked_size(self, source: Path) -> int:
        try:
            found = source.stat()
        except FileNotFoundError as error:
            raise AudioMissingError from error
        if not stat.S_ISREG(found.st_mode):
            raise AudioCorruptedError("The recording is a folder or a device. Upload a file, then retry the meeting.")
        if found.st_size == 0:
            raise AudioEmptyError
        if found.st_size > self._max_bytes:
            raise AudioTooBigError
        return found.st_size


def decode_audible(
    source: Source, plan: Plan, scratches: tuple[FileIO, FileIO], report: Report
) -> tuple[Measures, list[ResultWarning]]:
    """The mean of the channels; or the loudest of them, in a second run, where they cancel each other in the mean."""
    measures = decode_fast(source, plan, scratches, report)
    if not measures.cancels:
        return measures, []
    channel = measures.loudest_channel
    message = f"The channels of the recording cancel each other; only channel {channel + 1} was used. Check the cables."
    chosen = decode_fast(replace(source, channel=channel), plan, scratches, report)
    return chosen, [warning("audio_channels_cancel", message)]


def decode_fast(source: Source, plan: Plan, scratches: tuple[FileIO, FileIO], report: Report) -> Measures:
    if plan.cut_s is not None:
        empty(scratches)
        try:
            return decode_halves(source, plan, scratches, report)
        except IrregularError:
            pass
    empty(scratches)
    return decode_whole(source, scratches[0], report)


def check_usable(header: Header, measures: Measures) -> None:
    if not math.isfinite(measures.peak):
        raise AudioNotFiniteError
    if measures.num_bad_packets > UNUSABLE_SHARE * measures.num_packets:
        raise AudioCorruptedError(num_bad_packets=measures.num_bad_packets, num_packets=measures.num_packets)
    if measures.duration_s < SHORTEST_S:
        raise AudioTruncatedError if (header.stated_s or 0.0) > TRUNCATED_S else AudioTooShortError
    if measures.peak < SILENT_PEAK:
        raise AudioSilentError


def describe(
    source: Source,
    header: Header,
    measures: Measures,
    sha256: str,
    warnings: list[ResultWarning],
    apart: Apart | None,
) -> AudioMetadata:
    return AudioMetadata(
        sha256=sha256,
        size_bytes=source.size_bytes,
        container=header.container,
        codec=header.codec,
        rate_hz=header.rate_hz,
        num_channels=header.num_channels,
        duration_s=measures.duration_s,
        start_offset_s=header.start_offset_s,
        loudness_dbfs=decibel(measures.rms),
        peak_dbfs=decibel(measures.peak),
        clipped_share=measures.clipped_share,
        gap_s=measures.gap_s,
        num_bad_packets=measures.num_bad_packets,
        channels_apart=apart is not None,
        channel_speech_s=apart.speech_s if apart else (),
        warnings=(*warnings, *findings(header, measures)),
    )


def findings(header: Header, measures: Measures) -> Iterator[ResultWarning]:
    """What a reader of the transcript should know about the recording."""
    stated_s, duration_s = header.stated_s or 0.0, measures.duration_s
    if stated_s - duration_s > max(TRUNCATED_S, TRUNCATED_SHARE * stated_s):
        message = f"The recording ends after {duration_s:.0f} of {stated_s:.0f} s; the upload was probably cut off."
        yield warning("audio_truncated", message)
    if measures.num_bad_packets:
        message = f"{measures.num_bad_packets} of {measures.num_packets} packets of the recording are damaged."
        yield warning("audio_damaged", message + " Words may be missing.")
    if measures.gap_s > AUDIBLE_GAP_S:
        message = f"{measures.gap_s:.0f} s of the recording are missing and were replaced by silence."
        yield warning("audio_gaps", message)
    if header.num_tracks > 1:
        message = f"The file has {header.num_tracks} sound tracks; only the main one was transcribed."
        yield warning("audio_tracks_ignored", message)


def warning(code: str, message: str) -> ResultWarning:
    return ResultWarning(code=code, message=message, stage=Stage.DECODE)


def decibel(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 2) if 0 < amplitude < math.inf else None


def in_steps(report: Report) -> Report:
    """Reports once per percent and never backwards; a second run over the recording repeats what was reached."""
    last = reached = 0.0

    def step(share: float) -> None:
        nonlocal last, reached
        if abs(share - last) >= 0.01 and share < 1.0:
            last, reached = share, max(reached, share)
            report(reached)

    return step


@contextmanager
def scratch_files(folder: Path) -> Iterator[tuple[FileIO, FileIO]]:
    with closing(scratch_file(folder)) as first, closing(scratch_file(folder)) as second:
        yield first, second


def empty(scratches: tuple[FileIO, FileIO]) -> None:
    for scratch in scratches:
        scratch.seek(0)
        scratch.truncate()


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
        if (of_disk := disk_error(error)) is not None:
            raise of_disk from error
        if isinstance(error, MemoryError):
            raise OutOfMemoryError from error
        raise AudioPreprocessingError(reason=f"{type(error).__name__}: {error}") from error
