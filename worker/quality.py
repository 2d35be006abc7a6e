"""
How far a result can be trusted, in figures that a dashboard can show and a person can act on. Pure.

Every figure comes from what the engines said about themselves: nothing is heard again here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from worker.models import (
    Diarization,
    DoubtfulSpan,
    Passage,
    Quality,
    SegmentQuality,
    SpeakerCount,
    SpeakerTurn,
    Transcript,
    TranscriptSegment,
)

Span = tuple[float, float]

MAX_GAP_S = 0.75
"""A word this far from every voice may still be a soft ending; beyond it nobody was heard. As in turns.py."""


def quality_of(
    transcript: Transcript, diarization: Diarization | None, segments: Sequence[TranscriptSegment]
) -> Quality:
    """
    What may be wrong with a transcript and where. Figures that cannot be had (no diarization, an engine that says
    nothing about its passages) are None.

    Args:
        segments: made from the two others.
    """
    overlaps = _overlaps(diarization.turns) if diarization else None
    passages: dict[int | None, list[Passage]] = {}
    for passage in transcript.passages:
        passages.setdefault(passage.channel, []).append(passage)
    return Quality(
        doubtful_share=_doubtful_share(transcript.passages),
        num_decoded_again=sum(passage.other_text is not None for passage in transcript.passages),
        doubtful=tuple(_doubtful_spans(transcript.passages)),
        language=transcript.language_vote,
        speakers=_speaker_count(diarization),
        overlap_share=_overlap_share(diarization.turns, overlaps) if diarization and overlaps is not None else None,
        text_over_silence_share=_over_silence_share(transcript, diarization),
        segments=tuple(
            _segment_quality(segment, passages.get(_channel_of(segment), []), overlaps) for segment in segments
        ),
    )


def _channel_of(segment: TranscriptSegment) -> int | None:
    return segment.words[0].channel if segment.words else None


def _doubtful_share(passages: Sequence[Passage]) -> float | None:
    """Of the time that passages take; None when the engine tells of none."""
    whole_s = sum(passage.end_s - passage.start_s for passage in passages)
    if not whole_s:
        return None
    return round(sum(passage.end_s - passage.start_s for passage in passages if passage.doubts) / whole_s, 4)


def _doubtful_spans(passages: Iterable[Passage]) -> Iterator[DoubtfulSpan]:
    """Passages with a doubt left, and those that were decoded twice."""
    for passage in passages:
        if passage.doubts or passage.other_text is not None:
            yield DoubtfulSpan(
                start_s=passage.start_s,
                end_s=passage.end_s,
                doubts=passage.doubts,
                decoding=passage.decoding,
                text=passage.text,
                other_text=passage.other_text,
            )


def _speaker_count(diarization: Diarization | None) -> SpeakerCount | None:
    if diarization is None:
        return None
    found = len({turn.label for turn in diarization.turns})
    fewest, most = diarization.num_speakers_range or (found, found)
    is_known = diarization.num_speakers_range is not None
    return SpeakerCount(found=found, fewest=fewest, most=most, is_doubtful=fewest != most if is_known else None)


def _overlaps(turns: Sequence[SpeakerTurn]) -> list[Span]:
    """Where at least two voices speak at once, in time order, joined where they touch."""
    edges = sorted([(turn.start_s, 1) for turn in turns] + [(turn.end_s, -1) for turn in turns])
    spans: list[Span] = []
    depth, since_s = 0, 0.0
    for time_s, change in edges:
        if depth >= 2 and time_s > since_s:  # two voices
            joins = bool(spans) and spans[-1][1] == since_s
            spans[-1:] = [(spans[-1][0], time_s)] if joins else [*spans[-1:], (since_s, time_s)]
        depth, since_s = depth + change, time_s
    return spans


def _joined_s(turns: Sequence[SpeakerTurn]) -> float:
    """Seconds in which anybody speaks."""
    total_s, end_s = 0.0, float("-inf")
    for turn in sorted(turns, key=lambda turn: turn.start_s):
        total_s += max(0.0, turn.end_s - max(turn.start_s, end_s))
        end_s = max(end_s, turn.end_s)
    return total_s


def _overlap_share(turns: Sequence[SpeakerTurn], overlaps: Sequence[Span]) -> float:
    spoken_s = _joined_s(turns)
    return round(sum(end_s - start_s for start_s, end_s in overlaps) / spoken_s, 4) if spoken_s else 0.0


def _over_silence_share(transcript: Transcript, diarization: Diarization | None) -> float | None:
    """Of the words, those in whose middle the diarizer hears nobody, nor within MAX_GAP_S of it."""
    if diarization is None or not transcript.words:
        return None
    covered = _covered(diarization.turns)
    starts_s = [start_s for start_s, _ in covered]
    unheard = sum(not _is_covered((word.start_s + word.end_s) / 2, covered, starts_s) for word in transcript.words)
    return round(unheard / len(transcript.words), 4)


def _covered(turns: Sequence[SpeakerTurn]) -> list[Span]:
    """The turns, widened by MAX_GAP_S and joined, in time order."""
    spans: list[Span] = []
    for turn in sorted(turns, key=lambda turn: turn.start_s):
        start_s, end_s = turn.start_s - MAX_GAP_S, turn.end_s + MAX_GAP_S
        if spans and start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end_s))
        else:
            spans.append((start_s, end_s))
    return spans


def _is_covered(time_s: float, spans: Sequence[Span], starts_s: Sequence[float]) -> bool:
    at = bisect_right(starts_s, time_s) - 1
    return at >= 0 and time_s <= spans[at][1]


def _segment_quality(
    segment: TranscriptSegment, passages: Sequence[Passage], overlaps: Sequence[Span] | None
) -> SegmentQuality:
    passage = _passage_of(segment, passages)
    return SegmentQuality(
        index=segment.index,
        avg_logprob=passage.avg_logprob if passage else None,
        compression_ratio=passage.compression_ratio if passage else None,
        overlap_share=None if overlaps is None else _share_within(segment, overlaps),
        doubts=passage.doubts if passage else (),
    )


def _passage_of(segment: TranscriptSegment, passages: Sequence[Passage]) -> Passage | None:
    """The one that shares most time with the segment. Passages are in time order and do not overlap."""
    first = max(0, bisect_right(passages, segment.start_s, key=lambda passage: passage.start_s) - 1)
    best, most_s = None, 0.0
    for passage in passages[first:]:
        if passage.start_s >= segment.end_s:
            break
        shared_s = min(passage.end_s, segment.end_s) - max(passage.start_s, segment.start_s)
        if shared_s > most_s:
            best, most_s = passage, shared_s
    return best


def _share_within(segment: TranscriptSegment, spans: Sequence[Span]) -> float:
    length_s = segment.end_s - segment.start_s
    if length_s <= 0:
        return 0.0
    first = max(0, bisect_right(spans, segment.start_s, key=lambda span: span[0]) - 1)
    shared_s = 0.0
    for start_s, end_s in spans[first:]:
        if start_s >= segment.end_s:
            break
        shared_s += max(0.0, min(end_s, segment.end_s) - max(start_s, segment.start_s))
    return round(shared_s / length_s, 4)
