"""What is still there when every worker has gone."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.database import Client, Server
from tests.soak.pc import PC
from tests.soak.watch import descendants_of, is_dead, shared_memory_of

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


def find_leaks(
    server: Server,
    pcs: Sequence[PC],
    client: Client,
    shared_memory: Collection[str],
    *,
    settles_within_s: float = SETTLES_WITHIN_S,
) -> Leaks:
    """
    The kernel and Postgres need a moment to clear up after the last worker; what stays longer is a leak.

    Args:
        shared_memory: files in /dev/shm that processes of ours have mapped at any time.
    """
    deadline = time.monotonic() + settles_within_s
    while True:
        still_used = {path for pid in server.pids for path in shared_memory_of(pid)}
        leaks = Leaks(
            files=[f"{pc.worker_id}: {name}" for pc in pcs for name in pc.leftovers()]
            + sorted(path for path in shared_memory if Path(path).exists() and path not in still_used),
            processes=[_in_words(pid) for pid in descendants_of(os.getpid()) if _is_leaked(pid, server)],
            connections=[name for (name,) in client.rows(_CONNECTIONS)],
        )
        if not (leaks.processes or leaks.connections) or time.monotonic() > deadline:
            return leaks
        time.sleep(0.2)


def _is_leaked(pid: int, server: Server) -> bool:
    return not is_dead(pid) and pid not in server.pids


def _in_words(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = "gone"
    return f"{pid}: {command[:120]}"
