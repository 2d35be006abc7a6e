"""A Gate that closes while a disk is nearly full or read-only, so that no meeting is begun that cannot be finished."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shutil import disk_usage

from worker.exceptions import DiskFailedError, DiskFullError
from worker.models import Trouble
from worker.ports import Clock

CHECK_EVERY_S = 5.0

OPENS_AT = 1.25
"""Times the limit: one finished meeting's working files must not open and close the gate in turn."""


class DiskGate:
    """
    Looks at the file systems under some folders.

    Args:
        folders: by the setting that names the folder, which is what people are told: the folder, which need not exist
            yet, and how many bytes must be free there. For folders on one file system the largest limit decides.
    """

    def __init__(self, folders: Mapping[str, tuple[Path, int]], clock: Clock) -> None:
        self._folders, self._clock = dict(folders), clock
        self._checked_at_s: float | None = None
        self._full: str | None = None
        self._trouble: Trouble | None = None

    def trouble(self) -> Trouble | None:
        """Looks at the disks at most every CHECK_EVERY_S; in between, the last answer."""
        now = self._clock.monotonic()
        if self._checked_at_s is None or now - self._checked_at_s >= CHECK_EVERY_S:
            self._checked_at_s = now
            self._trouble = self._check()
        return self._trouble

    def _check(self) -> Trouble | None:
        for setting, (folder, min_free_bytes) in self._folders.items():
            if _is_read_only(folder):
                return _read_only(setting)
            needed_bytes = min_free_bytes * (OPENS_AT if setting == self._full else 1.0)
            free_bytes = _free_bytes(folder)
            if free_bytes is not None and free_bytes < needed_bytes:
                self._full = setting
                return _trouble(setting, free_bytes, min_free_bytes)
        self._full = None
        return None


def missing_bytes(folder: Path, min_free_bytes: int) -> int:
    """
    What must go from the disk of `folder` until a closed gate with this limit opens; 0 when nobody can tell.
    """
    free_bytes = _free_bytes(folder)
    if free_bytes is None or free_bytes >= min_free_bytes * OPENS_AT:
        return 0
    return int(min_free_bytes * OPENS_AT) - free_bytes


def _existing(folder: Path) -> Path:
    """Itself or the nearest parent that is there: where it will be made."""
    absolute = folder.absolute()
    return next((path for path in (absolute, *absolute.parents) if path.exists()), absolute)


def _free_bytes(folder: Path) -> int | None:
    """What this user may fill; None when nobody can tell, which is no reason to stop."""
    try:
        return disk_usage(_existing(folder)).free
    except OSError:
        return None


def _is_read_only(folder: Path) -> bool:
    """As the kernel makes a disk that fails: mount(8), errors=remount-ro."""
    try:
        return bool(os.statvfs(_existing(folder)).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _read_only(setting: str) -> Trouble:
    sentence = (
        f"The disk of {setting} can only be read: perhaps it fails. The worker takes no meetings until it can be "
        "written again; see `dmesg` for the reason."
    )
    return Trouble(code=DiskFailedError.code, sentence=sentence)


def _trouble(setting: str, free_bytes: int, min_free_bytes: int) -> Trouble:
    sentence = (
        f"The disk of {setting} has only {_gb(free_bytes)} free. The worker takes no meetings until there are "
        f"{_gb(min_free_bytes * OPENS_AT)}: make room, or lower MIN_FREE_DISK_BYTES."
    )
    return Trouble(code=DiskFullError.code, sentence=sentence)


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
