"""Which diarizer a worker uses, and why; asked by the engine child and by `doctor`. Pure, and imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.engine.pyannote_models import is_repository, pipeline_at_hand


@dataclass(frozen=True, slots=True)
class DiarizerChoice:
    """`diarizer` is "pyannote" or "bundled"; `reason` is for people, and `obstacle` what keeps pyannote from it."""

    diarizer: str
    reason: str
    obstacle: str | None = None


def choose_diarizer(
    *, asked: str, model: str, cache: Path, has_token: bool, offline: bool, hub_answers: Callable[[], bool]
) -> DiarizerChoice:
    """
    What DIARIZER comes to on this PC. Somebody who asks for one by name gets it, or an error later; never the other.

    Args:
        asked: DIARIZER.
        model, cache: as `pyannote_models.pipeline_folder` takes them.
        has_token: whether HF_TOKEN is set. Whether its account accepted the terms is known only after asking for files.
        hub_answers: called only when nothing else decides.
    """
    if asked != "auto":
        return DiarizerChoice(asked, f"DIARIZER={asked} asks for it.")
    if pipeline_at_hand(model, cache) is not None:
        return DiarizerChoice("pyannote", "pyannote's pipeline is on this PC.")
    obstacle = _obstacle(model, has_token=has_token, offline=offline, hub_answers=hub_answers)
    if obstacle is not None:
        return DiarizerChoice("bundled", f"{obstacle} The bundled diarizer is used.", obstacle)
    return DiarizerChoice("pyannote", f"{model} is fetched from the Hugging Face hub with the first meeting.")


def _obstacle(model: str, *, has_token: bool, offline: bool, hub_answers: Callable[[], bool]) -> str | None:
    if not is_repository(model):
        return "PYANNOTE_MODEL is no folder with a complete pyannote pipeline."
    if offline:
        return "pyannote's pipeline is not on this PC, and MODELS_OFFLINE forbids to fetch it."
    if not has_token:
        return "pyannote's pipeline is not on this PC, and HF_TOKEN is not set."
    if not hub_answers():
        return "pyannote's pipeline is not on this PC, and the Hugging Face hub does not answer."
    return None
