"""A recording whose two channels are one person's each: whether it is one, and a file for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path

from worker.adapters.decode_apart import Flags, gains_at, judge, openings
from worker.adapters.decode_container import Header
from worker.adapters.decode_levels import levels_of
from worker.adapters.decode_measures import Measures
from worker.adapters.decode_part import Source
from worker.adapters.decode_spool import write_wav
from worker.models import ResultWarning, Stage
from worker.ports import channel_paths

Scratches = tuple[FileIO, FileIO]

QUIETEST_PEAK = 0.003
"""-50 dBFS: a channel that is weaker holds no voice, and its hiss is not brought to full scale."""

NOT_SEPARATE = ResultWarning(
    code="channels_not_separate",
    message="Only a recording with two channels can have one person on each; this one was transcribed as usual.",
    stage=Stage.DECODE,
)


@dataclass(frozen=True)
class Apart:
    """When each channel is let through, frame by frame, and for how many seconds its person is heard."""

    openings: tuple[Flags, Flags]
    speech_s: tuple[float, float]


def told_apart(measures: Measures, header: Header, channels: str | None) -> tuple[Apart | None, list[ResultWarning]]:
    """`channels` as `ports.Decoder` has it: 'separate' is believed of any two channels, 'mixed' is not looked at."""
    if header.num_channels != 2 or channels == "mixed":
        return None, [NOT_SEPARATE] if channels == "separate" else []
    levels = levels_of(measures.levels)
    judgement = judge(levels)
    if channels != "separate" and not judgement.are_apart:
        return None, []
    return Apart(openings(levels), judgement.speech_s), []


def write_channels(
    target: Path, source: Source, apart: Apart, scratches: Scratches, decode: Callable[[Source], Measures]
) -> None:
    """
    Both files of `channel_paths`, on the time line of `target`, the other one's voice taken out. Each is decoded anew:
    what waits in the scratch files is 230 MB per hour and channel, and a decoding takes seconds.
    """
    for channel, path in enumerate(channel_paths(target)):
        measures = decode(replace(source, channel=channel, is_metered=False))
        gains = partial(gains_at, apart.openings[channel])
        write_wav(
            path, scratches, num_samples=measures.num_samples, peak=max(measures.peak, QUIETEST_PEAK), gains=gains
        )
