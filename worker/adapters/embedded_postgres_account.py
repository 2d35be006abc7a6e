"""As whom the embedded server runs: as us, or, because Postgres refuses root, as an account without rights."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from worker.exceptions import ConfigurationError

UNPRIVILEGED = "nobody"  # initdb needs an account with a passwd entry; this one is on every Debian


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    def run(
        self, argv: Sequence[str], *, cwd: Path, output: TextIO | int, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a program as this account, without our environment, terminal or open files.

        `output` is a file whenever the program leaves a server behind: the server inherits it, and a pipe would then
        never report its end.
        """
        switch: dict[str, Any] = {} if self.is_us else {"user": self.uid, "group": self.gid, "extra_groups": []}
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(cwd)}
        return subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            **switch,
        )

    def can_enter(self, directory: Path) -> bool:
        """Asked by trying it: mode bits alone do not tell about access lists and network file systems."""
        if self.is_us:
            return True
        argv = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]
        return self.run(argv, cwd=Path("/"), output=subprocess.DEVNULL).returncode == 0

    def give(self, path: Path) -> None:
        """Make the account the owner of something we have just created."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def account_for(data_dir: Path) -> Account:
    """
    Who runs the server on `data_dir`: the owner of a cluster that is there already, else us, else (we are root) nobody.

    Raises ConfigurationError when the cluster belongs to an account that we cannot act for.
    """
    euid = os.geteuid()
    try:
        owner = data_dir.stat()
    except FileNotFoundError:
        return _unprivileged() if euid == 0 else Account(euid, os.getegid())
    if euid not in (0, owner.st_uid):
        raise ConfigurationError(
            "The embedded database was created by another account. Run the worker as that account, "
            "or choose another data directory.",
            owner_uid=owner.st_uid,
        )
    return Account(owner.st_uid, owner.st_gid)


def _unprivileged() -> Account:
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as error:
        raise ConfigurationError(
            f"Postgres does not run as root, and this PC has no account {UNPRIVILEGED!r} to run it as. "
            "Run the worker as an ordinary account, or set DATABASE_URL."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)
