"""
What a recording may cost before a sample of it is decoded.

A few kilobytes can ask for gigabytes or hours: an index of 89 million packets that is stated in one line (3 GB, in
FFmpeg 8.1), a gigabyte of empty chunks (two minutes in one call), pictures of 256 megapixels that are decoded to know
their format (1 GB, half a minute). The bounds are far above what any real recording of two days needs.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from worker.exceptions import AudioCorruptedError, AudioPreprocessingError

MAX_MEMORY_BYTES = 3 << 29
"""1.5 GiB more than the process has. The index of a long m4a is 13 MB per hour, and is copied while it grows."""

MAX_READ_S = 45.0
"""For each of: opening, looking into the tracks, reading one packet. Both of the first fit the stall limit."""

SYNTHETIC = frozenset({"wavesynth", "ftr", "anull"})
"""Decoders of sound that nobody recorded."""


@contextmanager
def bounded_memory(num_bytes: int = MAX_MEMORY_BYTES) -> Iterator[None]:
    """
    Whoever asks for more meanwhile gets none, in this process and in those it starts (RLIMIT_DATA, getrlimit(2)).

    Raises AudioCorruptedError for the MemoryError that follows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [data_bytes() + num_bytes, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    with suppress(OSError, ValueError):  # a hardened container may forbid it; then there is only the killer's bound
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    except MemoryError as error:
        raise too_much_memory() from error
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def data_bytes() -> int:
    """What counts against the limit now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def too_much_memory() -> AudioCorruptedError:
    return AudioCorruptedError(
        "The file would take more memory to read than any real recording. Export it again and retry the meeting."
    )


def refuse_if_late(started_s: float, doing: str) -> None:
    """
    To be asked after every error and every end: FFmpeg calls an interruption by whatever name it had at hand.

    Args:
        started_s: by time.monotonic().

    Raises AudioPreprocessingError, after which another attempt is made: perhaps it was the disk that was slow.
    """
    took_s = time.monotonic() - started_s
    if took_s >= MAX_READ_S:
        raise AudioPreprocessingError(reason=f"{doing} took {took_s:.0f} s")


@cache
def sound_decoders() -> str:
    """For FFmpeg's codec_whitelist: without it a picture of each track is decoded, only to know its format."""
    from av.codec import Codec, codecs_available
    from av.codec.codec import UnknownCodecError

    names = []
    for name in sorted(codecs_available - SYNTHETIC):
        try:
            codec = Codec(name, "r")
        except UnknownCodecError:  # it can only be written
            continue
        if codec.type == "audio":
            names.append(name)
    return ",".join(names)
