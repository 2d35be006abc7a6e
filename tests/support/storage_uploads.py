"""What uploads to FakeStorage are tried with: contents, paces, processes of their own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.fake_storage import FakeStorage
from tests.support.project_keys import token
from worker.adapters.download_source import Pace
from worker.adapters.storage_supabase import SupabaseStorage

ROOT = Path(__file__).parents[2]
SMALL = bytes(range(256)) * 400
PIECE_BYTES = 6 << 20
LARGE = b"".join(index.to_bytes(8, "big") for index in range(20 * 1024 * 128))
"""20 MB, each 8 bytes of it another number, so that no piece fits anywhere else."""

HASTY = Pace(first_wait_s=0.001, longest_wait_s=0.002, no_progress_s=30.0)
GIVING_UP = Pace(first_wait_s=0.001, longest_wait_s=0.002, no_progress_s=0.05)
IMPATIENT = Pace(stall_s=0.2, first_byte_s=0.2, connect_s=0.2, first_wait_s=0.001, longest_wait_s=0.002)

DEAF_PROBE = """
import asyncio, sys
from pathlib import Path
from worker.adapters.download_source import Pace
from worker.adapters.storage_supabase import SupabaseStorage

pace = Pace(stall_s=0.2, first_byte_s=60.0, no_progress_s=0.0)
storage = SupabaseStorage(sys.argv[1], sys.argv[2], pace=pace)
try:
    asyncio.run(storage.put(Path(sys.argv[3]), "lab/a.wav"))
except Exception as error:
    print(type(error).__name__)
"""

MEMORY_PROBE = """
import asyncio, sys
from pathlib import Path
from worker.adapters.storage_supabase import SupabaseStorage

def peak_bytes():
    "Of this program alone; ru_maxrss begins with that of the process which started it."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

async def main():
    storage = SupabaseStorage(sys.argv[1], sys.argv[2])
    await storage.put(Path(sys.argv[3]), "lab/first.wav")
    before = peak_bytes()
    await storage.put(Path(sys.argv[4]), "lab/second.wav")
    print(peak_bytes() - before)

asyncio.run(main())
"""


def storage_at(server: FakeStorage, pace: Pace = HASTY) -> SupabaseStorage:
    return SupabaseStorage(server.url, token("service_role"), pace=pace)


async def run_probe(code: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()
