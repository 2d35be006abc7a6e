"""
Speech recognition with PocketSphinx, whose wheel carries its US-English model.

It exists so that the whole system runs on a machine that reaches no model hub. Clean read speech is legible,
conversation is rough, and every transcript says so in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.utterances import FRAME_S, Samples, Utterance, cut_utterances
from worker.exceptions import EngineError, ModelUnavailableError, UnsupportedLanguageError
from worker.models import ResultWarning, Stage, Transcript, Word
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

_ROUGH = ResultWarning(
    code="transcript_rough",
    message="Written by PocketSphinx, the offline engine: expect many wrong words. "
    "Use ASR_ENGINE=whisperx for good text.",
    stage=Stage.TRANSCRIBE,
)
_HINTS_IGNORED = ResultWarning(
    code="hints_ignored",
    message="PocketSphinx cannot use the meeting's prompt or hotwords; they were left aside.",
    stage=Stage.TRANSCRIBE,
)
_VAD_MODE = 2
"""WebRTC's aggressiveness, 0 to 3: 0 calls telephone noise speech, 3 loses soft words."""
_MAX_HMMS_PER_FRAME = 3000
"""Twice as fast as the default of 30 000, and on the sample no worse (WER 77 % instead of 83 %)."""
_FRAMES_PER_S = 100
_FILLER = re.compile(r"[<\[+]")
_ALTERNATE = re.compile(r"\(\d+\)$")


class SphinxTranscriber:
    """
    A Transcriber for English without any download; the model stays loaded between meetings.

    Raises ModelUnavailableError: the wheel or its model cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Config, Decoder

            self._decoder: Any = Decoder(Config(loglevel="FATAL", maxhmmpf=_MAX_HMMS_PER_FRAME))
        except (ImportError, RuntimeError, ValueError) as error:
            raise ModelUnavailableError(
                "PocketSphinx cannot be loaded on this PC. Ask the administrator to install requirements.txt again.",
                reason=str(error),
            ) from error
        self._model = f"pocketsphinx-{version('pocketsphinx')}-en-us"

    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        """
        Write down what is said, utterance by utterance, in bounded memory; silence gives no words.

        Word confidences are the posteriors of PocketSphinx's word lattice, in [0, 1]. `prompt` and `hotwords` are not
        used, and a warning says so.

        Raises UnsupportedLanguageError (anything but English), AudioPreprocessingError, EngineError.
        """
        _require_english(language)
        from pocketsphinx import Vad

        words: list[Word] = []
        # the voice activity detector and the feature extraction adapt to what they hear: a new meeting, a new start
        vad = Vad(mode=_VAD_MODE, sample_rate=RATE_HZ, frame_length=FRAME_S)
        self._decoder.reinit_feat()
        with open_recording(audio) as sound:
            duration_s = sound.frames / RATE_HZ
            for utterance in cut_utterances(_frames(sound, report), vad.is_speech):
                words += self._words(utterance, duration_s)
        report(1.0)
        return Transcript(
            words=tuple(words),
            language="en",
            engine="sphinx",
            model=self._model,
            warnings=(_ROUGH, _HINTS_IGNORED) if prompt or hotwords else (_ROUGH,),
        )

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:  # noqa: ARG002  # port's signature
        """PocketSphinx times its words while it decodes: the transcript is returned as it is."""
        report(1.0)
        return transcript

    def rest(self) -> None:
        """It holds nothing that a diarizer would need."""

    def _words(self, utterance: Utterance, duration_s: float) -> list[Word]:
        offset_s = utterance.start / RATE_HZ
        words = []
        for segment in self._decode(utterance.samples):
            if _FILLER.match(segment.word):
                continue
            words.append(
                Word(
                    text=_ALTERNATE.sub("", segment.word),
                    start_s=round(offset_s + segment.start_frame / _FRAMES_PER_S, 3),
                    end_s=round(min(offset_s + (segment.end_frame + 1) / _FRAMES_PER_S, duration_s), 3),
                    confidence=round(min(1.0, max(0.0, segment.prob)), 4),
                )
            )
        return words

    def _decode(self, samples: Samples) -> list[Any]:
        """A whole utterance at once, so that its cepstra are normalised by its own mean."""
        try:
            self._decoder.start_utt()
            try:
                self._decoder.process_raw(samples.tobytes(), full_utt=True)
            finally:
                self._decoder.end_utt()
            return list(self._decoder.seg() or ())
        except RuntimeError as error:
            raise EngineError(reason=str(error)) from error


def _require_english(language: str | None) -> None:
    if language is None or re.match(r"en(glish)?([-_]|$)", language.strip().lower()):
        return
    raise UnsupportedLanguageError(
        "The offline engine PocketSphinx knows English only. Set the meeting's language to 'en', "
        "or have the administrator set ASR_ENGINE=whisperx, then retry the meeting."
    )


def _frames(sound: soundfile.SoundFile, report: Report) -> Iterator[Samples]:
    """The recording in frames of FRAME_S, reported second by second as they are handed out."""
    length = round(FRAME_S * RATE_HZ)
    done = 0
    for block in sound.blocks(blocksize=length * 32, dtype="int16"):
        for start in range(0, len(block), length):
            yield block[start : start + length]
        done += len(block)
        report(done / max(1, sound.frames))
