"""How far a result is from a reference."""

from __future__ import annotations

from pydantic import Field

from worker.models import Value


class Scores(Value):
    """None where there was no reference. Rates are shares (0.08 is 8 %) and may exceed 1."""

    der: float | None = Field(
        default=None, description="missed + false alarm + confusion, per second of reference speech"
    )
    wer: float | None = Field(default=None, description="substitutions + deletions + insertions, per reference word")
    missed: float | None = Field(default=None, description="share of the reference speech that no turn covers")
    false_alarm: float | None = None
    confusion: float | None = None
    reference_speech_s: float | None = None
    num_reference_speakers: int | None = None
    num_speakers: int
    num_reference_words: int | None = None
    num_words: int
