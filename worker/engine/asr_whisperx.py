"""
Transcription with WhisperX: faster-whisper on passages that its voice detector cut, words timed with wav2vec2.

The models stay loaded between meetings; nothing of one meeting reaches the next (language, prompt, hotwords).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from worker.engine.recording import open_recording
from worker.exceptions import EngineError, GpuOutOfMemoryError, ModelUnavailableError, UnsupportedLanguageError
from worker.models import ResultWarning, Stage, Transcript, Word
from worker.ports import Report

BATCH_SIZE = 8  # turbo saturates there (field measurements); 0, 1 and None take another path in whisperx
MAX_SPAN_S = 30.0  # longest piece that whisperx.align is given: its memory grows with the square

_PUNKT_FILES = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")

_NOT_ALIGNED = ResultWarning(
    code="alignment_unavailable",
    message="Word times are estimated from their passage, because there is no alignment model for this language here.",
    stage=Stage.ALIGN,
)


class WhisperXTranscriber:
    """
    Implements `ports.Transcriber`.

    Args:
        model: a Whisper model's name (fetched once from the hub into `cache_dir`) or a folder in CTranslate2 format.
        cache_dir: where fetched models are kept.
        enable_gpu: use the GPU `cuda_device` if torch finds one: float16 there, int8 on the CPU.

    Raises ModelUnavailableError when the model cannot be had.
    """

    def __init__(self, *, model: str, cache_dir: str, enable_gpu: bool, cuda_device: int, num_threads: int) -> None:
        import torch

        self._name = model
        self._cache_dir = Path(cache_dir)
        self._on_gpu = enable_gpu and torch.cuda.is_available()
        self._cuda_device = cuda_device
        self._compute_type = "float16" if self._on_gpu else "int8"
        self._aligners: dict[str, tuple[Any, Any] | None] = {}
        with _library_noise_hushed():
            self._pipeline = self._load(num_threads)
        self._options = self._pipeline.options

    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        """
        Write down what is said; silence gives no words.

        Word times are estimated from the passage that a word stands in, until `align`. A word's confidence is the
        passage's mean token probability.

        Raises UnsupportedLanguageError, GpuOutOfMemoryError, EngineError, AudioPreprocessingError.
        """
        self._require_known(language)
        self._pipeline.tokenizer = None  # whisperx keeps the last meeting's after an error
        self._pipeline.options = dataclasses.replace(self._options, initial_prompt=prompt, hotwords=hotwords)
        try:
            with _library_noise_hushed(), _errors_mapped():
                answer = self._pipeline.transcribe(
                    _samples(audio),
                    batch_size=BATCH_SIZE,
                    language=language,
                    progress_callback=lambda percent: report(min(1.0, percent / 100)),
                )
        finally:
            self._pipeline.options = self._options
        return Transcript(
            words=tuple(word for segment in answer["segments"] for word in words_of(segment)),
            language=answer["language"],
            engine="whisperx",
            model=f"whisperx-{version('whisperx')} {Path(self._name).name}",
            device="cuda" if self._on_gpu else "cpu",
            compute_type=self._compute_type,
        )

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        """
        The same words, each with its own times and the aligner's confidence.

        Without an aligner for the language the estimated times stay, and a warning says so.
        """
        if not transcript.words:
            return transcript
        language = transcript.language or "en"
        with _library_noise_hushed():
            aligner = self._aligner(language)
            if aligner is None:
                return transcript.model_copy(update={"warnings": (*transcript.warnings, _NOT_ALIGNED)})
            words = self._aligned(transcript.words, _samples(audio), aligner, report)
        return transcript.model_copy(update={"words": words})

    def _load(self, num_threads: int) -> Any:
        try:
            import whisperx

            return whisperx.load_model(
                self._name,
                "cuda" if self._on_gpu else "cpu",
                device_index=self._cuda_device if self._on_gpu else 0,
                compute_type=self._compute_type,
                download_root=str(self._cache_dir / "whisper"),
                vad_method="pyannote",  # comes with whisperx; the other one is fetched from GitHub
                threads=num_threads,
            )
        except Exception as error:  # whatever the libraries raise, the model is not to be had
            raise ModelUnavailableError(
                f"The Whisper model {Path(self._name).name} cannot be loaded on this PC. Let the PC reach "
                "huggingface.co once, or set WHISPER_MODEL to a folder that holds the model; ASR_ENGINE=sphinx works "
                "without one.",
                reason=f"{type(error).__name__}: {error}",
            ) from error

    def _require_known(self, language: str | None) -> None:
        known = self._pipeline.model.supported_languages
        if language is not None and language not in known:
            raise UnsupportedLanguageError(
                f"The Whisper model does not know the language '{language[:20]}'. Use a code such as en or de, or "
                "leave it empty to have it found out, then retry the meeting."
            )

    def _aligner(self, language: str) -> tuple[Any, Any] | None:
        """wav2vec2 for the language with its characters; None when there is none to be had."""
        if language not in self._aligners:
            from whisperx.alignment import load_align_model

            _provide_punkt(self._cache_dir / "nltk_data", language)
            try:
                self._aligners[language] = load_align_model(
                    language, "cuda" if self._on_gpu else "cpu", model_dir=str(self._cache_dir / "align")
                )
            except Exception:  # noqa: BLE001 - not on the hub, hub away, disk full: the estimated times stay
                self._aligners[language] = None
        return self._aligners[language]

    def _aligned(
        self, words: Sequence[Word], samples: Any, aligner: tuple[Any, Any], report: Report
    ) -> tuple[Word, ...]:
        from whisperx.alignment import align

        model, characters = aligner
        spans = list(spans_of(words))
        timed: list[Word] = []
        for number, span in enumerate(spans, start=1):
            passage = {"text": " ".join(w.text for w in span), "start": span[0].start_s, "end": span[-1].end_s}
            with _errors_mapped():
                answer = align([passage], model, characters, samples, "cuda" if self._on_gpu else "cpu")
            timed += with_times(span, answer["word_segments"])
            report(number / len(spans))
        return tuple(in_order(timed))


# --- words and times: pure ---------------------------------------------------------------------------------------


def words_of(segment: dict[str, Any]) -> Iterator[Word]:
    """A passage's words; its time is shared out by their numbers of characters."""
    texts = str(segment["text"]).split()
    start_s, length_s = float(segment["start"]), float(segment["end"]) - float(segment["start"])
    num_chars = sum(map(len, texts))
    confidence = round(min(1.0, math.exp(float(segment.get("avg_logprob") or 0.0))), 4)
    done = 0
    for text in texts:
        first_s = start_s + length_s * done / num_chars
        done += len(text)
        last_s = start_s + length_s * done / num_chars
        yield Word(text=text, start_s=round(first_s, 3), end_s=round(last_s, 3), confidence=confidence)


