"""The breaker: a PC on which everything fails stops claiming, and tries again gently."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest

from tests.support.queue_worlds import TurnedClock
from tests.unit.conftest import Workshop
from worker import events
from worker.breaker import CODE, FIRST_PAUSE_S, LONGEST_PAUSE_S, OPENS_AFTER, Breaker, is_blamed_on_pc
from worker.exceptions import all_errors, from_code
from worker.models import Stage, Trouble
from worker.troubles import Troubles

MODEL, CRASH, FOREIGN = "model_unavailable", "engine_crashed", "internal_error"
RECORDING, AWAY, NOT_THERE = "audio_corrupted", "database_unreachable", "audio_missing"


class Pc:
    """A breaker, its clock, and meetings that end."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.told: list[object] = []
        self.num_asked = 0
        self.breaker = Breaker(Troubles(self.note), self.clock)

    def note(self, event: object) -> None:
        self.told.append(event)

    def trouble(self) -> Trouble | None:
        """As a gate: the breaker, and how often it was asked."""
        self.num_asked += 1
        return self.breaker.trouble()

    @property
    def is_open(self) -> bool:
        return self.breaker.trouble() is not None

    def claim(self) -> UUID:
        meeting_id = uuid4()
        self.breaker(events.MeetingClaimed(meeting_id, 1, 1))
        return meeting_id

    def fail(self, code: str, meeting_id: UUID | None = None) -> None:
        meeting_id = meeting_id or self.claim()
        self.breaker(events.MeetingFailed(meeting_id, "retrying", code, Stage.TRANSCRIBE, from_code(code)))

    def complete(self, meeting_id: UUID | None = None) -> None:
        self.breaker(events.MeetingCompleted(meeting_id or self.claim(), "completed", 1.0, 60.0))

    def break_down(self, code: str = MODEL) -> None:
        for _ in range(OPENS_AFTER):
            self.fail(code)

    def try_one(self) -> UUID:
        """Let the pause pass and claim the meeting that is let through."""
        self.clock.at_s += LONGEST_PAUSE_S
        assert any(not self.is_open for _ in range(2))
        return self.claim()


@pytest.fixture
def pc() -> Pc:
    return Pc()


@pytest.mark.parametrize("code", [MODEL, CRASH, FOREIGN, "gpu_out_of_memory", "engine_stalled", "out_of_memory"])
def test_it_opens_when_the_last_attempts_all_failed_by_the_pc(pc: Pc, code: str) -> None:
    for _ in range(OPENS_AFTER - 1):
        pc.fail(code)
    assert not pc.is_open
    pc.fail(code)
    assert pc.is_open


@pytest.mark.parametrize("code", [RECORDING, AWAY, NOT_THERE, "disk_full", "storage_unavailable", "audio_too_big"])
def test_what_is_not_the_pcs_fault_never_opens_it(pc: Pc, code: str) -> None:
    for _ in range(3 * OPENS_AFTER):
        pc.fail(code)
    assert not pc.is_open


def test_a_damaged_recording_in_between_proves_nothing(pc: Pc) -> None:
    for _ in range(OPENS_AFTER):
        pc.fail(MODEL)
        pc.fail(RECORDING)
    assert pc.is_open


def test_one_completed_meeting_in_between_keeps_it_closed(pc: Pc) -> None:
    for _ in range(4):
        for _ in range(OPENS_AFTER - 1):
            pc.fail(MODEL)
        pc.complete()
    assert not pc.is_open
    assert pc.told == []


def test_two_bad_recordings_are_not_the_pcs_fault_and_a_third_one_is(pc: Pc) -> None:
    first, second = pc.claim(), pc.claim()
    for _ in range(3):  # a quiet day: nothing else is there, and after three failures each is given up
        pc.fail(FOREIGN, first)
        pc.fail(FOREIGN, second)
    assert not pc.is_open
    pc.fail(CRASH)
    assert pc.is_open


def test_one_meeting_is_enough_where_no_recording_can_be_at_fault(pc: Pc) -> None:
    """In a small lab it may be the only one for days, and somebody should hear that its model is missing."""
    waiting = pc.claim()
    for _ in range(OPENS_AFTER):
        pc.fail(MODEL, waiting)
    assert pc.is_open


def test_the_sentence_names_the_most_frequent_code_and_what_to_do(pc: Pc) -> None:
    for code in (CRASH, MODEL, MODEL, CRASH, MODEL):
        pc.fail(code)
    [began] = pc.told
    assert isinstance(began, events.TroubleBegan)
    assert began.trouble.code == CODE
    for words in ("3 of them with model_unavailable", "10 min", "python -m worker doctor", "pc_worker_errors.log"):
        assert words in began.trouble.sentence


def test_after_the_pause_exactly_one_meeting_is_let_through(pc: Pc) -> None:
    pc.break_down()
    pc.clock.at_s += FIRST_PAUSE_S - 1
    assert pc.is_open
    pc.clock.at_s += 1
    assert not pc.is_open  # the claim goes out now
    assert pc.is_open  # the next question comes before the claim is told
    pc.claim()
    assert [pc.is_open for _ in range(4)] == [True] * 4


def test_an_empty_queue_does_not_use_up_the_trial(pc: Pc) -> None:
    pc.break_down()
    pc.clock.at_s += FIRST_PAUSE_S
    assert [pc.is_open for _ in range(6)] == [False, True] * 3


