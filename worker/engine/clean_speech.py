"""Which parts of a recording say most clearly what each voice sounds like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np

from worker.engine.grid import MEL_FRAMES_PER_S, Ints
from worker.engine.pieces import SHORTEST, cut
from worker.models import SpeakerTurn

_LONGEST = 160
"""1.6 s, one window of the encoder: a third cheaper than the diarizer's pieces of 2 s, and as good."""
_LITTLE = 1000
"""10 s: who says less is heard in whole stretches, which takes more windows and tells people apart better."""
_NUM_PARTS = 30
"""A voice is taken from so many parts of its speech: people sound different after an hour, and when they laugh."""


def clean_pieces(turns: Iterable[SpeakerTurn], num_mel_frames: int, *, most_s: float) -> dict[str, tuple[Ints, ...]]:
    """
    Pieces in which one voice speaks alone: for each label mel frames, 0.4 to 1.6 s each, in time order; up to 10 s each
    of a label with less than 10 s in all.

    At most about `most_s` seconds of each voice: the longest pieces of each part of its speech, so that they are spread
    over the recording. Labels with nothing of the kind are left out.
    """
    most_frames = round(most_s * MEL_FRAMES_PER_S)
    frames = {label: _frames(spans, num_mel_frames) for label, spans in alone(turns).items()}
    pieces = {label: _pieces(its) for label, its in frames.items()}
    return {label: _spread(its, most_frames) for label, its in pieces.items() if its}


def alone(turns: Iterable[SpeakerTurn]) -> Mapping[str, Sequence[tuple[float, float]]]:
    """From when to when, in seconds, each label speaks while nobody else does; in time order."""
    kept = tuple(turns)
    edges = [(turn.start_s, 1, turn.label) for turn in kept] + [(turn.end_s, -1, turn.label) for turn in kept]
    spans: dict[str, list[tuple[float, float]]] = {turn.label: [] for turn in kept}
    speaking: dict[str, int] = {}
    before_s = 0.0
    for at_s, change, label in sorted(edges):
        if len(speaking) == 1 and at_s > before_s:
            spans[next(iter(speaking))].append((before_s, at_s))
        speaking[label] = speaking.get(label, 0) + change
        speaking = {name: count for name, count in speaking.items() if count}
        before_s = at_s
    return spans


def _frames(spans: Iterable[tuple[float, float]], num_mel_frames: int) -> Ints:
    """Numbers of the mel frames centred within the spans."""
    edges = ((round(start_s * MEL_FRAMES_PER_S), round(end_s * MEL_FRAMES_PER_S)) for start_s, end_s in spans)
    parts = [np.arange(start, min(end, num_mel_frames), dtype=np.int64) for start, end in edges]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _pieces(frames: Ints) -> list[Ints]:
    longest = _LITTLE if len(frames) < _LITTLE else _LONGEST
    return [piece for piece in cut(frames, longest) if len(piece) >= SHORTEST]


def _spread(pieces: Sequence[Ints], most_frames: int) -> tuple[Ints, ...]:
    """The longest piece of each part, then the second longest of each, and so on until there is enough."""
    numbers = np.array_split(np.arange(len(pieces)), _NUM_PARTS)
    ranked = [sorted(part.tolist(), key=lambda number: -len(pieces[number])) for part in numbers]
    in_turn = [number for number in chain.from_iterable(zip_longest(*ranked)) if number is not None]
    heard = np.cumsum([len(pieces[number]) for number in in_turn])
    enough = int(np.searchsorted(heard, most_frames)) + 1
    return tuple(pieces[number] for number in sorted(in_turn[:enough]))
