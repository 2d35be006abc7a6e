"""
Transcription with WhisperX: faster-whisper on passages that its voice detector cut, words timed with wav2vec2.

The models stay loaded between meetings; nothing of one meeting reaches the next (language, prompt, hotwords).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from worker.engine import first_decoding
from worker.engine.attention_times import timed_by_whisper
from worker.engine.heard_speech import HeardSpeech, SpeechDetector
from worker.engine.hints import HINTS_SHORTENED, Hints, fitting
from worker.engine.language_vote import code_of, language_doubtful, listen, vote, windows_of
from worker.engine.passage_doubts import transcript_doubtful
from worker.engine.passages import in_order, words_of
from worker.engine.plan import Plans
from worker.engine.recording import RATE_HZ
from worker.engine.reports import only_forward, part
from worker.engine.rungs import first_that_fits, memory_short
from worker.engine.samples import Samples
from worker.engine.second_decoding import decoded_again
from worker.engine.whisper_model import LoadedWhisper, WarmWhisper
from worker.engine.whisperx_library import errors_mapped, hushed
from worker.engine.word_alignment import AlignedWords, WordAligner
from worker.exceptions import PCWorkerException
from worker.models import EnginePlan, LanguageVote, Passage, ResultWarning, Transcript
from worker.ports import Report

_DETECTION_SHARE, _DECODING_SHARE = 0.25, 0.65
"""Parts of the work, small model on the CPU: finding speech, first decoding; the rest is for doubtful passages.
Elsewhere the bar is a little ahead or behind."""


@dataclass(frozen=True)
class _Meeting:
    """What is asked. `find_speech` is called once, whatever number of plans is tried."""

    audio: Path
    samples: Samples
    language: str | None
    prompt: str | None
    hotwords: str | None
    report: Report
    find_speech: Callable[[], HeardSpeech]

    @cached_property
    def heard(self) -> HeardSpeech:
        return self.find_speech()

    @property
    def length_s(self) -> float:
        return len(self.samples) / RATE_HZ


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
        allowed_languages: tuple[str, ...] = (),
        offline: bool = False,
    ) -> None:
        self._plans = plans
        self._cuda_device = cuda_device
        self._allowed_languages = allowed_languages
        self._detector = SpeechDetector(num_threads=num_threads)
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
        passage's mean token probability. Passages that something speaks against are decoded a second time, and both
        texts kept. When memory runs out, the next plan is tried, with a warning.

        Args:
            language: a code (`de`, `pt-BR`) or an English name; None: by vote over several stretches of speech.
            prompt: text that could have come before. Together with `hotwords` it is cut to what Whisper can keep.

        Raises ModelUnavailableError, UnsupportedLanguageError, GpuOutOfMemoryError, OutOfMemoryError, EngineError,
        AudioPreprocessingError.
        """
        report = only_forward(report)
        samples = Samples(audio)
        find_speech = partial(self._detector.heard, audio, part(report, 0.0, _DETECTION_SHARE))
        meeting = _Meeting(audio, samples, language, prompt, hotwords, report, find_speech)
        rungs = self._plans.rungs(meeting.length_s)
        write = partial(self._written, meeting)
        transcript = first_that_fits(self._plans, rungs, meeting.length_s, write, self._whisper.make_room)
        short = memory_short(asked=rungs[0], used=transcript.plan or rungs[0])
        return _with(transcript, warnings=(short,) if short else ())

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        """
        The same words, each with its own times and the aligner's confidence; see passages.py for what is aligned.

        Where that cannot be done (no model for the language, model not to be had, out of memory) the times are
        Whisper's own, or else stay estimated, and a warning says so. Raises AudioPreprocessingError.
        """
        if not transcript.words:
            return transcript
        language, samples = transcript.language or "en", Samples(audio)
        plan = transcript.plan or self._plans.rungs(len(samples) / RATE_HZ)[0]
        aligned = self._aligner(plan).align(transcript.words, language, samples, report, transcript.passages)
        if aligned.alignment is None or aligned.alignment.num_estimated == len(transcript.words):
            aligned = self._timed_by_whisper(transcript, plan, samples, report) or aligned
        placed = transcript.model_copy(update={"words": aligned.words, "alignment": aligned.alignment})
        return _with(placed, warnings=(aligned.warning,) if aligned.warning else ())

    def _timed_by_whisper(
        self, transcript: Transcript, plan: EnginePlan, samples: Samples, report: Report
    ) -> AlignedWords | None:
        try:
            loaded = self._whisper.ready(plan, report)
            with hushed(), errors_mapped():
                return timed_by_whisper(transcript, loaded, plan, samples, report)
        except PCWorkerException:  # the estimates are there: no second failure costs a word
            return None

    def rest(self) -> None:
        """See `ports.Transcriber`. Where the plan is to keep Whisper loaded, nothing is given back."""
        if self._whisper.plan is not None and self._whisper.plan.unload_asr:
            self._whisper.free()
            for aligner in self._aligners.values():
                with suppress(RuntimeError):  # of a GPU that is lost
                    aligner.rest()

    def _aligner(self, plan: EnginePlan) -> WordAligner:
        device = f"cuda:{self._cuda_device}" if plan.device == "cuda" else "cpu"
        if device not in self._aligners:
            self._aligners[device] = self._new_aligner(device=device)
        return self._aligners[device]

    def _written(self, meeting: _Meeting, plan: EnginePlan) -> Transcript:
        """With one plan, or not at all."""
        loaded = self._whisper.ready(plan, meeting.report)
        given = code_of(meeting.language, loaded.whisper)
        hints = fitting(loaded.whisper.hf_tokenizer, meeting.prompt, meeting.hotwords)
        with hushed(), errors_mapped():
            found = self._vote(meeting, loaded, plan, given)
            passages = _passages(meeting, loaded, plan, hints, found.language) if found else ()
        words = [word for passage in passages for word in words_of(_as_whisperx(passage))]
        return Transcript(
            words=in_order(words, meeting.length_s),
            language=found.language if found and (words or given) else None,
            engine="whisperx",
            model=loaded.name,
            device=plan.device,
            compute_type=plan.compute_type,
            revision=loaded.revision,
            batch_size=plan.batch_size,
            plan=plan,
            language_vote=found if words or given else None,
            passages=passages,
            warnings=_warnings(hints, found if words else None, passages),
        )

    def _vote(
        self, meeting: _Meeting, loaded: LoadedWhisper, plan: EnginePlan, given: str | None
    ) -> LanguageVote | None:
        """A language that a person gave is no question, whatever is allowed; without speech there is no answer."""
        if given is not None:
            return LanguageVote(language=given, probability=1.0)
        windows = windows_of(meeting.heard, meeting.length_s)
        if not windows:
            return None
        return vote(listen(loaded.whisper, meeting.samples, windows, plan.batch_size), self._allowed_languages)


