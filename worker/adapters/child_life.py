"""
One child process from fork to reaping: its session, its channel, what it prints, how it ended.

Linux only: PR_SET_PDEATHSIG, pidfd_open, /proc.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from worker.adapters.child_channel import HEADER, checked_length

PACKAGE_ROOT = Path(__file__).parents[2]
TAIL_BYTES = 4096
READ_BYTES = 2**16  # also the size of a pipe, so that one read empties it
REAP_S = 10.0  # a killed process is gone within milliseconds, unless a device driver holds it
EXIT_POLL_S = 0.2

logger = logging.getLogger(__name__)


class ChildLife:
    """
    Started when constructed; ended by `kill` or `leave`, of which one must be called, also after it died by itself.

    Raises OSError when the process cannot be started.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start children from the main thread: they die with the thread that started them")
        self.name = name
        self.num_printed_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._tail = bytearray()
        self._channel, self._output_fd, self._popen = spawn(name, environment)
        self._loop.add_reader(self._output_fd, self._read_output)
        self._exit = self._loop.create_task(self._watch_exit(), name=f"child-{name}-{self.pid}")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.returncode is None

    @property
    def ending(self) -> str | None:
        """How it ended, as the end of a sentence; None while it lives."""
        return None if self._popen.returncode is None else in_words(self._popen.returncode)

    def rss_bytes(self) -> int:
        """Resident memory of the process itself; 0 when it is gone."""
        try:
            num_pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return num_pages * os.sysconf("SC_PAGE_SIZE")

    def output_tail(self) -> str:
        """The last of what it printed. For administrators only: a library may have quoted the recording."""
        return self._tail.decode(errors="replace")

    # --- the channel ---------------------------------------------------------------------------------------------

    async def send(self, frame: bytes) -> None:
        """Raises OSError when the child is gone."""
        await self._loop.sock_sendall(self._channel, frame)

    async def receive(self) -> bytes:
        """
        The body of the next frame. Frames are only read here, so a child that talks faster than we listen waits.

        Raises EOFError or OSError when the child is gone, FrameError when it sends what is no frame.
        """
        await asyncio.sleep(0)  # sock_recv does not yield while data is there: a chatty child must not own the loop
        (length,) = HEADER.unpack(await self._receive_exactly(HEADER.size))
        return await self._receive_exactly(checked_length(length))

    async def _receive_exactly(self, num_bytes: int) -> bytes:
        body = bytearray()
        while len(body) < num_bytes:
            chunk = await self._loop.sock_recv(self._channel, min(num_bytes - len(body), READ_BYTES))
            if not chunk:
                raise EOFError
            body += chunk
        return bytes(body)

    # --- its end -------------------------------------------------------------------------------------------------

    async def wait_exit(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within this time."""
        await asyncio.wait({self._exit}, timeout=timeout_s)
        return self._exit.done()

    async def leave(self, grace_s: float) -> None:
        """Hang up, which an idle child takes as the request to end; kill it if it does not."""
        try:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
            await self.wait_exit(grace_s)
        finally:
            await self.kill()

    def send_sigkill(self) -> None:
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """End it with its whole process group and reap it. Done when it is gone."""
        self.send_sigkill()
        try:
            if not await self.wait_exit(REAP_S):
                logger.error("child_not_reaped", extra={"child": self.name, "pid": self.pid})
        finally:
            self._channel.close()

    async def _watch_exit(self) -> None:
        await until_exited(self.pid)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it left behind; its own zombie still keeps the number taken
        self._popen.wait()
        with suppress(OSError):
            # Ends a `receive` even if a grandchild holds the other end; what was sent before is still delivered.
            self._channel.shutdown(socket.SHUT_RDWR)
        self._read_output()
        self._close_output()
        extra = {"child": self.name, "pid": self.pid, "ended": self.ending, "printed_bytes": self.num_printed_bytes}
        logger.debug("child_ended", extra=extra)

    # --- what it prints ------------------------------------------------------------------------------------------

    def _read_output(self) -> None:
        """Drained whatever happens, so that a library that prints never waits for us; only the end is kept."""
        if self._output_fd < 0:
            return
        try:
            data = os.read(self._output_fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_output()
        self.num_printed_bytes += len(data)
        self._tail += data
        del self._tail[:-TAIL_BYTES]

    def _close_output(self) -> None:
        if self._output_fd >= 0:
            self._loop.remove_reader(self._output_fd)
            os.close(self._output_fd)
            self._output_fd = -1


def spawn(name: str, environment: Mapping[str, str]) -> tuple[socket.socket, int, subprocess.Popen[bytes]]:
    """Start the process. Returns our end of the channel and of its stdout and stderr, both non-blocking."""
    channel, theirs = socket.socketpair()
    output_fd, printed_fd = os.pipe()
    command = [sys.executable, "-P", "-u", "-m", "worker.adapters.child_server"]
    try:
        popen = subprocess.Popen(
            [*command, name, str(theirs.fileno()), str(os.getpid())],
            env={**environment, "PYTHONPATH": python_path(environment)},
            stdin=subprocess.DEVNULL,
            stdout=printed_fd,
            stderr=printed_fd,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except OSError:
        channel.close()
        os.close(output_fd)
        raise
    finally:
        theirs.close()
        os.close(printed_fd)
    channel.setblocking(False)
    os.set_blocking(output_fd, False)
    return channel, output_fd, popen


def python_path(environment: Mapping[str, str]) -> str:
    """So that the child finds this package wherever the supervisor was started."""
    return os.pathsep.join(filter(None, [str(PACKAGE_ROOT), environment.get("PYTHONPATH")]))


async def until_exited(pid: int) -> None:
    """Wait until a child of ours has ended, and leave its zombie: its pid stays taken until it is reaped."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # Linux before 5.3, or a container that forbids it
        while not is_zombie(pid):  # noqa: ASYNC110 - there is no event to wait for then
            await asyncio.sleep(EXIT_POLL_S)
        return
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    loop.add_reader(pidfd, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def is_zombie(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def in_words(returncode: int) -> str:
    """
    >>> in_words(-11)
    'was ended by signal 11 (segmentation fault)'
    """
    if returncode >= 0:
        return f"ended by itself with exit status {returncode}"
    if -returncode == signal.SIGKILL:
        return "was killed (signal 9); the PC was probably out of memory"
    return f"was ended by signal {-returncode} ({(signal.strsignal(-returncode) or 'unknown').lower()})"
