"""
Exact word times: a wav2vec2 model hears the recording passage by passage, and the known words are laid over it.

A failure here never costs a word: passages that cannot be aligned keep the times that their words came with.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from worker.engine.aligner_models import Load, load_aligner
from worker.engine.batches import map_ahead
from worker.engine.ctc_emissions import CtcNetwork, batches_of, fitting_compute_type
from worker.engine.forced_alignment import Alphabet, Span, word_spans
from worker.engine.passages import Stretch, in_order, stretches_of
from worker.engine.recording import RATE_HZ
from worker.engine.whisperx_library import hushed, kept_alive
from worker.models import Alignment, Passage, ResultWarning, Stage, Word
from worker.ports import Report

_BATCH_S_CPU = 30.0
_BATCH_S_GPU = 240.0
"""Sound in one batch, padding included: what a CPU gains is over by then, and a GPU of 4 GB holds its batch."""

_WINDOW_S = 600.0
"""Sound that is sorted by length into batches; the recording is read this far ahead at most."""

_ASK_AGAIN_S = 900.0
"""A model that could not be had is asked for again after this time, not for every meeting."""


@dataclass(frozen=True)
class AlignedWords:
    """
    The same words in their order, inside the recording.

    `alignment` says who placed them, None when nobody could; `warning` says that some have estimated times.
    """

    words: tuple[Word, ...]
    alignment: Alignment | None = None
    warning: ResultWarning | None = None


class _Loaded(NamedTuple):
    language: str
    name: str
    network: CtcNetwork
    alphabet: Alphabet
    compute_type: str


class _Piece(NamedTuple):
    """One stretch and its sound. `number` is its place among all stretches."""

    number: int
    stretch: Stretch
    wave: npt.NDArray[np.float32]


class _Answer(NamedTuple):
    """`words` is None when the stretch could not be aligned; `has_failed`: because the model broke down over it."""

    piece: _Piece
    words: tuple[Word, ...] | None
    has_failed: bool = False


class WordAligner:
    """
    Keeps the model of the last language loaded.

    Args:
        cache: where models are kept. A wav2vec2 CTC model (transformers format) in its subfolder named like the
            language, `en` say, is used instead of whisperx's choice: for PCs that reach no hub.
        device: as torch names it.
        num_threads: batches computed at once on the CPU, one core each.
        model: a wav2vec2 model for all languages, a name or a folder; None: by language.
        compute_type: `float32`, `bfloat16`, or `auto`: the fastest that is exact enough.
        offline: never ask a hub.
        load: where models come from.
    """

    def __init__(
        self,
        *,
        cache: Path,
        device: str,
        num_threads: int,
        model: str | None = None,
        compute_type: str = "auto",
        offline: bool = False,
        load: Load = load_aligner,
    ) -> None:
        self._cache = cache
        self._device = device
        self._num_threads = num_threads if device == "cpu" else 1
        self._wanted = model
        self._compute_type = compute_type
        self._offline = offline
        self._load_aligner = load
        self._loaded: _Loaded | None = None
        self._ask_again_at: dict[str, float] = {}

    def align(
        self, words: Sequence[Word], language: str, samples: Any, report: Report, passages: Sequence[Passage] = ()
    ) -> AlignedWords:
        """
        Args:
            samples: float32, shape (num_samples,), 16 000 Hz; only slices of it are read, in this thread.
            passages: what the words stand in; without, it is told from words that touch.
        """
        with hushed():
            with kept_alive(report):
                model = self._model_for(language)
            if model is None:
                return AlignedWords(in_order(words, len(samples) / RATE_HZ), warning=_NO_MODEL)
            stretches = list(stretches_of(words, passages))
            answers = self._answers(model, stretches, samples, report)
        if any(answer.has_failed for answer in answers):
            self.rest()  # whatever went wrong, out of memory say: the next meeting starts afresh
        placed: list[Word] = []
        for answer in sorted(answers, key=lambda answer: answer.piece.number):
            placed += answer.words or answer.piece.stretch.words
        lost = [answer.piece.stretch for answer in answers if answer.words is None]
        return AlignedWords(
            in_order(placed, len(samples) / RATE_HZ),
            Alignment(
                model=model.name,
                language=language,
                device=self._device.partition(":")[0],
                compute_type=model.compute_type,
                num_estimated=sum(len(stretch.words) for stretch in lost),
            ),
            _some_estimated(len(lost), len(stretches)),
        )

    def rest(self) -> None:
        """Give the model's memory back; the next call loads it again."""
        import torch

        self._loaded = None
        gc.collect()
        if self._device != "cpu":
            torch.cuda.empty_cache()

    def _answers(self, model: _Loaded, stretches: list[Stretch], samples: Any, report: Report) -> list[_Answer]:
        """In the order in which they are ready."""
        total_s = sum(stretch.end_s - stretch.start_s for stretch in stretches)
        max_total = int(RATE_HZ * (_BATCH_S_CPU if self._device == "cpu" else _BATCH_S_GPU))
        answers: list[_Answer] = []
        done_s = 0.0
        batches = _batches(stretches, samples, max_total)
        for ready in map_ahead(lambda batch: _aligned(batch, model), batches, num_threads=self._num_threads):
            answers += ready
            done_s += sum(answer.piece.stretch.end_s - answer.piece.stretch.start_s for answer in ready)
            report(min(1.0, done_s / total_s) if total_s else 1.0)
        return answers

    def _model_for(self, language: str) -> _Loaded | None:
        """None when there is none to be had."""
        if self._loaded is not None and self._loaded.language == language:
            return self._loaded
        if time.monotonic() < self._ask_again_at.get(language, 0.0):
            return None
        self.rest()
        try:
            self._loaded = self._load(language)
        except Exception:  # noqa: BLE001 - no model for it, hub away, disk full, no room on the GPU: estimates stay
            self._ask_again_at[language] = time.monotonic() + _ASK_AGAIN_S
        return self._loaded

    def _load(self, language: str) -> _Loaded:
        found = self._load_aligner(
            language, cache=self._cache, device=self._device, model=self._wanted, offline=self._offline
        )
        compute_type = fitting_compute_type(self._compute_type, self._device)
        network = CtcNetwork(found.network, device=self._device, compute_type=compute_type)
        return _Loaded(language, found.name, network, found.alphabet, compute_type)


