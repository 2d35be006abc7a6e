"""
Out of a container: opening a file nobody vouches for, and its sound as frames on one unbroken time line.

What FFmpeg does not guard by itself (PyAV 18.1, FFmpeg 8.1):
    - a damaged packet raises in the middle of `container.decode`: packets are decoded one by one, bad ones are counted
    - lost packets shorten the time line: gaps are filled by presentation time
    - `AudioFifo.write` does not check the channel layout, and a change in mid-stream is a segmentation fault
    - playlists (HLS, concat) open other files and addresses: only formats that hold their own sound are let in
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worker.exceptions import (
    AudioCorruptedError,
    AudioPreprocessingError,
    AudioTruncatedError,
    NoAudioStreamError,
    NotAudioError,
)

if TYPE_CHECKING:
    from av import AudioFifo, AudioFrame, AudioStream, Packet
    from av.container import InputContainer

BATCH_SAMPLES = 1 << 15
"""Frames are handed on in batches of about this length; above 64k samples page faults cost more than calls save."""

MAX_RATE_HZ = 768_000
MIN_RATE_HZ = 1_000
MAX_CHANNELS = 64
"""Outside of these a header is absurd, not unusual."""

GAP_TOLERANCE_S = 0.012
"""Half of the shortest usual packet: time stamps of live recordings jitter, a lost packet is 20 ms or more."""

MAX_GAP_S = 3600.0
"""A longer hole is a broken time stamp."""

STEP_BACK_S = 1.0
"""A time stamp this far behind what was decoded begins a new time line (recordings pasted together)."""

MAX_READ_ERRORS = 100
"""In a row: then the rest of the file is given up."""

# Demuxers that read this file and nothing else.
FORMATS = (
    "aac ac3 aiff amr amrnb amrwb ape asf au avi caf dsf dss dts dtshd eac3 flac flv g722 gsm loas matroska mov mp3 mp4 "
    "mpc mpc8 mpeg mpegts mxf nut ogg oma rm sln sox tak tta voc w64 wav webm wsd wv xwma"
)

_ESTIMATED = ("aac", "ac3", "eac3", "dts", "amr", "amrnb", "amrwb", "mpegts", "mpeg", "loas", "g722", "gsm", "sln")
"""Formats without a length in their header: FFmpeg guesses one from the bit rate."""

_MAGIC = ((0, b"RIFF"), (0, b"RF64"), (0, b"OggS"), (0, b"fLaC"), (0, b"\x1a\x45\xdf\xa3"), (0, b"FORM"), (0, b"ID3"))


@dataclass(frozen=True)
class Silence:
    """Stands where packets were lost."""

    rate_hz: int
    num_samples: int


@dataclass(frozen=True)
class Header:
    """What the file says about itself, before anything is decoded."""

    container: str
    codec: str
    rate_hz: int
    num_channels: int
    start_offset_s: float
    duration_s: float | None
    """None where the format has none, or where it would be a guess."""
    num_tracks: int
    pcm_bit_rate: int
    """Bits per second of uncompressed sound, 0 for any other."""


class Sound:
    """The sound track of one open file."""

    def __init__(self, container: InputContainer, size_bytes: int) -> None:
        self._container = container
        self._stream = best_track(container)
        self._size_bytes = size_bytes
        self.header = read_header(container, self._stream)
        self.num_packets = 0
        self.num_bad_packets = 0
        self.gap_s = 0.0
        self.progress = 0.0

    def blocks(self) -> Iterator[AudioFrame | Silence]:
        """Batches of samples and the silence between them, in time order; the same rate and channels within a batch."""
        batch = Batch()
        time_base = float(self._stream.time_base or 1)
        expected_s: float | None = None
        for frame in self._frames():
            rate_hz = frame.sample_rate
            start_s = None if frame.pts is None else frame.pts * time_base
            if start_s is not None:
                if expected_s is None or expected_s - start_s > STEP_BACK_S:
                    expected_s = start_s
                elif GAP_TOLERANCE_S < start_s - expected_s < MAX_GAP_S:
                    yield from batch.flush()
                    yield from silence(rate_hz, start_s - expected_s)
                    self.gap_s += start_s - expected_s
                    expected_s = start_s
            if expected_s is not None:
                expected_s += frame.samples / rate_hz
            yield from batch.add(frame)
        yield from batch.flush()

    def _frames(self) -> Iterator[AudioFrame]:
        from av.error import EOFError, FFmpegError

        decoder = self._stream.codec_context
        for packet in self._packets():
            try:
                frames = decoder.decode(packet)
            except EOFError:
                continue
            except (FFmpegError, ValueError):
                self.num_bad_packets += 1
                continue
            for frame in frames:
                if frame.samples and usable(frame.sample_rate, frame.layout.nb_channels):
                    yield frame

    def _packets(self) -> Iterator[Packet[AudioStream] | None]:
        from av.error import FFmpegError

        errors_in_a_row = 0
        packets = self._container.demux(self._stream)
        while errors_in_a_row < MAX_READ_ERRORS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, ValueError):
                errors_in_a_row += 1
                self.num_bad_packets += 1
                packets = self._container.demux(self._stream)
                continue
            errors_in_a_row = 0
            self.num_packets += 1
            if packet.pos is not None:
                self.progress = packet.pos / self._size_bytes
            yield packet
        yield None


class Batch:
    """Small frames become large ones; a new AudioFifo wherever AudioFifo itself would not notice that it must be."""

    def __init__(self) -> None:
        self._fifo: AudioFifo | None = None
        self._key: tuple[object, ...] = ()

    def add(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        from av import AudioFifo

        key = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        if key != self._key or self._fifo is None:
            yield from self.flush()
            self._fifo, self._key = AudioFifo(), key
        frame.pts = None
        self._fifo.write(frame)
        if self._fifo.samples >= BATCH_SAMPLES and (block := self._fifo.read(0)) is not None:
            yield block

    def flush(self) -> Iterator[AudioFrame]:
        if self._fifo is not None and (block := self._fifo.read(0)) is not None:
            yield block
        self._fifo = None


@contextmanager
def open_sound(source: Path, size_bytes: int) -> Iterator[Sound]:
    """
    Open `source` for decoding.

    Raises NotAudioError, NoAudioStreamError, AudioTruncatedError, AudioCorruptedError (absurd header).
    """
    import av
    from av.error import FFmpegError

    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS.replace(" ", ",")}
    try:
        container = av.open(f"file:{source.absolute()}", options=options, metadata_errors="replace")
    except FFmpegError as error:
        raise not_opened(source, error) from error
    with container:
        yield Sound(container, size_bytes)


def not_opened(source: Path, error: Exception) -> Exception:
    """Why a file cannot be opened: what its first bytes promise decides between damaged and no audio at all."""
    from av.error import MemoryError

    if isinstance(error, MemoryError):
        return AudioPreprocessingError(reason=type(error).__name__)
    with source.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":  # an MP4 whose index, at its end, is missing
        return AudioTruncatedError(reason=type(error).__name__)
    if any(head[at : at + len(magic)] == magic for at, magic in _MAGIC):
        return AudioCorruptedError(reason=type(error).__name__)
    return NotAudioError(reason=type(error).__name__)


def best_track(container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise NoAudioStreamError
    best = container.streams.best("audio") or tracks[0]
    track = next(track for track in tracks if track.index == best.index)
    if track.codec_context is None:
        raise NotAudioError(
            "The sound of the file is coded in a way that cannot be read. Export it as mp3, m4a or wav."
        )
    return track


def usable(rate_hz: int, num_channels: int) -> bool:
    return MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ and 1 <= num_channels <= MAX_CHANNELS


def read_header(container: InputContainer, track: AudioStream) -> Header:
    context = track.codec_context
    if not usable(context.sample_rate or 0, context.channels or 0):
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
        start_offset_s=max(0.0, start_s - (container.start_time or 0) / 1e6),
        duration_s=stated_duration_s(container, track),
        num_tracks=len(container.streams.audio),
        pcm_bit_rate=(context.bit_rate or 0) if context.name.startswith("pcm_") else 0,
    )


def stated_duration_s(container: InputContainer, track: AudioStream) -> float | None:
    """The length in the header, if there is one and it is not a guess."""
    name = container.format.name
    if container.duration is None or name in _ESTIMATED:
        return None
    if name == "mp3" and "encoder" not in track.metadata:  # without an Info tag FFmpeg guesses from the bit rate
        return None
    return container.duration / 1e6


def silence(rate_hz: int, duration_s: float) -> Iterator[Silence]:
    left = round(duration_s * rate_hz)
    while left > 0:
        yield Silence(rate_hz, min(left, BATCH_SAMPLES))
        left -= BATCH_SAMPLES
