"""A recording of a whole day over a line that keeps breaking: complete, right, and in little memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_faults import Cut

ROOT = Path(__file__).parents[2]
SIZE_BYTES = 1_000_000_000
BLOCK = hashlib.sha512(b"a recording").digest() * 4099 + b"odd"
NUM_CUTS = 10
MOST_BYTES = 50_000_000


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Removed at once: pytest would keep the gigabyte of three runs."""
    yield tmp_path / "source"
    for path in tmp_path.iterdir():
        path.unlink()


def sha256_of_repeated(block: bytes, size_bytes: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size_bytes // len(block)):
        digest.update(block)
    digest.update(block[: size_bytes % len(block)])
    return digest.hexdigest()


@pytest.mark.slow
async def test_a_gigabyte_through_a_connection_that_is_cut_ten_times(target: Path) -> None:
    """Weighed in a process of its own, against a worker that has not downloaded anything yet."""
    sha256 = sha256_of_repeated(BLOCK, SIZE_BYTES)
    with FakeStorage() as fake:
        fake.put_repeated("lab/day.wav", BLOCK, SIZE_BYTES, metadata={"sha256": sha256})
        fake.faults.next(*(Cut(SIZE_BYTES // 12 + 1000 * number) for number in range(NUM_CUTS)))
        arguments = (fake.url, project_keys.token("service_role"), "lab/day.wav", str(target))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.download_process", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        found = json.loads(output)
        num_downloads, num_sent = len(fake.seen("download")), sum(seen.num_sent for seen in fake.seen("download"))
    assert found["sha256"] == sha256
    assert target.stat().st_size == SIZE_BYTES
    assert num_downloads == NUM_CUTS + 1
    assert num_sent < SIZE_BYTES * 1.02  # what was in flight when the connection broke is sent again
    assert found["peak_bytes"] - found["idle_bytes"] < MOST_BYTES
