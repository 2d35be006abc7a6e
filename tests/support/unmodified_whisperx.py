"""
The real whisperx on the models that the tests own, as its documentation says to use it: what our engine is held to.

Everything is imported when it is needed: whisperx takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jiwer

from tests.support.spoken_meetings import ALIGNER, WHISPER, SpokenText, TrueWord

_PUNKT = Path("tokenizers/punkt_tab/english")
_PUNKT_FILES = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")

_LONGEST_S = 25.0
_MARGIN_S = 0.2


@dataclass(frozen=True)
class HeardWord:
    """`text` as it is written, with its full stop; seconds from the beginning of the recording."""

    text: str
    start_s: float
    end_s: float


class UnmodifiedWhisperX:
    """
    Both models, loaded once.

    Args:
        nltk_data: an empty folder for the data that whisperx would fetch: sentences are then cut at each full stop.
    """

    def __init__(self, nltk_data: Path, *, whisper: Path = WHISPER, aligner: Path = ALIGNER) -> None:
        self._nltk_data = nltk_data
        _provide_punkt(nltk_data)
        with _quiet():
            import_module("torch").set_num_threads(1)
            whisperx: Any = import_module("whisperx")
            self._align = whisperx.align
            self._pipeline = whisperx.load_model(
                str(whisper),
                device="cpu",
                compute_type="int8",
                language="en",
                vad_method="pyannote",
                local_files_only=True,
                threads=2,
            )
            self._aligner = whisperx.load_align_model("en", "cpu", model_name=str(aligner), model_cache_only=True)

    def transcribe(self, samples: Any) -> list[dict[str, Any]]:
        """Passages with `start`, `end`, `text`. samples: float32, shape (num_samples,), 16 000 Hz."""
        with _quiet():
            passages: list[dict[str, Any]] = self._pipeline.transcribe(samples, batch_size=4)["segments"]
        return passages

    def align(self, passages: Sequence[dict[str, Any]], samples: Any) -> list[HeardWord]:
        with _quiet(), _found_by_nltk(self._nltk_data):
            words = self._align(passages, *self._aligner, samples, "cpu")["word_segments"]
        return [HeardWord(text=word["word"], start_s=float(word["start"]), end_s=float(word["end"])) for word in words]


def true_passages(text: SpokenText) -> list[dict[str, Any]]:
    """Whole sentences, together no longer than what whisperx's voice detector joins."""
    kept: list[dict[str, Any]] = []
    words = iter(text.words)
    for sentence in text.text.rstrip(".").split(". "):
        spoken = [next(words) for _ in sentence.split()]
        start_s, end_s = max(0.0, spoken[0].start_s - _MARGIN_S), min(text.duration_s, spoken[-1].end_s + _MARGIN_S)
        if kept and end_s - kept[-1]["start"] <= _LONGEST_S:
            kept[-1] |= {"end": end_s, "text": f"{kept[-1]['text']} {sentence}."}
        else:
            kept.append({"start": start_s, "end": end_s, "text": f"{sentence}."})
    return kept


def written(passages: Sequence[dict[str, Any]]) -> str:
    return " ".join(passage["text"] for passage in passages)


def word_error_rate(texts: Sequence[SpokenText], heard: Sequence[str]) -> float:
    """Of all texts together; capitals and full stops do not count."""
    return float(jiwer.wer([_plain(text.text) for text in texts], [_plain(text) for text in heard]))


def word_pairs(
    text: SpokenText, heard: Sequence[HeardWord], *, num_left_out: int = 0
) -> list[tuple[TrueWord, HeardWord]]:
    """The words that were heard right, each with its truth, without so many on either side of an error."""
    reference, hypothesis = ([_plain(word.text) for word in words] for words in (text.words, heard))
    chunks = jiwer.process_words(" ".join(reference), " ".join(hypothesis)).alignments[0]
    pairs = []
    for number, chunk in enumerate(chunks):
        if chunk.type == "equal":
            first = num_left_out if number > 0 else 0
            last = chunk.ref_end_idx - chunk.ref_start_idx - (num_left_out if number < len(chunks) - 1 else 0)
            places = range(first, last)
            pairs += [(text.words[chunk.ref_start_idx + n], heard[chunk.hyp_start_idx + n]) for n in places]
    return pairs


def deviations_s(pairs: Sequence[tuple[TrueWord, HeardWord]]) -> list[float]:
    """By how much each word begins or ends too early or too late, whichever is worse."""
    return [max(abs(true.start_s - heard.start_s), abs(true.end_s - heard.end_s)) for true, heard in pairs]


def _plain(text: str) -> str:
    return " ".join(text.lower().replace(".", " ").split())


def _provide_punkt(nltk_data: Path) -> None:
    folder = nltk_data / _PUNKT
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PUNKT_FILES:
        (folder / name).touch()


@contextmanager
def _found_by_nltk(nltk_data: Path) -> Iterator[None]:
    places: list[str] = import_module("nltk").data.path
    places.insert(0, str(nltk_data))
    try:
        yield
    finally:
        places.remove(str(nltk_data))


@contextmanager
def _quiet() -> Iterator[None]:
    """Its dependencies warn about each other."""
    with warnings.catch_warnings(action="ignore"):
        yield
