"""
Words to speakers, and words to segments: what the engine wrote and what the diarizer heard become what people read.

No word is lost, changed or moved: the words of the segments, one after the other, are the words that came in.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from worker.models import Diarization, MeetingSpeaker, SpeakerTurn, TranscriptSegment, Word

MAX_GAP_S = 0.75
"""How far outside every turn a word may lie and still belong to the nearest one. Our choice: word times of speech
recognisers are off by some tenths of a second, and diarizers clip the soft ends of words."""

MIN_ISLAND_S = 0.3
"""How long a voice must be heard to keep a single word in the middle of another voice's words. Our choice: a spoken
"yes" lasts about 0.3 s; what is shorter is a flicker of the diarizer."""

MAX_PAUSE_S = 1.0
"""A longer pause ends a segment: pauses above 1 s are the long ones of three classes, found in spontaneous speech and
hardly within a phrase (Campione and Veronis, "A large-scale multilingual study of silent pause duration", 2002)."""

MAX_SEGMENT_S = 30.0
"""The longest segment, unless one word is longer. Our choice: some 75 words, a paragraph read at a glance."""

SENTENCE_END_WORTH_S = 1.0
"""A cut after a full stop is as good as one at a pause this much longer."""

_SENTENCE_END = re.compile("[.?!\u2026\u3002\uff1f\uff01\u0964\u061f][\"'\u201d\u2019\u00bb)\\]]*$")
"""Also an ellipsis, and the full stops and question marks of Chinese, Japanese, Hindi and Arabic, before quotes."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Han, and their punctuation."""


def assign_speakers(
    words: Sequence[Word],
    diarization: Diarization | None,
    *,
    max_gap_s: float = MAX_GAP_S,
    min_island_s: float = MIN_ISLAND_S,
    max_pause_s: float = MAX_PAUSE_S,
    max_segment_s: float = MAX_SEGMENT_S,
) -> tuple[TranscriptSegment, ...]:
    """
    Give each word its speaker, then cut the words into segments of one speaker each.

    A word belongs to the voice it overlaps most on the exclusive track; where nobody speaks, to the nearest turn within
    `max_gap_s`; else to the nearer neighbour that is not cut off by a long pause; else to nobody (None). A single word
    inside another voice's words keeps its own voice only when that voice is heard for `min_island_s` around it.

    A segment ends where the speaker changes, at a pause of `max_pause_s`, and before it is longer than `max_segment_s`:
    then at the best pause or end of sentence in its second half.

    Args:
        words: in reading order; times may touch, overlap or have no length.
        diarization: None when nobody was told apart; every label is then None. Labels are kept as the diarizer wrote
            them, since they also name its embeddings.

    Returns:
        Segments in the order of the words, numbered from 0. No words give no segments.
    """
    labels: Sequence[str | None] = [None] * len(words)
    if diarization is not None:
        track = _Track(diarization.exclusive)
        heard = [track.label_of(word, max_gap_s) for word in words]
        labels = _without_islands(
            words, _follow_neighbours(words, heard, max_pause_s), track, min_island_s, max_pause_s
        )
    pieces = (
        piece
        for first, end in _runs(words, labels, max_pause_s)
        for piece in _short_enough(words, first, end, max_segment_s)
    )
    return tuple(_segment(index, words[first:end], labels[first]) for index, (first, end) in enumerate(pieces))


def meeting_speakers(
    segments: Sequence[TranscriptSegment], diarization: Diarization | None
) -> tuple[MeetingSpeaker, ...]:
    """
    The voices of a meeting, in the order in which they are first read, then those that said no word, as first heard.

    `speech_s` is the time in which the diarizer hears the voice, also while others speak. Each voice brings its
    embeddings. Without a diarization there are no voices.
    """
    if diarization is None:
        return ()
    read = (segment.speaker_label for segment in segments if segment.speaker_label is not None)
    heard = (turn.label for turn in sorted(diarization.turns, key=lambda turn: turn.start_s))
    described = (embedding.label for embedding in diarization.embeddings)
    return tuple(
        MeetingSpeaker(
            label=label,
            speech_s=_speech_s(turn for turn in diarization.turns if turn.label == label),
            embeddings=tuple(embedding for embedding in diarization.embeddings if embedding.label == label),
        )
        for label in dict.fromkeys((*read, *heard, *described))
    )