def test_a_trial_that_completes_closes_it_and_the_trouble_is_over(pc: Pc) -> None:
    pc.break_down()
    pc.complete(pc.try_one())
    assert [pc.is_open for _ in range(3)] == [False] * 3
    assert pc.told[1:] == [events.TroubleEnded(CODE)]


def test_a_trial_that_fails_opens_it_again_for_twice_as_long_up_to_an_hour(pc: Pc) -> None:
    pc.break_down()
    for pause_s in (1200.0, 2400.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        pc.fail(MODEL, pc.try_one())
        pc.clock.at_s += pause_s - 1
        assert pc.is_open
        pc.clock.at_s += 1
        assert not pc.is_open
        pc.clock.at_s -= pause_s
    assert len(pc.told) == 1, "the trouble goes on: it is told once"


def test_after_a_good_meeting_the_pause_is_short_again(pc: Pc) -> None:
    pc.break_down()
    pc.fail(MODEL, pc.try_one())
    pc.complete(pc.try_one())
    pc.break_down()
    pc.clock.at_s += FIRST_PAUSE_S
    assert not pc.is_open


@pytest.mark.parametrize("ending", ["corrupted", "released", "dropped"])
def test_a_trial_that_says_nothing_about_the_pc_is_followed_by_another(pc: Pc, ending: str) -> None:
    pc.break_down()
    meeting_id = pc.try_one()
    match ending:
        case "corrupted":
            pc.fail(RECORDING, meeting_id)
        case "released":
            pc.breaker(events.MeetingReleased(meeting_id, "released"))
        case "dropped":
            pc.breaker(events.MeetingDropped(meeting_id, "cancelled"))
    assert [pc.is_open for _ in range(2)] == [False, True]
    assert len(pc.told) == 1


def test_meetings_that_were_in_progress_when_it_opened_do_not_end_the_pause_by_failing(pc: Pc) -> None:
    earlier = pc.claim()
    pc.break_down()
    pc.clock.at_s += FIRST_PAUSE_S / 2
    pc.fail(MODEL, earlier)
    pc.clock.at_s += FIRST_PAUSE_S / 2
    assert not pc.is_open


def test_a_meeting_that_was_in_progress_and_completes_closes_it(pc: Pc) -> None:
    earlier = pc.claim()
    pc.break_down()
    pc.complete(earlier)
    assert not pc.is_open


def test_each_code_of_the_tree_is_blamed_on_somebody() -> None:
    blamed = {error.code for error in all_errors() if is_blamed_on_pc(error.code)}
    assert {MODEL, CRASH, FOREIGN, "gpu_out_of_memory", "engine_failed", "deadline_exceeded"} <= blamed
    assert not blamed & {RECORDING, AWAY, NOT_THERE, "disk_full", "language_unsupported", "retry_exhausted"}


def test_a_code_that_nobody_knows_is_blamed_on_the_pc() -> None:
    assert is_blamed_on_pc("unheard_of")


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_it_is_open_after_a_row_of_failures_and_tries_one_meeting_at_a_time(seed: int) -> None:
    random, pc, row, trial = Random(seed), Pc(), 0, None
    for _ in range(300):
        pc.clock.at_s += random.choice([0.0, 1.0, FIRST_PAUSE_S])
        is_open = pc.is_open
        assert is_open or trial is None, "two meetings were let through at once"
        assert is_open <= (row >= OPENS_AFTER)
        if is_open and trial is None:
            continue
        meeting_id = trial or pc.claim()
        trial = meeting_id if row >= OPENS_AFTER and random.random() < 0.5 else None
        if trial is not None:
            continue  # it takes its time
        match random.choices(["fail", "neutral", "complete"], [8, 2, 1])[0]:
            case "fail":
                pc.fail(random.choice([MODEL, CRASH, FOREIGN]), meeting_id)
                row += 1
            case "neutral":
                pc.fail(random.choice([RECORDING, AWAY, NOT_THERE]), meeting_id)
            case "complete":
                pc.complete(meeting_id)
                row = 0
    kinds = [type(event) for event in pc.told]
    assert kinds == ([events.TroubleBegan, events.TroubleEnded] * len(kinds))[: len(kinds)]
    assert len(kinds) % 2 == (row >= OPENS_AFTER)


async def test_a_worker_with_room_for_two_tries_exactly_one_after_the_pause(workshop: Workshop, pc: Pc) -> None:
    """The others wait in the queue until that one has told; then they all go through."""
    until = {"until": str(workshop.folder / "go")}
    workshop.observers.append(pc.breaker)
    pc.break_down()
    meetings = [await workshop.enqueue(transcribe=until) for _ in range(4)]
    for job in workshop.store.queue.jobs.values():
        job.run_at -= 120.0  # so long that a worker claims ahead
    worker = workshop.worker(gates=[pc], max_jobs=2)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.WorkerStarted)
    pc.clock.at_s += FIRST_PAUSE_S
    await workshop.wait_for(events.StageStarted, stage=Stage.TRANSCRIBE)
    pc.num_asked = 0
    while pc.num_asked < 10:
        await asyncio.sleep(0)
    assert [type(event) for event in workshop.seen].count(events.MeetingClaimed) == 1

    Path(until["until"]).touch()
    for meeting_id in meetings:
        await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)
    worker.request_stop()
    await running
