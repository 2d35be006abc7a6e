"""Real worker processes for tests: started, listened to, and really killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]


def url_of(conninfo: str) -> str:
    """A conninfo over a Unix socket as the postgresql:// address that DATABASE_URL takes."""
    parts = {key: quote(str(value), safe="") for key, value in conninfo_to_dict(conninfo).items()}
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts.get('port', '5432')}"


def environment_in(folder: Path, database_url: str, worker_id: str, **variables: str) -> dict[str, str]:
    """The whole environment of a worker, every folder below one."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "WORKER_ID": worker_id,
        "DATABASE_URL": database_url,
        "STORAGE_DIR": str(folder / "recordings"),
        "AUDIO_TEMP_DIR": str(folder / "temp_audio"),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "LOG_DIR": str(folder / f"logs-{worker_id}"),
        "POLLING_INTERVAL_SECONDS": "0.1",
        "MIN_FREE_DISK_BYTES": "0",  # how full this machine is, is no matter of the tests
        "ASR_ENGINE": "sphinx",
        **variables,
    }


class WorkerProcess:
    """One worker process and the events it has told."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.seen: list[dict[str, Any]] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, event: str, *, patience_s: float = PATIENCE_S, **fields: Any) -> dict[str, Any]:
        """The next event of that name with those fields. Fails when the worker ends or stays silent instead."""
        deadline = time.monotonic() + patience_s
        while True:
            told = self._events.get(timeout=max(0.01, deadline - time.monotonic()))
            assert told is not None, f"the worker ended before {event} {fields}: {self.errors}"
            if told["event"] == event and fields.items() <= told.items():
                return told

    def wait_until_told(self, event: str, *, patience_s: float = PATIENCE_S, **fields: Any) -> dict[str, Any]:
        """As `wait_for`, but it may have been told at any time, also before what was waited for last."""
        earlier = next((told for told in self.seen if told["event"] == event and fields.items() <= told.items()), None)
        return earlier or self.wait_for(event, patience_s=patience_s, **fields)

    def wait_until_stopped(self, event: str, **fields: Any) -> None:
        """It has told that event and stopped itself with --signal-at=SIGSTOP@...; SIGCONT sooner would be lost."""
        self.wait_for(event, **fields)
        deadline = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < deadline, "the worker did not stop itself"
            time.sleep(0.001)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As an out-of-memory killer or a power switch would: the worker cannot do anything about it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, *, patience_s: float = PATIENCE_S) -> int:
        """The exit status."""
        status = self._process.wait(patience_s)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return status

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def errors(self) -> str:
        return "".join(self._errors)

    def close(self) -> None:
        if self.is_running:
            self._process.kill()
        self.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self.seen.append(told)
            self._events.put(told)
        self._events.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)


@contextmanager
def scripted_worker(environment: Mapping[str, str], *flags: str) -> Iterator[WorkerProcess]:
    process = WorkerProcess("tests.support.scripted_worker", *flags, environment=environment)
    try:
        yield process
    finally:
        process.close()
