"""
When each word of a known text was spoken, from what a CTC model hears in every frame. Pure numpy.

The answer is that of whisperx.align: the same best path, a wildcard for characters that the model does not know, words
that last until the next character begins. Its trellis is filled frame by frame; here one step per character does
for all frames. Let `gain` be the log-probability of a character minus that of the blank, and U_c(k) the best gain of a
path that has begun c characters after c + k frames. Then

    U_c(k) = max over i <= k of  U_(c-1)(i) + gain_c(c - 1 + i),

which is a sum and a running maximum. Only 0 <= k <= frames - characters can reach the end: the rest is never computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_WILDCARD = -1
"""The column after the model's own: the best label of the frame, blank aside."""


@dataclass(frozen=True)
class Alphabet:
    """
    What a CTC model can hear.

    `labels` has lower-case characters and their columns; `|`, if it is there, stands between words, unless the
    language is written without spaces.
    """

    labels: Mapping[str, int]
    blank: int
    has_spaces: bool = True


class Span(NamedTuple):
    """From the beginning of frame `start` to that of frame `end`; the mean probability of the path in between."""

    start: float
    end: float
    score: float


def word_spans(log_probs: Floats, words: Sequence[str], alphabet: Alphabet) -> list[Span] | None:
    """
    The frames of each word, in order and without overlap; None when there are more characters than frames.

    A word that has no character to look for is an empty span where the word before it ends, of score 0.

    Args:
        log_probs: natural logarithms, shape (num_frames, num_labels).
    """
    tokens, edges = _tokens_of(words, alphabet)
    spans = _token_spans(log_probs, tokens, alphabet.blank)
    if spans is None:
        return None
    placed: list[Span] = []
    for first, last in edges:
        if first == last:
            at = placed[-1].end if placed else float(spans[0].start)
            placed.append(Span(at, at, 0.0))
        else:
            score = sum(span.score for span in spans[first:last]) / (last - first)
            placed.append(Span(spans[first].start, spans[last - 1].end, score))
    return placed


def _tokens_of(words: Sequence[str], alphabet: Alphabet) -> tuple[list[int], list[tuple[int, int]]]:
    """The columns to be passed through, and for each word the first of its own and the one after its last."""
    tokens: list[int] = []
    edges: list[tuple[int, int]] = []
    gap = alphabet.labels.get("|") if alphabet.has_spaces else None
    for number, word in enumerate(words):
        if number and gap is not None:
            tokens.append(gap)
        first = len(tokens)
        tokens += (alphabet.labels.get(char.lower(), _WILDCARD) for char in word if not _is_skipped(char, alphabet))
        edges.append((first, len(tokens)))
    return tokens, edges


def _is_skipped(char: str, alphabet: Alphabet) -> bool:
    return char in " |" and char not in alphabet.labels


def _token_spans(log_probs: Floats, tokens: Sequence[int], blank: int) -> list[Span] | None:
    num_frames, num_tokens = len(log_probs), len(tokens)
    if not 0 < num_tokens <= num_frames or not np.isfinite(log_probs).all():
        return None
    columns = _columns(log_probs, blank)
    starts = _starts(columns - columns[blank], tokens, columns[blank])
    blanks = np.concatenate([[0.0], np.cumsum(np.exp(columns[blank]))])
    return [
        Span(start, end, float(np.exp(columns[token, start]) + blanks[end] - blanks[start + 1]) / (end - start))
        for token, start, end in zip(tokens, starts[:-1], starts[1:], strict=True)
    ]


def _columns(log_probs: Floats, blank: int) -> npt.NDArray[np.float64]:
    """Float64, shape (num_labels + 1, num_frames); the last row is the wildcard's."""
    columns = np.empty((log_probs.shape[1] + 1, len(log_probs)))
    columns[:-1] = log_probs.T
    columns[_WILDCARD] = np.delete(columns[:-1], blank, axis=0).max(axis=0)
    return columns


def _starts(gains: npt.NDArray[np.float64], tokens: Sequence[int], blanks: npt.NDArray[np.float64]) -> list[int]:
    """The frame in which each token begins, and the one after the last token ends."""
    num_slots = len(blanks) - len(tokens) + 1
    reached = np.empty((len(tokens), num_slots))
    best = np.zeros(num_slots)
    for number, token in enumerate(tokens):
        np.add(best, gains[token, number : number + num_slots], out=reached[number])
        np.maximum.accumulate(reached[number], out=best)
    slot = int(np.argmax(best + np.cumsum(blanks)[len(tokens) - 1 :]))
    starts = [slot + len(tokens)]
    for number in reversed(range(len(tokens))):
        slot = int(np.argmax(reached[number, : slot + 1]))
        starts.append(slot + number)
    return starts[::-1]
