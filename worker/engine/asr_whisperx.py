"""
Transcription with WhisperX: faster-whisper on passages that its voice detector cut, words timed with wav2vec2.

The models stay loaded between meetings; nothing of one meeting reaches the next (language, prompt, hotwords).
"""

from __future__ import annotations

import dataclasses
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.engine.passages import in_order, words_of
from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.whisper_files import whisper_folder
from worker.engine.whisperx_library import errors_mapped, hushed, is_gpu_out_of_memory
from worker.engine.word_alignment import WordAligner
from worker.exceptions import GpuOutOfMemoryError, ModelUnavailableError, UnsupportedLanguageError
from worker.models import ResultWarning, Stage, Transcript
from worker.ports import Report

_BATCH_SIZE_GPU = 8
"""Whisper turbo saturates there (published measurements). 0, 1 and None take another path in whisperx."""

_BATCH_SIZE_CPU = 4
"""Passages between two reports: eight of a large model on a slow CPU take so long that they look stalled."""

_MAX_HINT_TOKENS = 223
"""Of Whisper's 448 tokens it keeps at most so many for what came before; the rest is for what it writes."""

_DETECTION_SHARE = 0.25
"""Part of the work that is finding speech, small model on the CPU; elsewhere the bar is a little ahead or behind."""


class WhisperXTranscriber:
    """
    Implements `ports.Transcriber`.

    Args:
        model: a Whisper model's name (fetched once from the hub into `cache_dir`) or a folder in CTranslate2 format.
        cache_dir: where fetched models are kept.
        enable_gpu: use the GPU `cuda_device` if torch finds one: float16 there, int8 on the CPU.
        num_threads: of the CPU. PyTorch is told to use one, for the whole process, as by the bundled diarizer.

    Raises ModelUnavailableError, GpuOutOfMemoryError: the model cannot be had, or does not fit.
    """

    def __init__(self, *, model: str, cache_dir: str, enable_gpu: bool, cuda_device: int, num_threads: int) -> None:
        folder = whisper_folder(model, Path(cache_dir) / "whisper")
        self._model = f"whisperx-{version('whisperx')} {Path(model).name}"
        with hushed():
            self._device = _device(enable_gpu, cuda_device)
            self._compute_type = "int8" if self._device == "cpu" else "float16"
            self._pipeline = _load(folder, self._device, cuda_device, self._compute_type, num_threads)
        self._options = self._pipeline.options
        self._detector = _ReportingDetector(self._pipeline.vad_model)
        self._pipeline.vad_model = self._detector
        self._aligner = WordAligner(cache=Path(cache_dir) / "align", device=self._device, num_threads=num_threads)

    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        """
        Write down what is said; silence gives no words.

        Word times are estimated from the passage that a word stands in, until `align`. A word's confidence is the
        passage's mean token probability.

        Args:
            language: a code (`de`, `pt-BR`) or an English name; None: what the first 30 s sound like.
            prompt: text that could have come before. Together with `hotwords` it is cut to what Whisper can keep.

        Raises UnsupportedLanguageError, GpuOutOfMemoryError, OutOfMemoryError, EngineError, AudioPreprocessingError.
        """
        code = self._code_of(language)
        prompt, hotwords, is_cut = self._fitting(prompt, hotwords)
        samples = _samples(audio)
        self._pipeline.tokenizer = None  # whisperx keeps the last meeting's language after an error
        self._pipeline.options = dataclasses.replace(self._options, initial_prompt=prompt, hotwords=hotwords)
        self._detector.report = lambda done: report(_DETECTION_SHARE * done)
        try:
            with hushed(), errors_mapped():
                answer = self._pipeline.transcribe(
                    samples,
                    batch_size=_BATCH_SIZE_CPU if self._device == "cpu" else _BATCH_SIZE_GPU,
                    language=code,
                    progress_callback=lambda percent: report(
                        _DETECTION_SHARE + (1 - _DETECTION_SHARE) * min(1.0, percent / 100)
                    ),
                )
        finally:
            self._pipeline.options = self._options
            self._detector.report = _nobody
        words = [word for passage in answer["segments"] for word in words_of(passage)]
        return Transcript(
            words=in_order(words, len(samples) / RATE_HZ),
            language=answer["language"] if words or code else None,
            engine="whisperx",
            model=self._model,
            device=self._device,
            compute_type=self._compute_type,
            warnings=(_HINTS_SHORTENED,) if is_cut else (),
        )

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        """
        The same words, each with its own times and the aligner's confidence; see passages.py for what is aligned.

        Where that cannot be done (no model for the language, model not to be had, out of memory) the estimated times
        stay, and a warning says so. Raises AudioPreprocessingError.
        """
        if not transcript.words:
            return transcript
        language, samples = transcript.language or "en", _samples(audio)
        aligned = self._aligner.align(transcript.words, language, samples, report, transcript.passages)
        warnings = (*transcript.warnings, aligned.warning) if aligned.warning else transcript.warnings
        changed = {"words": aligned.words, "alignment": aligned.alignment, "warnings": warnings}
        return transcript.model_copy(update=changed)

    def rest(self) -> None:
        """See `ports.Transcriber`."""

    def _code_of(self, language: str | None) -> str | None:
        """Whisper's code for the language; a model for English only hears English."""
        from whisperx.utils import TO_LANGUAGE_CODE

        whisper = self._pipeline.model
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

    def _fitting(self, prompt: str | None, hotwords: str | None) -> tuple[str | None, str | None, bool]:
        """Both hints, cut to what fits: the hotwords' beginning and the prompt's end. Longer ones make Whisper fail."""
        tokenizer = self._pipeline.model.hf_tokenizer
        kept_hotwords, room = _cut(tokenizer, hotwords, _MAX_HINT_TOKENS, from_end=False)
        kept_prompt, _ = _cut(tokenizer, prompt, room, from_end=True)
        is_cut = [(kept or "").split() for kept in (kept_hotwords, kept_prompt)] != [
            (given or "").split() for given in (hotwords, prompt)
        ]
        return kept_prompt, kept_hotwords, is_cut


