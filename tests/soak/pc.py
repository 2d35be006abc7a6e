"""One PC of the fleet: its folders, its line to the database, and the worker that lives and dies on it."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fault_proxy import FaultProxy, socket_of, through
from tests.support.worker_process import WorkerProcess, environment_in, url_of

COUNTED = ("MeetingDropped", "ResultReplayed", "MeetingReleased", "MeetingFailed", "StoreUnavailable", "TroubleBegan")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process holds at one moment of the run."""

    at_s: float
    rss_bytes: int
    num_fds: int
    num_threads: int


@dataclass(slots=True)
class Life:
    """One worker process, from its start to its end."""

    worker_id: str
    pid: int
    began_s: float
    ended_s: float | None = None
    status: int | None = None
    readings: list[Reading] = field(default_factory=list)


class PC:
    """
    Folders and line stay, worker processes come and go. Recordings are shared by all PCs.

    Nothing here waits but `close`: whoever ends a worker asks `is_up` until it is False.
    """

    def __init__(self, number: int, folder: Path, recordings: Path, dsn: str, run_id: str) -> None:
        self.number, self.folder = number, folder
        self.temp, self.tmpdir = folder / "temp_audio", folder / "tmp"
        self.tmpdir.mkdir(parents=True)
        self.lives: list[Life] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.complaints: list[str] = []
        self._recordings, self._dsn, self._run_id = recordings, dsn, run_id
        self._num_names = 1
        self._process: WorkerProcess | None = None
        self._is_ending = False
        self._line = FaultProxy(socket_of(dsn))
        self._line.__enter__()

    @property
    def worker_id(self) -> str:
        """Unique on this host, because a worker holds its name on the whole host."""
        return f"soak-{self._run_id}-pc{self.number}-{self._num_names}"

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def has_ended_by_itself(self) -> bool:
        return self._process is not None and not self._process.is_running and not self._is_ending

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.is_running else None

    @property
    def seen(self) -> list[dict[str, Any]]:
        """What the worker that is up has told."""
        return self._process.seen if self._process else []

    def start(self, now_s: float, *, under_another_name: bool = False) -> None:
        self.bury(now_s)
        self._num_names += under_another_name
        environment = environment_in(
            self.folder,
            url_of(through(self._line, self._dsn)),
            self.worker_id,
            STORAGE_DIR=str(self._recordings),
            TMPDIR=str(self.tmpdir),
            LOG_DIR=str(self.folder / "logs"),
            MAX_CONCURRENT_JOBS="2",
            POLLING_INTERVAL_SECONDS="0.5",
            SHUTDOWN_GRACE_SECONDS="2",
        )
        self._process = WorkerProcess("tests.support.scripted_worker", environment=environment)
        self._is_ending = False
        self.lives.append(Life(self.worker_id, self._process.pid, now_s))

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._is_ending = self._is_ending or number in (signal.SIGTERM, signal.SIGKILL)
            self._process.signal(number)

    def cut(self) -> None:
        self._line.cut()

    def mend(self) -> None:
        self._line.mend()

    def children(self) -> list[int]:
        """Of the worker that is up, not their children in turn."""
        return children_of(self.pid) if self.pid else []

    def bury(self, now_s: float) -> None:
        """
        Note how the worker ended, if it did. One that ended without being told to, or badly, is a complaint. Before it
        has said a word it may end by SIGTERM as every process does: it has begun nothing.
        """
        process = self._process
        if process is None or process.is_running:
            return
        self._process = None
        life = self.lives[-1]
        life.status, life.ended_s = process.wait(), now_s
        is_unborn = life.status == -signal.SIGTERM and not process.seen
        if not self._is_ending or not (life.status in (0, -signal.SIGKILL) or is_unborn):
            told = process.errors.strip().splitlines()[-5:]
            self.complaints.append(f"{life.worker_id} ended with {life.status} at {now_s:.0f} s: {' / '.join(told)}")
        for event in process.seen:
            if event["event"] in COUNTED:
                what = event.get("outcome") or event.get("code") or event.get("call") or ""
                self.counts[event["event"], str(what)] += 1
        process.close()

    def read(self, now_s: float) -> None:
        """A reading of the worker that is up."""
        if (pid := self.pid) is not None and (reading := reading_of(pid, now_s)) is not None:
            self.lives[-1].readings.append(reading)

    def leftovers(self) -> list[str]:
        """Files of meetings and temporary files."""
        found = [*(self.temp.iterdir() if self.temp.is_dir() else ()), *self.tmpdir.iterdir()]
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def close(self, now_s: float) -> None:
        if self._process is not None and self._process.is_running:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self.bury(now_s)
        self._line.__exit__(None, None, None)


def children_of(pid: int) -> list[int]:
    """[] when it is gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def reading_of(pid: int, now_s: float) -> Reading | None:
    """None when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        num_fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in status:  # a zombie
        return None
    return Reading(now_s, int(status["VmRSS"].split()[0]) * 1024, num_fds, int(status["Threads"]))
