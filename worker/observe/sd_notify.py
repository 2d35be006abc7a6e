"""sd_notify(3): one datagram to the service manager, without its library."""

from __future__ import annotations

import socket

MAX_BYTES = 4096
"""systemd drops a longer datagram (NOTIFY_BUFFER_MAX, the size of an atomic write to a pipe)."""


class NotifySocket:
    """
    What systemd listens to.

    Args:
        address: $NOTIFY_SOCKET: a path, or with a leading @ a name in the abstract namespace (unix(7)).
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # a service manager that is busy must not stop the heartbeats

    def send(self, **assignments: object) -> bool:
        """Tell the service manager, such as READY=1; False when it did not take it. Never fails, never waits."""
        try:
            self._socket.sendto(datagram(assignments), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def datagram(assignments: dict[str, object]) -> bytes:
    """
    One assignment per line, each on one line.

    >>> datagram({"READY": 1, "STATUS": "Idle"})
    b'READY=1\\nSTATUS=Idle'
    """
    lines = (f"{name}={' '.join(str(value).split())}" for name, value in assignments.items())
    return "\n".join(lines).encode(errors="replace")[:MAX_BYTES]
