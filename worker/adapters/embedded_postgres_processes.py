"""Which processes of an embedded server are alive, and how to end those that outlived their postmaster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_PROGRAMS = ("postgres", "pg_ctl", "initdb")
_POLL_S = 0.02


def living(tag: str) -> frozenset[int]:
    """
    The processes that carry `tag` in their command line: postmaster, backends, and pg_ctl or initdb at work.

    The tag is the server's cluster_name, which Postgres puts into the title of every process. Not /proc/PID/cwd:
    root in a container may not read that of another account. A zombie has no command line, so it does not count,
    although kill(pid, 0) still finds it.
    """
    return frozenset(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit() and _has(entry, tag))


def _has(entry: os.DirEntry[str], tag: str) -> bool:
    try:
        command = Path(entry.path, "cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it has just ended
        return False
    first = command.split("\0", 1)[0]  # "/.../bin/postgres", or a title such as "postgres: TAG: walwriter"
    is_server = first.startswith("postgres: ") or Path(first).name in _PROGRAMS
    return is_server and tag in command


def end(tag: str, *, grace_s: float = 3.0) -> bool:
    """
    End every process of the server: SIGQUIT (Postgres drops everything and goes), then SIGKILL.

    Returns False when some are still there, stuck in the kernel.
    """
    for number, wait_s in ((signal.SIGQUIT, grace_s), (signal.SIGKILL, 10.0)):
        send(living(tag), number)
        if wait_for_end(tag, wait_s):
            return True
    return False


def send(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_for_end(tag: str, wait_s: float, *, postmaster: int | None = None) -> bool:
    """
    Whether the last process of the server ended within `wait_s`. In an orderly stop that is the postmaster; when it is
    given, nobody is waited for who outlived it.
    """
    deadline = time.monotonic() + wait_s
    while alive := living(tag):
        if time.monotonic() > deadline or (postmaster is not None and postmaster not in alive):
            return False
        time.sleep(_POLL_S)
    return True
