"""
The composition root: from Settings to concrete objects. The only module that knows both the core and the adapters.

Imports that cost time stand inside the branch that needs them; nothing here, and nothing in the supervising process,
ever imports torch.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from worker import __version__
from worker.app_children import (
    ChildObjects,
    build_stages,
    busy_gates,
    child_objects,
    gpu_of,
    gpu_share,
    num_engines,
    writes_by_model,
)
from worker.app_database import opened_store
from worker.app_recordings import storage_of, web_of
from worker.app_watch import watched
from worker.config import Settings
from worker.models import GpuFacts, SpeakerTurn, TranscriptSegment, WorkerInfo
from worker.ports import Gate, Observer, Store
from worker.scores import Scores
from worker.troubles import Troubles

if TYPE_CHECKING:
    from worker.adapters.stages_children import ChildStages
    from worker.daemon import PCWorker


class SystemClock:
    """The Clock of production."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# --- the worker --------------------------------------------------------------------------------------------------


def build_worker(
    settings: Settings,
    store: Store,
    stages: ChildStages,
    observe: Observer,
    *,
    gpu: GpuFacts | None = None,
    troubles: Troubles | None = None,
    gates: Sequence[Gate] = (),
    sweep_s: float = 3600.0,
) -> PCWorker:
    from worker.adapters.disk_gate import missing_bytes
    from worker.adapters.system_info import read_system_info
    from worker.daemon import Pace, PCWorker
    from worker.pipeline import Limits, Pipeline

    clock = SystemClock()
    info = WorkerInfo(
        worker_id=settings.worker_id or "",
        name=settings.display_name,
        instance_id=uuid.uuid4(),
        version=__version__,
        system=read_system_info(gpu),
    )
    pace = Pace(
        polling_s=settings.polling_interval_seconds,
        max_jobs=settings.max_concurrent_jobs,
        num_engines=num_engines(settings),
        grace_s=settings.shutdown_grace_seconds,
        keep_days=settings.keep_temp_days,
        keep_stages_days=settings.keep_stages_days,
        sweep_s=sweep_s,
    )
    pipeline = Pipeline(
        storage_of(settings),
        web_of(settings),
        stages,
        observe,
        clock,
        Limits(
            max_audio_bytes=settings.max_audio_bytes,
            deadline_s=settings.deadline_hours * 3600,
            deadline_rtf=settings.deadline_factor,
        ),
        identify_speakers=settings.identify_speakers,
        asks_guidance=writes_by_model(settings),
    )
    return PCWorker(
        info=info,
        store=store,
        pipeline=pipeline,
        temp_dir=settings.audio_temp_dir,
        observe=observe,
        clock=clock,
        random=Random(info.instance_id.int),
        pace=pace,
        troubles=troubles,
        gates=gates,
        missing_bytes=partial(missing_bytes, settings.audio_temp_dir, settings.min_free_disk_bytes),
    )


async def run_worker(
    settings: Settings,
    *,
    once: bool,
    observers: Iterable[Observer],
    objects: ChildObjects | None = None,
    stop_after: Callable[[object], bool] = lambda _: False,
    read_gpu: Callable[[Settings], GpuFacts | None] = gpu_of,
    sweep_s: float = 3600.0,
) -> int:
    """
    Run one worker until it is told to stop (SIGTERM, SIGINT), the first event comes for which `stop_after` holds, or,
    with `once`, the queue is empty. Every `sweep_s` it looks at what is left on this PC.

    Returns the number of meetings completed. Raises WorkerIdTakenError, ConfigurationError, and with `once`
    SupabaseConnectionError, or what a closed gate says (GpuTakenError, DiskFullError).
    """
    from worker.adapters.host_lock import worker_id_lock

    gpu = read_gpu(settings)
    watchers = [*observers]
    observe = _all_of(watchers)
    troubles = Troubles(observe)
    watching = watched(settings, watchers, observe, troubles, SystemClock(), gpu_memory_bytes=_memory_of(gpu))
    with worker_id_lock(settings.worker_id or ""), _gpu_gates(settings, gpu) as gates:
        # watched from before the database is opened, so that somebody hears of it if it is away
        async with watching as more_gates, opened_store(settings) as store:
            share = gpu_share(gpu) if gpu else None
            stages = build_stages(settings, objects or child_objects(settings, gpu), gpu, share)
            gates = (*more_gates, *gates, *busy_gates(settings, gpu, share, stages, SystemClock()))
            worker = build_worker(
                settings, store, stages, observe, gpu=gpu, troubles=troubles, gates=gates, sweep_s=sweep_s
            )
            watchers.append(lambda event: worker.request_stop() if stop_after(event) else None)
            with _stop_on_signals(worker.request_stop):
                try:
                    return await worker.run(once=once)
                finally:
                    await stages.close()


def _memory_of(gpu: GpuFacts | None) -> Callable[[], tuple[int, int] | None]:
    """Asks for used and total bytes; None without a GPU."""
    if gpu is None:
        return lambda: None
    from worker.adapters.gpu_nvml import gpu_memory_bytes

    return lambda: gpu_memory_bytes(gpu.uuid)


@contextmanager
def _gpu_gates(settings: Settings, gpu: GpuFacts | None) -> Iterator[tuple[Gate, ...]]:
    """The GPU is let go at the end of the block, or of the process."""
    if gpu is None:
        yield ()
        return
    from worker.adapters.gpu_gate import GpuGate

    with closing(GpuGate(gpu, settings.worker_id or "")) as gate:
        yield (gate,)


async def score(
    settings: Settings,
    *,
    reference_rttm: Path,
    reference_stm: Path,
    turns: tuple[SpeakerTurn, ...],
    segments: tuple[TranscriptSegment, ...],
    duration_s: float,
) -> Scores:
    """How far a result is from its reference."""
    stages = build_stages(settings, child_objects(settings))
    try:
        arguments = {
            "reference_rttm": reference_rttm,
            "reference_stm": reference_stm,
            "turns": turns,
            "segments": segments,
            "duration_s": duration_s,
        }
        return await stages.call("scorer.score", arguments, Scores, report=lambda _: None)
    finally:
        await stages.close()


def _all_of(observers: Sequence[Observer]) -> Observer:
    def observe(event: object) -> None:
        for observer in observers:
            observer(event)

    return observe


class _stop_on_signals:
    """SIGTERM and SIGINT ask the worker to stop; the second one hurries it."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
