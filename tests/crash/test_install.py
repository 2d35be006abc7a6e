"""systemd/install.sh and uninstall.sh, run for real below a folder: what a PC that nobody looks after relies on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.support.lab_pc import LabPC
from tests.support.queue_worlds import fresh_database
from tests.support.worker_process import PATIENCE_S, ROOT, url_of
from worker.adapters.migrate_postgres import migrate

pytestmark = pytest.mark.crash

SCRIPTS = ("install.sh", "uninstall.sh", "pc-worker")
SCRIPTED_ENGINES = """
from worker import app, app_children
from worker.adapters.child_channel import ObjectSpec
ENGINES = ("Decoder", "Transcriber", "Diarizer", "Summarizer")
SPECS = {name.lower(): ObjectSpec(factory=f"worker.testing.scripted:Scripted{name}") for name in ENGINES}
OTHERS = {"scorer": SPECS["summarizer"], "describer": SPECS["diarizer"]}
app.child_objects = lambda *_: app_children.ChildObjects(**SPECS, **OTHERS)
"""
SHOW_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ, argv=sys.argv[1:]))); sys.exit(1)"


@pytest.fixture
def pc(crash_server_dsn: str, tmp_path: Path) -> Iterator[LabPC]:
    """A fresh PC whose settings are right."""
    with fresh_database(crash_server_dsn, name=f"install_{uuid4().hex[:12]}") as dsn:
        migrate(dsn)
        pc = LabPC(tmp_path, f"DATABASE_URL={url_of(dsn)}\nASR_ENGINE=sphinx\nWORKER_NAME={tmp_path.name}\n")
        yield pc
        pc.close()


@pytest.fixture
def installed(pc: LabPC) -> LabPC:
    name = f"w{uuid4().hex[:8]}"  # a worker holds its name on the whole host, where tests may run side by side
    done = pc.install("--env", str(pc.settings), "--instances", name)
    assert done.returncode == 0, done.stdout + done.stderr
    return pc


def name_of(pc: LabPC) -> str:
    [file] = [file for file in pc.etc.glob("*.env") if file.name != "common.env"]
    return file.stem


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def outcomes(pc: LabPC, meeting_id: str) -> list[str | None]:
    """Of each attempt, oldest first."""
    address = pc.settings.read_text().splitlines()[0].removeprefix("DATABASE_URL=")
    query = "select outcome from pc_worker.job_attempts where meeting_id = %s order by token"
    with psycopg.connect(address) as connection:
        return [outcome for (outcome,) in connection.execute(query, [meeting_id]).fetchall()]


# --- installing --------------------------------------------------------------------------------------------------


def test_one_command_and_the_worker_runs(installed: LabPC) -> None:
    assert installed.state(name_of(installed)) == "active"
    assert {"enable --quiet pc-worker.target", f"enable --quiet pc-worker@{name_of(installed)}"} <= {*installed.calls()}
    assert (installed.prefix / "etc/systemd/system/pc-worker@.service").exists()


def test_the_installed_tree_works_without_the_clone(installed: LabPC) -> None:
    installed.close()
    shutil.rmtree(installed.source)
    assert installed.pc_worker("doctor").returncode == 0
    done = installed.pc_worker("run", "--once")
    assert done.returncode == 0, done.stderr
    assert "worker_stopped" in done.stderr
    assert not list(installed.opt.rglob("logs"))


@pytest.mark.slow
def test_a_second_run_changes_nothing(installed: LabPC) -> None:
    before, calls = installed.tree(), installed.calls()
    assert installed.install().returncode == 0
    assert installed.tree() == before
    assert installed.calls()[len(calls) :] == [f"start pc-worker@{name_of(installed)}"], "which does nothing if it runs"


@pytest.mark.slow
def test_settings_are_never_overwritten(installed: LabPC) -> None:
    for file in installed.etc.glob("*.env"):
        file.write_text(file.read_text() + "# mine\n")
    other = installed.folder / "other.env"
    other.write_text("DATABASE_URL=embedded\n")
    assert installed.install("--env", str(other)).returncode == 0
    assert all(file.read_text().endswith("# mine\n") for file in installed.etc.glob("*.env"))


@pytest.mark.slow
def test_keys_are_not_readable_by_everybody(installed: LabPC) -> None:
    assert {file.stat().st_mode & 0o777 for file in installed.etc.glob("*.env")} == {0o640}


def test_a_dry_run_says_everything_and_does_nothing(pc: LabPC) -> None:
    done = pc.install("--dry-run", "--cpu", "--instances", "a,b")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("would ") for line in done.stdout.splitlines())
    assert all(
        what in done.stdout for what in ("copy the code", "a.env", "b.env", "install the units", "enable pc-worker@b")
    )
    assert not pc.prefix.exists()
    assert pc.install("--instances", "a").returncode == 0
    before = pc.tree()
    pc.change_version()
    for done in (pc.install("--upgrade", "--dry-run"), pc.uninstall("--purge", "--dry-run")):
        assert done.returncode == 0, done.stderr
        assert "would " in done.stdout
        assert pc.tree() == before


def test_each_gpu_gets_a_worker_of_its_own(pc: LabPC) -> None:
    pc.add_gpus(2)
    assert pc.install().returncode == 0
    for number in (0, 1):
        assert f"CUDA_DEVICE={number}\n" in (pc.etc / f"gpu{number}.env").read_text()


def test_without_a_gpu_there_is_one_worker(pc: LabPC) -> None:
    assert pc.install().returncode == 0
    assert {file.name for file in pc.etc.iterdir()} == {"common.env", "cpu.env"}
    assert "ENABLE_GPU=false\n" in (pc.etc / "cpu.env").read_text()


def test_nothing_private_of_a_clone_is_copied(pc: LabPC) -> None:
    for name in (".env", ".env.admin", "recordings", "logs", ".git"):
        (pc.source / name).mkdir()
    assert pc.install().returncode == 0
    assert {path.name for path in (pc.opt / "current").iterdir()} & {
        ".env",
        ".env.admin",
        "recordings",
        "logs",
        ".git",
    } == set()


def test_what_is_not_fit_is_not_started_and_says_what_to_do(pc: LabPC) -> None:
    """An empty common.env, as on a fresh PC; filled in, the same command starts the worker."""
    done = pc.install()
    assert done.returncode == 0, done.stderr
    assert "SUPABASE_URL" in done.stdout
    assert "Not started: cpu." in done.stdout
    assert pc.state("cpu") == "inactive"
    (pc.etc / "common.env").write_text(pc.settings.read_text() + f"WORKER_ID=w{uuid4().hex[:8]}\n")
    assert "Not started" not in pc.install().stdout
    assert pc.state("cpu") == "active"


@pytest.mark.slow
def test_settings_mean_the_same_to_the_command_as_to_the_service(pc: LabPC) -> None:
    """man systemd.exec, EnvironmentFile: outer quotes do not belong to a value, and nothing in it is replaced."""
    pc.change_version(SHOW_ENVIRONMENT)
    pc.settings.write_text(
        "# A=no\n\nB=two words \nC=\"quo'ted\"\nD='$HOME `x`'\n  E=a=b#c\nF=\nG=crlf\r\nLAST=no newline"
    )
    assert pc.install("--env", str(pc.settings), "--instances", "one,two").returncode == 0
    (pc.etc / "two.env").write_text("B=its own\n")
    seen = json.loads(pc.pc_worker("-i", "two", "doctor", "--json").stdout)
    values = {name: seen.get(name) for name in ("A", "B", "C", "D", "E", "F", "G", "LAST")}
    assert values == {
        "A": None, "B": "its own", "C": "quo'ted", "D": "$HOME `x`",
        "E": "a=b#c", "F": "", "G": "crlf", "LAST": "no newline",
    }  # fmt: skip
    assert seen["argv"] == ["doctor", "--json"]
    assert seen["WORKER_ID"].endswith("-two")
    assert "of-the-caller" not in seen.values()
    assert seen["LOG_DIR"] == str(pc.prefix / "var/log/pc-worker/two")


@pytest.mark.parametrize("name", ["common", "recordings", "../x", "Gpu", "a b", "a,,b"])
def test_a_name_that_cannot_be_an_instance_is_refused(pc: LabPC, name: str) -> None:
    done = pc.install("--instances", f"ok,{name}")
    assert done.returncode == 1
    assert "cannot be an instance" in done.stderr
    assert not pc.prefix.exists()


# --- upgrading ---------------------------------------------------------------------------------------------------


def test_an_upgrade_switches_and_the_last_two_versions_stay(installed: LabPC) -> None:
    seen = [installed.current]
    for _ in range(2):
        installed.change_version()
        done = installed.install("--upgrade")
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append(installed.current)
        assert installed.state(name_of(installed)) == "active"
    assert len(set(seen)) == 3
    assert installed.versions == {*seen[1:]}
    assert "installed already" in installed.install("--upgrade").stdout


@pytest.mark.slow
def test_a_meeting_in_flight_is_finished_and_done_once(pc: LabPC) -> None:
    pc.change_version(SCRIPTED_ENGINES)
    name = f"w{uuid4().hex[:8]}"
    assert pc.install("--env", str(pc.settings), "--instances", name).returncode == 0
    begun, goes_on = pc.folder / "begun", pc.folder / "goes_on"
    recording = pc.folder / "recording.json"
    recording.write_text(json.dumps({"transcribe": {"touch": str(begun), "until": str(goes_on)}}))
    meeting_id = pc.pc_worker("enqueue", str(recording)).stdout.strip()
    wait_until(begun.exists)
    pc.change_version(SCRIPTED_ENGINES)
    old, waiting = pc.current, pc.pc_worker("enqueue", str(recording)).stdout.strip()
    with ThreadPoolExecutor() as threads:
        upgrade = threads.submit(pc.install, "--upgrade")
        wait_until(lambda: f"stop pc-worker@{name}" in pc.calls())
        goes_on.touch()
        assert upgrade.result().returncode == 0, upgrade.result().stderr
    wait_until(lambda: outcomes(pc, waiting)[-1:] == ["completed"])
    assert pc.current != old
    assert outcomes(pc, meeting_id) == ["completed"]


def test_a_version_that_does_not_come_up_is_rolled_back(installed: LabPC) -> None:
    good = installed.current
    installed.change_version("if sys.argv[1:] == ['run']: sys.exit(1)")
    done = installed.install("--upgrade")
    assert done.returncode == 1
    assert f"version {good} runs again" in done.stderr
    assert installed.current == good
    assert installed.state(name_of(installed)) == "active"


@pytest.mark.slow
def test_a_version_whose_doctor_objects_is_not_switched_to(installed: LabPC) -> None:
    good, calls = installed.current, installed.calls()
    installed.change_version("if sys.argv[1:] == ['doctor']: sys.exit('not here')")
    done = installed.install("--upgrade")
    assert done.returncode == 1
    assert "not here" in done.stderr
    assert "nothing was switched" in done.stderr
    assert (installed.current, installed.calls()) == (good, calls)
    assert installed.install("--upgrade", "--force").returncode == 0
    assert installed.current != good


@pytest.mark.slow
def test_a_worker_that_somebody_stopped_stays_stopped(installed: LabPC) -> None:
    installed.close()
    installed.change_version()
    assert installed.install("--upgrade").returncode == 0
    assert installed.state(name_of(installed)) == "inactive"


@pytest.mark.slow
def test_another_version_is_not_installed_over_the_one_that_runs(installed: LabPC) -> None:
    installed.change_version()
    before = installed.tree()
    done = installed.install()
    assert done.returncode == 1
    assert "--upgrade" in done.stderr
    assert installed.tree() == before


# --- removing ----------------------------------------------------------------------------------------------------


def test_uninstall_leaves_settings_and_data(installed: LabPC) -> None:
    data = installed.prefix / "var/lib/pc-worker" / name_of(installed) / "kept"
    data.touch()
    for _ in range(2):
        assert installed.uninstall().returncode == 0
    assert installed.state(name_of(installed)) == "inactive"
    assert data.exists()
    assert (installed.etc / "common.env").exists()
    assert not installed.opt.exists()
    left = [path for path in installed.prefix.rglob("*pc-worker*") if "run" not in path.parts]
    assert {str(path.relative_to(installed.prefix).parent) for path in left} == {
        "etc",
        "var/lib",
        "var/cache",
        "var/log",
    }


@pytest.mark.slow
def test_purge_leaves_nothing(installed: LabPC) -> None:
    assert installed.uninstall("--purge").returncode == 0
    shutil.rmtree(installed.prefix / "run")
    assert not list(installed.prefix.rglob("*pc-worker*"))


# --- the scripts themselves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_sound(name: str) -> None:
    file = ROOT / "systemd" / name
    subprocess.run(["bash", "-n", file], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, file], check=True)


@pytest.mark.parametrize("name", ["install.sh", "uninstall.sh"])
def test_every_option_is_explained(name: str, pc: LabPC) -> None:
    script = ROOT / "systemd" / name
    options = set(re.findall(r"^ +(--[a-z-]+)\)", script.read_text(), re.MULTILINE))
    assert {"--prefix", "--dry-run"} <= options
    explained = pc.run(script, "--help").stdout
    assert not [option for option in options if f"\n  {option} " not in explained]
