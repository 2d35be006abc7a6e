"""A trouble is told once when it begins and once when it ends."""

from __future__ import annotations

from worker import events
from worker.models import Trouble
from worker.troubles import Troubles

FULL = Trouble(code="disk_full", sentence="The disk is full. Make room.")


class Told:
    """An Observer that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def __call__(self, event: object) -> None:
        self.events.append(event)


def test_a_trouble_is_told_when_it_begins_and_when_it_ends() -> None:
    told = Told()
    troubles = Troubles(told)
    troubles.begin(FULL)
    assert troubles.current() == (FULL,)
    troubles.end(FULL.code)
    assert troubles.current() == ()
    assert told.events == [events.TroubleBegan(FULL), events.TroubleEnded(FULL.code)]


def test_a_trouble_that_goes_on_is_told_once_and_keeps_its_newest_sentence() -> None:
    """A sentence may hold a figure that changes; an alarm for each figure would be noise."""
    told = Told()
    troubles = Troubles(told)
    fuller = Trouble(code=FULL.code, sentence="The disk is fuller still.")
    troubles.begin(FULL)
    troubles.begin(fuller)
    assert troubles.current() == (fuller,)
    assert told.events == [events.TroubleBegan(FULL)]


def test_the_end_of_a_trouble_that_never_began_is_no_news() -> None:
    told = Told()
    Troubles(told).end("disk_full")
    assert told.events == []


def test_several_troubles_stand_in_the_order_in_which_they_began() -> None:
    troubles = Troubles(Told())
    taken = Trouble(code="gpu_taken", sentence="Another worker has the GPU.")
    troubles.begin(FULL)
    troubles.begin(taken)
    assert troubles.current() == (FULL, taken)
