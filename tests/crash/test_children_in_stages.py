"""A child that misbehaves in any stage of a meeting: what it costs, and that the worker lives and others flow."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.crash.conftest import Lab
from tests.support.children import is_running, wait_until
from tests.support.worker_process import WorkerProcess
from worker.models import MeetingStatus

pytestmark = [pytest.mark.crash, pytest.mark.slow]

STAGES = ("decode", "transcribe", "align", "diarize", "summarize")
MAY_DEGRADE = ("diarize", "summarize")

DEATHS: dict[str, tuple[dict[str, Any], str]] = {
    "killed as if out of memory": ({"kill_signal": int(signal.SIGKILL)}, "engine_crashed"),
    "segmentation fault": ({"kill_signal": int(signal.SIGSEGV)}, "engine_crashed"),
    "exit status 0": ({"exit_status": 0}, "engine_crashed"),
    "garbage on the channel": ({"garbage": "Loading model ...\n"}, "engine_crashed"),
    "a busy loop": ({"spin": True}, "engine_stalled"),
}
ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "a foreign error": ({"raise_foreign": "ZeroDivisionError"}, "internal_error"),
    "no memory": ({"raise_foreign": "MemoryError"}, "out_of_memory"),
}
PATIENCE = "--stall=2"


def cases(of: Mapping[str, tuple[dict[str, Any], str]]) -> list[object]:
    return [pytest.param(*case, id=name) for name, case in of.items()]


class Misbehaving:
    """One worker, and meetings in which one child misbehaves once."""

    def __init__(self, lab: Lab, script: dict[str, Any]) -> None:
        self.lab, self._script = lab, script
        flags = [PATIENCE, "--summarize=" + json.dumps(self._once("summarize"))]
        self.worker = lab.worker("w1", flags=flags)

    def _once(self, stage: str) -> dict[str, Any]:
        return {**self._script, "only_first": 1, "count_file": str(self.lab.folder / f"acted in {stage}")}

    async def enqueue(self, stage: str) -> UUID:
        """The summarizer, whom no recording reaches, misbehaves in the first meeting of all."""
        return await self.lab.enqueue(stage, **({} if stage == "summarize" else {stage: self._once(stage)}))

    async def told(self, event: str, meeting_id: UUID) -> dict[str, Any]:
        return await asyncio.to_thread(self.worker.wait_for, event, meeting_id=str(meeting_id))


@pytest.mark.parametrize(("script", "code"), cases(DEATHS))
@pytest.mark.proves("child segfaults or is OOM-killed")
async def test_a_child_that_dies_costs_one_attempt_at_its_stage_and_no_other(
    lab: Lab, script: dict[str, Any], code: str
) -> None:
    """One worker all along: summarize first, then the other stages, a meeting each."""
    misbehaving = Misbehaving(lab, script)
    for stage in ("summarize", *STAGES[:-1]):
        meeting_id = await misbehaving.enqueue(stage)
        failed = await misbehaving.told("MeetingFailed", meeting_id)
        assert (failed["code"], failed["stage"], failed["outcome"]) == (code, stage, "retrying")
        assert lab.rows(f"select num_crashes from pc_worker.jobs where meeting_id = '{meeting_id}'") == [(1,)]
        lab.execute("update pc_worker.jobs set run_at = now()")
        await misbehaving.told("MeetingCompleted", meeting_id)
        await lab.assert_done_once(meeting_id)
        assert lab.attempts(meeting_id) == [("w1", "crash"), ("w1", "completed")]
        assert reused_of(misbehaving.worker, meeting_id) == list(STAGES[: STAGES.index(stage)])
    assert misbehaving.worker.is_running


@pytest.mark.parametrize(("script", "code"), cases(ERRORS))
async def test_an_error_costs_an_attempt_or_a_stage_that_a_result_can_do_without(
    lab: Lab, script: dict[str, Any], code: str
) -> None:
    misbehaving = Misbehaving(lab, script)
    for stage in ("summarize", *STAGES[:-1]):
        meeting_id = await misbehaving.enqueue(stage)
        if stage not in MAY_DEGRADE:
            failed = await misbehaving.told("MeetingFailed", meeting_id)
            assert (failed["code"], failed["stage"], failed["outcome"]) == (code, stage, "retrying")
            lab.execute("update pc_worker.jobs set run_at = now()")
        await misbehaving.told("MeetingCompleted", meeting_id)
        expected = [] if stage in MAY_DEGRADE else ["failure"]
        assert [outcome for _, outcome in lab.attempts(meeting_id)] == [*expected, "completed"]
        assert await warnings_of(lab, meeting_id) == ([f"{stage}_failed"] if stage in MAY_DEGRADE else [])
    assert misbehaving.worker.is_running
    lab.assert_sound()
    assert lab.leftovers == []


@pytest.mark.parametrize("stage", MAY_DEGRADE)
async def test_what_kills_a_child_again_is_left_out_where_a_result_can_do_without(lab: Lab, stage: str) -> None:
    death = {"kill_signal": int(signal.SIGSEGV)}
    flags = ["--summarize=" + json.dumps(death)] if stage == "summarize" else []
    meeting_id = await lab.enqueue("meeting", **({stage: death} if stage != "summarize" else {}))
    worker = lab.worker("w1", once=True, flags=flags)
    await asyncio.to_thread(worker.wait_for, "MeetingFailed", stage=stage)
    lab.execute("update pc_worker.jobs set run_at = now()")
    assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    assert lab.attempts(meeting_id) == [("w1", "crash"), ("w1", "completed")]
    assert await warnings_of(lab, meeting_id) == [f"{stage}_failed"]
    lab.assert_sound()


@pytest.mark.parametrize("stage", ["decode", "transcribe", "align"])
@pytest.mark.proves("a recording kills every engine")
async def test_a_recording_that_kills_every_engine_is_given_up_while_others_flow(lab: Lab, stage: str) -> None:
    """Two PCs: it has two attempts in all, not two on each."""
    poison = await lab.enqueue("poison", **{stage: {"kill_signal": int(signal.SIGKILL)}})
    harmless = [await lab.enqueue(f"harmless {number}") for number in range(6)]
    workers = [lab.worker(name, AUDIO_TEMP_DIR=str(lab.folder / f"temp of {name}")) for name in ("w1", "w2")]
    async with asyncio.timeout(60):
        while await lab.status(poison) is not MeetingStatus.FAILED:
            lab.execute("update pc_worker.jobs set run_at = now() where state = 'pending' and run_at > now()")
            await asyncio.sleep(0.05)
        while {await lab.status(meeting_id) for meeting_id in harmless} != {MeetingStatus.COMPLETED}:
            await asyncio.sleep(0.05)
    assert (await lab.found(poison)).meeting.error_code == "poison"
    assert [outcome for _, outcome in lab.attempts(poison)] == ["crash", "crash"]
    for meeting_id in harmless:
        await lab.assert_done_once(meeting_id)
    for worker in workers:
        assert worker.is_running
        worker.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0, worker.errors


async def test_a_child_that_has_leaked_is_replaced_and_its_meeting_completes(lab: Lab) -> None:
    go, leaks = lab.folder / "go", {"allocate_bytes": 300 * 2**20}
    meeting_id = await lab.enqueue(decode=leaks, transcribe={"until": str(go)}, align=leaks)
    worker = lab.worker("w1", flags=[f"--watermark={250 * 2**20}"])
    await asyncio.to_thread(worker.wait_for, "StageProgressed", stage="decode")
    (prep,) = children_of(worker)
    await asyncio.to_thread(worker.wait_for, "StageProgressed", stage="transcribe")
    (engine,) = children_of(worker)
    assert not is_running(prep)
    go.touch()
    await asyncio.to_thread(worker.wait_for, "MeetingCompleted")
    assert wait_until(lambda: not is_running(engine))
    await lab.assert_done_once(meeting_id)
    assert lab.attempts(meeting_id) == [("w1", "completed")]


def children_of(worker: WorkerProcess) -> list[int]:
    pids = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return [int(pid) for pid in pids if is_running(int(pid))]


def reused_of(worker: WorkerProcess, meeting_id: UUID) -> list[str]:
    ended = [told for told in worker.seen if told["event"] == "StageFinished" and told["reused"]]
    return [told["stage"] for told in ended if told["meeting_id"] == str(meeting_id)]


async def warnings_of(lab: Lab, meeting_id: UUID) -> list[str]:
    return [warning.code for warning in (await lab.found(meeting_id)).meeting.warnings]
