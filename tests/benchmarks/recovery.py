"""
How long a meeting lies idle after its worker was killed or stopped in mid-transcription, with the default numbers.

    python -m tests.benchmarks.recovery [--only other-pc|same-pc|stopped]

other-pc: SIGKILL at different moments of the heartbeat; idle workers on two other PCs are there to take over (lease,
grace and their polling make minutes). same-pc: SIGKILL, and the same worker is started at once. stopped: SIGTERM twice,
until one of two idle workers takes what was given back. Minutes of waiting, so not a part of `make bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import psycopg

from tests.support.embedded_postgres import temporary_postgres
from tests.support.worker_process import WorkerProcess, environment_in, scripted_worker, url_of
from worker.adapters.migrate_postgres import migrate

NUM_HELD, NUM_IDLE, NUM_RESTARTS = 8, 2, 5
HEARTBEAT_S = 30.0
SETTLE_S = 60.0
"""Until the idle workers ask as seldom as they ever do."""
PATIENCE_S = 420.0

Ends = Callable[[WorkerProcess], None]


class Lab:
    """A database with the default numbers, and PCs of their own."""

    def __init__(self, dsn: str, folder: Path, workers: contextlib.ExitStack) -> None:
        self._dsn, self._folder, self._workers = dsn, folder, workers
        self._run = uuid4().hex[:6]

    def start(self, name: str) -> WorkerProcess:
        environment = environment_in(
            self._folder / name,
            url_of(self._dsn),
            f"{name}-{self._run}",
            STORAGE_DIR=str(self._folder),
            POLLING_INTERVAL_SECONDS="5",
        )
        return self._workers.enter_context(scripted_worker(environment))

    def enqueue(self, name: str) -> tuple[UUID, Path]:
        """A meeting that is transcribed until the file exists."""
        meeting_id, go = uuid4(), self._folder / f"go-{name}"
        (self._folder / f"{name}.json").write_text(json.dumps({"transcribe": {"until": str(go)}}))
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "insert into public.meetings (id, audio_path) values (%s, %s)", [meeting_id, f"{name}.json"]
            )
        return meeting_id, go

    def second_claim(self, meeting_id: UUID) -> float | None:
        """When the meeting was claimed again, by the clock that time.time() reads as well."""
        with psycopg.connect(self._dsn) as connection:
            times = connection.execute(
                "select extract(epoch from started_at)::float8 from pc_worker.job_attempts"
                " where meeting_id = %s order by token",
                [meeting_id],
            ).fetchall()
        return times[1][0] if len(times) > 1 else None


def until_another_pc_claims(lab: Lab, end: Ends) -> list[float]:
    """Eight meetings, each held by a worker that ends at its own moment of the heartbeat."""
    held = []
    for number in range(NUM_HELD):
        meeting_id, go = lab.enqueue(f"held-{number}")
        worker = lab.start(f"holder-{number}")
        worker.wait_for("StageStarted", stage="transcribe")
        held.append((worker, meeting_id, go))
    for number in range(NUM_IDLE):
        lab.start(f"idle-{number}").wait_for("WorkerStarted")
    time.sleep(SETTLE_S)
    ended_at = {}
    for worker, meeting_id, go in held:
        end(worker)
        ended_at[meeting_id] = time.time()
        go.touch()
        time.sleep(HEARTBEAT_S / NUM_HELD)
    return [_wait_for_claim(lab, meeting_id) - at for meeting_id, at in ended_at.items()]


def _wait_for_claim(lab: Lab, meeting_id: UUID) -> float:
    deadline = time.monotonic() + PATIENCE_S
    while (at := lab.second_claim(meeting_id)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody has claimed the meeting again")
        time.sleep(0.5)
    return at


def until_the_same_worker_goes_on(lab: Lab) -> tuple[list[float], list[float]]:
    """Seconds from the kill until the new process has claimed, and until it is in the stage that was broken off."""
    claimed, running = [], []
    for number in range(NUM_RESTARTS):
        _, go = lab.enqueue(f"restarted-{number}")
        worker = lab.start("same")
        worker.wait_for("StageStarted", stage="transcribe")
        began = time.monotonic()
        worker.kill()
        worker = lab.start("same")
        worker.wait_for("MeetingClaimed")
        claimed.append(time.monotonic() - began)
        worker.wait_for("StageStarted", stage="transcribe")
        running.append(time.monotonic() - began)
        go.touch()
        worker.wait_for("MeetingCompleted")
        worker.kill()
    return claimed, running


def stop_now(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGTERM)
    worker.wait_for("DrainStarted")
    worker.signal(signal.SIGTERM)
    worker.wait_for("MeetingReleased")


@contextlib.contextmanager
def fresh_lab() -> Iterator[Lab]:
    with (
        tempfile.TemporaryDirectory() as name,
        temporary_postgres() as dsn,
        contextlib.ExitStack() as workers,
    ):
        migrate(dsn)
        yield Lab(dsn, Path(name), workers)


def measure(what: str) -> dict[str, Sequence[float]]:
    with fresh_lab() as lab:
        if what == "other-pc":
            return {"SIGKILL, until another PC claims": until_another_pc_claims(lab, WorkerProcess.kill)}
        if what == "stopped":
            return {"given back, until another PC claims": until_another_pc_claims(lab, stop_now)}
        claimed, running = until_the_same_worker_goes_on(lab)
        return {
            "SIGKILL, until the same worker, started at once, claims": claimed,
            "... and goes on with the stage that was broken off": running,
        }


def main() -> None:
    choices = ("same-pc", "stopped", "other-pc")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=choices, action="append")
    print("| what | min | median | max | of |\n|---|---|---|---|---|")
    for what in parser.parse_args().only or choices:
        for name, seconds in measure(what).items():
            figures = (min(seconds), median(seconds), max(seconds))
            print(f"| {name} | {' | '.join(f'{s:.1f} s' for s in figures)} | {len(seconds)} |", flush=True)


if __name__ == "__main__":
    main()
