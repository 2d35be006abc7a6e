"""The faults of the plan, done to the fleet when their time has come."""

from __future__ import annotations

import heapq
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.soak.database import Server
from tests.soak.pc import PC
from tests.soak.plan import DATABASE, Fault, Kind

POLL_S = 0.1
STOPS_WITHIN_S = 45.0
"""A worker that was told to stop and has not by then is a complaint, and is killed."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker was killed at that moment of this host's clock, which is the database's as well."""

    kind: Kind
    worker_id: str
    at: float


class Faults:
    """Does one thing after the other in one thread; nothing that it does takes long, but what must be waited for."""

    def __init__(self, server: Server, pcs: Sequence[PC], faults: Sequence[Fault], began: float, seed: int) -> None:
        self.done: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()
        self.kills: list[Kill] = []
        self._server, self._pcs, self._began = server, pcs, began
        self._random = Random(f"children {seed}")
        self._num_queued = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        for fault in faults:
            self._at(fault.at_s, lambda fault=fault: self._do(fault))  # type: ignore[misc]  # bound now, called later

    def run(self, stopping: threading.Event) -> None:
        """Until all has been done and everything is whole again."""
        while self._queue:
            at_s, _, action = self._queue[0]
            self._restart_the_dead()
            if (wait_s := at_s - self._now_s) > 0:
                if stopping.wait(min(wait_s, POLL_S)):
                    break
                continue
            heapq.heappop(self._queue)
            action()

    def _restart_the_dead(self) -> None:
        """As systemd would. That they ended is noted as a complaint."""
        for pc in self._pcs:
            if pc.has_ended_by_itself:
                pc.start(self._now_s)

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self._began

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        self._num_queued += 1
        heapq.heappush(self._queue, (at_s, self._num_queued, action))

    def _do(self, fault: Fault) -> None:
        over_s = self._now_s + fault.lasts_s
        if fault.pc == DATABASE:
            self._on_database(fault.kind, over_s)
        elif not self._pcs[fault.pc].is_up:
            self.missed[fault.kind] += 1
            return
        else:
            self._on_pc(fault.kind, self._pcs[fault.pc], over_s)
        self.done[fault.kind] += 1

    def _on_database(self, kind: Kind, over_s: float) -> None:
        match kind:
            case Kind.DATABASE_RESTART:
                self._server.restart()
            case Kind.DATABASE_KILL:
                self._server.kill()
                self._server.start()
            case _:
                self._server.kill()
                self._at(over_s, self._server.start)

    def _on_pc(self, kind: Kind, pc: PC, over_s: float) -> None:
        match kind:
            case Kind.KILL | Kind.KILL_LONG | Kind.KILL_RENAME:
                self._kill(kind, pc)
                self._start_after(over_s, pc, under_another_name=kind is Kind.KILL_RENAME)
            case Kind.TERM | Kind.TERM_TWICE:
                pc.signal(signal.SIGTERM)
                if kind is Kind.TERM_TWICE:
                    self._at(self._now_s + 0.3, lambda: pc.signal(signal.SIGTERM))
                self._start_after(over_s, pc)
            case Kind.FREEZE:
                pc.signal(signal.SIGSTOP)
                self._at(over_s, lambda: pc.signal(signal.SIGCONT))
            case Kind.CHILD:
                with suppress(IndexError, ProcessLookupError):  # it has none at this moment
                    os.kill(self._random.choice(pc.children()), signal.SIGKILL)
            case _:
                pc.cut()
                self._at(over_s, pc.mend)

    def _kill(self, kind: Kind, pc: PC) -> None:
        self.kills.append(Kill(kind, pc.worker_id, time.time()))
        pc.signal(signal.SIGKILL)

    def _start_after(
        self, at_s: float, pc: PC, *, under_another_name: bool = False, patience_until_s: float = 0.0
    ) -> None:
        """As soon as it has ended, but not before."""
        patience_until_s = patience_until_s or at_s + STOPS_WITHIN_S

        def start() -> None:
            if not pc.is_up:
                pc.start(self._now_s, under_another_name=under_another_name)
                return
            if self._now_s > patience_until_s:
                pc.complaints.append(f"{pc.worker_id} does not stop")
                pc.signal(signal.SIGKILL)
            self._start_after(
                self._now_s + POLL_S, pc, under_another_name=under_another_name, patience_until_s=patience_until_s
            )

        self._at(at_s, start)
