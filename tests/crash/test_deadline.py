"""A real engine process that works for ever, and says so all the time, is ended at the deadline."""

from __future__ import annotations

import json

import pytest

from tests.crash.conftest import Lab
from tests.support.children import is_running, wait_until
from worker.models import MeetingStatus

pytestmark = [pytest.mark.crash, pytest.mark.slow]

FOUR_SECONDS = str(4 / 3600)
"""Starting the engine's process counts as well."""


async def test_a_transcription_without_end_is_ended_three_times_and_fails(lab: Lab) -> None:
    """The process and what that had started are gone each time; the next worker finds nothing in the way."""
    pid_file = lab.folder / "pid"
    meeting_id = await lab.enqueue(transcribe={"grandchild": str(pid_file), "until": "/nonexistent"})
    worker = lab.worker("w1", DEADLINE_HOURS=FOUR_SECONDS, DEADLINE_FACTOR="0")
    for outcome in ("retrying", "retrying", "failed"):
        failed = worker.wait_for("MeetingFailed")
        assert (failed["code"], failed["outcome"], failed["stage"]) == ("deadline_exceeded", outcome, "transcribe")
        grandchild = int(pid_file.read_text())
        assert wait_until(lambda pid=grandchild: not is_running(pid))  # type: ignore[misc]  # bound now
        lab.execute("update pc_worker.jobs set run_at = now()")
    meeting = (await lab.found(meeting_id)).meeting
    assert (meeting.status, meeting.error_code) == (MeetingStatus.FAILED, "deadline_exceeded")
    assert lab.rows("select outcome, code, stage, attempt from pc_worker.job_attempts order by token") == [
        ("failure", "deadline_exceeded", "transcribe", attempt) for attempt in (1, 2, 3)
    ]
    lab.assert_sound()
    worker.kill()
    following = await lab.enqueue()
    again = lab.worker("w1", once=True)
    assert again.wait() == 0, again.errors
    assert await lab.status(following) is MeetingStatus.COMPLETED


async def test_a_decoding_without_end_is_ended(lab: Lab) -> None:
    pid_file = lab.folder / "pid"
    await lab.enqueue(decode={"grandchild": str(pid_file), "until": "/nonexistent"})
    worker = lab.worker("w1", DEADLINE_HOURS=FOUR_SECONDS, DEADLINE_FACTOR="0")
    failed = worker.wait_for("MeetingFailed")
    assert (failed["code"], failed["stage"]) == ("deadline_exceeded", "decode")
    assert wait_until(lambda: not is_running(int(pid_file.read_text())))


async def test_a_summary_without_end_is_ended_and_costs_nothing_else(lab: Lab) -> None:
    script = {"until": "/nonexistent"}
    meeting_id = await lab.enqueue()
    worker = lab.worker(
        "w1", flags=[f"--summarize={json.dumps(script)}"], DEADLINE_HOURS=str(15 / 3600), DEADLINE_FACTOR="0"
    )
    worker.wait_for("MeetingCompleted")
    found = await lab.found(meeting_id)
    assert [warning.code for warning in found.meeting.warnings] == ["summarize_failed"]
    assert found.summary is None
    assert len(found.segments) == 2
    assert lab.leftovers == []
