"""
What Prometheus is told: counters, gauges and histograms read off the events, in a registry of their own.

Labels are bounded: error codes are those of worker.exceptions (any other one is "other"), stages those of
worker.models. No meeting, title or address is ever a label.

Names follow https://prometheus.io/docs/practices/naming/ (base units, `_total` for counters).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker import __version__, events
from worker.exceptions import ChildCrashedError, ChildStalledError, Disposition, LeaseLostError, all_errors
from worker.models import Stage
from worker.observe.health import Health

STAGE_BUCKETS_S = (0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""From a decoded memo to a day's recording on a PC without GPU."""

RTF_BUCKETS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
"""Seconds of work per second of sound: 0.03 is a good GPU, 1 as slow as the meeting itself."""

MAX_TROUBLES = 50
"""More codes than there are; whatever invents more is not shown."""

CRASHES = frozenset({ChildCrashedError.code, ChildStalledError.code})
LOST = frozenset({"lost", LeaseLostError.code})
CALLS = frozenset({"register", "claim", "heartbeat", "complete", "fail", "release", "speakers"})
_DROPPED = frozenset({"lost", "cancelled", "gone", "already_done"})
_COUNTED = sorted(
    {e.code for e in all_errors() if e.disposition not in (Disposition.LEASE_LOST, Disposition.STOP)} | {"other"}
)


@dataclass(frozen=True, slots=True)
class Probes:
    """
    What is measured when Prometheus asks, in a thread: a GPU's driver may take its time. They never fail; None when
    there is nothing to measure.

    gpu_memory_bytes: used and total of the worker's GPU, in bytes.
    free_bytes: room for working files.
    """

    gpu_memory_bytes: Callable[[], tuple[int, int] | None] = lambda: None
    free_bytes: Callable[[], int | None] = lambda: None


