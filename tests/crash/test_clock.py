"""A PC whose clock is wrong: leases, waits and deadlines are the database's or count from a start; nothing changes."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.crash.conftest import Lab
from tests.support.wrong_clock import wrong_as_told_in, wrong_by

pytestmark = pytest.mark.crash

SHORT = "update pc_worker.settings set lease_s = 1.2, grace_s = 0.2, heartbeat_s = 0.2"


@pytest.mark.proves("the clock of the PC is wrong")
@pytest.mark.parametrize("offset", ["+1d", pytest.param("-1d", marks=pytest.mark.slow)])
async def test_a_clock_that_is_wrong_by_a_day_neither_robs_nor_is_robbed(lab: Lab, offset: str) -> None:
    """Each of two workers, one with the right time, holds a meeting for longer than its lease."""
    lab.execute(SHORT)
    go = lab.folder / "go"
    meetings = [await lab.enqueue(f"meeting {number}", transcribe={"until": str(go)}) for number in range(2)]
    wrong = lab.worker("wrong", once=False, MAX_CONCURRENT_JOBS="1", **wrong_by(offset))
    wrong.wait_for("StageStarted", stage="transcribe")
    right = lab.worker("right", MAX_CONCURRENT_JOBS="1")
    right.wait_for("StageStarted", stage="transcribe")
    await asyncio.sleep(2.5)  # longer than a lease and its grace: time itself is what is tested
    go.touch()
    for worker in (wrong, right):
        worker.wait_for("MeetingCompleted")
    for meeting_id in meetings:
        await lab.assert_done_once(meeting_id)
        assert len(lab.attempts(meeting_id)) == 1
    assert is_wrong(logged_dates(lab, "wrong"))


@pytest.mark.slow
async def test_a_failed_meetings_wait_and_its_times_are_the_databases(lab: Lab) -> None:
    count = str(lab.folder / "count")
    script = {"raise_code": "engine_failed", "only_first": 1, "count_file": count}
    meeting_id = await lab.enqueue(transcribe=script)
    worker = lab.worker("w1", once=True, **wrong_by("+1d"))
    worker.wait_for("MeetingFailed", outcome="retrying")
    [(wait,)] = lab.rows("select extract(epoch from run_at - clock_timestamp())::float8 from pc_worker.jobs")
    assert wait <= 120
    lab.execute("update pc_worker.jobs set run_at = now()")
    assert worker.wait() == 0, worker.errors
    await lab.assert_done_once(meeting_id)
    found = (await lab.found(meeting_id)).meeting
    now = datetime.now(UTC)
    for moment in (found.started_at, found.completed_at):
        assert moment is not None
        assert abs(now - moment) < timedelta(minutes=5)


@pytest.mark.slow
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
async def test_a_clock_that_jumps_in_the_middle_of_a_meeting_ends_nothing(lab: Lab, jump: str) -> None:
    """A PC that hears the time from the network while it works."""
    lab.execute(SHORT)
    clock = lab.folder / "clock"
    clock.write_text("+0")
    go = lab.folder / "go"
    meeting_id = await lab.enqueue(transcribe={"until": str(go)})
    worker = lab.worker("w1", once=False, **wrong_as_told_in(clock))
    worker.wait_for("StageStarted", stage="transcribe")
    clock.write_text(jump)
    worker.wait_for("QueueSeen")
    worker.wait_for("QueueSeen")
    assert lab.attempts(meeting_id) == [("w1", None)]
    go.touch()
    worker.wait_for("MeetingCompleted")
    await lab.assert_done_once(meeting_id)
    assert len(logged_dates(lab, "w1")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("offset", ["+30d", "-30d"])
async def test_a_wrong_clock_at_the_start_loses_no_finished_result(lab: Lab, offset: str) -> None:
    """What is kept on this PC seems a month old, or from the future; a result is handed over however old it is."""
    meeting_id = await lab.enqueue()
    [(signature,)] = lab.rows("select p.oid::regprocedure::text from pg_proc p where proname = 'worker_complete_v2'")
    lab.execute(f"alter function {signature} rename to worker_complete_away")
    worker = lab.worker("w1")
    worker.wait_for("StoreUnavailable", call="complete")
    worker.kill()
    lab.execute(f"alter function {signature.replace('_v2', '_away')} rename to worker_complete_v2")
    again = lab.worker("w1", once=True, **wrong_by(offset))
    assert again.wait() == 0, again.errors
    assert again.seen[0]["event"] == "ResultReplayed"
    await lab.assert_done_once(meeting_id)


def logged_dates(lab: Lab, worker: str) -> set[date]:
    """The days on which the worker thinks that it has worked."""
    log = (lab.folder / f"logs-{worker}-{lab.folder.name}" / "pc_worker.log").read_text()
    return {date.fromisoformat(found) for found in re.findall(r"^\D*(\d{4}-\d\d-\d\d)", log, re.MULTILINE)}


def is_wrong(dates: set[date]) -> bool:
    return bool(dates) and datetime.now(UTC).date() not in dates
