"""
Word times without an aligner: what Whisper's decoder looks at (cross-attention) while it reads the words.

For languages without a wav2vec2 model; coarser than one, and closer than sharing a passage's time out evenly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from worker.engine.language_vote import LONGEST_WINDOW_S
from worker.engine.passages import Stretch, in_order, stretches_of
from worker.engine.recording import RATE_HZ
from worker.engine.whisper_model import LoadedWhisper
from worker.engine.whisperx_library import LIBRARY_ERRORS, is_gpu_lost
from worker.engine.word_alignment import AlignedWords
from worker.models import Alignment, EnginePlan, ResultWarning, Stage, Transcript, Word
from worker.ports import Report


def timed_by_whisper(
    transcript: Transcript, loaded: LoadedWhisper, plan: EnginePlan, samples: Any, report: Report
) -> AlignedWords | None:
    """
    The same words in their order, inside the recording; None when Whisper could place none of them.

    Args:
        plan: what `loaded` was loaded by.
        samples: float32 in [-1, 1], shape (num_samples,), 16 000 Hz; slices are taken.
    """
    from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]  # ships no type information

    language, whisper = transcript.language or "en", loaded.whisper
    tokenizer = Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, task="transcribe", language=language)
    stretches = list(stretches_of(transcript.words, transcript.passages))
    placed: list[Word] = []
    num_estimated = 0
    for number, stretch in enumerate(stretches, start=1):
        found = _found(stretch, whisper, tokenizer, samples)
        placed += found or stretch.words
        num_estimated += 0 if found else len(stretch.words)
        report(number / len(stretches))
    if num_estimated == len(placed):
        return None
    by = Alignment(
        model=f"{loaded.name} (cross-attention)",
        language=language,
        device=plan.device,
        compute_type=plan.compute_type,
        num_estimated=num_estimated,
    )
    return AlignedWords(in_order(placed, len(samples) / RATE_HZ), by, _coarse(num_estimated, len(placed)))


def _coarse(num_estimated: int, num_words: int) -> ResultWarning:
    rest = f" ({num_estimated} of {num_words} are estimated)" if num_estimated else ""
    return ResultWarning(
        code="alignment_unavailable",
        message=f"Word times are Whisper's own, which are coarse{rest}: there is no alignment model for this "
        "language on the PC, or it failed.",
        stage=Stage.ALIGN,
    )


def _found(stretch: Stretch, whisper: Any, tokenizer: Any, samples: Any) -> tuple[Word, ...] | None:
    """None when these words cannot be placed."""
    from faster_whisper.audio import pad_or_trim  # type: ignore[import-untyped]  # ships no type information

    words, start_s = stretch.words, stretch.start_s
    end_s = min(stretch.end_s, start_s + LONGEST_WINDOW_S)
    part = samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
    num_frames = len(part) // whisper.feature_extractor.hop_length
    try:
        encoded = whisper.encode(pad_or_trim(whisper.feature_extractor(part)))
        tokens = tokenizer.encode(_as_written(words, tokenizer.language_code))
        heard = whisper.find_alignment(tokenizer, [tokens], encoded, num_frames)[0]
    except LIBRARY_ERRORS as error:
        if is_gpu_lost(error):
            raise
        return None
    return shared_out(words, [(h["word"], start_s + h["start"], start_s + h["end"], h["probability"]) for h in heard])


def _as_written(words: Sequence[Word], language: str) -> str:
    from whisperx.alignment import LANGUAGES_WITHOUT_SPACES

    if language in LANGUAGES_WITHOUT_SPACES:
        return "".join(word.text for word in words)
    return "".join(f" {word.text}" for word in words)


def shared_out(words: Sequence[Word], heard: Sequence[tuple[str, float, float, float]]) -> tuple[Word, ...] | None:
    """
    The words with the times of the pieces that they are made of; a word may be a part of a piece, or several.

    None when the pieces are other characters than the words: none must get another's time.

    Args:
        heard: text, start and end in seconds, probability of each piece, in order.
    """
    pieces = [("".join(text.split()), start_s, end_s, probability) for text, start_s, end_s, probability in heard]
    pieces = [piece for piece in pieces if piece[0]]
    if not pieces or "".join(piece[0] for piece in pieces) != "".join(word.text for word in words):
        return None
    edges = [0, *accumulate(len(piece[0]) for piece in pieces)]
    placed, first = [], 0
    for word in words:
        last = first + len(word.text)
        a, b = bisect_right(edges, first) - 1, bisect_right(edges, last - 1) - 1
        mean = sum(float(piece[3]) for piece in pieces[a : b + 1]) / (b + 1 - a)
        start_s, end_s = _time_at(pieces[a], first - edges[a]), _time_at(pieces[b], last - edges[b])
        placed.append(
            word.model_copy(
                update={
                    "start_s": round(start_s, 3),
                    "end_s": round(max(start_s, end_s), 3),
                    "confidence": round(min(1.0, max(0.0, mean)), 4),
                }
            )
        )
        first = last
    return tuple(placed)


def _time_at(piece: tuple[str, float, float, float], character: int) -> float:
    """Where a character begins: a piece's time is shared out evenly."""
    text, start_s, end_s, _ = piece
    return float(start_s + (end_s - start_s) * character / len(text))
