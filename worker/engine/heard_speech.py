"""How likely anybody speaks at each instant of a recording, and what follows from that for whisperx and for doubts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from worker.engine.grid import FRAME_S, Floats
from worker.engine.recording import open_recording
from worker.engine.segmentation import SegmentationModel
from worker.engine.voice_activity import FRAME_DURATION_S, speech_scores
from worker.ports import Report

SPEECH_SCORE = 0.5
"""From here on it is speech. Source: `vad_onset`, whisperx's default."""


class SpeechDetector:
    """The model that whisperx finds speech with; it is loaded once, and small enough to stay."""

    def __init__(self, *, num_threads: int) -> None:
        self._num_threads = num_threads
        self._model: SegmentationModel | None = None

    def heard(self, audio: Path, report: Report) -> HeardSpeech:
        """Raises AudioPreprocessingError, ModelUnavailableError, and what torch raises."""
        if self._model is None:
            self._model = SegmentationModel()
        with open_recording(audio) as sound:
            return HeardSpeech(speech_scores(sound, report, model=self._model, num_threads=self._num_threads))


class HeardSpeech:
    """
    Args:
        scores: how likely anybody speaks, in [0, 1], shape (num_frames,); frame f begins at f * grid.FRAME_S.
    """

    def __init__(self, scores: Floats) -> None:
        self._scores = scores

    @cached_property
    def _speech_s(self) -> Any:
        """Seconds of speech before each frame, shape (num_frames + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self._scores > SPEECH_SCORE) * FRAME_S])

    @property
    def total_s(self) -> float:
        return float(self._speech_s[-1])

    def between(self, start_s: float, end_s: float) -> float:
        """Seconds of speech in that stretch."""
        first, last = (round(max(0.0, time_s) / FRAME_S) for time_s in (start_s, max(start_s, end_s)))
        end = len(self._scores)
        return float(self._speech_s[min(last, end)] - self._speech_s[min(first, end)])

    def time_of(self, speech_s: float) -> float:
        """When so many seconds of speech have been heard."""
        return float(np.searchsorted(self._speech_s, speech_s)) * FRAME_S

    def for_whisperx(self) -> Any:
        """
        A voice detector that has heard the recording already, for `pipeline.vad_model`.

        WhisperX makes and joins its chunks from the scores as always. As one of its own detectors it is handed the
        audio as it is: otherwise whisperx copies the whole recording, several times.
        """
        from pyannote.core import SlidingWindow, SlidingWindowFeature
        from whisperx.vads import Pyannote, Vad

        frames = SlidingWindow(start=0.0, step=FRAME_S, duration=FRAME_DURATION_S)
        scores = SlidingWindowFeature(self._scores[:, None], frames)

        class Heard(Vad):  # type: ignore[misc]  # whisperx ships no type information
            preprocess_audio = staticmethod(lambda audio: audio)
            merge_chunks = staticmethod(Pyannote.merge_chunks)

            def __call__(self, _audio: Any) -> Any:
                return scores

        return Heard(SPEECH_SCORE)
