"""Opening a file that nobody vouches for, and what its header says."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worker.adapters.decode_bounds import MAX_READ_S, refuse_if_late, sound_decoders, too_much_memory
from worker.exceptions import (
    AudioCorruptedError,
    AudioTruncatedError,
    NoAudioStreamError,
    NotAudioError,
    PCWorkerException,
)

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import InputContainer

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
MAX_CHANNELS = 64
"""Outside of these a header is absurd, not unusual."""

MIN_BIT_RATE = 500
"""Bits per second; a header that states so long a recording for so few bytes is wrong."""

FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dss,dts,dtshd,eac3,flac,flv,g722,"
    "gsm,loas,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sln,sox,tak,tta,"
    "voc,w64,wav,webm,wsd,wv,xwma"
)
"""Demuxers that read this file and nothing else. Playlists (hls, concat, dash) would open other files and addresses."""

GUESSED = ("aac", "ac3", "eac3", "dts", "amr", "amrnb", "amrwb", "mpegts", "mpeg", "loas", "g722", "gsm", "sln")
"""Formats without a length in their header: FFmpeg makes one up from the bit rate."""

MAX_CHUNKS = 10_000
"""Of a WAV file before its sound. Recorders write a handful; empty ones are 8 bytes each."""

MAGIC = (b"RIFF", b"RF64", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3", b"FORM", b"ID3")
"""What recordings begin with; a file that does and cannot be opened is damaged, any other is no recording."""


@dataclass(frozen=True)
class Header:
    """What the file says about itself, before anything is decoded."""

    container: str
    codec: str
    rate_hz: int
    num_channels: int
    num_tracks: int
    start_offset_s: float
    stated_s: float | None
    """Length of the sound; None where the format has none, or where it would be a guess."""
    pcm_bit_rate: int
    """Bits per second of uncompressed sound, 0 for any other."""

    def believable_s(self, size_bytes: int) -> float:
        """The stated length as far as the bytes can hold it; 0 when there is none to believe."""
        num_bits = size_bytes * 8
        if self.stated_s is None or self.stated_s * MIN_BIT_RATE > num_bits:
            return 0.0
        return min(self.stated_s, num_bits / self.pcm_bit_rate) if self.pcm_bit_rate else self.stated_s


_M_MMAP_THRESHOLD = -3  # malloc.h
_M_TRIM_THRESHOLD = -1  # a fixed size for the one makes the other small again: page faults at every block of samples
_BIG_BLOCK_BYTES = 2 << 20  # above every block of samples, which would cost page faults


@contextmanager
def open_container(source: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """
    The file and its main sound track. No error of FFmpeg leaves from here; inside the context they are the caller's.

    Raises NotAudioError, NoAudioStreamError, AudioTruncatedError, AudioCorruptedError; AudioPreprocessingError when
    that takes too long.
    """
    import av
    from av.error import FFmpegError

    give_big_blocks_back()
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "codec_whitelist": sound_decoders()}
    address = f"file:{source.absolute()}"
    started_s = time.monotonic()
    try:
        container = av.open(address, options=options, metadata_errors="replace", timeout=MAX_READ_S)
    except FFmpegError as error:
        refuse_if_late(started_s, "opening")
        raise not_opened(source, error) from error
    with container:
        yield container, main_track(container)


def give_big_blocks_back() -> None:
    """
    Keep the index of a long m4a (25 MB at 4 h) off the heap, so that its memory comes back when the file is closed.

    glibc raises the size from which it uses mmap with every such block that is freed; at the second opening the index
    then grows piece by piece on the heap: 72 MB instead of 21 (measured, glibc 2.36). A fixed size ends that. See
    M_MMAP_THRESHOLD in mallopt(3). Another C library has no such call, and is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BIG_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 4 * _BIG_BLOCK_BYTES)


def not_opened(source: Path, error: Exception) -> PCWorkerException:
    """What the first bytes promise decides between damaged and no recording at all."""
    reason = type(error).__name__
    if isinstance(error, MemoryError):
        return too_much_memory()
    with source.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":  # an MP4 whose index, which comes last, is missing
        return AudioTruncatedError(reason=reason)
    if head.startswith(MAGIC):
        return AudioCorruptedError(reason=reason)
    return NotAudioError(reason=reason)


def main_track(container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise NoAudioStreamError
    best = container.streams.best("audio")
    track = next((track for track in tracks if best is not None and track.index == best.index), tracks[0])
    if track.codec_context is None:
        raise NotAudioError("The sound is coded in a way that cannot be read. Export the recording as mp3, m4a or wav.")
    return track


def read_header(container: InputContainer, track: AudioStream, source: Path) -> Header:
    """Raises AudioCorruptedError when it is absurd."""
    context = track.codec_context
    if not is_usable(context.sample_rate or 0, context.channels or 0):
        raise AudioCorruptedError(
            "The file states an impossible sample rate or number of channels. Export it again and retry the meeting.",
            rate_hz=context.sample_rate,
            num_channels=context.channels,
        )
    start_s = float((track.start_time or 0) * (track.time_base or 0))
    return Header(
        container=container.format.name,
        codec=context.name,
        rate_hz=context.sample_rate,
        num_channels=context.channels,
        num_tracks=len(container.streams.audio),
        start_offset_s=max(0.0, start_s - (container.start_time or 0) / 1e6),
        stated_s=stated_length_s(container, track, source),
        pcm_bit_rate=(context.bit_rate or 0) if context.name.startswith("pcm_") else 0,
    )


def is_usable(rate_hz: int, num_channels: int) -> bool:
    return MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ and 1 <= num_channels <= MAX_CHANNELS


def stated_length_s(container: InputContainer, track: AudioStream, source: Path) -> float | None:
    name, codec = container.format.name, track.codec_context
    if name == "wav" and codec.name.startswith("pcm_") and codec.bit_rate:  # FFmpeg corrects it by the size of the file
        return stated_wav_bytes(source) * 8 / codec.bit_rate or None
    if name in GUESSED or (name == "mp3" and not has_info_tag(source)):
        return None
    if track.duration and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else None


def has_info_tag(source: Path) -> bool:
    """Whether the first packet of an mp3 states the length; without it FFmpeg guesses from the bit rate."""
    with source.open("rb") as file:
        head = file.read(10)
        if head.startswith(b"ID3"):  # four bytes of seven bits
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)))
        packet = head + file.read(2048)
    return any(tag in packet for tag in (b"Xing", b"Info", b"VBRI"))


def stated_wav_bytes(source: Path) -> int:
    """Length of the `data` chunk; 0 when the writer did not know it (it says 0 or 2**32 - 1), or when it is hidden."""
    with source.open("rb") as file:
        if file.read(12)[8:] != b"WAVE":
            return 0
        for _ in range(MAX_CHUNKS):
            if len(head := file.read(8)) < 8:
                break
            name, num_bytes = struct.unpack("<4sI", head)
            if name == b"data":
                return 0 if num_bytes == 2**32 - 1 else int(num_bytes)
            file.seek(num_bytes + num_bytes % 2, os.SEEK_CUR)
    return 0
