"""The run from beginning to end: the fleet starts, is worked and tormented, recovers, and is counted."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.soak.census import Asked, Census, take_census
from tests.soak.database import Client, Server
from tests.soak.faults import Faults
from tests.soak.leaks import Leaks, find_leaks
from tests.soak.pc import PC, Reading
from tests.soak.plan import GRACE_S, HEARTBEAT_S, LEASE_S, Kind, faults_of, meetings_of
from tests.soak.recovery import Recovery, recoveries
from tests.soak.user import User
from tests.soak.watch import Watch, adopt_orphans

PROGRESS_EVERY_S = 30.0
SETTLES_WITHIN_S = 240.0
STOPS_WITHIN_S = 60.0
SWEEPS_WITHIN_S = 60.0
POLL_S = 0.2

_OPEN = """
select count(*) from public.meetings
 where status in ('pending', 'processing') or (status = 'failed' and error_code = 'poison')
"""
_BY_STATUS = "select status, count(*) from public.meetings group by 1"
_NO_MORE_PAUSES = """
update pc_worker.jobs set run_at = clock_timestamp() where state = 'pending' and run_at > clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is asked for."""

    minutes: float = 10.0
    seed: int = 1
    num_pcs: int = 4
    num_meetings: int = 1200
    fault_every_s: float = 5.0

    @property
    def duration_s(self) -> float:
        return self.minutes * 60


@dataclass(slots=True)
class Report:
    """What came of it."""

    numbers: Numbers
    census: Census
    leaks: Leaks
    recoveries: list[Recovery]
    faults: Counter[Kind]
    missed_faults: Counter[Kind]
    told: Counter[tuple[str, str]]
    complaints: list[str]
    broken: Counter[str]
    num_looks: int
    num_poisoned: int
    num_processes: int
    readings: list[Reading]
    database_bytes: list[int]
    took_s: float
    drain_s: float


class Night:
    """Everything that is there during the run. `began` is a reading of the monotonic clock."""

    def __init__(self, numbers: Numbers, folder: Path, say: Callable[[str], None]) -> None:
        self.numbers, self._say, self._folder = numbers, say, folder
        self.errors: list[str] = []
        self._closing = ExitStack()

    def run(self) -> Report:
        adopt_orphans()
        with self._closing:
            self._set_up()
            self._torment()
            drain_s = self._drain()
            self._stop_workers()
            self._morning()
            self._stopping.set()
            self._join()
            took_s = time.monotonic() - self._began
            leaks = find_leaks(self._server, self._pcs, self._client, self._watch.shared_memory)
            return self._report(leaks, took_s=took_s, drain_s=drain_s)

    def _set_up(self) -> None:
        numbers, run_id = self.numbers, uuid4().hex[:6]
        recordings, counts = self._folder / "recordings", self._folder / "counts"
        recordings.mkdir()
        counts.mkdir()
        self._server = Server(self._folder / "postgres", lease_s=LEASE_S, heartbeat_s=HEARTBEAT_S, grace_s=GRACE_S)
        self._closing.callback(self._server.close)
        self._client = Client(self._server.dsn, "soak: census")
        self._closing.callback(self._client.close)
        self._pcs: list[PC] = []
        for number in range(numbers.num_pcs):
            pc = PC(number, self._folder / f"pc{number}", recordings, self._server.dsn, run_id)
            self._closing.callback(self._close, pc)
            self._pcs.append(pc)
        self._plan = meetings_of(numbers.seed, duration_s=numbers.duration_s, num_meetings=numbers.num_meetings)
        faults = faults_of(
            numbers.seed, duration_s=numbers.duration_s, every_s=numbers.fault_every_s, num_pcs=numbers.num_pcs
        )
        self._began = time.monotonic()
        for pc in self._pcs:
            pc.start(0.0)
        self._user = User(self._server.dsn, recordings, counts, self._plan, self._began)
        self._faults = Faults(self._server, self._pcs, faults, self._began, numbers.seed)
        self._watch = Watch(self._server, self._pcs, self._began)

    def _close(self, pc: PC) -> None:
        pc.close(self._now_s)

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self._began

    def _torment(self) -> None:
        """Until the last fault is over and everything is whole again, and the users have done what they wanted."""
        self._stopping, self._is_user_done = threading.Event(), threading.Event()
        self._closing.callback(self._join)
        self._closing.callback(self._is_user_done.set)
        self._closing.callback(self._stopping.set)
        self._closing.callback(
            signal.signal, signal.SIGINT, signal.SIG_IGN
        )  # who interrupts twice leaves no fleet behind
        self._tormenting = self._thread("faults", lambda: self._faults.run(self._stopping))
        self._using = self._thread("user", lambda: self._user.run(self._is_user_done))
        self._watching = self._thread("watch", lambda: self._watch.run(self._stopping))
        progress_at_s = PROGRESS_EVERY_S
        while self._tormenting.is_alive() or self._now_s < self.numbers.duration_s or not self._user.is_done:
            if self.errors:
                raise RuntimeError(f"the soak itself failed: {self.errors}")
            if self._now_s >= progress_at_s:
                progress_at_s += PROGRESS_EVERY_S
                self._say(self._progress())
            time.sleep(POLL_S)

    def _drain(self) -> float:
        """The faults are over: how long until nothing waits. The pauses before another try are cut short."""
        began = time.monotonic()
        while self._client.rows(_OPEN)[0][0] and time.monotonic() - began < SETTLES_WITHIN_S:
            self._client.rows(_NO_MORE_PAUSES)
            time.sleep(1.0)
        self._is_user_done.set()
        self._say(self._progress())
        return time.monotonic() - began

    def _stop_workers(self) -> None:
        for pc in self._pcs:
            pc.signal(signal.SIGTERM)
        if not _within(STOPS_WITHIN_S, lambda: not any(pc.is_up for pc in self._pcs)):
            for pc in self._pcs:
                if pc.is_up:
                    pc.complaints.append(f"{pc.worker_id} does not stop")
        for pc in self._pcs:
            pc.bury(self._now_s)

    def _morning(self) -> None:
        """Every PC is switched on once more: what it clears away at its start is no leak."""
        for pc in self._pcs:
            pc.start(self._now_s)
        _within(SWEEPS_WITHIN_S, lambda: not any(pc.leftovers() for pc in self._pcs))
        _within(STOPS_WITHIN_S, lambda: all(any(e["event"] == "WorkerStarted" for e in pc.seen) for pc in self._pcs))
        self._stop_workers()

    def _report(self, leaks: Leaks, *, took_s: float, drain_s: float) -> Report:
        user, told = self._user, sum((pc.counts for pc in self._pcs), Counter[tuple[str, str]]())
        asked = Asked(user.inserted, user.asked_to_cancel, user.cancelled, user.asked_to_delete)
        return Report(
            numbers=self.numbers,
            census=take_census(self._client.rows, self._plan, asked),
            leaks=leaks,
            recoveries=recoveries(self._client.rows, self._faults.kills),
            faults=self._faults.done,
            missed_faults=self._faults.missed,
            told=told,
            complaints=[
                *(complaint for pc in self._pcs for complaint in pc.complaints),
                *self._server.complaints,
                *self.errors,
            ],
            broken=self._watch.broken,
            num_looks=self._watch.num_looks,
            num_poisoned=user.num_poisoned,
            num_processes=sum(len(pc.lives) for pc in self._pcs),
            readings=max((life.readings for pc in self._pcs for life in pc.lives), key=len),
            database_bytes=self._watch.database_bytes,
            took_s=took_s,
            drain_s=drain_s,
        )

    def _progress(self) -> str:
        by_status = dict(self._client.rows(_BY_STATUS))
        up = sum(pc.is_up for pc in self._pcs)
        return (
            f"{self._now_s:5.0f} s: {len(self._user.inserted)} inserted, {by_status.get('completed', 0)} completed, "
            f"{by_status.get('pending', 0)} pending, {by_status.get('processing', 0)} in progress; "
            f"{self._faults.done.total()} faults, {up} of {len(self._pcs)} PCs up"
        )

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.errors.append(f"{name}: {error!r}")

        thread = threading.Thread(target=guarded, name=f"soak {name}")
        thread.start()
        return thread

    def _join(self) -> None:
        for thread in (self._tormenting, self._using, self._watching):
            thread.join()


def _within(seconds: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
