"""
Four people in six meetings, through real worker processes, the bundled diarizer and a real database: everybody is named
once, and known ever after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.embedded_postgres import temporary_postgres
from tests.support.recurring_people import HeldMeeting, hold, planned_meetings, synthetic_people
from worker.adapters.migrate_postgres import migrate

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS_EACH = 14.0


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HeldMeeting]]:
    meetings = planned_meetings(synthetic_people(), seconds_each=SECONDS_EACH)
    with temporary_postgres() as dsn:
        migrate(dsn)
        yield asyncio.run(hold(dsn, tmp_path_factory.mktemp("series"), meetings))


def test_everybody_who_was_named_once_is_recognised_in_each_later_meeting(held: list[HeldMeeting]) -> None:
    assert [meeting.missed for meeting in held] == [()] * 6
    assert [len(meeting.recognised) for meeting in held] == [0, 2, 2, 3, 4, 4]


def test_no_two_people_are_taken_for_one(held: list[HeldMeeting]) -> None:
    """Each has a voice of his or her own in each meeting, and hardly anything is said under another one's name."""
    for meeting in held:
        assert meeting.num_voices >= meeting.num_people
        assert meeting.wrong_share <= 0.05


def test_nine_tenths_of_the_speech_have_the_right_person(held: list[HeldMeeting]) -> None:
    for meeting in held:
        assert meeting.heard_share >= 0.75, "too little to judge"
        assert meeting.right_share >= 0.9