def _batches(stretches: Sequence[Stretch], samples: Any, max_total: int) -> Iterator[list[_Piece]]:
    """Stretches of about the same length together, from one window of the recording after the other."""
    first = 0
    for last in _window_ends(stretches):
        bounds = [_bounds(stretch, len(samples)) for stretch in stretches[first:last]]
        for batch in batches_of([stop - start for start, stop in bounds], max_total=max_total):
            yield [_Piece(first + i, stretches[first + i], samples[slice(*bounds[i])]) for i in batch]
        first = last


def _window_ends(stretches: Sequence[Stretch]) -> Iterator[int]:
    window_s = 0.0
    for number, stretch in enumerate(stretches):
        window_s += stretch.end_s - stretch.start_s
        if window_s >= _WINDOW_S or number == len(stretches) - 1:
            yield number + 1
            window_s = 0.0


def _bounds(stretch: Stretch, num_samples: int) -> tuple[int, int]:
    start, stop = (min(max(0, int(edge_s * RATE_HZ)), num_samples) for edge_s in (stretch.start_s, stretch.end_s))
    return start, max(start, stop)


def _aligned(batch: Sequence[_Piece], model: _Loaded) -> list[_Answer]:
    """One answer for each piece. Where the batch fails as a whole, its pieces are tried one by one."""
    try:
        heard = model.network.log_probs([piece.wave for piece in batch])
        return [_Answer(piece, _placed(piece, one, model.alphabet)) for piece, one in zip(batch, heard, strict=True)]
    except Exception:  # noqa: BLE001 - up to a lost GPU: the words must not be lost with it
        if len(batch) == 1:
            return [_Answer(batch[0], None, has_failed=True)]
    return [answer for piece in batch for answer in _aligned([piece], model)]


def _placed(piece: _Piece, log_probs: npt.NDArray[np.float32], alphabet: Alphabet) -> tuple[Word, ...] | None:
    words = piece.stretch.words
    spans = word_spans(log_probs, [word.text for word in words], alphabet) if len(piece.wave) else None
    if spans is None:
        return None
    frame_s = len(piece.wave) / RATE_HZ / len(log_probs)
    return tuple(_timed(word, span, piece.stretch.start_s, frame_s) for word, span in zip(words, spans, strict=True))


def _timed(word: Word, span: Span, start_s: float, frame_s: float) -> Word:
    return Word(
        text=word.text,
        start_s=round(start_s + span.start * frame_s, 3),
        end_s=round(start_s + span.end * frame_s, 3),
        confidence=round(min(1.0, span.score), 4),
    )


_NO_MODEL = ResultWarning(
    code="alignment_unavailable",
    message="Word times are estimated from their passage: there is no alignment model for this language on the PC.",
    stage=Stage.ALIGN,
)


def _some_estimated(num_estimated: int, num_stretches: int) -> ResultWarning | None:
    if not num_estimated:
        return None
    return ResultWarning(
        code="alignment_unavailable",
        message=f"Word times of {num_estimated} of {num_stretches} passages are estimated: they could not be aligned.",
        stage=Stage.ALIGN,
    )
