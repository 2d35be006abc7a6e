"""
Who took how much part in a meeting: shares of the talk, turns, interruptions, questions. Pure.

Times and turns are what the diarizer hears; questions are what the transcript reads.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from worker.models import Diarization, SpeakerTurn, SpeakingShare, TranscriptSegment

MAX_PAUSE_S = 1.0
"""A voice that pauses no longer than this is still in its turn. As in turns.py, where the source stands."""

MIN_OVERLAP_S = 0.5
"""How long two voices must speak at once before it can be an interruption. Listeners foresee the end of a turn and
often begin a little early: most overlaps where speakers change are well under half a second (Levinson and Torreira,
"Timing in turn-taking and its implications for processing models of language", 2015). The exact bound is our choice."""

MIN_FLOOR_S = 1.0
"""How long one must have spoken to be interrupted, and the other go on alone to have interrupted. Shorter utterances
are mostly listeners' feedback, "mhm" and "right" (Edlund, Heldner and Pelce, "Prosodic features of very short
utterances in dialogue", 2009); and two who begin at once do not interrupt each other. Our choice."""

_CLOSING = "[\"'\u2019\u201d\u00bb)\\]]*"
_QUESTION = re.compile(
    f"[?\u061f\u037e\u1367\u203d\u2047-\u2049][?!\u061f\u203d\u2047-\u2049]*{_CLOSING}(?=\\s|$)|\uff1f[\uff1f\uff01]*|\u055e"
)
"""The end of a question, several marks in a row being one: Latin, Arabic, Greek, Ethiopic; Chinese and Japanese, which
put no space after it; Armenian, which puts it above a vowel of the word that is asked about. A mark in the middle of an
address is none. Source: the characters that Unicode names QUESTION MARK or INTERROBANG."""


def speaking_shares(
    segments: Sequence[TranscriptSegment], diarization: Diarization | None
) -> tuple[SpeakingShare, ...]:
    """
    How each voice took part.

    A turn is what a voice says without a pause of over a second, whoever else speaks meanwhile. It interrupts when it
    begins in the middle of somebody else's turn, both are heard at once for half a second, and then the other stops and
    it goes on for a second; so listeners' feedback and overlaps of a moment do not count, nor does one who gives up.

    Args:
        segments: in reading order; questions in segments that no voice was given count for nobody.
        diarization: None when nobody was told apart.

    Returns:
        One for each voice that is heard, by label. Without a diarization one for everybody (label None), with the times
        of the segments; nothing at all where nothing was said.
    """
    if diarization is None:
        heard = [SpeakerTurn(start_s=s.start_s, end_s=s.end_s, label="") for s in segments]
        return tuple(_shares(heard, {"": num_questions(s.text for s in segments)}, is_told_apart=False))
    questions = Counter[str]()
    for segment in segments:
        if segment.speaker_label is not None:
            questions[segment.speaker_label] += num_questions([segment.text])
    return tuple(_shares(diarization.turns, questions, is_told_apart=True))


def num_questions(texts: Iterable[str]) -> int:
    """Sentences that end in a question mark, of many scripts."""
    return sum(1 for text in texts for _ in _QUESTION.finditer(text))


def _shares(heard: Sequence[SpeakerTurn], questions: dict[str, int], *, is_told_apart: bool) -> Iterator[SpeakingShare]:
    stretches_of = dict(_joined(heard, max_pause_s=0.0))
    turns_of = dict(_joined(heard, max_pause_s=MAX_PAUSE_S))
    speech_s = {label: sum(s.end_s - s.start_s for s in stretches) for label, stretches in stretches_of.items()}
    interruptions = Counter(turn.label for turn in _interrupting(turns_of, stretches_of))
    whole_s = sum(speech_s.values())
    for label, turns in turns_of.items():
        yield SpeakingShare(
            label=label if is_told_apart else None,
            speech_s=round(speech_s[label], 3),
            share=round(speech_s[label] / whole_s, 4),
            num_turns=len(turns),
            longest_turn_s=round(max(turn.end_s - turn.start_s for turn in turns), 3),
            num_interruptions=interruptions[label],
            num_questions=questions.get(label, 0),
        )


_ByLabel = Mapping[str, list[SpeakerTurn]]
"""In time order; those of one voice do not overlap."""


def _joined(heard: Iterable[SpeakerTurn], *, max_pause_s: float) -> Iterator[tuple[str, list[SpeakerTurn]]]:
    """By label: its turns in time order, made one where at most `max_pause_s` lies between them."""
    lasting = (turn for turn in heard if turn.end_s > turn.start_s)
    in_order = sorted(lasting, key=lambda turn: (turn.label, turn.start_s, turn.end_s))
    for label, turns in groupby(in_order, key=lambda turn: turn.label):
        joined: list[SpeakerTurn] = []
        for turn in turns:
            if joined and turn.start_s - joined[-1].end_s <= max_pause_s:
                end_s = max(joined[-1].end_s, turn.end_s)
                joined[-1] = joined[-1].model_copy(update={"end_s": end_s})
            else:
                joined.append(turn)
        yield label, joined


def _interrupting(turns_of: _ByLabel, stretches_of: _ByLabel) -> Iterator[SpeakerTurn]:
    """The turns that take the floor from somebody. `stretches_of`: what is heard, without the pauses within turns."""
    speaking: list[SpeakerTurn] = []
    for turn in sorted((turn for turns in turns_of.values() for turn in turns), key=lambda turn: turn.start_s):
        speaking = [other for other in speaking if other.end_s > turn.start_s]
        if any(_takes_floor(turn, other, stretches_of) for other in speaking):
            yield turn
        speaking.append(turn)


def _takes_floor(turn: SpeakerTurn, other: SpeakerTurn, stretches_of: _ByLabel) -> bool:
    if turn.start_s - other.start_s < MIN_FLOOR_S or turn.end_s - other.end_s < MIN_FLOOR_S:
        return False
    own, theirs = (_within(turn.start_s, other.end_s, stretches_of[label]) for label in (turn.label, other.label))
    overlaps_s = (min(a.end_s, b.end_s) - max(a.start_s, b.start_s) for a in own for b in theirs)
    return sum(max(0.0, overlap_s) for overlap_s in overlaps_s) >= MIN_OVERLAP_S


def _within(start_s: float, end_s: float, stretches: list[SpeakerTurn]) -> list[SpeakerTurn]:
    first = bisect_right(stretches, start_s, key=lambda stretch: stretch.end_s)
    end = bisect_left(stretches, end_s, key=lambda stretch: stretch.start_s)
    return stretches[first:end]