class _Track:
    """The exclusive track, searchable by time. Turns that overlap all the same are harmless."""

    def __init__(self, turns: Sequence[SpeakerTurn]) -> None:
        self.turns = sorted((t for t in turns if t.end_s > t.start_s), key=lambda turn: turn.start_s)
        self.starts_s = [turn.start_s for turn in self.turns]
        self.latest_ends_s = list(accumulate((turn.end_s for turn in self.turns), max))

    def label_of(self, word: Word, max_gap_s: float) -> str | None:
        """The voice with the most overlap (the earlier one if equal), else that of the nearest turn within reach."""
        overlap_s: dict[str, float] = {}
        for turn in self._between(word.start_s, word.end_s):
            shared_s = min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)
            overlap_s[turn.label] = overlap_s.get(turn.label, 0.0) + shared_s
        if overlap_s:
            return max(overlap_s, key=lambda label: overlap_s[label])
        return self._nearest(word, max_gap_s)

    def heard_s(self, label: str, start_s: float, end_s: float) -> float:
        """Seconds in which one voice is heard within a stretch of time."""
        return sum(
            min(end_s, turn.end_s) - max(start_s, turn.start_s)
            for turn in self._between(start_s, end_s)
            if turn.label == label
        )

    def _between(self, start_s: float, end_s: float) -> Iterator[SpeakerTurn]:
        """The turns that share time with a stretch, in order of start."""
        first = bisect_right(self.latest_ends_s, start_s)
        end = bisect_left(self.starts_s, end_s)
        return (turn for turn in self.turns[first:end] if turn.end_s > start_s)

    def _nearest(self, word: Word, max_gap_s: float) -> str | None:
        following = bisect_right(self.latest_ends_s, word.start_s)
        candidates = self.turns[max(0, following - 1) : following + 1]
        gaps_s = [max(0.0, turn.start_s - word.end_s, word.start_s - turn.end_s) for turn in candidates]
        if not gaps_s or min(gaps_s) > max_gap_s:
            return None
        return candidates[gaps_s.index(min(gaps_s))].label


def _follow_neighbours(words: Sequence[Word], heard: Sequence[str | None], max_pause_s: float) -> list[str | None]:
    """A word in no voice's reach takes the label of the nearer labelled word that no long pause cuts off."""
    num_words = len(words)
    before: list[int | None] = [None] * num_words
    after: list[int | None] = [None] * num_words
    for i in range(num_words):
        if heard[i] is not None:
            before[i] = i
        elif i and _pause_s(words, i) < max_pause_s:
            before[i] = before[i - 1]
    for i in reversed(range(num_words)):
        if heard[i] is not None:
            after[i] = i
        elif i + 1 < num_words and _pause_s(words, i + 1) < max_pause_s:
            after[i] = after[i + 1]
    return [heard[_nearer(words, i, before[i], after[i])] for i in range(num_words)]


def _nearer(words: Sequence[Word], i: int, before: int | None, after: int | None) -> int:
    """The neighbour nearer in time, the earlier one if equal; word i itself when it has none."""
    if before is None:
        return i if after is None else after
    if after is None:
        return before
    to_before_s = words[i].start_s - words[before].end_s
    to_after_s = words[after].start_s - words[i].end_s
    return before if to_before_s <= to_after_s else after


