"""`make demo` as a newcomer runs it: the real sample through the real queue, engine and diarizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from tests.support.embedded_postgres import reachable_directory
from tests.support.spoken_meetings import ALIGNER, WHISPER, SpokenText, sentences
from tests.support.worker_process import ROOT
from worker import demo

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_directory() as folder:
        yield folder


def run_demo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment["MODELS_OFFLINE"] = "true"  # where tests run, a hub may answer
    return subprocess.run(
        [sys.executable, "-m", "worker", "demo", *arguments],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sample_is_transcribed_told_apart_and_scored(folder: Path) -> None:
    """DER at most 9 % (collar 0, overlap counted) with two speakers found; the word error rate as it is."""
    done = run_demo(folder, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["engine"], shown["diarizer"]) == ("completed", "sphinx", "bundled")
    assert shown["num_speakers"] == 2
    assert shown["der"] <= 0.09
    assert 0.0 < shown["wer"] < 1.5
    assert shown["num_words"] > 20
    assert {"decode", "transcribe", "diarize", "turns", "summarize"} <= set(shown["stage_seconds"])
    assert "PocketSphinx" in done.stderr, "which engine works is said in one clear line"
    assert "as soon as a Whisper model can be had" in done.stderr
    assert "SPEAKER_01" in done.stderr
    assert not list((folder / "demo_data" / "temp_audio").iterdir())


@pytest.mark.slow
def test_a_recording_of_ones_own_has_no_reference(folder: Path) -> None:
    own = folder / "my own rêcording.wav"
    samples, rate_hz = soundfile.read(demo.sample().audio)
    soundfile.write(own, samples[7 * rate_hz : 13 * rate_hz], rate_hz)
    done = run_demo(folder, str(own))
    assert done.returncode == 0, done.stderr
    assert "my own rêcording.wav" in done.stdout
    assert "Against the reference" not in done.stdout


def test_a_file_that_is_no_recording_is_exit_code_1_with_the_reason(folder: Path) -> None:
    (folder / "notes.mp3").write_text("no sound here\n" * 100)
    done = run_demo(folder, str(folder / "notes.mp3"))
    assert done.returncode == 1
    assert "audio_not_audio" in done.stdout
    assert "Traceback" not in done.stderr


def test_whisperx_without_a_model_says_so_at_once_and_is_not_swapped_for_another_engine(folder: Path) -> None:
    done = run_demo(folder, "--engine", "whisperx", "--json")
    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert shown["error_code"] == "model_unavailable"
    assert "WHISPER_MODEL" in shown["error_message"]
    assert shown["num_words"] == 0


@pytest.mark.slow
def test_whisperx_is_chosen_when_a_model_of_it_is_here(folder: Path) -> None:
    """Nobody asked for an engine: the folder of WHISPER_MODEL is enough."""
    own = SpokenText.write_wav(sentences()[0], folder)
    done = run_demo(folder, str(own), "--json", WHISPER_MODEL=str(WHISPER), ALIGN_MODEL=str(ALIGNER))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["engine"]) == ("completed", "whisperx")
    assert "Engine: WhisperX" in done.stderr
