"""What is counted and measured while a recording, or a part of it, is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest

RATE_HZ = 16_000
"""Of everything that is written."""

FRAMES_PER_S = 50
"""Of the channels' levels. Cuts of a recording are at whole seconds, and so between two frames."""

QUIETEST_DB = 94.0
"""Levels are told from 0 down to here below full scale: 16 bits hold no less."""

CANCELS_BELOW = 0.1
"""Energy of the mean over the energy that unrelated channels would give. For two equally loud channels with correlation
r it is 1 + r: 2 when they are the same, 1 when they are unrelated, 0.1 when r is -0.9, 0 when they cancel entirely."""


@dataclass
class Measures:
    """Grows with the work; energies are sums of squares, amplitudes are 1.0 at full scale."""

    num_samples: int = 0
    """Written, at 16 kHz, mono."""
    peak: float = 0.0
    energy: float = 0.0
    num_source_samples: int = 0
    """Over all channels, at the rate of the source."""
    num_clipped: int = 0
    mono_energy: float = 0.0
    unrelated_energy: float = 0.0
    channel_energy: list[float] = field(default_factory=list)
    num_packets: int = 0
    num_bad_packets: int = 0
    gap_s: float = 0.0
    levels: str = ""
    """Of the two channels of a stereo recording, see `decode_levels`; empty for any other."""

    @property
    def duration_s(self) -> float:
        return self.num_samples / RATE_HZ

    @property
    def rms(self) -> float:
        return math.sqrt(self.energy / self.num_samples) if self.num_samples else 0.0

    @property
    def clipped_share(self) -> float:
        return self.num_clipped / self.num_source_samples if self.num_source_samples else 0.0

    @property
    def cancels(self) -> bool:
        """Whether the mean lost most of what the channels held (one wired the wrong way round, say)."""
        return self.mono_energy < CANCELS_BELOW * self.unrelated_energy

    @property
    def loudest_channel(self) -> int:
        return max(range(len(self.channel_energy)), key=self.channel_energy.__getitem__, default=0)

    def add_channel_energy(self, energies: Sequence[float]) -> None:
        self.channel_energy = [a + b for a, b in zip_longest(self.channel_energy, energies, fillvalue=0.0)]

    def add_peak(self, peak: float) -> None:
        """A peak that is no number stays so."""
        self.peak = peak if math.isnan(peak) or peak > self.peak else self.peak

    def plus(self, later: Measures) -> Measures:
        """Of two parts of one recording."""
        a, b = asdict(self), asdict(later)
        total = Measures(**{name: a[name] + b[name] for name in a})
        total.channel_energy = list(self.channel_energy)
        total.add_channel_energy(later.channel_energy)
        total.peak = self.peak
        total.add_peak(later.peak)
        return total
