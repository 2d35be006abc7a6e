"""What this PC has at this moment: disk, memory, its service manager's opinion of a unit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SYSTEMD = Path("/run/systemd/system")
"""Exists exactly where systemd runs as the first process: sd_booted(3)."""

MEMORY = Path("/proc/meminfo")
_SYSTEMCTL_TIMEOUT_S = 3.0


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there, or where it would be made. Raises OSError."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(nearest).free


def available_memory_bytes(file: Path = MEMORY) -> int:
    """What programs can have without swapping: MemAvailable of proc_meminfo(5). Raises OSError, ValueError."""
    for line in file.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ValueError("MemAvailable is missing")


def unit_state(unit: str) -> str | None:
    """
    As systemctl(1) is-enabled has it: `enabled`, `disabled`, `not-found` ...; None where systemd does not run.

    Raises OSError, subprocess.TimeoutExpired.
    """
    if not SYSTEMD.is_dir():
        return None
    done = subprocess.run(
        ["systemctl", "is-enabled", unit],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SYSTEMCTL_TIMEOUT_S,
    )
    return done.stdout.strip() or "not-found"  # older ones say nothing but an error of a unit that is not there
