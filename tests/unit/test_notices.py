"""What people are told, and when: each change once, however often a trouble comes and goes; one line a day."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

import pytest

from worker import events
from worker.exceptions import from_code
from worker.models import Stage, Trouble
from worker.observe.notices import DAILY_AT_HOUR, QUIET_S, Notices

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
BEGAN = events.TroubleBegan(Trouble(code="disk_full", sentence="No room. Make some."))
ENDED = events.TroubleEnded("disk_full")


class Reader:
    """Looks at one time after the other; `at_s` counts from START."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.notices = Notices("lab-pc-1 on cellar", START)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def hear(self, *heard: object) -> list[str]:
        for event in heard:
            self.notices(event)
        return self.notices.take_due(self.at_s, self.now)

    def due_in_s(self) -> float:
        return self.notices.due_in_s(self.at_s, self.now)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def failed(outcome: str, code: str) -> events.MeetingFailed:
    return events.MeetingFailed(uuid4(), outcome, code, Stage.DECODE, from_code(code))


def test_a_trouble_is_told_at_once_with_worker_pc_and_what_to_do(reader: Reader) -> None:
    assert reader.hear(BEGAN) == ["lab-pc-1 on cellar: disk_full. No room. Make some."]
    assert reader.hear(BEGAN) == []


def test_its_end_is_told_once(reader: Reader) -> None:
    reader.hear(BEGAN)
    reader.at_s = QUIET_S
    assert reader.hear(ENDED) == ["lab-pc-1 on cellar: disk_full is over."]
    assert reader.hear(ENDED) == []


def test_the_end_of_a_trouble_that_nobody_was_told_of_is_no_news(reader: Reader) -> None:
    assert reader.hear(ENDED) == []
    assert reader.hear(BEGAN, ENDED) == []


def test_a_quick_end_is_told_when_the_quiet_time_is_over(reader: Reader) -> None:
    reader.hear(BEGAN)
    reader.at_s = 60.0
    assert reader.hear(ENDED) == []
    assert reader.due_in_s() == QUIET_S - 60.0
    reader.at_s = QUIET_S
    assert reader.hear() == ["lab-pc-1 on cellar: disk_full is over."]


def test_two_troubles_do_not_wait_for_each_other(reader: Reader) -> None:
    reader.hear(BEGAN)
    reader.at_s = 1.0
    other = events.TroubleBegan(Trouble(code="queue_old", sentence="Old."))
    assert reader.hear(other) == ["lab-pc-1 on cellar: queue_old. Old."]


@pytest.mark.parametrize("seed", range(20))
def test_flapping_is_told_at_most_once_per_quiet_time_and_the_last_word_is_true(reader: Reader, seed: int) -> None:
    random, said, is_on = Random(seed), list[tuple[float, str]](), False
    for _ in range(200):
        reader.at_s += random.choice([0.0, 1.0, 30.0, 200.0])
        is_on = random.random() < 0.5
        said += [(reader.at_s, text) for text in reader.hear(BEGAN if is_on else ENDED) if "disk_full" in text]
    reader.at_s += QUIET_S
    said += [(reader.at_s, text) for text in reader.hear() if "disk_full" in text]
    times = [at_s for at_s, _ in said]
    assert all(later - earlier >= QUIET_S for earlier, later in itertools.pairwise(times))
    words = ["over" in text for _, text in said]
    assert words == [index % 2 == 1 for index in range(len(words))]
    assert not words or words[-1] is not is_on


def test_once_a_day_it_says_what_was_done_and_what_failed_why(reader: Reader) -> None:
    for audio_s in (3600.0, 5400.0):
        reader.hear(events.MeetingCompleted(uuid4(), "completed", 100.0, audio_s))
    reader.hear(*[failed("failed", "audio_corrupted")] * 2, failed("failed", "audio_silent"))
    reader.hear(failed("retrying", "storage_unavailable"))
    assert reader.due_in_s() == timedelta(hours=17).total_seconds()
    reader.at_s = reader.due_in_s()
    assert reader.now.hour == DAILY_AT_HOUR
    assert reader.hear() == [
        "lab-pc-1 on cellar: in the last 17 h 2 meetings done, 2.5 h of audio; "
        "3 failed (audio_corrupted 2, audio_silent 1); 1 attempt failed and will be repeated."
    ]
    reader.at_s += timedelta(hours=24).total_seconds()
    assert reader.hear() == ["lab-pc-1 on cellar: in the last 24 h 0 meetings done, 0.0 h of audio; 0 failed."]


def test_a_pc_that_slept_through_the_hour_says_it_once_when_it_wakes(reader: Reader) -> None:
    reader.at_s = timedelta(days=3).total_seconds()
    assert len(reader.hear()) == 1
    assert reader.hear() == []
