"""One line for people who look at `systemctl status`."""

from __future__ import annotations

from uuid import uuid4

import pytest

from worker import events
from worker.models import Stage, Trouble
from worker.observe.status_line import IN_WORDS, STORE_SILENCE_S, StatusLine

MEETING, OTHER = uuid4(), uuid4()
STARTED = events.WorkerStarted("w", 0, 0)
CLAIMED = events.MeetingClaimed(MEETING, 1, 1)
OTHER_CLAIMED = events.MeetingClaimed(OTHER, 2, 1)
TRANSCRIBING = events.StageProgressed(MEETING, Stage.TRANSCRIBE, 0.42)
AWAY = events.StoreUnavailable("claim", "unreachable", 5.0, "Check the network.")
FULL = Trouble(code="disk_full", sentence="The disk is full: free 2 GB.")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ([], "Starting"),
        ([STARTED], "Idle"),
        ([STARTED, events.QueueSeen(3, 1.0)], "Idle; 3 pending"),
        ([STARTED, CLAIMED], "Waiting for its turn"),
        ([STARTED, CLAIMED, events.StageStarted(MEETING, Stage.FETCH)], "Fetching"),
        ([STARTED, CLAIMED, TRANSCRIBING], "Transcribing 42 %"),
        ([STARTED, CLAIMED, TRANSCRIBING, events.QueueSeen(1, 1.0)], "Transcribing 42 % (1 waiting)"),
        ([STARTED, CLAIMED, TRANSCRIBING, OTHER_CLAIMED], "Transcribing 42 %; waiting for its turn"),
        ([STARTED, CLAIMED, TRANSCRIBING, events.StageFinished(MEETING, Stage.TRANSCRIBE, 1)], "Waiting for its turn"),
        ([STARTED, CLAIMED, events.MeetingDropped(MEETING, "cancelled"), TRANSCRIBING], "Idle"),
        ([STARTED, CLAIMED, TRANSCRIBING, events.DrainStarted(1, 60)], "Draining: 1 meeting; transcribing 42 %"),
        ([STARTED, CLAIMED, OTHER_CLAIMED, events.DrainStarted(2, 60), events.MeetingReleased(OTHER, "released")],
         "Draining: 1 meeting; waiting for its turn"),
        ([STARTED, events.WorkerStopped("w", 3)], "Stopping"),
        ([STARTED, events.TroubleBegan(FULL), events.QueueSeen(3, 1.0)], f"{FULL.sentence} Idle; 3 pending"),
        ([STARTED, events.TroubleBegan(FULL), events.TroubleEnded("disk_full")], "Idle"),
        ([AWAY], "Check the network. [unreachable] Starting"),
        ([events.StoreUnavailable("claim", "unreachable", 5.0)], "The database cannot be used. [unreachable] Starting"),
        ([AWAY, STARTED], "Idle"),
        ([STARTED, AWAY, events.StoreRecovered("claim")], "Idle"),
        ([events.TroubleBegan(Trouble(code="away", sentence="Check the network.")), STARTED, AWAY],
         "Check the network. Idle"),
    ],
)  # fmt: skip
def test_it_says_what_the_worker_does(told: list[events.Event], line: str) -> None:
    status = StatusLine()
    for event in told:
        status(event)
    assert str(status) == line


def test_an_outage_of_which_nothing_is_heard_any_more_is_over() -> None:
    """A claim that fails once is followed by one that succeeds, of which there is no event."""
    now = 0.0
    status = StatusLine(lambda: now)
    status(STARTED)
    status(AWAY)
    now = 5.0 + STORE_SILENCE_S - 1
    assert "[unreachable]" in str(status)
    now += 2
    assert str(status) == "Idle"


def test_every_stage_has_its_words() -> None:
    assert set(IN_WORDS) == set(Stage)
