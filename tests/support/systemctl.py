"""
Stands in for systemctl where no systemd runs: `python -m tests.support.systemctl PREFIX VERB UNIT ...`.

It starts the very ExecStart line of the installed unit with the unit's environment and a notify socket, and `start`
returns as for Type=notify: when READY=1 came, or with an error when the process ended before.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 60.0
OURS = ("/opt/pc-worker", "/etc/pc-worker", "/var/lib", "/var/cache", "/var/log")


class Unit:
    """One unit below `prefix`; what systemd would remember of it lies in PREFIX/run."""

    def __init__(self, prefix: Path, name: str) -> None:
        self.prefix, self.name = prefix, name.removesuffix(".service")
        self.instance = self.name.partition("@")[2]
        self._enabled = prefix / "run" / f"{self.name}.enabled"
        self._pid = prefix / "run" / f"{self.name}.pid"
        self._log = prefix / "run" / f"{self.name}.log"

    def enable(self) -> int:
        self._enabled.touch()
        return 0

    def disable(self) -> int:
        self._enabled.unlink(missing_ok=True)
        return 0

    def is_enabled(self) -> int:
        return 0 if self._enabled.exists() else 1

    def is_active(self) -> int:
        state = "inactive" if not self._pid.exists() else "active" if self._is_alive() else "failed"
        print(state)
        return 0 if state == "active" else 3

    def start(self) -> int:
        if not self.instance or self._is_alive():
            return 0
        with (
            tempfile.TemporaryDirectory(prefix="pcw-", dir="/tmp") as folder,  # a socket's path must be short
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        ):
            notify.bind(f"{folder}/notify")
            process = self._spawn(f"{folder}/notify")
            self._pid.write_text(str(process.pid))
            return 0 if became_ready(notify, process.pid) else 1

    def stop(self) -> int:
        """SIGTERM to the main process alone, as KillMode=mixed does."""
        if self._is_alive():
            pid = int(self._pid.read_text())
            os.kill(pid, signal.SIGTERM)
            ended, _, _ = select.select([os.pidfd_open(pid)], [], [], PATIENCE_S)
            assert ended, "it did not end"
        self._pid.unlink(missing_ok=True)
        return 0

    def reset_failed(self) -> int:
        return 0

    def _is_alive(self) -> bool:
        try:
            state = Path(f"/proc/{self._pid.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    def _spawn(self, notify_socket: str) -> subprocess.Popen[bytes]:
        lines = [self._filled_in(line) for line in self._unit_file().read_text().splitlines()]
        of = {key: [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")] for key in KEYS}
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": notify_socket, **assignments(of["Environment"])}
        for file in of["EnvironmentFile"]:
            environment |= assignments(Path(file.removeprefix("-")).read_text().splitlines())
        with self._log.open("wb") as log:
            return subprocess.Popen(
                shlex.split(of["ExecStart"][0]),
                cwd=of["WorkingDirectory"][0],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _unit_file(self) -> Path:
        return self.prefix / "etc/systemd/system" / f"{self.name.partition('@')[0]}@.service"

    def _filled_in(self, line: str) -> str:
        specifiers = {
            "%i": self.instance,
            "%H": os.uname().nodename,
            "%S": "/var/lib",
            "%C": "/var/cache",
            "%L": "/var/log",
        }
        for specifier, value in specifiers.items():
            line = line.replace(specifier, value)
        return re.sub(f"(?<=[=-])(?={'|'.join(OURS)})", str(self.prefix), line)


KEYS = ("ExecStart", "WorkingDirectory", "Environment", "EnvironmentFile")


def assignments(lines: list[str]) -> dict[str, str]:
    return {name: value for name, sign, value in (line.partition("=") for line in lines) if sign and name[:1] != "#"}


def became_ready(notify: socket.socket, pid: int) -> bool:
    ended = os.pidfd_open(pid)
    while True:
        heard, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE_S)
        if notify.fileno() in heard and b"READY=1" in notify.recv(4096).splitlines():
            return True
        if ended in heard or not heard:
            return False


def units(prefix: Path, names: list[str]) -> Iterator[Unit]:
    (prefix / "run").mkdir(exist_ok=True)
    return (Unit(prefix, name) for name in names)


def main(prefix: str, verb: str, *arguments: str) -> int:
    with (Path(prefix) / "systemctl.log").open("a") as log:
        log.write(" ".join([verb, *arguments]) + "\n")
    names = [argument for argument in arguments if not argument.startswith("-")]
    verbs = [verb, "stop"] if "--now" in arguments else [verb]
    return max(
        (getattr(unit, verb.replace("-", "_"))() for verb in verbs for unit in units(Path(prefix), names)), default=0
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
