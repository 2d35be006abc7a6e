"""
Decoding a recording, or exactly one half of it.

A long recording is decoded by two processes at once, because one decoder uses one core only. The cut is at a whole
second, where both rates have a whole number of samples. Both halves are decoded a little across it, so that what
decoder and resampler remember is the same on both sides; the result is that of one piece, to one step of 16 bits
(noise that an AAC decoder makes up by itself excepted). That holds only for sound without irregularities: the first
one raises IrregularError, and the recording is decoded in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worker.adapters.decode_container import Header, open_container, read_header
from worker.adapters.decode_levels import LevelMeter
from worker.adapters.decode_measures import RATE_HZ, Measures
from worker.adapters.decode_mono import MonoMixer, Samples, samples_of, separate
from worker.adapters.decode_packets import Batch, PacketReader, Silence
from worker.adapters.decode_soundfile import DisagreementError, is_plain_wav, read_blocks
from worker.adapters.decode_spool import Resampler, Spool
from worker.exceptions import AudioTooLongError
from worker.ports import Report

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream

MARGIN_S = 1
"""Decoded across the cut for the resampler, whose filter is 20 ms long; and as much again for the decoder, whose memory
(mp3's bit reservoir, AAC's overlap) is at most ten packets."""

HEAD_START_S = 150.0
"""The earlier half is longer by twice this: about what is decoded in the 0.3 s until the other process has begun."""


class IrregularError(Exception):
    """The sound is not what two halves can be made of."""


@dataclass(frozen=True)
class Source:
    """
    What to decode. `channel` is taken instead of the mean of all channels; None: the mean. `is_metered`: the levels of
    a stereo recording are measured.
    """

    path: Path
    size_bytes: int
    max_s: float
    channel: int | None = None
    is_metered: bool = False


@dataclass(frozen=True)
class Plan:
    """What is known before decoding. `cut_s` is where two halves meet, None: in one piece."""

    header: Header
    cut_s: int | None
    first_pts: int
    """Time stamp of the first sample."""


def make_plan(source: Source, *, cut_from_s: float) -> Plan:
    """
    Sound of at least `cut_from_s` is cut, if its time stamps are exact to the sample.

    Raises NotAudioError, NoAudioStreamError, AudioTruncatedError, AudioCorruptedError.
    """
    with open_container(source.path) as (container, track):
        header = read_header(container, track, source.path)
        first = next(PacketReader(container, track, source.size_bytes, Measures()).frames(), None)
        exact = track.time_base is not None and (1 / track.time_base) % header.rate_hz == 0
        believable_s = header.believable_s(source.size_bytes)
        if first is None or first.pts is None or not exact or believable_s < cut_from_s:
            return Plan(header, None, 0)
        head_start_s = 0.0 if is_plain_wav(header) else min(HEAD_START_S, believable_s / 10)
        return Plan(header, int(believable_s / 2 + head_start_s), first.pts)


def decode_whole(source: Source, scratch: FileIO, report: Report) -> Measures:
    """The mono sound at 16 kHz goes to `scratch`. Raises AudioTooLongError as soon as it is."""
    measures = Measures()
    mixer, resampler, spool = MonoMixer(measures, source.channel), Resampler(), Spool(scratch, measures)
    meter = LevelMeter()
    with open_container(source.path) as (container, track):
        reader = PacketReader(container, track, source.size_bytes, measures)
        for batch in reader.batches():
            if isinstance(batch, Silence):
                rate_hz, mono = batch.rate_hz, np.zeros(batch.num_samples, np.float32)
                channels = [mono]
            else:
                rate_hz, arrays, num_channels = batch.sample_rate, samples_of(batch), batch.layout.nb_channels
                mono, channels = mixer.mix(arrays, num_channels), separate(arrays, num_channels)
            if source.is_metered:
                meter.add(rate_hz, channels)
            for samples in resampler.resample(rate_hz, mono):
                spool.write(samples)
            if measures.duration_s > source.max_s:
                raise AudioTooLongError
            report(max(reader.progress, measures.duration_s / source.max_s))  # hours may lie in a hundredth of a file
    spool.write(resampler.flush())
    measures.levels = meter.codes()
    return measures


def decode_half(source: Source, plan: Plan, scratch: FileIO, report: Report, *, is_later: bool) -> Measures:
    """As `decode_whole`, from the beginning to the cut or from the cut to the end. Raises IrregularError."""
    cut_s, rate_hz = plan.cut_s or 0, plan.header.rate_hz
    measures = Measures()
    mixer, resampler, meter = MonoMixer(measures, source.channel), Resampler(), LevelMeter()
    if is_later:
        begin, end = (cut_s - MARGIN_S) * rate_hz, None
        spool = Spool(scratch, measures, num_skipped=MARGIN_S * RATE_HZ)
    else:
        begin, end = 0, (cut_s + MARGIN_S) * rate_hz
        spool = Spool(scratch, measures, num_kept=cut_s * RATE_HZ)
    read = read_plain if is_plain_wav(plan.header) else read_regular
    for num_early, arrays in read(source, plan, measures, begin, end):
        mono = mixer.mix(arrays, plan.header.num_channels)[num_early:]
        if source.is_metered:
            meter.add(rate_hz, [channel[num_early:] for channel in separate(arrays, plan.header.num_channels)])
        for samples in resampler.resample(rate_hz, mono):
            spool.write(samples)
        if measures.duration_s > source.max_s:
            raise AudioTooLongError
        report(min(1.0, measures.duration_s / cut_s))
    spool.write(resampler.flush())
    if measures.num_bad_packets or (not is_later and measures.num_samples != cut_s * RATE_HZ):
        raise IrregularError("damaged packets, or too little sound before the cut")
    measures.levels = meter.codes(from_s=MARGIN_S) if is_later else meter.codes(to_s=cut_s)
    return measures


Batches = Iterator[tuple[int, list[Samples]]]
"""Channels as MonoMixer takes them, and how many of their first samples come before what was asked for."""


def read_plain(source: Source, plan: Plan, measures: Measures, begin: int, end: int | None) -> Batches:
    """From sample `begin` to `end` (None: the last). Raises IrregularError."""
    try:
        for block in read_blocks(source.path, plan.header, begin, end):
            measures.num_packets += 1
            yield 0, [block]
    except DisagreementError as error:
        raise IrregularError("not the file that its header describes") from error


def read_regular(source: Source, plan: Plan, measures: Measures, begin: int, end: int | None) -> Batches:
    """As `read_plain`, of any format; goes a little beyond `end`."""
    with open_container(source.path) as (container, track):
        reader = PacketReader(container, track, source.size_bytes, measures)
        for num_early, batch in regular(reader, track, plan, begin, end):
            yield num_early, samples_of(batch)


def regular(
    reader: PacketReader, track: AudioStream, plan: Plan, begin: int, end: int | None
) -> Iterator[tuple[int, AudioFrame]]:
    """
    Batches of the samples from `begin` to `end` at least (None: all), counted from the first of the track; with each,
    how many of its first samples come before `begin`.
    """
    samples_per_tick = float(track.time_base or 0) * plan.header.rate_hz
    warm_up = max(0, begin - MARGIN_S * plan.header.rate_hz)
    from_pts = plan.first_pts + round(warm_up / samples_per_tick) if warm_up else None
    batch, num_skipped, position = Batch(), 0, None
    for frame in reader.frames(from_pts):
        start = None if frame.pts is None else round((frame.pts - plan.first_pts) * samples_per_tick)
        if position is None and start is not None:
            if start + frame.samples <= begin:
                continue
            position, num_skipped = start, begin - start
        check_regular(frame, plan.header, starts_as_expected=start == position and num_skipped >= 0)
        position = (position or 0) + frame.samples
        for large in batch.add(frame):
            yield num_skipped, large
            num_skipped = 0
        if end is not None and position >= end:
            break
    else:
        if end is not None:
            raise IrregularError("ends before the cut")
    for large in batch.flush():
        yield num_skipped, large


def check_regular(frame: AudioFrame, header: Header, *, starts_as_expected: bool) -> None:
    if not starts_as_expected:
        raise IrregularError("a time stamp is missing, or does not follow the one before")
    if frame.sample_rate != header.rate_hz or frame.layout.nb_channels != header.num_channels:
        raise IrregularError("rate or channels change")
