"""What is still there when every worker has gone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.database import Client, Server
from tests.soak.pc import PC
from tests.soak.watch import descendants_of, is_dead

SHARED_MEMORY = Path("/dev/shm")
SETTLES_WITHIN_S = 10.0

_CONNECTIONS = """
select application_name from pg_stat_activity
 where backend_type = 'client backend' and application_name not like 'soak:%' and pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class Leaks:
    files: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)


def find_leaks(server: Server, pcs: Sequence[PC], client: Client, shared_memory_before: frozenset[str]) -> Leaks:
    """The kernel and Postgres need a moment to clear up after the last worker; whoever waits longer is a leak."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while True:
        leaks = Leaks(
            files=[f"{pc.worker_id}: {name}" for pc in pcs for name in pc.leftovers()]
            + sorted(shared_memory_of() - shared_memory_before),
            processes=[_in_words(pid) for pid in descendants_of(os.getpid()) if _is_leaked(pid, server)],
            connections=[name for (name,) in client.rows(_CONNECTIONS)],
        )
        if not (leaks.processes or leaks.connections) or time.monotonic() > deadline:
            return leaks
        time.sleep(0.2)


def shared_memory_of() -> frozenset[str]:
    """
    What is in /dev/shm and is of no use to anybody: no process has it mapped. Other programs of this PC leave such
    files as well, so what was there before is no leak of ours.
    """
    if not SHARED_MEMORY.is_dir():
        return frozenset()
    mapped = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            mapped |= {line.split()[-1] for line in maps.read_text().splitlines() if str(SHARED_MEMORY) in line}
        except OSError:
            continue
    return frozenset(str(path) for path in SHARED_MEMORY.iterdir() if path.is_file() and str(path) not in mapped)


def _is_leaked(pid: int, server: Server) -> bool:
    return not is_dead(pid) and pid not in server.pids


def _in_words(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = "gone"
    return f"{pid}: {command[:120]}"
