"""
How good the extractive summary is, without a reference summary: on three long meetings of which we know what matters.

    python -m tests.benchmarks.summaries

Against as many words from the beginning of the transcript ("first sentences"), and against sentences spread evenly over
it, which is the harder one to beat on topics. All three are quotations of the same length in words.

    facts       share of the planted findings, decisions and tasks that are in the summary
    topics      share of the meeting's topics of which it says anything
    likeness    cosine of its tf-idf vector with that of the whole transcript, which goes with people's scores (Louis
                and Nenkova, "Automatically assessing machine summary content without a gold standard", 2013); only
                over the topics' terms: made-up talk repeats its phrases, which would drown them
    redundancy  mean over its sentences of the greatest tf-idf cosine with another one of them; less is better
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from rich.console import Console
from rich.table import Table

from tests.support.made_meetings import NAMES, MadeMeeting, made_meeting
from worker.models import MeetingSummary
from worker.ports import unheard
from worker.summarize.extractive import ExtractiveSummarizer
from worker.summarize.units import terms_of

Vector = Mapping[str, float]
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Quality:
    facts: float
    topics: float
    likeness: float
    redundancy: float


def main() -> None:
    table = Table("meeting", "summary", "words", "facts", "topics", "likeness", "redundancy", box=None)
    for name in NAMES:
        found = [measured(made_meeting(name, seed)) for seed in SEEDS]
        for kind in found[0]:
            num_words = mean(num_words for num_words, _ in (each[kind] for each in found))
            values = [each[kind][1] for each in found]
            figures = [mean(getattr(value, figure) for value in values) for figure in Quality.__dataclass_fields__]
            table.add_row(name, kind, f"{num_words:.0f}", *(f"{figure:.2f}" for figure in figures))
    Console().print(table)


def measured(meeting: MadeMeeting) -> dict[str, tuple[int, Quality]]:
    """By kind of summary: its words, and how good it is."""
    summary = ExtractiveSummarizer().summarize(meeting.segments, language=meeting.language, report=unheard)
    ours = quoted(meeting, summary)
    wanted = num_words(meeting, ours)
    kinds = {"ours": ours, "first sentences": first(meeting, wanted), "spread evenly": spread(meeting, wanted)}
    return {kind: (num_words(meeting, chosen), quality(meeting, chosen)) for kind, chosen in kinds.items()}


# --- summaries, as indexes of segments, of which each is one sentence here -------------------------------------------


def quoted(meeting: MadeMeeting, summary: MeetingSummary) -> list[int]:
    """All that a reader of the summary reads, the names of topics aside."""
    parts = (summary.key_points, summary.decisions, summary.action_items, summary.open_questions)
    return sorted({item.segments[0] for part in parts for item in part})


def first(meeting: MadeMeeting, wanted: int) -> list[int]:
    chosen: list[int] = []
    while num_words(meeting, chosen) < wanted:
        chosen.append(len(chosen))
    return chosen


def spread(meeting: MadeMeeting, wanted: int) -> list[int]:
    """As many sentences as come nearest to the length, at equal distances."""
    whole = len(meeting.segments)
    sizes = range(1, whole)
    choices = ([round((place + 0.5) * whole / size) for place in range(size)] for size in sizes)
    return next(chosen for chosen in choices if num_words(meeting, chosen) >= wanted)


def num_words(meeting: MadeMeeting, chosen: Sequence[int]) -> int:
    return sum(len(meeting.segments[index].text.split()) for index in chosen)


# --- measures ----------------------------------------------------------------------------------------------------


def quality(meeting: MadeMeeting, chosen: Sequence[int]) -> Quality:
    weights = _weights(meeting)
    topical = {term: weight for term, weight in weights.items() if term in meeting.terms}
    vectors = [_vector([meeting.segments[index].text], weights) for index in chosen]
    said = " ".join(meeting.segments[index].text for index in chosen)
    topics = {meeting.topics[index] for index in chosen} - {None}
    return Quality(
        facts=mean(fact.mark in said for fact in meeting.facts),
        topics=len(topics) / meeting.num_topics,
        likeness=_cosine(_vector([said], topical), _vector([s.text for s in meeting.segments], topical)),
        redundancy=mean(
            max(_cosine(vector, other) for place, other in enumerate(vectors) if place != own)
            for own, vector in enumerate(vectors)
        ),
    )


def _weights(meeting: MadeMeeting) -> Vector:
    """Inverse document frequency, a sentence being a document."""
    spoken = Counter(term for s in meeting.segments for term in set(_folded(s.text)))
    return {term: math.log(len(meeting.segments) / count) for term, count in spoken.items()}


def _vector(texts: Sequence[str], weights: Vector) -> Vector:
    counts = Counter(term for text in texts for term in _folded(text))
    return {term: count * weights[term] for term, count in counts.items() if term in weights}


def _folded(text: str) -> list[str]:
    return [term.casefold() for term in terms_of(text)]


def _cosine(one: Vector, other: Vector) -> float:
    lengths = math.sqrt(sum(v * v for v in one.values()) * sum(v * v for v in other.values()))
    return sum(value * other.get(term, 0.0) for term, value in one.items()) / lengths if lengths else 0.0


if __name__ == "__main__":
    main()
