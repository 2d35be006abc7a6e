"""
The composition root: from Settings to concrete objects. The only module that knows both the core and the adapters.

Imports that cost time stand inside the branch that needs them; nothing here, and nothing in the supervising process,
ever imports torch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from worker import __version__
from worker.config import Settings
from worker.exceptions import AudioMissingError, ConfigurationError
from worker.models import NewMeeting, SpeakerTurn, Stage, TranscriptSegment, WorkerInfo
from worker.ports import Observer, Storage, Store
from worker.scores import Scores

if TYPE_CHECKING:
    from worker.adapters.child_channel import ObjectSpec
    from worker.adapters.stages_children import ChildStages
    from worker.daemon import PCWorker

EMBEDDED_DEFAULT = Path("data/postgres")

ENGINES: dict[str, str] = {
    "sphinx": "worker.engine.asr_sphinx:SphinxTranscriber",
    "whisperx": "worker.engine.asr_whisperx:WhisperXTranscriber",
}

PREP_WATERMARK_BYTES = 1024**3
"""A child that is bigger than its watermark after a call is replaced: libraries leak."""

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

_QUIET = {
    "PYANNOTE_METRICS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "TOKENIZERS_PARALLELISM": "false",
    # two OpenMP threads that wait actively next to other load are hundreds of times slower than ones that sleep
    "OMP_WAIT_POLICY": "PASSIVE",
}


class SystemClock:
    """The Clock of production."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# --- the database ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """
    The store that the settings name. An embedded Postgres is started, migrated, and stopped by its last user.

    Raises ConfigurationError when the settings name none.
    """
    from worker.adapters.store_postgres import PostgresStore

    async with _database(settings) as dsn:
        store = PostgresStore(dsn, application_name=f"pc-worker {settings.worker_id or 'command line'}")
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    url = _database_url(settings)
    folder = embedded_folder(url)
    if folder is None:
        yield url
        return
    from worker.adapters.embedded_postgres import EmbeddedPostgres
    from worker.adapters.migrate_postgres import migrate

    server = EmbeddedPostgres(folder)
    dsn = await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(migrate, dsn)
        yield dsn
    finally:
        await asyncio.to_thread(server.stop)


def embedded_folder(url: str) -> Path | None:
    """Where `embedded` or `embedded:FOLDER` keeps its data; None for any other address."""
    if url == "embedded":
        return EMBEDDED_DEFAULT
    return Path(url.removeprefix("embedded:")) if url.startswith("embedded:") else None


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError(
            "SUPABASE_URL: this version does not speak to Supabase yet. Set DATABASE_URL to a Postgres instead "
            "(DATABASE_URL=embedded for one of its own on this PC)."
        )
    return settings.database_url.get_secret_value()


async def migrate(settings: Settings) -> list[str]:
    """Bring the database up to date; the names of the migrations that were applied."""
    from worker.adapters import migrate_postgres

    url = _database_url(settings)
    if embedded_folder(url) is None:
        return await asyncio.to_thread(migrate_postgres.migrate, url)
    async with _database(settings):  # migrates
        return []


def migration_script() -> str:
    """All migrations as one SQL script."""
    from worker.adapters import migrate_postgres

    return migrate_postgres.script()


def storage_of(settings: Settings) -> Storage:
    from worker.adapters.storage_local import LocalStorage

    return LocalStorage(settings.storage_dir)


# --- enqueueing --------------------------------------------------------------------------------------------------


async def enqueue(settings: Settings, store: Store, file: Path, meeting: Callable[[UUID, str], NewMeeting]) -> UUID:
    """Keep a copy of the recording, then insert the row: a worker never sees a row without its file."""
    if not file.is_file():
        raise AudioMissingError(f"There is no file {file}.")
    meeting_id = uuid.uuid4()
    audio_path = f"lab/{meeting_id}/audio{file.suffix.lower()}"
    await storage_of(settings).put(file, audio_path)
    return await store.enqueue(meeting(meeting_id, audio_path))


# --- the worker --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs in the children, by dotted path; tests bring scripted ones."""

    decoder: ObjectSpec
    transcriber: ObjectSpec
    diarizer: ObjectSpec
    summarizer: ObjectSpec
    scorer: ObjectSpec


def engine_of(settings: Settings) -> Engine:
    from worker.adapters.child_channel import ObjectSpec

    return Engine(
        decoder=ObjectSpec(
            factory="worker.adapters.decode_pyav:PyavDecoder",
            kwargs={"max_hours": settings.max_audio_hours, "max_bytes": settings.max_audio_bytes},
        ),
        transcriber=ObjectSpec(factory=ENGINES[settings.asr_engine], kwargs=_transcriber_kwargs(settings)),
        diarizer=ObjectSpec(
            factory="worker.engine.diarize_bundled:BundledDiarizer",
            kwargs={"num_threads": _threads_per_engine(settings)},
        ),
        summarizer=ObjectSpec(factory="worker.summarize.extractive:ExtractiveSummarizer"),
        scorer=ObjectSpec(factory="worker.engine.scoring:ReferenceScorer"),
    )