class Metrics:
    """An Observer. Give `health` the events before this one, so that both say the same."""

    def __init__(
        self,
        health: Health,
        *,
        worker_id: str,
        probes: Probes | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self.registry = CollectorRegistry()
        self._unix_time = unix_time
        self._troubles: set[str] = set()
        registry = self.registry
        info = Gauge("pc_worker_info", "Always 1; who this worker is.", ["worker_id", "version"], registry=registry)
        info.labels(worker_id, __version__).set(1)
        self._add_meetings()
        self._add_surroundings()
        self._measured = _Measured(health, probes or Probes())
        registry.register(self._measured)
        ProcessCollector(registry=registry)

    def measure(self) -> None:
        """Ask the probes. The one method that may be called in another thread."""
        self._measured.measure()

    def text(self) -> bytes:
        """Everything in Prometheus' text format, with what was last measured."""
        return generate_latest(self.registry)

    def _add_meetings(self) -> None:
        registry = self.registry
        self._meetings = Counter(
            "pc_worker_meetings_total",
            "Meetings that ended here: completed, failed (with its code), released or dropped.",
            ["outcome", "code"],
            registry=registry,
        )
        for outcome in ("completed", "released", "dropped"):
            self._meetings.labels(outcome, "")  # increase() needs the zero before the first one
        for code in _COUNTED:
            self._meetings.labels("failed", code)
        self._retries = Counter(
            "pc_worker_retries_total", "Attempts that failed and are followed by another.", ["code"], registry=registry
        )
        self._crashes = Counter(
            "pc_worker_crashes_total", "Engine processes that died or stalled.", ["code"], registry=registry
        )
        for code in _COUNTED:
            self._retries.labels(code)
        for code in CRASHES:
            self._crashes.labels(code)
        self._lease_losses = Counter(
            "pc_worker_lease_losses_total", "Meetings that another worker took over.", registry=registry
        )
        self._degraded = Counter(
            "pc_worker_stages_degraded_total",
            "Stages that failed while the result came without them.",
            ["stage"],
            registry=registry,
        )
        for stage in (Stage.DIARIZE, Stage.SUMMARIZE):
            self._degraded.labels(stage.value)
        self._audio = Counter("pc_worker_audio_seconds_total", "Sound of completed meetings.", registry=registry)
        self._stage_s = Histogram(
            "pc_worker_stage_seconds",
            "How long a stage took; stages whose value was still there are left out.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._rtf = Histogram(
            "pc_worker_real_time_factor",
            "Seconds from claim to completion for each second of sound.",
            buckets=RTF_BUCKETS,
            registry=registry,
        )
        self._completed_at = Gauge(
            "pc_worker_last_completed_timestamp_seconds",
            "When the last meeting was completed (Unix time); 0 when none was since the start.",
            registry=registry,
        )

    def _add_surroundings(self) -> None:
        registry = self.registry
        self._pending = Gauge("pc_worker_queue_pending", "Meetings that wait in the queue.", registry=registry)
        self._oldest_s = Gauge(
            "pc_worker_queue_oldest_pending_seconds",
            "How long the oldest due meeting has waited; 0 when none waits.",
            registry=registry,
        )
        self._failed_calls = Counter(
            "pc_worker_store_failures_total", "Calls to the database that failed.", ["call"], registry=registry
        )
        for call in CALLS:
            self._failed_calls.labels(call)
        self._trouble = Gauge(
            "pc_worker_trouble", "1 while the worker has this trouble, then 0.", ["code"], registry=registry
        )
        self._key_days = Gauge(
            "pc_worker_key_expiry_days",
            "Whole days until a key of the project ends; there from a month before.",
            ["variable"],
            registry=registry,
        )

    # --- what it hears ---------------------------------------------------------------------------------------------

    def __call__(self, event: object) -> None:
        match event:
            case events.StageFinished(_, stage, seconds, False):
                self._stage_s.labels(stage.value).observe(seconds)
            case events.StageDegraded(_, stage, code):
                self._degraded.labels(stage.value).inc()
                self._count_crash(code)
            case events.MeetingCompleted(_, _, seconds, audio_s):
                self._completed(seconds, audio_s)
            case events.MeetingFailed(_, outcome, code):
                self._failed(outcome, code)
            case events.MeetingReleased():
                self._meetings.labels("released", "").inc()
            case events.MeetingDropped(_, outcome):
                self._dropped(outcome)
            case _:
                self._of_worker(event)

    def _of_worker(self, event: object) -> None:
        match event:
            case events.QueueSeen(num_pending, oldest_pending_s):
                self._pending.set(num_pending)
                self._oldest_s.set(oldest_pending_s or 0.0)
            case events.StoreUnavailable(call):
                self._failed_calls.labels(call if call in CALLS else "other").inc()
            case events.KeyExpiring(variable, _, days_left):
                self._key_days.labels(variable).set(days_left)
            case events.TroubleBegan(trouble):
                self._set_trouble(trouble.code, 1)
            case events.TroubleEnded(code):
                self._set_trouble(code, 0)

    def _completed(self, seconds: float, audio_s: float) -> None:
        self._meetings.labels("completed", "").inc()
        self._completed_at.set(self._unix_time())
        if audio_s > 0:
            self._audio.inc(audio_s)
            self._rtf.observe(seconds / audio_s)

    def _failed(self, outcome: str, code: str) -> None:
        """An attempt whose report got no answer is followed by another when its lease has ended."""
        self._count_crash(code)
        if outcome in _DROPPED:
            self._dropped(outcome)
        elif outcome in ("failed", "kept"):
            self._meetings.labels("failed", _bounded(code)).inc()
        else:
            self._retries.labels(_bounded(code)).inc()

    def _dropped(self, outcome: str) -> None:
        self._meetings.labels("dropped", "").inc()
        if outcome in LOST:
            self._lease_losses.inc()

    def _count_crash(self, code: str) -> None:
        if code in CRASHES:
            self._crashes.labels(code).inc()

    def _set_trouble(self, code: str, value: int) -> None:
        if code in self._troubles or (value and len(self._troubles) < MAX_TROUBLES):
            self._troubles.add(code)
            self._trouble.labels(code).set(value)


class _Measured(Collector):
    """What is looked at when somebody asks, instead of being counted."""

    def __init__(self, health: Health, probes: Probes) -> None:
        self._health, self._probes = health, probes
        self._gpu_bytes: tuple[int, int] | None = None
        self._free_bytes: int | None = None

    def measure(self) -> None:
        self._gpu_bytes, self._free_bytes = self._probes.gpu_memory_bytes(), self._probes.free_bytes()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily("pc_worker_ready", "1 while the worker takes meetings.", value=self._health.ready)
        yield self._at_work()
        yield from self._gpu()
        yield from _gauge("pc_worker_free_bytes", "Room for working files.", self._free_bytes)

    def _at_work(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("pc_worker_meetings_in_progress", "Meetings at work.", labels=["stage"])
        found = self._health.num_at_work()
        for stage in Stage:
            if stage is not Stage.WAITING_FOR_AUDIO:
                family.add_metric([stage.value], found.get(stage, 0))
        return family

    def _gpu(self) -> Iterator[GaugeMetricFamily]:
        used, total = self._gpu_bytes or (None, None)
        yield from _gauge("pc_worker_gpu_memory_used_bytes", "Memory in use on the worker's GPU, by anybody.", used)
        yield from _gauge("pc_worker_gpu_memory_total_bytes", "Memory of the worker's GPU.", total)


def _gauge(name: str, help_text: str, value: int | None) -> Iterator[GaugeMetricFamily]:
    """The family is told also without a value, so that its name is known."""
    family = GaugeMetricFamily(name, help_text)
    if value is not None:
        family.add_metric([], value)
    yield family


def _bounded(code: str) -> str:
    return code if code in _COUNTED else "other"
