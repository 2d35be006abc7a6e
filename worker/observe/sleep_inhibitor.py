"""
While a meeting runs the PC does not suspend: a block lock of logind (systemd-inhibit(1)).

The lock is held by `systemd-inhibit ... cat`, whose stdin is a pipe from here: however the worker ends, the kernel
closes the pipe, cat reads its end and the lock is gone. A D-Bus library (jeepney) would save the process and
cost a dependency in the supervisor, for one call whose program is there wherever logind is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

from worker import events
from worker.observe.status_line import MEETING_ENDED

COMMAND = (
    "systemd-inhibit",
    "--what=sleep",
    "--mode=block",
    "--who=Meeting transcription",
    "--why=A meeting is being transcribed",
    "cat",
)
PATH = "/usr/bin:/bin"
LEAVE_S = 2.0
READ_BYTES = 4096

logger = logging.getLogger("worker")


class SleepInhibitor:
    """
    An Observer; use it as an async context manager in the main thread's event loop.

    Args:
        command: holds the lock for as long as its stdin is open; says on stderr why it cannot.
        path: where the command is looked for, and all of the environment that it gets.
    """

    def __init__(self, *, command: Sequence[str] = COMMAND, path: str = PATH) -> None:
        self._command, self._path = tuple(command), path
        self._meetings: set[UUID] = set()
        self._holder: _Holder | None = None
        self._is_refused = False

    def __call__(self, event: object) -> None:
        if isinstance(event, events.MeetingClaimed):
            self._meetings.add(event.meeting_id)
            self._hold()
        elif isinstance(event, MEETING_ENDED):
            self._meetings.discard(event.meeting_id)
            if not self._meetings:
                self._let_go()

    async def __aenter__(self) -> SleepInhibitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        holder = self._holder
        self._let_go()
        if holder is not None:
            await holder.ended()

    def _hold(self) -> None:
        if self._holder is not None or self._is_refused:
            return
        try:
            self._holder = _Holder(self._command, self._path, on_refused=self._refused)
        except OSError as error:
            self._refused(os.strerror(error.errno or 0))

    def _let_go(self) -> None:
        if self._holder is not None:
            self._holder.let_go()
            self._holder = None

    def _refused(self, reason: str) -> None:
        """Told once and not tried again: a PC whose administrator wants it otherwise needs no line for each meeting."""
        self._holder, self._is_refused = None, True
        logger.warning("sleep_not_inhibited", extra={"fields": {"reason": reason}})


class _Holder:
    """The process that holds the lock, from its start to its reaping. Raises OSError when it cannot be started."""

    def __init__(self, command: Sequence[str], path: str, *, on_refused: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_refused = on_refused
        self._is_wanted = True
        self._ended = asyncio.Event()
        self._said = bytearray()
        self._process = subprocess.Popen(
            command,
            env={"PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._stdin, self._stderr = self._process.stdin, self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._loop.add_reader(self._stderr.fileno(), self._read)

    def let_go(self) -> None:
        self._is_wanted = False
        with suppress(OSError):
            self._stdin.close()

    async def ended(self) -> None:
        """Wait for its end; kill it if it does not come."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._ended.wait()
        except TimeoutError:
            self._process.kill()
            self._reap()

    def _read(self) -> None:
        """Its stderr ends when it has ended: until then it says nothing, or why it is refused."""
        try:
            data = os.read(self._stderr.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._said += data
            del self._said[:-READ_BYTES]
            return
        self._reap()
        if self._is_wanted:
            self._on_refused(" ".join(self._said.decode(errors="replace").split()) or "it ended by itself")

    def _reap(self) -> None:
        if self._ended.is_set():
            return
        self._loop.remove_reader(self._stderr.fileno())
        self._stderr.close()
        with suppress(OSError):
            self._stdin.close()
        self._process.wait()
        self._ended.set()
