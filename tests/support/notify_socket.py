"""The end of sd_notify(3) at which systemd listens, for tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PATIENCE_S = 60.0

Told = dict[str, str]


class ServiceManager:
    """Receives datagrams at `address`, which goes into NOTIFY_SOCKET. `seen` has all of them, oldest first."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.seen: list[Told] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def receive(self, timeout_s: float = PATIENCE_S) -> Told | None:
        """The next one; None when none comes."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            text = self._socket.recv(65536).decode()
        except TimeoutError:
            return None
        told = dict(line.split("=", 1) for line in text.splitlines())
        self.seen.append(told)
        return told

    def wait_for(self, name: str, is_meant: Callable[[str], bool] = lambda _: True) -> str:
        """The next value of that name which is meant. Fails when none comes."""
        deadline = time.monotonic() + PATIENCE_S
        while (left_s := deadline - time.monotonic()) > 0:
            told = self.receive(left_s)
            if told is not None and name in told and is_meant(told[name]):
                return told[name]
        raise AssertionError(f"no {name} as wanted; seen: {self.seen[-20:]}")

    def arrived(self) -> list[Told]:
        """What lies there now."""
        found = []
        while (told := self.receive(0.0)) is not None:
            found.append(told)
        return found

    def close(self) -> None:
        self._socket.close()


@contextmanager
def service_manager() -> Iterator[ServiceManager]:
    with TemporaryDirectory(prefix="pcw-") as folder:  # a socket's path may have 107 bytes, tmp_path has more
        manager = ServiceManager(str(Path(folder) / "notify"))
        try:
            yield manager
        finally:
            manager.close()
