"""What the worker promises, over the memory twins: real processes and kills are in tests/crash."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.support.queue_values import result
from tests.unit.conftest import PATIENCE_S, RealClock, Workshop
from worker import events
from worker.exceptions import SupabaseConnectionError, SupabaseQueryError, WorkerIdTakenError
from worker.job_folder import KeptResult, open_job_folder
from worker.models import MeetingStatus, ProcessingResult, Registration, Stage, WorkerInfo, WriteAnswer
from worker.pipeline import Limits
from worker.testing.store_memory import MemoryStore

ORDER = (
    Stage.FETCH,
    Stage.DECODE,
    Stage.TRANSCRIBE,
    Stage.ALIGN,
    Stage.DIARIZE,
    Stage.TURNS,
    Stage.IDENTIFY,
    Stage.SUMMARIZE,
    Stage.COMMIT,
)


async def test_a_meeting_runs_through_the_stages_in_their_order(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    assert await workshop.worker().run(once=True) == 1
    assert tuple(e.stage for e in workshop.seen if isinstance(e, events.StageFinished)) == ORDER
    found = await workshop.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert found.meeting.result is not None
    assert set(found.meeting.result["stage_seconds"]) == {stage.value for stage in ORDER[:-1]}
    assert workshop.leftovers == []


async def test_once_ends_only_when_nothing_is_pending(workshop: Workshop) -> None:
    for _ in range(5):
        await workshop.enqueue()
    assert await workshop.worker(max_jobs=1).run(once=True) == 5


async def test_once_waits_for_a_retry_that_is_due(workshop: Workshop) -> None:
    count = str(workshop.folder / "count")
    script = {"raise_code": "audio_download_failed", "only_first": 1, "count_file": count}
    meeting_id = await workshop.enqueue(decode=script)
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    workshop.store.queue.jobs[meeting_id].run_at = workshop.store.queue.now()
    assert await running == 1


async def test_a_failed_summary_does_not_cost_the_transcript(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    await workshop.worker(summarize={"raise_code": "engine_failed"}).run(once=True)
    found = await workshop.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert [warning.code for warning in found.meeting.warnings] == ["summarize_failed"]
    assert len(found.segments) == 2
    assert found.summary is None


async def test_a_failed_diarization_leaves_a_transcript_without_speakers(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(diarize={"raise_code": "engine_failed"})
    await workshop.worker().run(once=True)
    found = await workshop.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert {segment.speaker_label for segment in found.segments} == {None}
    assert [warning.code for warning in found.meeting.warnings] == ["diarize_failed"]


@pytest.mark.parametrize("code", ["engine_crashed", "engine_stalled"])
async def test_a_process_that_dies_while_telling_speakers_apart_gets_a_second_chance(
    workshop: Workshop, code: str
) -> None:
    script = {"raise_code": code, "only_first": 1, "count_file": str(workshop.folder / "count")}
    meeting_id = await workshop.enqueue(diarize=script)
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying", code=code)
    workshop.store.queue.jobs[meeting_id].run_at = workshop.store.queue.now()
    assert await running == 1
    assert {s.speaker_label for s in (await workshop.found(meeting_id)).segments} == {"SPEAKER_00", "SPEAKER_01"}


async def test_a_silent_meeting_completes_with_a_warning(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(transcribe={"words": []}, diarize={"turns": []})
    await workshop.worker().run(once=True)
    found = await workshop.found(meeting_id)
    assert found.meeting.status is MeetingStatus.COMPLETED
    assert [warning.code for warning in found.meeting.warnings] == ["no_speech"]


@pytest.mark.proves("audio missing, empty, truncated, wrong checksum, not audio, too long or too big")
async def test_bad_input_fails_with_its_code_and_its_sentence(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(decode={"raise_code": "audio_empty"})
    assert await workshop.worker().run(once=True) == 0
    meeting = (await workshop.found(meeting_id)).meeting
    assert (meeting.status, meeting.error_code) == (MeetingStatus.FAILED, "audio_empty")
    assert meeting.error_message is not None
    assert "0 bytes" in meeting.error_message


async def test_an_error_of_our_own_is_reported_without_its_text(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(decode={"raise_foreign": "ZeroDivisionError"})
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    meeting = (await workshop.found(meeting_id)).meeting
    assert meeting.error_code == "internal_error"
    assert "scripted" not in (meeting.error_message or "")


async def test_the_deadline_ends_a_meeting_that_takes_too_long(workshop: Workshop) -> None:
    await workshop.enqueue(transcribe={"until": "/nonexistent"})
    worker = workshop.worker(limits=Limits(max_audio_bytes=10**6, deadline_s=0.05, deadline_rtf=0.0))
    running = asyncio.create_task(worker.run())
    failed = await workshop.wait_for(events.MeetingFailed)
    assert isinstance(failed, events.MeetingFailed)
    assert failed.code == "deadline_exceeded"
    worker.request_stop()
    await running


async def test_a_busy_worker_does_not_hoard_what_an_idle_one_could_take(workshop: Workshop) -> None:
    """Two at once only when the second has waited for more than a minute."""
    await workshop.enqueue(transcribe={"until": "/nonexistent"})
    waiting = await workshop.enqueue()
    worker = workshop.worker(max_jobs=2, grace_s=0.0)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.StageStarted, stage=Stage.TRANSCRIBE)
    await asyncio.sleep(0.2)  # ten polls
    assert (await workshop.found(waiting)).meeting.status is MeetingStatus.PENDING

    job = workshop.store.queue.jobs[waiting]
    job.run_at -= 61.0
    worker._wake.set()
    async with asyncio.timeout(20):
        while (await workshop.found(waiting)).meeting.status is MeetingStatus.PENDING:
            await asyncio.sleep(0.01)
    worker.request_stop()
    await running


async def test_what_a_stopped_worker_gives_back_is_pending_again(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(transcribe={"until": "/nonexistent"})
    worker = workshop.worker(grace_s=0.05)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.StageStarted, stage=Stage.TRANSCRIBE)
    worker.request_stop()
    assert await running == 0
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.PENDING
    assert workshop.store.queue.jobs[meeting_id].num_attempts == 0


class AwayStore:
    """The memory store, with a database that is away for some calls."""

    def __init__(self, store: MemoryStore, **num_failures: int) -> None:
        self._store, self._left = store, num_failures
        self.error: Exception = SupabaseConnectionError()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def failing(*arguments: Any, **options: Any) -> Any:
            if self._left.get(name, 0) > 0:
                self._left[name] -= 1
                raise self.error
            return await call(*arguments, **options)

        return failing


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two calls to a database that is away: no need to wait here."""
    monkeypatch.setattr("worker.store_calls.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("worker.store_calls.LONGEST_PAUSE_S", 0.01)


@pytest.mark.usefixtures("no_pause")
async def test_a_database_that_is_away_costs_nothing_but_time(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue()
    store = AwayStore(workshop.store, claim=3, heartbeat=1, complete=4)
    assert await workshop.worker(store=store).run(once=True) == 1
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.COMPLETED
    assert {e.call for e in workshop.seen if isinstance(e, events.StoreUnavailable)} == {
        "claim",
        "heartbeat",
        "complete",
    }


async def test_a_refused_result_is_a_failed_attempt_not_an_endless_one(workshop: Workshop) -> None:
    await workshop.enqueue()
    store = AwayStore(workshop.store, complete=1)
    store.error = SupabaseQueryError()
    worker = workshop.worker(store=store)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingFailed, code="database_refused", outcome="retrying")
    worker.request_stop()
    await running
    assert not list((workshop.folder / "temp").glob("*/result.json"))


async def test_a_dead_heartbeat_stops_the_worker_loudly(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(transcribe={"until": "/nonexistent"})
    store = AwayStore(workshop.store, heartbeat=1)
    store.error = SupabaseQueryError("boom")
    with pytest.raises(SupabaseQueryError, match="boom"):
        await workshop.worker(store=store).run()
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.PENDING


class RefusingStore(MemoryStore):
    """The same WORKER_ID is alive on another host."""

    async def register(self, worker: WorkerInfo) -> Registration:
        return Registration(outcome="refused", message="w1 is alive on pc-2.", lease_s=0.05)


async def test_the_same_name_on_another_host_is_refused_after_one_lease(workshop: Workshop) -> None:
    store = RefusingStore(RealClock())
    with pytest.raises(WorkerIdTakenError, match="pc-2"):
        await workshop.worker(store=store).run()


class SwitchedOffStore(MemoryStore):
    """The other host was switched off a while ago."""

    num_refusals = 3

    async def register(self, worker: WorkerInfo) -> Registration:
        self.num_refusals -= 1
        if self.num_refusals < 0:
            return await super().register(worker)
        return Registration(outcome="refused", message="w1 is alive on pc-2.", lease_s=3600, heartbeat_s=0.01)


async def test_a_name_that_becomes_free_within_the_lease_is_taken_then(workshop: Workshop) -> None:
    """Not only when the whole lease has passed: it is asked for with every heartbeat."""
    workshop.store = SwitchedOffStore(RealClock())
    meeting_id = await workshop.enqueue()
    assert await workshop.worker().run(once=True) == 1
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.COMPLETED


class OvertakenStore(MemoryStore):
    """Another worker has taken every meeting over by the time its result arrives."""

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        return WriteAnswer(outcome="lost")


async def test_a_late_result_is_dropped_and_nothing_is_left(workshop: Workshop) -> None:
    workshop.store = OvertakenStore(RealClock())
    await workshop.enqueue()
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingDropped, outcome="lost")
    worker.request_stop()
    assert await running == 0
    assert workshop.leftovers == []


class StaleStore(MemoryStore):
    """Answers what no worker of this version expects."""

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        return WriteAnswer(outcome="stale_speakers")


async def test_an_answer_that_is_not_understood_is_no_success(workshop: Workshop) -> None:
    workshop.store = StaleStore(RealClock())
    meeting_id = await workshop.enqueue()
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingFailed, code="database_refused", outcome="retrying")
    worker.request_stop()
    assert await running == 0
    assert (await workshop.found(meeting_id)).meeting.status is MeetingStatus.PENDING


