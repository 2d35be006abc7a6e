"""What a worker says about its health, after which events."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from worker import events
from worker.exceptions import (
    AudioCorruptedError,
    ChildCrashedError,
    DiskFullError,
    PCWorkerException,
    SupabaseStorageError,
)
from worker.models import Stage, Trouble
from worker.observe.health import Health
from worker.observe.health_components import DATABASE_GRACE_S, DATABASE_SILENCE_S
from worker.observe.health_report import Component, State, duration_in_words

STARTED = events.WorkerStarted("lab-pc-1", 0, 0)


class Clinic:
    """A Health whose time and disk the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.free_bytes: int | None = 10**12
        self.health = Health(monotonic=lambda: self.now_s, free_bytes=lambda: self.free_bytes)

    def after(self, *told: events.Event) -> Health:
        for event in told:
            self.health(event)
        return self.health

    def component(self, name: str) -> Component:
        return {part.name: part for part in self.health.report().components}[name]


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def failed(error: PCWorkerException, stage: Stage, meeting_id: UUID | None = None) -> events.MeetingFailed:
    return events.MeetingFailed(meeting_id or uuid4(), "retrying", error.code, stage, error)


def test_a_worker_is_ready_from_its_registration_until_it_drains(clinic: Clinic) -> None:
    assert not clinic.health.ready
    assert "not registered" in clinic.health.reasons()[0]
    assert clinic.after(STARTED).ready
    assert not clinic.after(events.DrainStarted(1, 60.0)).ready
    assert clinic.health.live
    assert not clinic.after(events.WorkerStopped("lab-pc-1", 3)).live


def test_a_call_that_fails_for_a_minute_makes_the_worker_not_ready_until_it_gets_through(clinic: Clinic) -> None:
    clinic.after(STARTED, events.StoreUnavailable("claim", "database_unreachable", 5.0, "Check the network."))
    assert clinic.component("database").state is State.WARNING
    assert clinic.health.ready
    clinic.now_s += DATABASE_GRACE_S
    clinic.after(events.StoreUnavailable("claim", "database_unreachable", 5.0, "Check the network."))
    assert clinic.component("database").state is State.FAILED
    assert clinic.health.reasons() == ("Check the network.",)
    assert clinic.after(events.MeetingClaimed(uuid4(), 1, 1)).ready


def test_a_call_that_was_given_up_is_forgotten(clinic: Clinic) -> None:
    """Nobody tells that a claim gets through again while the queue is empty, or that a result is not sent any more."""
    clinic.after(STARTED, events.StoreUnavailable("release", "database_unreachable", 1.0, "Check the network."))
    clinic.now_s += DATABASE_GRACE_S + 9
    assert clinic.component("database").state is State.OK
    clinic.after(events.StoreUnavailable("release", "database_unreachable", 1.0, "Check the network."))
    assert clinic.component("database").state is State.WARNING, "a new outage begins anew"


def test_a_database_that_heard_nothing_for_a_lease_is_not_reached(clinic: Clinic) -> None:
    clinic.after(STARTED, events.QueueSeen(0, None))
    clinic.now_s += DATABASE_SILENCE_S + 1
    assert not clinic.health.ready
    assert clinic.after(events.QueueSeen(0, None)).ready


@pytest.mark.parametrize(
    ("code", "component"),
    [("disk_full", "disk"), ("breaker_open", "engine"), ("gpu_taken", "engine"), ("something_new", None)],
)
def test_a_trouble_stops_the_worker_and_shows_where_it_belongs(
    clinic: Clinic, code: str, component: str | None
) -> None:
    clinic.after(STARTED, events.TroubleBegan(Trouble(code=code, sentence="Do this.")))
    assert clinic.health.reasons() == ("Do this.",)
    assert [trouble.code for trouble in clinic.health.report().troubles] == [code]
    if component:
        assert clinic.component(component) == Component(name=component, state=State.FAILED, sentence="Do this.")
    assert clinic.after(events.TroubleEnded(code)).ready


def test_a_queue_that_ages_is_a_warning_and_stops_nobody(clinic: Clinic) -> None:
    clinic.after(STARTED, events.QueueSeen(3, 60.0))
    assert clinic.component("queue") == Component(
        name="queue", state=State.OK, sentence="3 meetings are pending, the oldest for 1 min."
    )
    clinic.after(events.TroubleBegan(Trouble(code="queue_old", sentence="It waits since 2 h.")))
    clinic.after(events.QueueSeen(3, 10800.0))
    assert clinic.component("queue").state is State.WARNING
    assert "the oldest for 3 h. Look at" in clinic.component("queue").sentence
    assert clinic.health.ready


