"""Any diarizer, its voices described by the one describer: so PCs with different diarizers know the same people."""

from __future__ import annotations

from pathlib import Path

from worker.engine.reports import part
from worker.engine.voice_describer import VoiceDescriber
from worker.models import Diarization
from worker.ports import Diarizer, Report

_DESCRIBING_FROM = 0.9


class DescribedDiarizer:
    """Implements `ports.Diarizer`: what `diarizer` answers, with the describer's embeddings."""

    def __init__(self, diarizer: Diarizer, describer: VoiceDescriber) -> None:
        self._diarizer = diarizer
        self._describer = describer

    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        """Raises what the diarizer and the describer raise."""
        found = self._diarizer.diarize(
            audio, min_speakers=min_speakers, max_speakers=max_speakers, report=part(report, 0.0, _DESCRIBING_FROM)
        )
        embeddings = self._describer.describe(audio, found.turns, part(report, _DESCRIBING_FROM, 1.0))
        return found.model_copy(update={"embeddings": embeddings})
