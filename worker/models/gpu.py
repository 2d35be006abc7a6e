"""A GPU as it is at this moment, and what a stage took."""

from __future__ import annotations

from pydantic import Field

from worker.models.recording import Value


class GpuState(Value):
    """Read just before a meeting, because other programs take and give back memory as they like."""

    name: str
    uuid: str
    driver: str
    total_bytes: int
    free_bytes: int = Field(description="what this process holds itself counts as free: it can be used again")
    compute_capability: tuple[int, int] = Field(description="NVIDIA's generation of the chip, such as (8, 6)")


class StageUsage(Value):
    """The most that a stage's process held while it ran; None where it could not be seen."""

    peak_rss_bytes: int | None = None
    peak_vram_bytes: int | None = None


class StageCost(StageUsage):
    """What a stage took, in the attempt that did it."""

    seconds: float = 0.0
