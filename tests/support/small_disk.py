"""
A real file system of a few megabytes, to be filled up by tests.

Root mounts it as it is. Anybody else mounts it in a name space of a process of their own and reaches it through
/proc/PID/root, as far as the kernel lets users have such name spaces: user_namespaces(7), proc(5).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BLOCK = b"\0" * 4096


class SmallDisk:
    """`path` is its root folder. It may be used by other processes of this user as well."""

    def __init__(self, path: Path, keeper: subprocess.Popen[str], mount_point: Path) -> None:
        self.path = path
        self._keeper, self._mount_point = keeper, mount_point

    def fill(self) -> None:
        """Until not one more byte fits. Who has been given room before keeps it."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(BLOCK)

    def fill_inodes(self) -> None:
        """Until no file can be made, though there is room in those that are there."""
        self._crowd.mkdir(exist_ok=True)
        with suppress(OSError):
            for number in range(10**6):
                (self._crowd / str(number)).touch()

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)
        for path in self._crowd.iterdir() if self._crowd.is_dir() else ():
            path.unlink()

    def make_read_only(self) -> None:
        """As the kernel does with a disk that fails. Refused while a file is open for writing."""
        self._do(f"mount -o remount,ro '{self._mount_point}'")

    def make_writable(self) -> None:
        self._do(f"mount -o remount,rw '{self._mount_point}'")

    @property
    def _ballast(self) -> Path:
        return self.path / ".ballast"

    @property
    def _crowd(self) -> Path:
        return self.path / ".crowd"

    def _do(self, command: str) -> None:
        assert tell(self._keeper, command) == "done", command


@contextmanager
def small_disk(mount_point: Path, *, num_bytes: int = 4_000_000, num_inodes: int = 1000) -> Iterator[SmallDisk]:
    """Skips the test where nobody may mount."""
    mount_point.mkdir()
    is_root = os.geteuid() == 0
    program = ["sh"] if is_root else ["unshare", "--user", "--map-root-user", "--mount", "sh"]
    keeper = subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    options = f"size={num_bytes},nr_inodes={num_inodes},mode=0755"
    try:
        if tell(keeper, f"mount -t tmpfs -o {options} tmpfs '{mount_point}'") != "done":
            pytest.skip("this machine lets us mount no file system (a container without CAP_SYS_ADMIN, or name spaces)")
        root = Path("/") if is_root else Path(f"/proc/{keeper.pid}/root")
        disk = SmallDisk(root / mount_point.relative_to("/"), keeper, mount_point)
        yield disk
        tell(keeper, f"umount --lazy '{mount_point}'")
    finally:
        keeper.kill()
        keeper.communicate()


def tell(keeper: subprocess.Popen[str], command: str) -> str:
    """What became of it: done, failed, or nothing when the keeper is not there."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with suppress(BrokenPipeError):
        keeper.stdin.write(f"{command} && echo done || echo failed\n")
        keeper.stdin.flush()
    return keeper.stdout.readline().strip()
