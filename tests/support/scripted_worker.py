"""
A real worker process whose engines follow scripts: `python -m tests.support.scripted_worker [--once] [--real-audio |
--real-engines] [--gpu=UUID] [--signal-at=SIGNAL@EVENT[:STAGE]] [--summarize=SCRIPT]
[--sweep-every=SECONDS] [--stall=SECONDS] [--watermark=BYTES]`.

With --real-audio recordings are decoded for real, and only the engines are scripted. With --real-engines nothing is: it
is a production worker that tells its events. With --gpu the PC seems to have that GPU, and this worker to work on it.
Where SUMMARY_LLM_URL is set, summaries are never scripted; else all of them follow the script of --summarize (JSON): a
recording does not reach the summarizer. With --signal-at, say SIGKILL@StageFinished:decode, it sends itself that signal
the first time it tells that event: at that very moment, not when somebody has read of it. A child may be silent for
--stall, and grow to --watermark.

Settings come from the environment as in production; each event goes to stdout as one JSON object per line, so that a
test can act on what the worker is really doing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys

from worker import app
from worker.adapters.child_channel import ObjectSpec
from worker.app_children import ChildObjects, child_objects, writes_by_model
from worker.config import Need, load_settings
from worker.models import GpuFacts, Stage
from worker.observe.event_log import EventLog
from worker.observe.logs import configure_logging
from worker.ports import Observer

OBJECTS = ChildObjects(
    decoder=ObjectSpec(factory="worker.testing.scripted:ScriptedDecoder"),
    transcriber=ObjectSpec(factory="worker.testing.scripted:ScriptedTranscriber"),
    diarizer=ObjectSpec(factory="worker.testing.scripted:ScriptedDiarizer"),
    summarizer=ObjectSpec(factory="worker.testing.scripted:ScriptedSummarizer"),
    describer=ObjectSpec(factory="worker.testing.scripted:ScriptedDiarizer"),
    scorer=ObjectSpec(factory="worker.testing.scripted:ScriptedSummarizer"),
)

REAL_AUDIO = dataclasses.replace(
    OBJECTS,
    decoder=ObjectSpec(factory="worker.adapters.decode_pyav:PyavDecoder", kwargs={"max_hours": 1, "max_bytes": 2**30}),
    transcriber=ObjectSpec(factory="worker.testing.scripted:ScriptedTranscriber", kwargs={"seconds": 0.1}),
)


def tell(event: object) -> None:
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}  # type: ignore[arg-type]  # all events are dataclasses
    sys.stdout.write(json.dumps({"event": type(event).__name__, **fields}, default=str) + "\n")
    sys.stdout.flush()


class SignalAt:
    """Sends this process a signal, once."""

    def __init__(self, spec: str) -> None:
        name, _, moment = spec.partition("@")
        self._number = signal.Signals[name]
        self._event, _, self._stage = moment.partition(":")
        self._is_sent = False

    def __call__(self, event: object) -> None:
        is_it = type(event).__name__ == self._event and str(getattr(event, "stage", "")) == self._stage
        if is_it and not self._is_sent:
            self._is_sent = True
            os.kill(os.getpid(), self._number)


def told_of(flag: str) -> list[str]:
    """What stands behind `--flag=`, for each time it is given."""
    return [argument.removeprefix(f"{flag}=") for argument in sys.argv if argument.startswith(f"{flag}=")]


def bounded(objects: ChildObjects) -> ChildObjects:
    for seconds in told_of("--stall"):
        objects = dataclasses.replace(objects, stall_s=dict.fromkeys(Stage, float(seconds)))
    for num_bytes in told_of("--watermark"):
        objects = dataclasses.replace(objects, max_rss_bytes=int(num_bytes))
    return objects


def fake_gpu() -> GpuFacts | None:
    uuids = told_of("--gpu")
    return GpuFacts(name="NVIDIA Fake", uuid=uuids[0], driver="570.1", vram_bytes=2**34) if uuids else None


def main() -> None:
    settings = load_settings([Need.DATABASE, Need.WORKER], env_file=None)
    with configure_logging(
        log_dir=settings.log_dir,
        level=settings.log_level,
        format=settings.log_format,
        secrets=settings.secrets(),
        worker_id=settings.worker_id or "",
    ):
        once = "--once" in sys.argv
        objects = None if "--real-engines" in sys.argv else REAL_AUDIO if "--real-audio" in sys.argv else OBJECTS
        if objects and writes_by_model(settings):
            objects = dataclasses.replace(objects, summarizer=child_objects(settings).summarizer)
        elif objects and (scripts := told_of("--summarize")):
            summarizer = objects.summarizer.model_copy(update={"kwargs": json.loads(scripts[0])})
            objects = dataclasses.replace(objects, summarizer=summarizer)
        if objects:
            objects = bounded(objects)
        observers: list[Observer] = [tell, EventLog(), *map(SignalAt, told_of("--signal-at"))]
        asyncio.run(
            app.run_worker(
                settings,
                once=once,
                observers=observers,
                objects=objects,
                read_gpu=lambda _: fake_gpu(),
                sweep_s=float((told_of("--sweep-every") or ["3600"])[0]),
            )
        )


if __name__ == "__main__":
    main()
