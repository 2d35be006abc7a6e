"""Events as numbers for Prometheus, read back by Prometheus' own parser."""

from __future__ import annotations

from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

from worker import events
from worker.exceptions import AudioCorruptedError, ChildCrashedError, PCWorkerException
from worker.models import Stage, Trouble
from worker.observe.health import Health
from worker.observe.metrics import RTF_BUCKETS, Metrics, Probes


def metrics(probes: Probes | None = None) -> Metrics:
    health = Health(monotonic=lambda: 0.0)
    return Metrics(health, worker_id="lab-pc-1", probes=probes, unix_time=lambda: 1.7e9)


def values(told: Metrics, name: str) -> dict[str, float]:
    """The samples of that name by their labels, as `outcome=completed`; those that are zero are left out."""
    families = text_string_to_metric_families(told.text().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    spelled = {",".join(f"{key}={word}" for key, word in sorted(s.labels.items()) if word): s.value for s in samples}
    return {labels: value for labels, value in spelled.items() if value}


def after(*happened: events.Event, probes: Probes | None = None) -> Metrics:
    told = metrics(probes)
    for event in happened:
        told(event)
    return told


def failed(outcome: str, error: PCWorkerException) -> events.MeetingFailed:
    return events.MeetingFailed(uuid4(), outcome, error.code, Stage.DECODE, error)


def test_meetings_are_counted_by_how_they_ended() -> None:
    told = after(
        events.MeetingCompleted(uuid4(), "completed", 30.0, 300.0),
        events.MeetingCompleted(uuid4(), "already_done", 30.0, 300.0),
        failed("failed", AudioCorruptedError()),
        events.MeetingReleased(uuid4(), "released"),
        events.MeetingDropped(uuid4(), "cancelled"),
    )
    assert values(told, "pc_worker_meetings_total") == {
        "outcome=completed": 2,
        "code=audio_corrupted,outcome=failed": 1,
        "outcome=released": 1,
        "outcome=dropped": 1,
    }
    assert values(told, "pc_worker_audio_seconds_total") == {"": 600}
    assert values(told, "pc_worker_last_completed_timestamp_seconds") == {"": 1.7e9}
    assert values(told, "pc_worker_lease_losses_total") == {}


def test_an_attempt_that_is_followed_by_another_is_a_retry_and_not_a_failure() -> None:
    told = after(failed("retrying", ChildCrashedError()), failed("unreported", AudioCorruptedError()))
    assert values(told, "pc_worker_retries_total") == {"code=engine_crashed": 1, "code=audio_corrupted": 1}
    assert values(told, "pc_worker_crashes_total") == {"code=engine_crashed": 1}
    assert values(told, "pc_worker_meetings_total") == {}


def test_a_lost_lease_is_counted_wherever_it_was_noticed() -> None:
    told = after(
        events.MeetingDropped(uuid4(), "lost"),
        events.MeetingDropped(uuid4(), "lease_lost"),
        failed("lost", AudioCorruptedError()),
        events.MeetingDropped(uuid4(), "gone"),
    )
    assert values(told, "pc_worker_lease_losses_total") == {"": 3}
    assert values(told, "pc_worker_meetings_total") == {"outcome=dropped": 4}


def test_stages_are_timed_unless_their_value_was_still_there() -> None:
    meeting = uuid4()
    told = after(
        events.StageFinished(meeting, Stage.TRANSCRIBE, 20.0),
        events.StageFinished(meeting, Stage.DECODE, 9.0, reused=True),
    )
    assert values(told, "pc_worker_stage_seconds_sum") == {"stage=transcribe": 20.0}
    buckets = values(told, "pc_worker_stage_seconds_bucket")
    assert "le=15.0,stage=transcribe" not in buckets
    assert buckets["le=30.0,stage=transcribe"] == 1


def test_the_real_time_factor_is_work_per_second_of_sound() -> None:
    told = after(
        events.MeetingCompleted(uuid4(), "completed", 30.0, 600.0),
        events.MeetingCompleted(uuid4(), "completed", 1.0, 0.0),
    )
    assert values(told, "pc_worker_real_time_factor_count") == {"": 1}
    assert values(told, "pc_worker_real_time_factor_sum") == {"": 0.05}
    assert (min(RTF_BUCKETS), max(RTF_BUCKETS)) == (0.01, 10)


def test_a_stage_that_crashed_and_was_done_without_is_a_crash_too() -> None:
    error = ChildCrashedError()
    told = after(events.StageDegraded(uuid4(), Stage.DIARIZE, error.code, error))
    assert values(told, "pc_worker_stages_degraded_total") == {"stage=diarize": 1}
    assert values(told, "pc_worker_crashes_total") == {"code=engine_crashed": 1}


def test_the_queue_is_shown_as_it_was_last_seen() -> None:
    told = after(events.QueueSeen(7, 90.0))
    assert values(told, "pc_worker_queue_pending") == {"": 7}
    assert values(told, "pc_worker_queue_oldest_pending_seconds") == {"": 90}
    told(events.QueueSeen(0, None))
    assert values(told, "pc_worker_queue_oldest_pending_seconds") == {}


def test_a_trouble_is_one_while_it_lasts() -> None:
    told = after(events.TroubleBegan(Trouble(code="disk_full", sentence="Make room.")))
    assert values(told, "pc_worker_trouble") == {"code=disk_full": 1}
    told(events.TroubleEnded("disk_full"))
    assert values(told, "pc_worker_trouble") == {}


def test_labels_are_bounded() -> None:
    """An unknown code would be a new time series for each, for ever."""
    told = metrics()
    for number in range(200):
        told(events.MeetingFailed(uuid4(), "failed", f"code-{number}", None, ValueError()))
        told(events.TroubleBegan(Trouble(code=f"trouble-{number}", sentence="")))
        told(events.StoreUnavailable(f"call-{number}", "x", 1.0))
    assert values(told, "pc_worker_meetings_total") == {"code=other,outcome=failed": 200}
    assert values(told, "pc_worker_store_failures_total") == {"call=other": 200}
    assert len(values(told, "pc_worker_trouble")) == 50


def test_what_is_measured_is_asked_for_each_time() -> None:
    readings = iter([(1, 8), None])
    told = metrics(Probes(gpu_memory_bytes=lambda: next(readings), free_bytes=lambda: 5))
    told.measure()
    first = told.text().decode()
    assert "pc_worker_gpu_memory_used_bytes 1.0" in first
    assert "pc_worker_gpu_memory_total_bytes 8.0" in first
    assert "pc_worker_free_bytes 5.0" in first
    told.measure()
    assert "\npc_worker_gpu_memory_used_bytes " not in told.text().decode(), "the driver has gone away"


def test_readiness_and_the_process_are_there() -> None:
    health = Health(monotonic=lambda: 0.0)
    told = Metrics(health, worker_id="lab-pc-1")
    assert values(told, "pc_worker_ready") == {}
    meeting = uuid4()
    for event in (events.WorkerStarted("lab-pc-1", 0, 0), events.MeetingClaimed(meeting, 1, 1)):
        health(event)
    health(events.StageStarted(meeting, Stage.ALIGN))
    assert values(told, "pc_worker_ready") == {"": 1}
    assert values(told, "pc_worker_meetings_in_progress") == {"stage=align": 1}
    assert values(told, "process_resident_memory_bytes")[""] > 10**6


def test_two_workers_in_one_process_do_not_count_for_each_other() -> None:
    first, second = metrics(), metrics()
    first(events.MeetingReleased(uuid4(), "released"))
    assert values(second, "pc_worker_meetings_total") == {}
