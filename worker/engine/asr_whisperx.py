"""
Transcription with WhisperX: faster-whisper on passages that its voice detector cut, words timed with wav2vec2.

The models stay loaded between meetings; nothing of one meeting reaches the next (language, prompt, hotwords).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from worker.engine.hints import HINTS_SHORTENED, Hints, fitting
from worker.engine.passages import in_order, words_of
from worker.engine.plan import Plans
from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.whisper_model import LoadedWhisper, WarmWhisper
from worker.engine.whisperx_library import errors_mapped, hushed
from worker.engine.word_alignment import WordAligner
from worker.exceptions import (
    GpuOutOfMemoryError,
    ModelUnavailableError,
    OutOfMemoryError,
    PCWorkerException,
    UnsupportedLanguageError,
)
from worker.models import EnginePlan, ResultWarning, Stage, Transcript
from worker.ports import Report

_DETECTION_SHARE = 0.25
"""Part of the work that is finding speech, small model on the CPU; elsewhere the bar is a little ahead or behind."""


class WhisperXTranscriber:
    """
    Implements `ports.Transcriber`. Models are loaded by the first call that needs them.

    Args:
        plans: which model, number format and batch size for a recording, and what to try when memory runs out.
        cache_dir: where fetched models are kept.
        cuda_device: the GPU, as CUDA counts, of plans for a GPU.
        num_threads: of the CPU.
        align_model: a wav2vec2 for the words' times, a name or a folder; None: by language.
        align_compute_type: `float32`, `bfloat16`, or `auto`.
        allowed_languages: codes that may be found out when the meeting names none; empty: all.
        offline: never ask a model hub.
    """

    def __init__(
        self,
        *,
        plans: Plans,
        cache_dir: str,
        cuda_device: int,
        num_threads: int,
        align_model: str | None = None,
        align_compute_type: str = "auto",
        allowed_languages: tuple[str, ...] = (),  # noqa: ARG002  # wired with the language vote
        offline: bool = False,
    ) -> None:
        self._plans = plans
        self._cuda_device = cuda_device
        self._whisper = WarmWhisper(
            cache=Path(cache_dir) / "whisper", cuda_device=cuda_device, num_threads=num_threads, offline=offline
        )
        self._new_aligner = partial(
            WordAligner,
            cache=Path(cache_dir) / "align",
            num_threads=num_threads,
            model=align_model,
            compute_type=align_compute_type,
            offline=offline,
        )
        self._aligners: dict[str, WordAligner] = {}

    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        """
        Write down what is said; silence gives no words.

        Word times are estimated from the passage that a word stands in, until `align`. A word's confidence is the
        passage's mean token probability. When memory runs out, the next plan is tried, with a warning.

        Args:
            language: a code (`de`, `pt-BR`) or an English name; None: what the first 30 s sound like.
            prompt: text that could have come before. Together with `hotwords` it is cut to what Whisper can keep.

        Raises ModelUnavailableError, UnsupportedLanguageError, GpuOutOfMemoryError, OutOfMemoryError, EngineError,
        AudioPreprocessingError.
        """
        samples = _samples(audio)
        audio_s = len(samples) / RATE_HZ
        rungs = self._plans.rungs(audio_s)
        report = _only_forward(report)
        short: PCWorkerException = GpuOutOfMemoryError()
        for number, plan in enumerate(rungs):
            if number:
                self._whisper.make_room(plan)
            try:
                transcript = self._written(plan, samples, language, prompt, hotwords, report)
            except (GpuOutOfMemoryError, OutOfMemoryError) as error:
                self._plans.failed(plan, audio_s)
                short = error.with_traceback(None)
                short.__cause__ = None  # its frames hold the arrays that there was no room for
            except ModelUnavailableError:
                if not number:
                    raise
            else:
                self._plans.worked(plan, audio_s)
                return _warned(transcript, asked=rungs[0])
        raise short

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        """
        The same words, each with its own times and the aligner's confidence; see passages.py for what is aligned.

        Where that cannot be done (no model for the language, model not to be had, out of memory) the estimated times
        stay, and a warning says so. Raises AudioPreprocessingError.
        """
        if not transcript.words:
            return transcript
        language, samples = transcript.language or "en", _samples(audio)
        plan = transcript.plan or self._plans.rungs(len(samples) / RATE_HZ)[0]
        aligned = self._aligner(plan).align(transcript.words, language, samples, report, transcript.passages)
        warnings = (*transcript.warnings, aligned.warning) if aligned.warning else transcript.warnings
        changed = {"words": aligned.words, "alignment": aligned.alignment, "warnings": warnings}
        return transcript.model_copy(update=changed)

    def rest(self) -> None:
        """See `ports.Transcriber`."""

    def _aligner(self, plan: EnginePlan) -> WordAligner:
        device = f"cuda:{self._cuda_device}" if plan.device == "cuda" else "cpu"
        if device not in self._aligners:
            self._aligners[device] = self._new_aligner(device=device)
        return self._aligners[device]

    def _written(
        self,
        plan: EnginePlan,
        samples: Any,
        language: str | None,
        prompt: str | None,
        hotwords: str | None,
        report: Report,
    ) -> Transcript:
        """With one plan, or not at all."""
        loaded = self._whisper.ready(plan, report)
        code = _code_of(language, loaded.whisper)
        hints = fitting(loaded.whisper.hf_tokenizer, prompt, hotwords)
        with hushed(), errors_mapped(), _hinted(loaded, hints), _reporting(loaded, report):
            answer = loaded.pipeline.transcribe(
                samples,
                batch_size=plan.batch_size,
                language=code,
                progress_callback=lambda percent: report(
                    _DETECTION_SHARE + (1 - _DETECTION_SHARE) * min(1.0, percent / 100)
                ),
            )
        words = [word for passage in answer["segments"] for word in words_of(passage)]
        return Transcript(
            words=in_order(words, len(samples) / RATE_HZ),
            language=answer["language"] if words or code else None,
            engine="whisperx",
            model=loaded.name,
            device=plan.device,
            compute_type=plan.compute_type,
            revision=loaded.revision,
            batch_size=plan.batch_size,
            plan=plan,
            warnings=(HINTS_SHORTENED,) if hints.is_cut else (),
        )


def _only_forward(report: Report) -> Report:
    """A second try does not move the bar back."""
    furthest = 0.0

    def forward(progress: float) -> None:
        nonlocal furthest
        furthest = max(furthest, progress)
        report(furthest)

    return forward


def _warned(transcript: Transcript, *, asked: EnginePlan) -> Transcript:
    """With a warning when memory ran out with the plan that was `asked` for."""
    used = transcript.plan
    if used is None or used == asked:
        return transcript
    warning = _gpu_memory_short(asked, used) if asked.device == "cuda" else _memory_short(asked, used)
    return transcript.model_copy(update={"warnings": (*transcript.warnings, warning)})


def _gpu_memory_short(asked: EnginePlan, used: EnginePlan) -> ResultWarning:
    return ResultWarning(
        code="gpu_memory_short",
        message=f"The GPU had too little free memory for {_named(asked)}; this was written with {_named(used)}.",
        stage=Stage.TRANSCRIBE,
    )


def _memory_short(asked: EnginePlan, used: EnginePlan) -> ResultWarning:
    return ResultWarning(
        code="memory_short",
        message=f"The PC had too little free memory for {_named(asked)}; this was written with {_named(used)}.",
        stage=Stage.TRANSCRIBE,
    )


def _named(plan: EnginePlan) -> str:
    model = Path(plan.model).name
    return f"the model {model} ({plan.compute_type}, {plan.device}, batches of {plan.batch_size})"


def _code_of(language: str | None, whisper: Any) -> str | None:
    """Whisper's code for the language; a model for English only hears English."""
    from whisperx.utils import TO_LANGUAGE_CODE

    if language is None or not language.strip():
        return None if whisper.model.is_multilingual else "en"
    name = language.strip().lower()
    code: str = TO_LANGUAGE_CODE.get(name) or re.split("[-_]", name)[0]
    is_known = code in whisper.supported_languages
    if not is_known or (whisper.model.is_multilingual and whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is None):
        raise UnsupportedLanguageError(
            f"The Whisper model does not know the language '{language[:20]}'. Use a code such as en or de, or "
            "leave it empty to have it found out, then retry the meeting."
        )
    return code


