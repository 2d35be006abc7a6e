"""`python -m worker models` as people use it: real processes, a hub of the test's own, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_hub import NO_TOKEN, REVISION, FakeHub
from tests.support.shell import Shell
from tests.support.worker_process import ROOT, environment_in

pytestmark = pytest.mark.crash

SMALL = "Systran/faster-whisper-small"
PYANNOTE = "pyannote/speaker-diarization-community-1"
WEIGHTS = os.urandom(1000) * 4000
MODELS = {
    SMALL: {"config.json": b"{}", "model.bin": WEIGHTS, "tokenizer.json": b"[]", "vocabulary.txt": b"a"},
    PYANNOTE: {"config.yaml": b"pipeline: x", "segmentation/pytorch_model.bin": WEIGHTS, "LICENSE": b"CC-BY-4.0"},
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(MODELS) as hub:
        yield hub


def shell_at(folder: Path, hub: FakeHub, **variables: str) -> Shell:
    """No database runs: these commands need none."""
    folder.mkdir(exist_ok=True)
    environment = environment_in(
        folder, "embedded:nowhere", "models", ASR_ENGINE="whisperx", WHISPER_MODEL="small", HF_ENDPOINT=hub.url
    )
    return Shell(folder, {**environment, **variables})


@pytest.fixture
def shell(tmp_path: Path, hub: FakeHub) -> Shell:
    return shell_at(tmp_path / "pc", hub)


def weights_in(folder: Path) -> Path:
    return folder / f"models/whisper/models--Systran--faster-whisper-small/snapshots/{REVISION}/model.bin"


def test_a_download_that_is_killed_goes_on_where_it_was(shell: Shell, hub: FakeHub) -> None:
    """SIGKILL in the middle of the file; the next call asks for the rest, and what is there in the end is whole."""
    hub.hold_after = 2_500_000
    killed = subprocess.Popen(
        [sys.executable, "-m", "worker", "models", "pull", "small"],
        cwd=shell.folder,
        env={**shell.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = shell.folder / "models/whisper/models--Systran--faster-whisper-small/blobs"
    assert hub.held.wait(60)
    while not any(path.stat().st_size >= 2 << 20 for path in partial.glob("*.incomplete")):
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    hub.hold_after = None
    hub.go_on.set()
    state = {model["name"]: model["state"] for model in shell.json("models", "list")["models"]}
    assert state["small"] == "incomplete"
    done = shell("models", "pull", "small")
    assert done.returncode == 0, done.stderr
    assert hub.ranges == ["bytes=2097152-"]
    assert weights_in(shell.folder).read_bytes() == WEIGHTS


@pytest.mark.slow
def test_what_is_here_is_listed_with_size_licence_and_revision(shell: Shell) -> None:
    assert shell("models", "pull", "small").returncode == 0
    small, english = shell.json("models", "list")["models"]
    assert (small["name"], small["state"], small["revision"]) == ("small", "complete", REVISION)
    assert small["licence"] == "apache-2.0"  # as the hub says
    assert len(WEIGHTS) <= small["size_bytes"] < len(WEIGHTS) + 1000
    assert (english["name"], english["state"], english["is_needed"]) == ("align-en", "missing", True)
    assert "small" in shell("models", "list").stdout


@pytest.mark.slow
def test_a_damaged_file_is_found_and_repaired(shell: Shell) -> None:
    assert shell("models", "pull", "small").returncode == 0
    assert shell.json("models", "check", "small") == {"ok": True, "models": [{"name": "small", "problems": []}]}
    with weights_in(shell.folder).open("r+b") as file:
        file.write(b"damage")
    found = shell.json("models", "check", "small", returncode=1)
    assert found["models"] == [{"name": "small", "problems": ["model.bin is damaged"]}]
    assert "models pull small" in shell("models", "check", "small").stdout
    assert shell("models", "pull", "small").returncode == 0
    assert shell("models", "check", "small").returncode == 0


@pytest.mark.slow
def test_one_pc_pulls_and_pushes_and_the_others_need_no_hub(shell: Shell, hub: FakeHub, tmp_path: Path) -> None:
    """pyannote's terms are accepted by one person; the other PC has no token and asks no hub."""
    hub.licence = "cc-by-4.0"
    assert shell("models", "pull", "small", "pyannote", HF_TOKEN="hf_test").returncode == 0
    pushed = shell("models", "push", "small", "pyannote")
    assert pushed.returncode == 0, pushed.stderr
    hub.refusal = NO_TOKEN
    other = shell_at(tmp_path / "other", hub, STORAGE_DIR=shell.environment["STORAGE_DIR"], MODELS_OFFLINE="true")
    done = other("models", "pull", "--from-lab", ALIGN_MODEL=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "small, pyannote" in done.stderr
    assert weights_in(other.folder).read_bytes() == WEIGHTS
    assert other("models", "check", "small", "pyannote").returncode == 0
    assert "cc-by-4.0" in (shell.folder / "recordings/models/pyannote/ATTRIBUTION.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "words"),
    [
        (["pull", "smal"], {}, 78, "smal is no model"),
        (["push"], {"DATABASE_URL": ""}, 78, "DATABASE_URL"),
    ],
)
def test_each_mistake_says_what_to_do(
    shell: Shell, arguments: list[str], variables: dict[str, str], code: int, words: str
) -> None:
    done = shell("models", *arguments, **variables)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