def _transcriber_kwargs(settings: Settings) -> dict[str, object]:
    if settings.asr_engine == "sphinx":
        return {}
    return {
        "model": settings.whisper_model,
        "cache_dir": str(settings.model_cache_dir.absolute()),
        "enable_gpu": settings.enable_gpu,
        "cuda_device": settings.cuda_device,
        "num_threads": _threads_per_engine(settings),
    }


def num_engines(settings: Settings) -> int:
    """
    ENGINE_PROCESSES; else one where there is a GPU (it has one tenant), or one for each four cores. Never more than the
    meetings that may be in progress.
    """
    fitting = 1 if _uses_gpu(settings) else max(1, _num_cores() // 4)
    return min(settings.engine_processes or fitting, settings.max_concurrent_jobs)


def _uses_gpu(settings: Settings) -> bool:
    """Whether NVIDIA's driver is loaded; asking torch would take seconds and a hundred megabytes."""
    return settings.asr_engine == "whisperx" and settings.enable_gpu and Path("/dev/nvidiactl").exists()


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _threads_per_engine(settings: Settings) -> int:
    return max(1, _num_cores() // num_engines(settings))


def child_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Only what a child needs: no key of the database, no telemetry, the models where the settings say."""
    passed_on = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.upper().startswith(_PASSED_ON_PREFIXES)
    }
    token = {"HF_TOKEN": settings.hf_token.get_secret_value()} if settings.hf_token else {}
    return {**passed_on, **_QUIET, "HF_HOME": str(settings.model_cache_dir.absolute() / "huggingface"), **token}


def build_stages(settings: Settings, engine: Engine) -> ChildStages:
    from worker.adapters.child_process import ChildProcess
    from worker.adapters.stages_children import ChildStages

    environment = child_environment(settings, os.environ)
    prep = ChildProcess(
        name="prep",
        objects={"decoder": engine.decoder, "summarizer": engine.summarizer},
        environment=environment,
        stall_s=300.0,
        max_calls=200,
        max_rss_bytes=PREP_WATERMARK_BYTES,
    )
    engines = [
        ChildProcess(
            name=f"engine-{number}",
            objects={"transcriber": engine.transcriber, "diarizer": engine.diarizer, "scorer": engine.scorer},
            environment=environment,
            stall_s=600.0,
            max_calls=600,
            max_rss_bytes=_ram_bytes() // 2,
        )
        for number in range(num_engines(settings))
    ]
    return ChildStages(prep=prep, engines=engines, settings=_settings_key(engine))


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _settings_key(engine: Engine) -> dict[str, str]:
    """A stage's kept value is reused only by the same version with the same settings."""
    made_by = {
        Stage.DECODE: engine.decoder,
        Stage.TRANSCRIBE: engine.transcriber,
        Stage.ALIGN: engine.transcriber,
        Stage.DIARIZE: engine.diarizer,
        Stage.SUMMARIZE: engine.summarizer,
    }
    return {stage: f"{__version__} {spec!r}" for stage, spec in made_by.items()}


def build_worker(settings: Settings, store: Store, stages: ChildStages, observe: Observer) -> PCWorker:
    from worker.adapters.system_info import read_system_info
    from worker.daemon import Pace, PCWorker
    from worker.pipeline import Limits, Pipeline

    clock = SystemClock()
    info = WorkerInfo(
        worker_id=settings.worker_id or "",
        name=settings.display_name,
        instance_id=uuid.uuid4(),
        version=__version__,
        system=read_system_info(),
    )
    pace = Pace(
        polling_s=settings.polling_interval_seconds,
        max_jobs=settings.max_concurrent_jobs,
        num_engines=num_engines(settings),
        grace_s=settings.shutdown_grace_seconds,
        keep_days=settings.keep_temp_days,
    )
    limits = Limits(max_audio_bytes=settings.max_audio_bytes)
    return PCWorker(
        info=info,
        store=store,
        pipeline=Pipeline(storage_of(settings), stages, observe, clock, limits),
        temp_dir=settings.audio_temp_dir,
        observe=observe,
        clock=clock,
        random=Random(info.instance_id.int),
        pace=pace,
    )


async def run_worker(
    settings: Settings, *, once: bool, observers: Iterable[Observer], engine: Engine | None = None
) -> int:
    """
    Run one worker until it is told to stop (SIGTERM, SIGINT) or, with `once`, until the queue is empty.

    Returns the number of meetings completed. Raises WorkerIdTakenError, ConfigurationError, and with `once`
    SupabaseConnectionError.
    """
    from worker.adapters.host_lock import worker_id_lock

    with worker_id_lock(settings.worker_id or ""):
        async with opened_store(settings) as store:
            stages = build_stages(settings, engine or engine_of(settings))
            worker = build_worker(settings, store, stages, _all_of(tuple(observers)))
            with _stop_on_signals(worker.request_stop):
                try:
                    return await worker.run(once=once)
                finally:
                    await stages.close()


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
    stages = build_stages(settings, engine_of(settings))
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


def _all_of(observers: tuple[Observer, ...]) -> Observer:
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