async def test_a_result_that_is_refused_at_the_start_is_kept(workshop: Workshop) -> None:
    """Hours of work are not thrown away because a database is misconfigured today."""
    folder = open_job_folder(workshop.folder / "temp", UUID(int=5), 1)
    folder.save_result(KeptResult(meeting_id=UUID(int=5), token=1, result=result("hello")))
    folder.close()
    for store in (StaleStore(RealClock()), AwayStore(workshop.store, complete=1)):
        if isinstance(store, AwayStore):
            store.error = SupabaseQueryError()
        assert await workshop.worker(store=store).run(once=True) == 0
        assert (folder.path / "result.json").exists()
    assert await workshop.worker().run(once=True) == 0
    assert not folder.path.exists(), "the meeting is gone, so nobody waits for its result"


async def test_a_stop_while_the_database_is_away_at_the_start_is_heeded_at_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store_calls.FIRST_PAUSE_S", 10**6)
    monkeypatch.setattr("worker.store_calls.LONGEST_PAUSE_S", 10**6)
    worker = workshop.worker(store=AwayStore(workshop.store, register=10**6))
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.StoreUnavailable, call="register")
    worker.request_stop()
    async with asyncio.timeout(PATIENCE_S):  # the pause between two tries would be days
        assert await running == 0


async def test_once_does_not_ask_for_ever_what_is_refused(workshop: Workshop) -> None:
    store = AwayStore(workshop.store, claim=10**6)
    store.error = SupabaseQueryError("no")
    with pytest.raises(SupabaseQueryError, match="no"):
        await workshop.worker(store=store).run(once=True)