def _passages(
    meeting: _Meeting, loaded: LoadedWhisper, plan: EnginePlan, hints: Hints, language: str
) -> tuple[Passage, ...]:
    first = first_decoding.decoded(
        loaded,
        meeting.samples,
        meeting.heard,
        language=language,
        hints=hints,
        batch_size=plan.batch_size,
        report=part(meeting.report, _DETECTION_SHARE, _DETECTION_SHARE + _DECODING_SHARE),
    )
    return decoded_again(
        first,
        loaded.whisper,
        meeting.samples,
        meeting.heard,
        language=language,
        hints=hints,
        report=part(meeting.report, _DETECTION_SHARE + _DECODING_SHARE, 1.0),
    )


def _as_whisperx(passage: Passage) -> dict[str, Any]:
    return {
        "text": passage.text,
        "start": passage.start_s,
        "end": passage.end_s,
        "avg_logprob": passage.avg_logprob,
    }


def _warnings(hints: Hints, found: LanguageVote | None, passages: tuple[Passage, ...]) -> tuple[ResultWarning, ...]:
    possible = (
        HINTS_SHORTENED if hints.is_cut else None,
        language_doubtful(found) if found and found.is_doubtful else None,
        transcript_doubtful(passages),
    )
    return tuple(warning for warning in possible if warning)


def _with(transcript: Transcript, *, warnings: tuple[ResultWarning, ...]) -> Transcript:
    return transcript.model_copy(update={"warnings": (*transcript.warnings, *warnings)})
