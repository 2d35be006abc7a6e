"""
A recording with one person on each of its two channels: what was heard on each becomes one meeting. Pure.

Who speaks needs no guess there, also while both do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from worker.models import Alignment, Diarization, Meeting, SpeakerTurn, Transcript, TranscriptSegment, Word
from worker.turns import assign_speakers

DIARIZER = "channels"
"""Stands where a diarizer's name stands otherwise."""

MAX_PAUSE_S = 0.5
"""Between two words of one turn. Our choice: the pauses within a phrase are mostly shorter."""


MIN_GAP_S = 0.3
"""Between two words of one speaker, for the other one's words to stand between them. Our choice: below it both speak at
the same time, for a reader."""


def wished_channels(meeting: Meeting) -> str | None:
    """
    What the decoder is told: the meeting's own word, or 'mixed' where its number of speakers is not two. Three people
    on two channels have to be told apart by their voices.
    """
    fewest, most = meeting.min_speakers or 2, meeting.max_speakers or 2
    return meeting.channels or (None if fewest <= 2 == most else "mixed")


def merged(transcripts: Sequence[Transcript], main: int) -> Transcript:
    """
    One transcript of both, in the order of time; each word and passage knows its channel.

    `main`: the channel whose language and engine speak for both. A warning that both bring is there once.
    """
    chosen = transcripts[main]
    words = [w.model_copy(update={"channel": n}) for n, one in enumerate(transcripts) for w in one.words]
    passages = [p.model_copy(update={"channel": n}) for n, one in enumerate(transcripts) for p in one.passages]
    return chosen.model_copy(
        update={
            "words": tuple(sorted(words, key=lambda word: (word.start_s, word.end_s))),
            "passages": tuple(sorted(passages, key=lambda passage: (passage.start_s, passage.end_s))),
            "language": chosen.language or next((one.language for one in transcripts if one.language), None),
            "alignment": _alignment_of(transcripts, main),
            "warnings": tuple(dict.fromkeys(warning for one in transcripts for warning in one.warnings)),
        }
    )


def labels_of(words: Sequence[Word]) -> dict[int, str]:
    """The name of each channel on which something is said, in the order in which it first is."""
    first_heard = dict.fromkeys(word.channel for word in words if word.channel is not None)
    return {channel: f"SPEAKER_{number:02d}" for number, channel in enumerate(first_heard)}


def told_apart(words: Sequence[Word]) -> Diarization:
    """
    Who speaks when, by the words of each channel: what comes over a line besides words is nobody's turn.

    On the exclusive track nobody is interrupted: where both speak, it is who began.
    """
    labels = labels_of(words)
    turns = sorted(
        (
            turn
            for channel, label in labels.items()
            for turn in _turns([word for word in words if word.channel == channel], label)
        ),
        key=lambda turn: (turn.start_s, turn.end_s, turn.label),
    )
    return Diarization(
        turns=tuple(turns),
        exclusive=tuple(_without_overlap(turns)),
        embeddings=(),
        diarizer=DIARIZER,
        model="one person each",
        num_speakers_range=(len(labels), len(labels)),
    )


def channel_segments(words: Sequence[Word]) -> tuple[TranscriptSegment, ...]:
    """
    As `turns.assign_speakers`, but each word belongs to its channel; segments in the order in which they begin.

    A speaker's words are parted where the other one begins to speak in between, so that who answers stands after the
    question. What is said at the same time stands in a segment of its own for each.
    """
    parts: list[TranscriptSegment] = []
    for channel, label in labels_of(words).items():
        own = [word for word in words if word.channel == channel]
        others = [word for word in words if word.channel != channel]
        for run in _parted(own, others):
            parts += (segment.model_copy(update={"speaker_label": label}) for segment in assign_speakers(run, None))
    parts.sort(key=lambda segment: (segment.start_s, segment.end_s, segment.speaker_label))
    return tuple(segment.model_copy(update={"index": index}) for index, segment in enumerate(parts))


def _alignment_of(transcripts: Sequence[Transcript], main: int) -> Alignment | None:
    """As said of the main channel, or of the one that has words; the estimated words of both count."""
    alignments = [one.alignment for one in (transcripts[main], *transcripts) if one.alignment]
    if not alignments:
        return None
    num_estimated = sum(one.alignment.num_estimated for one in transcripts if one.alignment)
    return alignments[0].model_copy(update={"num_estimated": num_estimated})


def _turns(words: Sequence[Word], label: str) -> Iterator[SpeakerTurn]:
    """Words of one voice in time order, joined over short pauses."""
    start_s = end_s = None
    for word in words:
        if start_s is None or end_s is None:
            start_s, end_s = word.start_s, word.end_s
        elif word.start_s - end_s > MAX_PAUSE_S:
            yield SpeakerTurn(start_s=start_s, end_s=end_s, label=label)
            start_s, end_s = word.start_s, word.end_s
        else:
            end_s = max(end_s, word.end_s)
    if start_s is not None and end_s is not None:
        yield SpeakerTurn(start_s=start_s, end_s=end_s, label=label)


def _without_overlap(turns: Sequence[SpeakerTurn]) -> Iterator[SpeakerTurn]:
    """Turns in time order -> the same, each from where the one before has ended."""
    until_s = float("-inf")
    for turn in turns:
        if turn.end_s > until_s:
            yield turn.model_copy(update={"start_s": max(turn.start_s, until_s)})
            until_s = turn.end_s


def _parted(own: Sequence[Word], others: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Own words in pieces: cut at a gap of MIN_GAP_S in which the other one begins a word."""
    starts_s = [word.start_s for word in others]
    first = 0
    for index in range(1, len(own)):
        after_s, before_s = own[index - 1].end_s, own[index].start_s
        begins = bisect_left(starts_s, after_s) < bisect_left(starts_s, before_s)
        if begins and before_s - after_s >= MIN_GAP_S:
            yield own[first:index]
            first = index
    if own:
        yield own[first:]