def spans_of(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """The words of one passage at a time: within it estimated times touch; none is longer than MAX_SPAN_S."""
    first = 0
    for index, (before, word) in enumerate(pairwise(words), start=1):
        if word.start_s - before.end_s > 0.0015 or word.end_s - words[first].start_s > MAX_SPAN_S:
            yield tuple(words[first:index])
            first = index
    yield tuple(words[first:])


def with_times(span: Sequence[Word], aligned: Sequence[dict[str, Any]]) -> Iterator[Word]:
    """The aligner's times word by word; it leaves out some (digits, symbols), which keep their estimate."""
    if len(aligned) != len(span):  # it has split the text in another way: no word must be lost or get another's time
        yield from span
        return
    for word, found in zip(span, aligned, strict=True):
        if found.get("start") is None or found.get("end") is None:
            yield word
            continue
        confidence = word.confidence if found.get("score") is None else min(1.0, max(0.0, float(found["score"])))
        times = {"start_s": round(float(found["start"]), 3), "end_s": round(float(found["end"]), 3)}
        yield word.model_copy(update={**times, "confidence": confidence})


def in_order(words: Sequence[Word]) -> Iterator[Word]:
    """No word begins before the one before it, or ends before it begins: estimates may not fit between exact times."""
    latest_s = 0.0
    for word in words:
        start_s = max(word.start_s, latest_s)
        latest_s = start_s
        yield word.model_copy(update={"start_s": start_s, "end_s": max(word.end_s, start_s)})


# --- around the libraries ----------------------------------------------------------------------------------------


def _samples(audio: Path) -> Any:
    """float32 in [-1, 1], shape (num_samples,), 16 000 Hz."""
    with open_recording(audio) as sound:
        return sound.read(dtype="float32")


class _errors_mapped:
    """What the libraries raise, as ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError | ValueError | IndexError | TypeError):
            if "out of memory" in str(error).lower():
                raise GpuOutOfMemoryError(reason=str(error)) from error
            raise EngineError(reason=f"{type(error).__name__}: {error}") from error


def _library_noise_hushed() -> warnings.catch_warnings[list[warnings.WarningMessage] | None]:
    """Deprecations and missing optional parts of other people's packages: nothing that anybody here can act on."""
    return warnings.catch_warnings(action="ignore")


def _provide_punkt(nltk_data: Path, language: str) -> None:
    """whisperx.align splits sentences with punkt, whose four files may be empty: better than a download."""
    import nltk
    from whisperx.utils import PUNKT_LANGUAGES

    folder = nltk_data / "tokenizers" / "punkt_tab" / PUNKT_LANGUAGES.get(language, "english")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PUNKT_FILES:
        (folder / name).touch()
    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))
