"""Child processes with scripted engines, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from worker.adapters.child_process import ChildProcess, ObjectSpec
from worker.adapters.stages_children import ChildStages
from worker.models import Transcript

DEADLINE_S = 20.0
"""For what happens within milliseconds on a quiet machine."""

SCRIPTED = {
    "decoder": "worker.testing.scripted:ScriptedDecoder",
    "transcriber": "worker.testing.scripted:ScriptedTranscriber",
    "diarizer": "worker.testing.scripted:ScriptedDiarizer",
    "describer": "worker.testing.scripted:ScriptedDiarizer",
    "summarizer": "worker.testing.scripted:ScriptedSummarizer",
}

Identity = dict[str, int]

NOBODY = {"language": None, "prompt": None, "hotwords": None}


def scripted_child(*names: str, scripts: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> ChildProcess:
    """A child with these scripted objects; `scripts` gives the keyword arguments of each."""
    objects = {name: ObjectSpec(factory=SCRIPTED[name], kwargs=dict((scripts or {}).get(name, {}))) for name in names}
    options = {"name": "engine", "stall_s": DEADLINE_S, "load_s": DEADLINE_S, **options}
    environment = options.pop("environment", {"PATH": os.environ["PATH"]})
    return ChildProcess(objects=objects, environment=environment, **options)


def scripted_stages(num_engines: int = 1, **options: Any) -> ChildStages:
    return ChildStages(
        prep=scripted_child("decoder", "summarizer", name="prep", **options),
        engines=[scripted_child("transcriber", "diarizer", "describer", **options) for _ in range(num_engines)],
        settings={"transcribe": "scripted"},
    )


def recording(folder: Path, **scripts: Mapping[str, Any]) -> Path:
    """A recording that tells the scripted engines what to do, by stage."""
    path = folder / f"meeting-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(scripts))
    return path


class Progress:
    """A `Report` that remembers, and that one can wait for."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.begun = asyncio.Event()

    def __call__(self, progress: float) -> None:
        self.values.append(progress)
        self.begun.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.begun.wait(), DEADLINE_S)


def is_running(pid: int) -> bool:
    """A zombie has ended; whether it is reaped is another question."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> bool:
    """For what has no event: other processes' ends, as /proc shows them."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


async def transcribe(
    child: ChildProcess, audio: Path, report: Progress | None = None, stall_s: float | None = None
) -> Transcript:
    arguments = {"audio": audio, **NOBODY}
    return await child.call("transcriber.transcribe", arguments, Transcript, report or Progress(), stall_s=stall_s)


async def identity(child: ChildProcess) -> Identity:
    return await child.call("transcriber.identity", {}, Identity, Progress())


async def start_endless(child: ChildProcess, folder: Path, **script: Any) -> asyncio.Task[Transcript]:
    """Work that reports and never ends; begun when this returns."""
    progress = Progress()
    audio = recording(folder, transcribe={"until": str(folder / "never"), **script})
    task = asyncio.create_task(transcribe(child, audio, progress))
    await progress.wait()
    return task


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def running_pid(child: ChildProcess) -> int:
    assert child.pid is not None
    return child.pid


def leftovers() -> tuple[int, int]:
    """Open file descriptors, and zombies of ours."""
    ours = f" Z {os.getpid()} "
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return len(list(Path("/proc/self/fd").iterdir())), sum(ours in stat for stat in stats)
