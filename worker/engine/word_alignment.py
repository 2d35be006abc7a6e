"""
Exact word times with whisperx.align: a wav2vec2 model per language, found in the cache or fetched once.

A failure here never costs a word: passages that cannot be aligned keep their estimated times.
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.engine.batches import map_ahead
from worker.engine.passages import by_word, in_order, passages_of, with_times
from worker.engine.recording import RATE_HZ
from worker.engine.whisperx_library import hushed, kept_alive
from worker.models import Alignment, Passage, ResultWarning, Stage, Word
from worker.ports import Report

_PUNKT_FILES = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")

_CONNECTION_TIMEOUT_S = 20.0
"""torchaudio fetches its models without any timeout: of one read from the network, not of the whole download."""

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


class WordAligner:
    """
    Keeps the model of the last language loaded.

    Args:
        cache: where models are kept. A wav2vec2 CTC model (transformers format) in its subfolder named like the
            language, `en` say, is used instead of whisperx's choice: for PCs that reach no hub.
        device: as torch names it.
        num_threads: passages aligned at once on the CPU.
        model: a wav2vec2 model for all languages, a name or a folder; None: by language.
        compute_type: `float32`, `bfloat16`, or `auto`.
        offline: never ask a hub.
    """

    def __init__(
        self,
        *,
        cache: Path,
        device: str,
        num_threads: int,
        model: str | None = None,
        compute_type: str = "auto",  # noqa: ARG002  # wired with the next change of this module
        offline: bool = False,  # noqa: ARG002  # likewise
    ) -> None:
        self._name = model
        self._cache = cache
        self._device = device
        self._num_threads = num_threads if device == "cpu" else 1
        self._language: str | None = None
        self._model: tuple[Any, Any] | None = None
        self._ask_again_at: dict[str, float] = {}

    def align(
        self,
        words: Sequence[Word],
        language: str,
        samples: Any,
        report: Report,
        passages: Sequence[Passage] = (),  # noqa: ARG002  # wired with the next change of this module
    ) -> AlignedWords:
        """
        Args:
            samples: float32, shape (num_samples,), 16 000 Hz.
            passages: what the words stand in; without, it is told from words that touch.
        """
        with hushed():
            with kept_alive(report):
                model = self._model_for(language)
            if model is None:
                return AlignedWords(tuple(words), warning=_NO_MODEL)
            spoken = list(passages_of(words))
            placed: list[Word] = []
            num_estimated = 0
            found = map_ahead(
                lambda p: _aligned(p, model, samples, self._device), spoken, num_threads=self._num_threads
            )
            for number, (passage, timed) in enumerate(zip(spoken, found, strict=True), start=1):
                placed += timed or passage
                num_estimated += timed is None
                report(number / len(spoken))
            if num_estimated:
                self._forget()  # whatever went wrong, out of memory say: the next meeting starts afresh
        return AlignedWords(
            in_order(placed, len(samples) / RATE_HZ),
            Alignment(model=self._name or language, language=language, device=self._device.partition(":")[0]),
            _some_estimated(num_estimated, len(spoken)),
        )

    def rest(self) -> None:
        """Give the model's memory back; the next call loads it again."""
        self._forget()

    def _model_for(self, language: str) -> tuple[Any, Any] | None:
        """wav2vec2 for the language with its characters; None when there is none to be had."""
        if self._language == language and self._model is not None:
            return self._model
        if time.monotonic() < self._ask_again_at.get(language, 0.0):
            return None
        self._forget()
        try:
            self._model = self._load(language)
        except Exception:  # noqa: BLE001 - no model for it, hub away, disk full, no room on the GPU: estimates stay
            self._ask_again_at[language] = time.monotonic() + _ASK_AGAIN_S
            return None
        self._language = language
        return self._model

    def _load(self, language: str) -> tuple[Any, Any]:
        from whisperx.alignment import load_align_model

        _provide_punkt(self._cache / "nltk_data", language)
        local = self._cache / language
        with _connections_time_out():
            model: tuple[Any, Any] = load_align_model(
                language,
                self._device,
                model_name=str(local) if local.is_dir() else None,
                model_dir=str(self._cache),
            )
        model[0].eval()
        return model

    def _forget(self) -> None:
        """Drop references first, then collect, then give the GPU's memory back."""
        import torch

        self._model = None
        self._language = None
        gc.collect()
        if self._device != "cpu":
            torch.cuda.empty_cache()


def _aligned(passage: tuple[Word, ...], model: tuple[Any, Any], samples: Any, device: str) -> tuple[Word, ...] | None:
    """None when this passage cannot be aligned."""
    from whisperx.alignment import LANGUAGES_WITHOUT_SPACES, align

    wav2vec2, metadata = model
    is_unspaced = metadata["language"] in LANGUAGES_WITHOUT_SPACES
    text = ("" if is_unspaced else " ").join(word.text for word in passage)
    question = {"text": text, "start": passage[0].start_s, "end": passage[-1].end_s}
    try:
        found = align([question], wav2vec2, metadata, samples, device)["word_segments"]
    except Exception:  # noqa: BLE001 - from a trellis without a path to a lost GPU: the words must not be lost with it
        return None
    return with_times(passage, by_word(found, passage) if is_unspaced else found)


_NO_MODEL = ResultWarning(
    code="alignment_unavailable",
    message="Word times are estimated from their passage: there is no alignment model for this language on the PC.",
    stage=Stage.ALIGN,
)


def _some_estimated(num_estimated: int, num_passages: int) -> ResultWarning | None:
    if not num_estimated:
        return None
    return ResultWarning(
        code="alignment_unavailable",
        message=f"Word times of {num_estimated} of {num_passages} passages are estimated: they could not be aligned.",
        stage=Stage.ALIGN,
    )


def _provide_punkt(nltk_data: Path, language: str) -> None:
    """
    whisperx.align splits sentences with nltk's punkt, which it would fetch. Its four files may be empty: sentences are
    then cut at every full stop, and we only read the words.
    """
    import nltk
    from whisperx.utils import PUNKT_LANGUAGES

    folder = nltk_data / "tokenizers" / "punkt_tab" / PUNKT_LANGUAGES.get(language, "english")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PUNKT_FILES:
        (folder / name).touch()
    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))


@contextmanager
def _connections_time_out() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECTION_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
