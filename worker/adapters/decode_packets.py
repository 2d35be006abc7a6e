"""
The sound of an open container as frames on one unbroken time line.

What FFmpeg does not guard by itself (PyAV 18.1, FFmpeg 8.1):
    - a damaged packet raises in the middle of `container.decode`: packets are decoded one by one, bad ones are counted
    - lost packets shorten the time line: gaps are filled by presentation time
    - `AudioFifo.write` does not check the channel layout, and a change in mid-stream is a segmentation fault
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.decode_bounds import refuse_if_late
from worker.adapters.decode_container import is_usable
from worker.adapters.decode_measures import Measures
from worker.exceptions import AudioCorruptedError

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet
    from av.container import InputContainer

BATCH_SAMPLES = 1 << 15
"""Frames are handed on in batches of about this length; above 64k samples page faults cost more than calls save."""

GAP_TOLERANCE_S = 0.012
"""Time stamps of live recordings jitter; a lost packet is 20 ms or more."""

MAX_GAP_S = 3600.0
"""A longer hole is a broken time stamp."""

MAX_GAPS_PER_SOUND = 100.0
"""More silence than an hour is filled in only for a recording that has sound as well: recorders that leave pauses out
write such files. A few packets whose stamps lie an hour apart would otherwise fill the disk with gigabytes of it."""

STEP_BACK_S = 1.0
"""A time stamp this far behind what was decoded begins a new time line (recordings pasted together)."""

NOTHING_BUT_GAPS = (
    "The recording has hours of gaps and next to no sound between them. Export it again and retry the meeting."
)

MAX_READ_ERRORS = 100
"""In a row: then the rest of the file is given up."""

SEEKABLE = ("wav", "flac", "mov,mp4,m4a,3gp,3g2,mj2")
"""Containers where a seek gives exact time stamps; in others (mp3) they are a guess, so all packets are read."""


@dataclass(frozen=True)
class Silence:
    """Stands where packets were lost."""

    rate_hz: int
    num_samples: int


class TimeLine:
    """Where the sound should be by its time stamps, and where it is by the samples so far."""

    def __init__(self, time_base: float) -> None:
        self._time_base = time_base
        self._expected_s: float | None = None

    def gap_before(self, frame: AudioFrame) -> float:
        """
        Seconds missing before this frame, which counts as added.

        Jitter is not followed: only what is missing beyond the tolerance is filled, so that it cannot pile up.
        """
        gap_s = 0.0
        if frame.pts is not None:
            start_s = frame.pts * self._time_base
            ahead_s = 0.0 if self._expected_s is None else start_s - self._expected_s
            if GAP_TOLERANCE_S < ahead_s < MAX_GAP_S:
                gap_s = ahead_s
            if self._expected_s is None or gap_s or not -STEP_BACK_S < ahead_s < MAX_GAP_S:
                self._expected_s = start_s
        if self._expected_s is not None:
            self._expected_s += frame.samples / frame.sample_rate
        return gap_s


class Batch:
    """Small frames become large ones; a new AudioFifo wherever AudioFifo itself would not notice that it must be."""

    def __init__(self) -> None:
        from av import AudioFifo

        self._new = AudioFifo
        self._fifo = AudioFifo()
        self._kind: tuple[object, ...] = ()

    def add(self, frame: AudioFrame) -> Sequence[AudioFrame]:
        """What is full, or must not be mixed with this frame."""
        kind = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        ready: Sequence[AudioFrame] = ()
        if kind != self._kind:
            ready = self.flush()
            self._fifo, self._kind = self._new(), kind
        elif self._fifo.samples >= BATCH_SAMPLES:
            ready = self.flush()
        frame.pts = None  # AudioFifo would refuse what does not follow
        self._fifo.write(frame)
        return ready

    def flush(self) -> Sequence[AudioFrame]:
        batch = self._fifo.read(0)
        return () if batch is None else (batch,)


class PacketReader:
    """Reads and decodes packet by packet, past what is damaged."""

    def __init__(self, container: InputContainer, track: AudioStream, size_bytes: int, measures: Measures) -> None:
        self._container = container
        self._track = track
        self._size_bytes = size_bytes
        self._measures = measures
        self.progress = 0.0
        """Part of the file that was read, in [0, 1]."""

    def batches(self) -> Iterator[AudioFrame | Silence]:
        """The whole track; within a batch rate and channels are the same."""
        batch = Batch()
        time_line = TimeLine(float(self._track.time_base or 1))
        sound_s = 0.0
        for frame in self.frames():
            gap_s = time_line.gap_before(frame)
            if gap_s:
                self._measures.gap_s += gap_s
                if self._measures.gap_s > MAX_GAP_S + MAX_GAPS_PER_SOUND * sound_s:
                    raise AudioCorruptedError(NOTHING_BUT_GAPS, gap_s=self._measures.gap_s, sound_s=sound_s)
                yield from batch.flush()
                yield from silence(frame.sample_rate, gap_s)
            sound_s += frame.samples / frame.sample_rate
            yield from batch.add(frame)
        yield from batch.flush()

    def frames(self, from_pts: int | None = None) -> Iterator[AudioFrame]:
        """Small frames with their `pts`; packets that begin before `from_pts` are not decoded."""
        from av.error import EOFError, FFmpegError

        if from_pts is not None and self._container.format.name in SEEKABLE:
            self._container.seek(from_pts, stream=self._track)
        decoder = self._track.codec_context
        for packet in self._packets():
            if from_pts is not None and packet is not None:
                if packet.pts is None or packet.pts < from_pts:
                    continue
                from_pts = None
            self._measures.num_packets += packet is not None
            try:
                frames = decoder.decode(packet)
            except EOFError:
                return
            except (FFmpegError, ValueError):
                self._measures.num_bad_packets += 1
                continue
            for frame in frames:
                if frame.samples and is_usable(frame.sample_rate, frame.layout.nb_channels):
                    yield frame

    def _packets(self) -> Iterator[Packet[AudioStream] | None]:
        """None at the end: the decoder then gives what it still holds."""
        from av.error import FFmpegError

        packets = self._container.demux(self._track)
        num_errors = 0
        while num_errors < MAX_READ_ERRORS:
            started_s = time.monotonic()
            try:
                packet = next(packets)
            except (FFmpegError, ValueError):
                refuse_if_late(started_s, "reading a packet")
                num_errors += 1
                self._measures.num_bad_packets += 1
                packets = self._container.demux(self._track)
                continue
            except StopIteration:
                refuse_if_late(started_s, "reading a packet")
                break
            if packet.size:
                num_errors = 0
                self.progress = (packet.pos or 0) / self._size_bytes or self.progress
                yield packet
        yield None


def silence(rate_hz: int, duration_s: float) -> Iterator[Silence]:
    left = round(duration_s * rate_hz)
    while left > 0:
        yield Silence(rate_hz, min(left, BATCH_SAMPLES))
        left -= BATCH_SAMPLES
