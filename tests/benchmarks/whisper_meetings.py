"""
Short meetings: the warm engines against `whisperx` from the command line, and against a plain script that loads once.

    python -m tests.benchmarks.whisper_meetings

All three decode, transcribe and align the same files with the same models (the small ones of the tests) on the CPU,
int8, language given. The engines are the worker's own processes, asked as the pipeline asks them; each side has worked
one file before the clock starts, but for the command line, which cannot be warm. Run as a command it calls the command
line for each of the 20 files of each length, as issued; `run()` does so for COMMAND_LINE_FILES, since each costs alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.benchmarks.decode import static_ffmpeg
from tests.support.spoken_meetings import ALIGNER, RATE_HZ, WHISPER, meetings
from tests.support.worker_process import ROOT
from worker.app_children import build_stages, child_objects
from worker.config import Need, load_settings
from worker.ports import unheard

NUM_FILES = 20
LENGTHS_S = (10, 35)
COMMAND_LINE_FILES = 3
PUNKT_FILES = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")


def run(num_command_line: int = COMMAND_LINE_FILES) -> list[dict[str, Any]]:
    rows = []
    for length_s in LENGTHS_S:
        with tempfile.TemporaryDirectory() as name:
            files = _files(Path(name), length_s)
            ours = asyncio.run(_warm_s(files, Path(name)))
            plain = _plain_s(files, Path(name))
            command_line = _command_line_s(files[1 : 1 + num_command_line], Path(name))
        rows += [
            _row(f"meeting of {length_s} s, warm (reference: whisperx command line)", ours, command_line),
            _row(f"meeting of {length_s} s, warm (reference: script that loads once)", ours, plain),
        ]
    return rows


def _row(name: str, ours: float, reference: float) -> dict[str, Any]:
    ratio = round(reference / ours, 2)
    return {"name": name, "ours": round(ours, 3), "reference": round(reference, 3), "ratio": ratio, "unit": "s each"}


def _files(folder: Path, length_s: int) -> list[Path]:
    """One to warm up, and NUM_FILES: pieces of the six meetings, each beginning elsewhere."""
    sound = np.concatenate([meeting.samples for meeting in meetings()])
    starts = np.linspace(0, len(sound) - length_s * RATE_HZ, NUM_FILES + 1).astype(int)
    paths = [folder / f"{length_s}-{number}.wav" for number in range(NUM_FILES + 1)]
    for path, start in zip(paths, starts, strict=True):
        soundfile.write(path, sound[start : start + length_s * RATE_HZ], RATE_HZ, subtype="PCM_16")
    return paths


async def _warm_s(files: Sequence[Path], folder: Path) -> float:
    settings = load_settings(
        [Need.WORKER],
        environ={
            "WORKER_ID": "bench",
            "WHISPER_MODEL": str(WHISPER),
            "ALIGN_MODEL": str(ALIGNER),
            "WHISPER_BATCH_SIZE": "4",
            "ENABLE_GPU": "false",
            "MODELS_OFFLINE": "true",
            "MODEL_CACHE_DIR": str(folder / "models"),
        },
        env_file=None,
    )
    stages = build_stages(settings, child_objects(settings))

    async def work(file: Path) -> None:
        wav = folder / "decoded.wav"
        await stages.decode(file, wav, unheard)
        async with stages.engine() as engine:
            heard = await engine.transcribe(wav, language="en", prompt=None, hotwords=None, report=unheard)
            await engine.align(wav, heard, unheard)

    try:
        await work(files[0])
        began = time.perf_counter()
        for file in files[1:]:
            await work(file)
        return (time.perf_counter() - began) / (len(files) - 1)
    finally:
        await stages.close()


def _plain_s(files: Sequence[Path], folder: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks._plain_whisperx", str(WHISPER), str(ALIGNER), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(folder), check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"]) / (len(files) - 1)


def _command_line_s(files: Sequence[Path], folder: Path) -> float:
    """Once per file, as people type it."""
    environment = _environment(folder)
    began = time.perf_counter()
    for file in files:
        subprocess.run(_command(file, folder), env=environment, check=True, capture_output=True)
    return (time.perf_counter() - began) / len(files)


def _command(file: Path, folder: Path) -> list[str]:
    return [
        *(str(Path(sys.executable).parent / "whisperx"), str(file)),
        *("--model", str(WHISPER), "--align_model", str(ALIGNER), "--model_cache_only", "True"),
        *("--language", "en", "--compute_type", "int8", "--batch_size", "4", "--threads", "2"),
        *("--output_dir", str(folder / "out"), "--output_format", "json"),
    ]


def _environment(folder: Path) -> dict[str, str]:
    """whisperx calls an ffmpeg of the PATH, and wants nltk's sentence data, whose files may be empty."""
    tools, punkt = folder / "tools", folder / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    for place in (tools, punkt):
        place.mkdir(parents=True, exist_ok=True)
    if not (tools / "ffmpeg").exists():
        (tools / "ffmpeg").symlink_to(static_ffmpeg())
    for name in PUNKT_FILES:
        (punkt / name).touch()
    return {
        **{name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "NLTK_DATA": str(folder / "nltk_data"),
        "HF_HUB_OFFLINE": "1",
        "PYANNOTE_METRICS_ENABLED": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(NUM_FILES), indent=2) + "\n")