_HINTS_SHORTENED = ResultWarning(
    code="hints_shortened",
    message="Prompt and hotwords are longer than Whisper can keep (about 150 words together); the rest was left aside.",
    stage=Stage.TRANSCRIBE,
)


def _cut(tokenizer: Any, hint: str | None, room: int, *, from_end: bool) -> tuple[str | None, int]:
    """As many whole words as fit into `room` tokens, and how much room is left."""
    words = (hint or "").split()
    while words:
        num_tokens = len(tokenizer.encode(" " + " ".join(words), add_special_tokens=False).ids)
        if num_tokens <= room:
            return " ".join(words), room - num_tokens
        fewer = min(len(words) - 1, len(words) * room // num_tokens)
        words = words[len(words) - fewer :] if from_end else words[:fewer]
    return None, room


class _ReportingDetector:
    """
    WhisperX's own voice detector, with progress: on a CPU it takes minutes per hour of audio before the first word.

    Anything callable may be put in its place; whisperx then prepares the audio and joins the chunks as for pyannote's.
    """

    def __init__(self, pyannote_vad: Any) -> None:
        self._scores_of = pyannote_vad.vad_pipeline._segmentation
        self.report: Report = _nobody

    def __call__(self, audio: Any) -> Any:
        return self._scores_of(audio, hook=lambda completed, total: self.report(min(1.0, float(completed) / total)))


def _nobody(progress: float) -> None:
    """For when nobody watches."""


def _device(enable_gpu: bool, cuda_device: int) -> str:
    """As torch names it."""
    import torch

    torch.set_num_threads(1)
    if not enable_gpu or not torch.cuda.is_available():
        return "cpu"
    if cuda_device >= torch.cuda.device_count():
        raise ModelUnavailableError(
            f"There is no GPU number {cuda_device} on this PC. Set CUDA_DEVICE to less than "
            f"{torch.cuda.device_count()}, or ENABLE_GPU=false."
        )
    return f"cuda:{cuda_device}"


def _load(folder: Path, device: str, cuda_device: int, compute_type: str, num_threads: int) -> Any:
    import whisperx

    try:
        return whisperx.load_model(
            str(folder),
            device.partition(":")[0],
            device_index=0 if device == "cpu" else cuda_device,
            compute_type=compute_type,
            vad_method="pyannote",  # comes with whisperx; the other one is fetched from GitHub
            local_files_only=True,
            threads=num_threads,
        )
    except (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        if is_gpu_out_of_memory(error):
            raise GpuOutOfMemoryError(reason=str(error), replace_child=True) from error
        raise ModelUnavailableError(
            "The Whisper model is here and cannot be loaded. Ask the administrator to check that WHISPER_MODEL's files "
            "are complete and in CTranslate2 format, and, with a GPU, that its driver fits (ENABLE_GPU=false works "
            "without).",
            reason=f"{type(error).__name__}: {error}",
            replace_child=True,
        ) from error


def _samples(audio: Path) -> Any:
    """float32 in [-1, 1], shape (num_samples,), 16 000 Hz."""
    with open_recording(audio) as sound:
        return sound.read(dtype="float32")
