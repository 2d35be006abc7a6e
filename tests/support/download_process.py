"""
A process that downloads one recording and weighs itself: python -m tests.support.download_process URL KEY NAME TARGET

Prints JSON: `idle_bytes` (resident, as a worker that has not downloaded anything yet), `peak_bytes` (the most while it
downloaded, libraries and all), `sha256` of the file, `seconds`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path

from worker import app, daemon, pipeline
from worker.adapters.storage_supabase import SupabaseStorage

LOADED = (app, daemon, pipeline)
"""By an idle worker too."""


def weight_bytes(which: str) -> int:
    """`VmRSS`, what is resident now, or `VmHWM`, the most since the last `forget_peak`. See proc(5)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def main(url: str, key: str, name: str, path: str) -> None:
    storage, target = SupabaseStorage(url, key), Path(path)
    forget_peak()
    idle_bytes, started_s = weight_bytes("VmRSS"), time.monotonic()
    await storage.fetch(name, target, max_bytes=2 << 30, report=lambda _: None)
    peak_bytes, seconds = weight_bytes("VmHWM"), time.monotonic() - started_s
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    print(json.dumps({"idle_bytes": idle_bytes, "peak_bytes": peak_bytes, "sha256": sha256, "seconds": seconds}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
