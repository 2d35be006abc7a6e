"""
A summary without a model: the most telling sentences of the transcript, word for word.

Nothing is invented: overview, key points, decisions, tasks and questions are quotations, the names of topics are terms
that were said. What cannot be told from plain signs is left empty.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worker.models import MeetingSummary, SummaryItem, TranscriptSegment
from worker.ports import Report
from worker.summarize.language import Cues, function_words, list_language
from worker.summarize.ranking import TermMatrix, Vector, centrality, choose, topic_starts
from worker.summarize.units import Unit, terms_of, units_of

METHOD = "extractive"
NOTHING_SAID = "Nothing was said in this recording."

MAX_OVERVIEW_UNITS = 3
MAX_OVERVIEW_WORDS = 70
FULL_TERMS = 5
"""A unit with fewer meaningful terms is worth proportionally less: it seldom stands on its own. Our choice."""

MIN_QUESTION_WORDS = 4
MIN_QUESTION_TERMS = 2
"""Shorter questions ("right?", "what's that?") mean nothing out of context. Our choice."""

MIN_TOPIC_S = 120.0
TERMS_PER_NAME = 3
MAX_CITED = 10


@dataclass(frozen=True, slots=True)
class _Text:
    """What the parts of a summary are made from; `rows` and `worth` go with `units`."""

    units: tuple[Unit, ...]
    rows: list[list[str]]
    written: dict[str, str]
    matrix: TermMatrix
    worth: Vector
    end_s: float


class ExtractiveSummarizer:
    """
    Summarizer by quotation: LexRank for what is central, TextTiling for topics (see worker.summarize.ranking).

    Deterministic, for any language; linear in the length of the transcript.
    """

    def __init__(self, *, max_key_points: int = 12, max_topics: int = 12, max_items: int = 8) -> None:
        self.max_key_points, self.max_topics, self.max_items = max_key_points, max_topics, max_items

    def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,  # noqa: ARG002  # quotations name nobody
        guidance: str | None = None,  # noqa: ARG002  # and follow no wishes
    ) -> MeetingSummary:
        """
        Quote what matters. `start_s` of an item is the first word of the quotation, `segments` where it is found.

        The overview repeats the most central of the key points, so that all of it is cited there. Open questions are
        those that were asked in so many words; whether an answer satisfied is not known.
        """
        units = units_of(segments)
        if not units:
            report(1.0)
            return MeetingSummary(overview=NOTHING_SAID, method=METHOD)
        listed = list_language(language, (term.casefold() for unit in units for term in terms_of(unit.text)))
        text = _read(units, listed, end_s=max(segment.end_s for segment in segments))
        report(0.6)
        starts = self._topic_starts(text)
        points = self._key_points(text, starts)
        cues = Cues(listed)
        summary = MeetingSummary(
            overview=_overview(text, points),
            key_points=_items(text, points),
            decisions=_items(text, self._best(text, (i for i, u in enumerate(units) if _is_decision(u, cues)))),
            action_items=_tasks(text, self._best(text, (i for i, u in enumerate(units) if cues.is_task(u.text))), cues),
            open_questions=_items(text, self._best(text, _questions(text, cues))),
            topics=_topics(text, starts),
            method=METHOD,
        )
        report(1.0)
        return summary

    def _topic_starts(self, text: _Text) -> list[int]:
        times_s = np.array([*(unit.start_s for unit in text.units), text.end_s])
        window = min(max(len(text.units) // 20, 5), 25)
        return topic_starts(text.matrix, times_s, window=window, min_topic_s=MIN_TOPIC_S, max_topics=self.max_topics)

    def _key_points(self, text: _Text, starts: Sequence[int]) -> list[int]:
        """The best of each topic before the second best of any, so that a long first hour does not take all."""
        within_topic = text.worth.copy()
        for first, end in zip(starts, [*starts[1:], len(text.units)], strict=True):
            within_topic[first:end] /= within_topic[first:end].max(initial=1e-12)
        wanted = min(self.max_key_points, max(1, round(0.8 * math.sqrt(len(text.units)))))
        return choose(text.matrix, within_topic, wanted)

    def _best(self, text: _Text, found: Iterable[int]) -> list[int]:
        return sorted(found, key=lambda i: (-text.worth[i], i))[: self.max_items]


def _read(units: tuple[Unit, ...], listed: str | None, *, end_s: float) -> _Text:
    """Terms, their weights, and how much each unit is worth; `listed` is the language if there are lists for it."""
    spoken = [terms_of(unit.text) for unit in units]
    folded = [[_fold(term) for term in row] for row in spoken]
    empty_words = function_words(listed, folded)
    rows = [[term for term in row if term not in empty_words and not term.isdigit()] for row in folded]
    matrix = TermMatrix(rows)
    fullness = np.array([min(1.0, len(set(row)) / FULL_TERMS) for row in rows])
    forms = Counter(form for row in spoken for form in row)
    written: dict[str, str] = {}
    for form, _ in sorted(forms.items(), key=lambda item: (-item[1], item[0])):
        written.setdefault(_fold(form), form)
    return _Text(units, rows, written, matrix, centrality(matrix) * fullness, end_s)


def _fold(term: str) -> str:
    return term.casefold().replace("\u2019", "'")


def _overview(text: _Text, points: Sequence[int]) -> str:
    """The most central key points, in order of time; where there are none, how the meeting begins."""
    ranked = sorted(points, key=lambda i: (-text.worth[i], i)) or range(len(text.units))
    kept: list[int] = []
    num_words = 0
    for i in ranked:
        num_words += len(text.units[i].text.split())
        if kept and (len(kept) == MAX_OVERVIEW_UNITS or num_words > MAX_OVERVIEW_WORDS):
            break
        kept.append(i)
    return " ".join(_closed(text.units[i].text) for i in sorted(kept))


def _closed(quotation: str) -> str:
    """An ellipsis where the engine wrote no punctuation, so that two quotations do not run into each other."""
    return (
        quotation
        if quotation[-1] in ".?!\u2026\u3002\uff1f\uff01\u0964\u061f\"'\u201d\u2019\u00bb"
        else f"{quotation} \u2026"
    )


def _items(text: _Text, chosen: Iterable[int]) -> tuple[SummaryItem, ...]:
    """Quotations in order of time."""
    return tuple(
        SummaryItem(text=unit.text, segments=(unit.segment,), start_s=unit.start_s)
        for unit in (text.units[i] for i in sorted(chosen))
    )


def _tasks(text: _Text, chosen: Iterable[int], cues: Cues) -> tuple[SummaryItem, ...]:
    """With the label of whoever says "I will", and the day if one is named."""
    return tuple(
        SummaryItem(
            text=unit.text,
            segments=(unit.segment,),
            start_s=unit.start_s,
            owner=unit.speaker_label if cues.is_own_task(unit.text) else None,
            due=cues.due(unit.text),
        )
        for unit in (text.units[i] for i in sorted(chosen))
    )


def _is_decision(unit: Unit, cues: Cues) -> bool:
    return not unit.is_question and cues.is_decision(unit.text)


def _questions(text: _Text, cues: Cues) -> Iterable[int]:
    """Plain questions that stand on their own; a request ("can you send ...?") is a task instead."""
    for i, unit in enumerate(text.units):
        is_full = len(unit.text.split()) >= MIN_QUESTION_WORDS or len(text.rows[i]) >= MIN_QUESTION_WORDS
        if (
            unit.is_question
            and is_full
            and len(set(text.rows[i])) >= MIN_QUESTION_TERMS
            and not cues.is_task(unit.text)
        ):
            yield i


def _topics(text: _Text, starts: Sequence[int]) -> tuple[SummaryItem, ...]:
    """Stretches named by the terms that set them apart; a stretch without such terms has no name and is left out."""
    stretches = [range(first, end) for first, end in zip(starts, [*starts[1:], len(text.units)], strict=True)]
    overall = Counter(term for row in text.rows for term in row)
    topics = []
    for stretch in stretches:
        names = _names(text, stretch, overall, mean_length=overall.total() / len(stretches))
        if names:
            cited = dict.fromkeys(text.units[i].segment for i in stretch if not set(names).isdisjoint(text.rows[i]))
            topics.append(
                SummaryItem(
                    text=", ".join(text.written[name] for name in names),
                    segments=tuple(cited)[:MAX_CITED],
                    start_s=text.units[stretch.start].start_s,
                )
            )
    return tuple(topics)


def _names(text: _Text, stretch: range, overall: Counter[str], *, mean_length: float) -> list[str]:
    """
    The terms that say most about one stretch, best first, singular and plural only once.

    Source: class-based tf-idf (Grootendorst, "BERTopic", 2022): frequency here times log(1 + mean length of a topic /
    frequency overall). Of equals (all said once, in a short meeting) those of the most central unit win, then the
    longer.
    """
    count = Counter(term for i in stretch for term in text.rows[i] if len(term) > 1)
    central: dict[str, float] = {}
    for i in stretch:
        for term in text.rows[i]:
            central[term] = max(central.get(term, 0.0), float(text.worth[i]))

    def rank(term: str) -> tuple[float, float, int, str]:
        weight = count[term] * math.log(1 + mean_length / overall[term])
        return -weight, -central[term], -len(term), term

    names: list[str] = []
    for term in sorted(count, key=rank):
        if not any(term.startswith(name) or name.startswith(term) for name in names):
            names.append(term)
        if len(names) == TERMS_PER_NAME:
            break
    return names
