"""The doctor at set-ups that are broken in one place each: the right line says so, with its remedy, and no other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.support import project_keys
from tests.support.doctor_set_ups import (
    DAYS_S,
    GOOD_PC,
    GPU,
    GPU_STATE,
    OF_A_PC,
    OF_A_PROJECT,
    WORKER_ROLE,
    Broken,
    Project,
    admin_key_in_env,
    alive_on,
    clock_ahead,
    empty_project,
    failed,
    found_at,
    own_model,
    sql,
    warned,
    without_bucket,
)
from tests.support.embedded_postgres import reachable_directory
from tests.support.fake_storage import FakeStorage
from tests.support.postgrest import free_port
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_stack import supabase_stack
from tests.support.worker_process import environment_in, url_of
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.host_lock import worker_id_lock
from worker.adapters.migrate_postgres import migrate
from worker.app_doctor_check import CHECKS, State


@pytest.fixture(scope="module")
def project(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with (
        fresh_database(server_dsn, name=f"doctor_{uuid4().hex[:12]}") as dsn,
        FakeStorage() as storage,
        supabase_stack(dsn, storage_url=storage.url) as stack,
    ):
        yield Project(stack, storage, tmp_path_factory.mktemp("doctor"))


async def test_a_good_set_up_is_ok_in_every_line(project: Project) -> None:
    found = await found_at(project.environment())
    assert {check.state for check in found} == {State.OK}, found
    assert {check.name for check in found} == {"settings", "key", *OF_A_PC, *OF_A_PROJECT}
    assert [check.name for check in found] == sorted((c.name for c in found), key=list(CHECKS).index)


async def test_it_changes_nothing(project: Project) -> None:
    """Each function is called; no worker and no sign of life comes of it, and no folder is made."""
    environment = project.environment()
    project.execute("update pc_worker.pulse set last_call_at = now() - interval '1 hour'")
    await found_at(environment)
    with psycopg.connect(project.stack.dsn) as connection:
        silence = connection.execute("select now() - last_call_at > interval '59 min' from pc_worker.pulse").fetchone()
        workers = connection.execute("select count(*) from pc_worker.workers").fetchone()
    assert (silence, workers) == ((True,), (0,))
    assert list(Path(environment["HOME"]).iterdir()) == []


# --- broken in one place -----------------------------------------------------------------------------------------

WHISPERX = {"ASR_ENGINE": "whisperx"}
REVOKE = "execute on function public.worker_claim_v1(text, uuid, uuid, double precision) {} meeting_worker"
UNTRIED = ("key", "database", "schema", "functions", "worker_id", "storage")
EXPIRED = project_keys.token(WORKER_ROLE, expires_in_s=-60)
FOREIGN = project_keys.token(WORKER_ROLE, expires_in_s=90 * DAYS_S, secret="the secret of another project, long enough")
SOON = project_keys.token(WORKER_ROLE, expires_in_s=3 * DAYS_S)

BROKEN: dict[str, Broken] = {
    "no WORKER_ID": Broken(failed("settings"), ("WORKER_ID",), {"WORKER_ID": ""}, untried=("worker_id", "unit")),
    "no key": Broken(
        failed("settings"), ("SUPABASE_KEY",), {"SUPABASE_KEY": "", "SUPABASE_WORKER_TOKEN": ""}, untried=UNTRIED
    ),
    "an administrator's key in .env": Broken(
        failed("settings"),
        ("SUPABASE_ADMIN_KEY", ".env.admin"),
        untried=("key", *OF_A_PC, *OF_A_PROJECT),
        breaking=admin_key_in_env,
    ),
    "a user's token": Broken(
        failed("settings"),
        ("SUPABASE_KEY", "SUPABASE_WORKER_TOKEN"),
        {"SUPABASE_KEY": project_keys.user_token(uuid4()), "SUPABASE_WORKER_TOKEN": ""},
        untried=UNTRIED,
    ),
    "an expired token": Broken(
        failed("settings"), ("python -m worker token",), {"SUPABASE_WORKER_TOKEN": EXPIRED}, untried=UNTRIED
    ),
    "a token that ends soon": Broken(
        warned("key"), ("SUPABASE_WORKER_TOKEN", "python -m worker token"), {"SUPABASE_WORKER_TOKEN": SOON}
    ),
    "a token of another project": Broken(
        failed("access"),
        ("SUPABASE_WORKER_TOKEN", "SUPABASE_URL"),
        {"SUPABASE_WORKER_TOKEN": FOREIGN},
        untried=("database", "schema", "functions", "worker_id", "storage"),
    ),
    "nobody at SUPABASE_URL": Broken(
        failed("database"),
        ("check network and database",),
        {"SUPABASE_URL": f"http://127.0.0.1:{free_port()}"},
        untried=("clock", "schema", "functions", "worker_id", "storage"),
    ),
    "an empty project": Broken(
        failed("schema"),
        ("python -m worker migrate",),
        untried=("database", "functions", "worker_id"),
        breaking=empty_project,
    ),
    "an older schema": Broken(
        failed("schema"),
        ("0010_confidence", "python -m worker migrate"),
        untried=("functions",),
        breaking=sql(
            "create table pc_worker.kept as select * from pc_worker.migrations where name = '0010_confidence';"
            "delete from pc_worker.migrations where name = '0010_confidence'",
            "insert into pc_worker.migrations select * from pc_worker.kept; drop table pc_worker.kept",
        ),
    ),
    "a newer schema": Broken(
        failed("schema"),
        ("9999_future", "Update the worker"),
        untried=("functions",),
        breaking=sql(
            'insert into pc_worker.migrations select (jsonb_populate_record(m, \'{"name": "9999_future"}\')).*'
            " from pc_worker.migrations m where name = '0010_confidence'",
            "delete from pc_worker.migrations where name = '9999_future'",
        ),
    ),
    "a function that is closed": Broken(
        failed("functions"),
        ("grant execute on function public.worker_claim_v1 to meeting_worker;",),
        breaking=sql("revoke " + REVOKE.format("from"), "grant " + REVOKE.format("to")),
    ),
    "no bucket": Broken(failed("storage"), ("meeting-audio",), breaking=without_bucket),
    "a clock a minute behind": Broken(
        warned("clock"),
        (
            "s behind the database",
            "timedatectl set-ntp true",
        ),
        breaking=clock_ahead(60),
    ),
    "a clock ten minutes ahead": Broken(
        failed("clock"),
        (
            "ahead of the database",
            "timedatectl set-ntp true",
        ),
        breaking=clock_ahead(-600),
    ),
    "the same WORKER_ID elsewhere": Broken(
        failed("worker_id"), ("WORKER_ID", "another-pc"), breaking=alive_on("another-pc")
    ),
    "a disk too small": Broken(
        warned("temp_space"), ("MAX_AUDIO_BYTES",), senses=replace(GOOD_PC, free_bytes=lambda _: 3 * 10**9)
    ),
    "a full disk": Broken(
        failed("temp_space"),
        ("AUDIO_TEMP_DIR", "MIN_FREE_DISK_BYTES", "Free the disk"),
        {"MIN_FREE_DISK_BYTES": "2000000000"},
        senses=replace(GOOD_PC, free_bytes=lambda _: 10**8),
    ),
    "little memory": Broken(
        warned("memory"), ("ENGINE_PROCESSES",), senses=replace(GOOD_PC, available_memory_bytes=lambda: 10**9)
    ),
    "no GPU": Broken(
        warned("gpu"),
        ("nvidia-smi", "ENABLE_GPU=false"),
        WHISPERX,
        senses=replace(GOOD_PC, gpu=lambda number, visible: None),
        breaking=own_model,
    ),
    "no GPU of that number": Broken(
        failed("gpu"), ("CUDA_DEVICE",), {**WHISPERX, "CUDA_DEVICE": "1"}, breaking=own_model
    ),
    "an old driver": Broken(
        failed("gpu"),
        ("470.1", "newer driver", "ENABLE_GPU=false"),
        WHISPERX,
        senses=replace(GOOD_PC, gpu=lambda number, visible: GPU.model_copy(update={"driver": "470.1"})),
        breaking=own_model,
    ),
    "a GPU too old for the libraries": Broken(
        warned("cuda"),
        ("6.1", "Volta", "ENABLE_GPU=false"),
        WHISPERX,
        senses=replace(GOOD_PC, gpu_state=lambda _: GPU_STATE.model_copy(update={"compute_capability": (6, 1)})),
        breaking=own_model,
    ),
    "another cuDNN": Broken(
        failed("cuda"),
        ("nvidia-cudnn-cu12 is 8.9.7 instead of 9", "requirements.txt"),
        WHISPERX,
        senses=replace(GOOD_PC, wrong_libraries=lambda: ["nvidia-cudnn-cu12 is 8.9.7 instead of 9"]),
        breaking=own_model,
    ),
    "no model folder": Broken(
        failed("model"), ("WHISPER_MODEL",), {"ASR_ENGINE": "whisperx", "WHISPER_MODEL": "/nowhere"}
    ),
    "a misspelt model": Broken(
        failed("model"),
        ("WHISPER_MODEL", "small"),
        {"ASR_ENGINE": "whisperx", "WHISPER_MODEL": "smal"},
    ),
    "no way to the hub": Broken(
        warned("model"),
        ("large-v3", "WHISPER_MODEL", "ASR_ENGINE=sphinx"),
        {"ASR_ENGINE": "whisperx", "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"},
    ),
    "pyannote, and nothing of it here": Broken(
        failed("diarizer"),
        ("HF_TOKEN is not set", "models pull pyannote", "DIARIZER=bundled"),
        {"DIARIZER": "pyannote"},
    ),
    "no hub token": Broken(warned("hf_token"), ("HF_TOKEN",), {"HF_TOKEN": "secret"}),
    "a service that does not start": Broken(
        warned("unit"), ("systemctl enable --now pc-worker@",), senses=replace(GOOD_PC, unit_state=lambda _: "disabled")
    ),
    "no service": Broken(
        warned("unit"), ("systemd/install.sh",), senses=replace(GOOD_PC, unit_state=lambda _: "not-found")
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_what_is_broken_is_told_with_its_remedy_and_nothing_else_is(project: Project, broken: Broken) -> None:
    environment = {**project.environment(), **broken.settings}
    with broken.breaking(project, environment):
        found = await found_at(environment, broken.senses)
    unwell = [check for check in found if check.state is not State.OK]
    assert {check.name: check.state for check in unwell} == broken.told, found
    assert len(unwell) == 1
    for words in broken.remedy:
        assert words in unwell[0].sentence
    wanted = {"settings", "key", *OF_A_PC, *OF_A_PROJECT, *broken.told} - set(broken.untried)
    assert {check.name for check in found} == wanted
    secrets = [environment[name] for name in ("SUPABASE_KEY", "SUPABASE_WORKER_TOKEN") if environment[name]]
    assert not [check for check in found for secret in secrets if secret in check.sentence]


async def test_a_worker_that_runs_here_is_not_another_one(project: Project) -> None:
    """Its row says this host or, in a container, an older name; the lock of its name is what counts."""
    environment = project.environment()
    with alive_on("earlier-name")(project, environment), worker_id_lock(environment["WORKER_ID"]):
        found = {check.name: check for check in await found_at(environment)}
    assert found["worker_id"].state is State.OK
    assert "is running on this PC" in found["worker_id"].sentence
    with alive_on(socket.gethostname())(project, environment):
        found = {check.name: check for check in await found_at(environment)}
    assert found["worker_id"].state is State.OK, "it was stopped a moment ago"


# --- without Supabase --------------------------------------------------------------------------------------------


async def test_a_postgres_is_looked_at_in_the_same_way(server_dsn: str, tmp_path: Path) -> None:
    with fresh_database(server_dsn, name=f"doctor_{uuid4().hex[:12]}") as dsn:
        environment = environment_in(tmp_path, url_of(dsn), "lab-pc-1")
        (tmp_path / "recordings").mkdir()
        found = await found_at(environment)
        assert {c.name: c.state for c in found if c.state is not State.OK} == {"schema": State.FAILED}
        migrate(dsn)
        found = await found_at(environment)
    assert {check.state for check in found} == {State.OK}, found
    assert {check.name for check in found} == {"settings", *OF_A_PC, *OF_A_PROJECT}


async def test_a_user_of_a_postgres_without_rights_is_told_which(server_dsn: str, tmp_path: Path) -> None:
    role = f"doctor_{uuid4().hex[:12]}"
    with fresh_database(server_dsn, name=role) as dsn, psycopg.connect(dsn, autocommit=True) as owner:
        migrate(dsn)
        owner.execute(f"create role {role} login".encode())
        owner.execute(f"grant execute on function public.worker_status_v2, public.worker_schema_v1 to {role}".encode())
        environment = environment_in(
            tmp_path, url_of(dsn).replace("postgresql://postgres@", f"postgresql://{role}@"), "a"
        )
        (tmp_path / "recordings").mkdir()
        found = await found_at(environment)
        owner.execute(f"drop owned by {role}; drop role {role}".encode())
    assert {c.name: c.state for c in found if c.state is not State.OK} == {"functions": State.FAILED}, found
    (told,) = [check.sentence for check in found if check.name == "functions"]
    assert "public.worker_claim_v1" in told
    assert "worker_status_v2" not in told


async def test_an_embedded_database_is_looked_at_where_it_runs_and_never_started(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    with reachable_directory() as folder:
        environment = environment_in(tmp_path, f"embedded:{folder / 'postgres'}", "lab-pc-1")
        found = await found_at(environment)
        assert {c.name: c.state for c in found if c.state is not State.OK} == {"database": State.WARNING}
        assert not (folder / "postgres").exists()
        with EmbeddedPostgres(folder / "postgres", durable=False) as server:
            migrate(server.start())
            found = await found_at(environment)
        assert {check.state for check in found} == {State.OK}, found
        assert {check.name for check in found} == {"settings", *OF_A_PC, *OF_A_PROJECT} - {"clock"}
