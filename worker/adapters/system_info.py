"""The PC under the worker."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

from worker.models import GpuFacts, SystemInfo


def read_system_info(gpu: GpuFacts | None = None) -> SystemInfo:
    """`gpu`: the one this worker works on."""
    return SystemInfo(
        hostname=socket.gethostname(),
        machine_id=_machine_id(),
        os=platform.platform(),
        python=platform.python_version(),
        cpu_count=len(os.sched_getaffinity(0)),
        ram_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=gpu and gpu.name,
        gpu_uuid=gpu and gpu.uuid,
        driver=gpu and gpu.driver,
        vram_bytes=gpu and gpu.vram_bytes,
    )


def _machine_id() -> str:
    """machine-id(5); containers may have none, then the boot's id tells two of them apart as long as they live."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text:
            return text
    return ""