@contextmanager
def _hinted(loaded: LoadedWhisper, hints: Hints) -> Iterator[None]:
    """Nothing of a meeting outlives it, however it ends."""
    pipeline = loaded.pipeline
    pipeline.tokenizer = None  # whisperx keeps the last meeting's language after an error
    pipeline.options = dataclasses.replace(loaded.options, initial_prompt=hints.prompt, hotwords=hints.hotwords)
    try:
        yield
    finally:
        pipeline.options = loaded.options
        pipeline.tokenizer = None


@contextmanager
def _reporting(loaded: LoadedWhisper, report: Report) -> Iterator[None]:
    before = loaded.pipeline.vad_model
    loaded.pipeline.vad_model = _ReportingDetector(before, lambda done: report(_DETECTION_SHARE * done))
    try:
        yield
    finally:
        loaded.pipeline.vad_model = before


class _ReportingDetector:
    """
    WhisperX's own voice detector, with progress: on a CPU it takes minutes per hour of audio before the first word.

    Anything callable may be put in its place; whisperx then prepares the audio and joins the chunks as for pyannote's.
    """

    def __init__(self, pyannote_vad: Any, report: Report) -> None:
        self._scores_of = pyannote_vad.vad_pipeline._segmentation
        self._report = report

    def __call__(self, audio: Any) -> Any:
        return self._scores_of(audio, hook=lambda completed, total: self._report(min(1.0, float(completed) / total)))


def _samples(audio: Path) -> Any:
    """float32 in [-1, 1], shape (num_samples,), 16 000 Hz."""
    with open_recording(audio) as sound:
        return sound.read(dtype="float32")
