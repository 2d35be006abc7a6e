"""
Ghost speakers: voices that a diarizer invented out of a cough, a laugh or an echo. Pure; both diarizers use the rule.

A ghost has under 2 % of all speech and no turn over 2 s (design, section 8). Somebody who only ever says "yes" looks
the same, so ghosts are merged into the voice that they resemble most, never dropped, and never below the number of
speakers that somebody asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from worker.models import SpeakerTurn

_SHARE = 0.02
_TURN_S = 2.0


def find_ghost(speech_s: Sequence[float], longest_turn_s: Sequence[float]) -> int | None:
    """
    The voice with the least speech if it is a ghost; None where there is none.

    Args:
        speech_s: of each voice, seconds, overlap counted for everybody who speaks.
        longest_turn_s: of each voice, in the same order.
    """
    if len(speech_s) < 2:
        return None
    least = int(np.argmin(speech_s))
    is_ghost = speech_s[least] < _SHARE * sum(speech_s) and longest_turn_s[least] <= _TURN_S
    return least if is_ghost else None


def ghost_merges(
    turns: Iterable[SpeakerTurn], vectors: Mapping[str, Sequence[float]], *, min_speakers: int = 1
) -> dict[str, str]:
    """
    Which label joins which; labels that stay are not in it.

    Args:
        vectors: of each voice, any length; a voice without one joins whoever speaks nearest in time.
        min_speakers: so many labels stay in any case.

    The least voice goes first and is counted with its new owner from then on.
    """
    spoken: dict[str, list[SpeakerTurn]] = {}
    for turn in turns:
        spoken.setdefault(turn.label, []).append(turn)
    joined: dict[str, str] = {}
    while len(spoken) > min_speakers:
        labels = list(spoken)
        durations = [[turn.end_s - turn.start_s for turn in spoken[label]] for label in labels]
        found = find_ghost([sum(lengths) for lengths in durations], [max(lengths) for lengths in durations])
        if found is None:
            break
        ghost = labels.pop(found)
        owner = _most_alike(ghost, labels, vectors) or _nearest_in_time(spoken[ghost], spoken, labels)
        joined = {label: owner if old == ghost else old for label, old in joined.items()} | {ghost: owner}
        spoken[owner] += spoken.pop(ghost)
    return joined


def relabelled(turns: Iterable[SpeakerTurn], joined: Mapping[str, str]) -> tuple[SpeakerTurn, ...]:
    """The turns with their new labels, sorted; those of one voice that now overlap or touch become one."""
    result: list[SpeakerTurn] = []
    open_turns: dict[str, int] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start_s, turn.end_s)):
        label = joined.get(turn.label, turn.label)
        place = open_turns.get(label)
        if place is not None and turn.start_s <= result[place].end_s:
            before = result[place]
            result[place] = before.model_copy(update={"end_s": max(before.end_s, turn.end_s)})
        else:
            open_turns[label] = len(result)
            result.append(turn.model_copy(update={"label": label}))
    return tuple(sorted(result, key=lambda turn: (turn.start_s, turn.end_s, turn.label)))


def _most_alike(ghost: str, others: list[str], vectors: Mapping[str, Sequence[float]]) -> str | None:
    known = [label for label in others if label in vectors]
    if ghost not in vectors or not known:
        return None
    return max(known, key=lambda label: _cosine(vectors[ghost], vectors[label]))


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """-1 where either is zero or not a number: such a vector says nothing."""
    left, right = (np.asarray(vector, dtype=np.float64) for vector in (a, b))
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / length if np.isfinite(length) and length > 0 else -1.0


def _nearest_in_time(mine: list[SpeakerTurn], spoken: Mapping[str, list[SpeakerTurn]], others: list[str]) -> str:
    """Whoever speaks nearest to any of these turns; of two as near, the one with more speech."""
    return min(others, key=lambda label: (_apart_s(mine, spoken[label]), -_speech_s(spoken[label])))


def _apart_s(mine: list[SpeakerTurn], theirs: list[SpeakerTurn]) -> float:
    starts, ends = (np.array([[edge] for edge in edges]) for edges in _edges(mine))
    other_starts, other_ends = _edges(theirs)
    gaps: npt.NDArray[np.float64] = np.maximum(np.array(other_starts) - ends, starts - np.array(other_ends))
    return float(np.maximum(gaps, 0).min())


def _edges(turns: list[SpeakerTurn]) -> tuple[list[float], list[float]]:
    return [turn.start_s for turn in turns], [turn.end_s for turn in turns]


def _speech_s(turns: list[SpeakerTurn]) -> float:
    return sum(turn.end_s - turn.start_s for turn in turns)
