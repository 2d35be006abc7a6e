"""A project and a PC on which the doctor finds nothing, and ways to break them in one place each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_access import BUCKET
from tests.support.gateway import Gateway
from tests.support.postgrest import Postgrest
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import make_project
from tests.support.supabase_stack import SupabaseStack
from tests.support.worker_process import environment_in
from worker.app_doctor import examine
from worker.app_doctor_check import Check, State
from worker.app_doctor_pc import PcSenses
from worker.models import GpuFacts, GpuState

PUBLISHABLE, WORKER_ROLE = project_keys.PUBLISHABLE_KEY, project_keys.WORKER_ROLE
DAYS_S = 86_400.0
GPU = GpuFacts(name="RTX", uuid="GPU-1", driver="550.54.15", vram_bytes=24 * 10**9)
GPU_STATE = GpuState(
    name="RTX",
    uuid="GPU-1",
    driver="550.54.15",
    total_bytes=24 * 10**9,
    free_bytes=23 * 10**9,
    compute_capability=(8, 6),
)
GOOD_PC = PcSenses(
    free_bytes=lambda _: 10**12,
    available_memory_bytes=lambda: 64 * 10**9,
    gpu=lambda number, _: GPU if number == 0 else None,
    gpu_state=lambda uuid: GPU_STATE if uuid == GPU.uuid else None,
    wrong_libraries=list,
    unit_state=lambda _: "enabled",
    hostname=lambda: "lab-pc-1",
)
OF_A_PC = [
    *(
        "temp_space",
        "model_space",
        "memory",
        "gpu",
        "cuda",
        "plan",
        "model",
        "diarizer",
        "hf_token",
        "telemetry",
        "unit",
    )
]
OF_A_PROJECT = ["clock", "database", "schema", "functions", "worker_id", "storage"]


@dataclass
class Project:
    stack: SupabaseStack
    storage: FakeStorage
    folder: Path

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.stack.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def environment(self) -> dict[str, str]:
        """A PC with a worker token; everything is as it should be."""
        name = f"lab-pc-{uuid4().hex[:8]}"
        folder = self.folder / name
        folder.mkdir()
        access = {
            "SUPABASE_URL": self.stack.url,
            "SUPABASE_KEY": PUBLISHABLE,
            "SUPABASE_WORKER_TOKEN": project_keys.token(WORKER_ROLE, expires_in_s=90 * DAYS_S),
        }
        return {**environment_in(folder, "", name), **access}


async def found_at(environment: Mapping[str, str], senses: PcSenses = GOOD_PC) -> list[Check]:
    return await examine(environment, Path(environment["HOME"]) / ".env", senses)


# --- broken in one place -----------------------------------------------------------------------------------------

Breaking = Callable[[Project, dict[str, str]], AbstractContextManager[object]]


@dataclass(frozen=True)
class Broken:
    """`told`: all lines that are not ok; `remedy`: what their sentences name; `untried`: lines that are left out."""

    told: dict[str, State]
    remedy: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    senses: PcSenses = GOOD_PC
    untried: tuple[str, ...] = ()
    breaking: Breaking = lambda project, environment: contextlib.nullcontext()


def failed(name: str) -> dict[str, State]:
    return {name: State.FAILED}


def warned(name: str) -> dict[str, State]:
    return {name: State.WARNING}


def sql(broken: str, mended: str) -> Breaking:
    @contextlib.contextmanager
    def breaking(project: Project, environment: dict[str, str]) -> Iterator[None]:
        project.execute(broken)
        try:
            yield
        finally:
            project.execute(mended)

    return breaking


def clock_ahead(seconds: float) -> Breaking:
    @contextlib.contextmanager
    def breaking(project: Project, environment: dict[str, str]) -> Iterator[None]:
        project.stack.gateway.clock_ahead_s = seconds
        try:
            yield
        finally:
            project.stack.gateway.clock_ahead_s = 0.0

    return breaking


@contextlib.contextmanager
def without_bucket(project: Project, environment: dict[str, str]) -> Iterator[None]:
    bucket = project.storage.shelf.buckets.pop(BUCKET)
    try:
        yield
    finally:
        project.storage.shelf.buckets[BUCKET] = bucket


@contextlib.contextmanager
def empty_project(project: Project, environment: dict[str, str]) -> Iterator[None]:
    """A project beside ours, that nobody has migrated."""
    with fresh_database(project.stack.dsn, name=f"empty_{uuid4().hex[:12]}") as dsn:
        make_project(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("grant meeting_worker to authenticator")  # the cluster has the role already
        with Postgrest(dsn) as postgrest, Gateway(postgrest.url, project.storage.url) as gateway:
            environment["SUPABASE_URL"] = gateway.url
            yield


def alive_on(host: str) -> Breaking:
    @contextlib.contextmanager
    def breaking(project: Project, environment: dict[str, str]) -> Iterator[None]:
        project.execute(
            "insert into pc_worker.workers (worker_id, name, instance_id, hostname, machine_id, version, registered_at,"
            f" last_seen_at) values ('{environment['WORKER_ID']}', 'x', '{uuid4()}', '{host}', 'm', '1', now(), now())"
        )
        try:
            yield
        finally:
            project.execute("delete from pc_worker.workers")

    return breaking


@contextlib.contextmanager
def admin_key_in_env(project: Project, environment: dict[str, str]) -> Iterator[None]:
    (Path(environment["HOME"]) / ".env").write_text(f"SUPABASE_ADMIN_KEY={project_keys.SECRET_KEY}\n")
    yield


@contextlib.contextmanager
def own_model(project: Project, environment: dict[str, str]) -> Iterator[None]:
    """WhisperX with a model in a folder, so that nobody asks the hub."""
    folder = Path(environment["HOME"]) / "model"
    folder.mkdir()
    (folder / "model.bin").touch()
    environment["WHISPER_MODEL"] = str(folder)
    yield