@pytest.mark.parametrize(
    ("error", "stage", "component"),
    [
        (SupabaseStorageError(), Stage.FETCH, "storage"),
        (ChildCrashedError(), Stage.TRANSCRIBE, "engine"),
        (DiskFullError(), Stage.DECODE, "disk"),
    ],
)
def test_failures_of_this_pc_add_up_until_one_works(
    clinic: Clinic, error: PCWorkerException, stage: Stage, component: str
) -> None:
    clinic.after(failed(error, stage))
    assert clinic.component(component).state is State.WARNING
    assert str(error) in clinic.component(component).sentence
    clinic.after(failed(error, stage), failed(error, stage))
    assert clinic.component(component).state is State.FAILED
    assert "3 in a row" in clinic.component(component).sentence
    done = uuid4()
    clinic.after(events.StageFinished(done, stage, 1.0, reused=True))
    assert clinic.component(component).state is State.FAILED, "what was reused shows nothing"
    clinic.after(events.StageFinished(done, stage, 1.0), events.MeetingCompleted(done, "completed", 9.0, 60.0))
    assert clinic.component(component).state is State.OK


def test_a_damaged_recording_says_nothing_about_the_pc(clinic: Clinic) -> None:
    clinic.after(STARTED, *[failed(AudioCorruptedError(), Stage.DECODE) for _ in range(5)])
    assert {part.state for part in clinic.health.report().components} == {State.OK}


def test_what_a_foreign_error_says_is_not_passed_on(clinic: Clinic) -> None:
    """It may hold paths of this PC, or words of a meeting."""
    error = OSError(28, "No space left on device", "/secret/path")
    clinic.after(events.MeetingFailed(uuid4(), "retrying", DiskFullError.code, Stage.DECODE, error))
    assert clinic.component("disk").sentence == f"{DiskFullError.default_message} [disk_full]"


def test_little_room_is_a_warning_before_it_is_a_failure(clinic: Clinic) -> None:
    assert "1,000.0 GB" in clinic.component("disk").sentence
    clinic.free_bytes = 10**8
    assert clinic.component("disk").state is State.WARNING
    clinic.free_bytes = None
    assert clinic.component("disk").state is State.OK


def test_the_report_names_each_meeting_at_work_with_its_stage(clinic: Clinic) -> None:
    first, second = uuid4(), uuid4()
    clinic.after(events.MeetingClaimed(first, 1, 1), events.MeetingClaimed(second, 2, 1))
    clinic.after(events.StageStarted(first, Stage.TRANSCRIBE), events.StageProgressed(first, Stage.TRANSCRIBE, 0.25))
    clinic.now_s += 12
    at_work = clinic.health.report().meetings
    assert [(work.meeting_id, work.stage, work.progress, work.running_s) for work in at_work] == [
        (first, Stage.TRANSCRIBE, 0.25, 12.0),
        (second, None, None, 12.0),
    ]
    assert clinic.health.num_at_work() == {Stage.TRANSCRIBE: 1, None: 1}


@pytest.mark.parametrize(
    "ending",
    [
        lambda meeting_id: events.MeetingCompleted(meeting_id, "completed", 9.0, 60.0),
        lambda meeting_id: failed(AudioCorruptedError(), Stage.DECODE, meeting_id),
        lambda meeting_id: events.MeetingReleased(meeting_id, "released"),
        lambda meeting_id: events.MeetingDropped(meeting_id, "lost"),
    ],
)
def test_a_meeting_that_ended_is_at_work_no_more(clinic: Clinic, ending: object) -> None:
    """However it ended; late news of it does not bring it back."""
    meeting_id = uuid4()
    clinic.after(events.MeetingClaimed(meeting_id, 1, 1), ending(meeting_id))  # type: ignore[operator]  # a lambda
    clinic.after(events.StageProgressed(meeting_id, Stage.DECODE, 0.5))
    assert clinic.health.report().meetings == ()


def test_when_the_last_meeting_was_completed_is_told(clinic: Clinic) -> None:
    assert "No meeting was completed" in clinic.component("last completed meeting").sentence
    clinic.after(events.MeetingCompleted(uuid4(), "completed", 9.0, 60.0))
    clinic.now_s += 7200
    assert clinic.component("last completed meeting").sentence == "The last meeting was completed 2 h ago."


def test_events_that_it_does_not_know_are_passed_over(clinic: Clinic) -> None:
    clinic.health(object())
    assert duration_in_words(59) == "59 s"
