"""The extractive summary against the plain way, on long meetings of which we know what matters."""

from __future__ import annotations

import pytest

from tests.benchmarks.summaries import measured
from tests.support.made_meetings import NAMES, made_meeting


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_holds_more_of_what_matters_than_as_many_first_sentences(name: str) -> None:
    """More planted facts, more topics, and less that is said twice; English and German, an hour each."""
    found = measured(made_meeting(name))
    (num_words, ours), (num_words_first, first), (_, spread) = found.values()
    assert num_words <= num_words_first  # so that length is no advantage
    assert ours.facts > 3 * first.facts
    assert ours.facts > 1.5 * spread.facts
    assert ours.topics >= 0.75 > 0.25 > first.topics
    assert ours.redundancy < first.redundancy


def test_the_same_seed_makes_the_same_meeting_and_facts_are_said_once() -> None:
    """Else the figures could not be compared."""
    meeting, again, other = made_meeting("lab"), made_meeting("lab"), made_meeting("lab", seed=2)
    assert meeting == again != other
    said = [segment.text for segment in meeting.segments]
    assert all(sum(fact.mark in text for text in said) == 1 for fact in meeting.facts)