def _without_islands(
    words: Sequence[Word], labels: Sequence[str | None], track: _Track, min_island_s: float, max_pause_s: float
) -> list[str | None]:
    """
    Smooth implausible flips: a single word between two words of another voice, with no long pause on either side.

    What counts is how long the word's voice is heard between its neighbours, not how long the word is: so that a short
    "mhm" in a turn of its own stays, and a word touched by a flicker of the diarizer does not.
    """
    smooth = list(labels)
    for i in range(1, len(words) - 1):
        label, around = smooth[i], smooth[i - 1]
        if label is None or around is None or label == around or smooth[i + 1] != around:
            continue
        if max(_pause_s(words, i), _pause_s(words, i + 1)) >= max_pause_s:
            continue
        room_start_s = min(words[i].start_s, words[i - 1].end_s)
        room_end_s = max(words[i].end_s, words[i + 1].start_s)
        if track.heard_s(label, room_start_s, room_end_s) < min_island_s:
            smooth[i] = around
    return smooth


def _pause_s(words: Sequence[Word], i: int) -> float:
    """Silence before word i; negative where words overlap."""
    return words[i].start_s - words[i - 1].end_s


def _runs(words: Sequence[Word], labels: Sequence[str | None], max_pause_s: float) -> Iterator[tuple[int, int]]:
    """Index ranges [first, end) of words with one speaker and no long pause."""
    first = 0
    for i in range(1, len(words)):
        if labels[i] != labels[i - 1] or _pause_s(words, i) >= max_pause_s:
            yield first, i
            first = i
    if words:
        yield first, len(words)


def _short_enough(words: Sequence[Word], first: int, end: int, max_segment_s: float) -> Iterator[tuple[int, int]]:
    """The same range in pieces of at most `max_segment_s`, each cut at the best place in its second half."""
    while first < end:
        fits = first + 1
        while fits < end and words[fits].end_s - words[first].start_s <= max_segment_s:
            fits += 1
        cut = end if fits == end else _best_cut(words, first, fits, max_segment_s / 2)
        yield first, cut
        first = cut


def _best_cut(words: Sequence[Word], first: int, fits: int, least_s: float) -> int:
    """Where to cut [first, fits]: at the longest pause after `least_s`, ends of sentences favoured; else late."""

    def worth(i: int) -> tuple[float, int]:
        is_sentence_end = _SENTENCE_END.search(words[i - 1].text) is not None
        return max(0.0, _pause_s(words, i)) + SENTENCE_END_WORTH_S * is_sentence_end, i

    candidates = [i for i in range(first + 1, fits + 1) if words[i - 1].end_s - words[first].start_s >= least_s]
    return max(candidates, key=worth, default=fits)


def _segment(index: int, words: Sequence[Word], label: str | None) -> TranscriptSegment:
    return TranscriptSegment(
        index=index,
        start_s=min(word.start_s for word in words),
        end_s=max(word.end_s for word in words),
        speaker_label=label,
        text=_text(words),
        confidence=_confidence(words),
        words=tuple(words),
    )


def _text(words: Sequence[Word]) -> str:
    """Words joined by spaces, except between characters of scripts that are written without."""
    text = ""
    for written in filter(None, (word.text.strip() for word in words)):
        together = not text or (_UNSPACED.match(text[-1]) and _UNSPACED.match(written[0]))
        text += written if together else " " + written
    return text


def _confidence(words: Sequence[Word]) -> float | None:
    """The mean over those words that have a confidence, weighted by duration (equally if none has a length)."""
    rated = [(word.confidence, max(0.0, word.end_s - word.start_s)) for word in words if word.confidence is not None]
    if not rated:
        return None
    total_s = sum(duration_s for _, duration_s in rated)
    if total_s <= 0.0:
        return sum(confidence for confidence, _ in rated) / len(rated)
    return sum(confidence * duration_s for confidence, duration_s in rated) / total_s


def _speech_s(turns: Iterator[SpeakerTurn]) -> float:
    """The time covered by turns of one voice; where they overlap it counts once."""
    total_s, covered_until_s = 0.0, float("-inf")
    for turn in sorted(turns, key=lambda turn: turn.start_s):
        total_s += max(0.0, turn.end_s - max(turn.start_s, covered_until_s))
        covered_until_s = max(covered_until_s, turn.end_s)
    return total_s
