"""Where a download goes on, and where it must not: cuts, later attempts, replaced recordings, cancelled tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fake_storage_faults import Before, Cut, Fault, Stall, html_502
from tests.support.storage_downloads import OTHER, RECORDING, Downloads
from worker.adapters.download_part import BLOCK_BYTES, PartFile
from worker.exceptions import AudioDownloadError, SupabaseStorageError

HALF = len(RECORDING) // 2
LONGER = OTHER + b"and more"
KEPT = [".source.part", ".source.part.json"]


async def test_a_cut_download_goes_on_where_it_was_cut(downloads: Downloads) -> None:
    """With a fresh signature, from the first byte that is not on disk, and never with an explicit end."""
    downloads.put()
    downloads.fake.faults.next(Cut(2_000_000), Cut(1_000_000))
    await downloads.fetch()
    assert downloads.ranges[0] is None
    starts = [int(str(asked).removeprefix("bytes=").removesuffix("-")) for asked in downloads.ranges[1:]]
    assert 0 < starts[0] <= 2_000_000
    assert starts[0] < starts[1] <= starts[0] + 1_000_000
    tokens = [request.path.partition("?token=")[2] for request in downloads.fake.seen("download")]
    assert len(downloads.fake.seen("sign")) == len(tokens) == 3


async def test_the_next_attempt_goes_on_where_the_last_one_ended(downloads: Downloads) -> None:
    """Meanwhile nothing bears the recording's own name."""
    downloads.put()
    downloads.fake.faults.next(Cut(HALF))
    downloads.fake.faults.always(html_502())
    assert type(await downloads.failure(no_progress_s=0.1)) is SupabaseStorageError
    assert downloads.left == KEPT
    num_kept = (downloads.job / KEPT[0]).stat().st_size
    downloads.fake.faults.clear()
    downloads.fake.requests.clear()
    await downloads.fetch()
    assert downloads.ranges == [f"bytes={num_kept}-"]
    assert downloads.target.read_bytes() == RECORDING
    assert downloads.left == ["source"]


async def test_a_part_is_trusted_only_as_far_as_it_was_noted(downloads: Downloads) -> None:
    """After a power cut a file may be longer than what surely reached the disk."""
    num_kept = await interrupted(downloads)
    with (downloads.job / KEPT[0]).open("ab") as file:
        file.write(b"\0" * 1000)
    await downloads.fetch()
    assert downloads.ranges == [f"bytes={num_kept}-"]
    assert downloads.target.read_bytes() == RECORDING


@pytest.mark.parametrize("damage", ["no note", "half a note", "another note", "no part", "a part that is too short"])
async def test_a_part_that_cannot_be_right_is_not_used(downloads: Downloads, damage: str) -> None:
    await interrupted(downloads)
    part, note = (downloads.job / name for name in KEPT)
    match damage:
        case "no note":
            note.unlink()
        case "half a note":
            note.write_text(note.read_text()[:20])
        case "another note":
            note.write_text("[]")
        case "no part":
            part.unlink()
        case _:
            part.write_bytes(RECORDING[:1000])
    await downloads.fetch()
    assert downloads.ranges == [None]
    assert downloads.target.read_bytes() == RECORDING
    assert downloads.left == ["source"]


async def test_a_part_that_is_whole_is_not_asked_for_again(downloads: Downloads) -> None:
    """A range that begins at the end is an error, on some backends a 500 that would be repeated for ever."""
    num_kept = await interrupted(downloads)
    part = PartFile(downloads.target)
    part.recover()
    part.append(RECORDING[num_kept:])
    part.keep()
    await downloads.fetch()
    assert downloads.ranges == []
    assert downloads.target.read_bytes() == RECORDING


@pytest.mark.parametrize("content", [OTHER, LONGER, RECORDING], ids=["as long", "longer", "the same bytes"])
async def test_a_recording_that_was_replaced_since_the_last_attempt(downloads: Downloads, content: bytes) -> None:
    """Every upload is another version; nothing of the old one is used."""
    await interrupted(downloads)
    downloads.put(content)
    await downloads.fetch()
    assert downloads.ranges == [None]
    assert downloads.target.read_bytes() == content


@pytest.mark.parametrize("operation", ["sign", "info", "download"])
@pytest.mark.parametrize("content", [OTHER, LONGER, OTHER[:HALF]], ids=["as long", "longer", "shorter than the part"])
async def test_a_recording_that_is_replaced_between_two_pieces(
    downloads: Downloads, operation: str, content: bytes
) -> None:
    """The server would give the rest of the new recording without a word: If-Range does not help."""
    downloads.put()
    downloads.fake.faults.next(Cut(HALF + 1000))
    if operation != "download":
        downloads.fake.faults.next(Fault(), on=operation)
    downloads.fake.faults.next(Before(lambda: downloads.put(content)), on=operation)
    await downloads.fetch()
    assert downloads.target.read_bytes() == content
    assert downloads.shares == sorted(downloads.shares)


@pytest.mark.parametrize("status", [416, 500])
async def test_a_recording_that_shrank_is_begun_anew(downloads: Downloads, status: int) -> None:
    """What a range past the end is answered with differs between backends; both end well."""
    downloads.put()
    downloads.fake.past_the_end_status = status
    downloads.fake.faults.next(Cut(HALF), Before(lambda: downloads.put(OTHER[:1000])))
    await downloads.fetch()
    assert downloads.target.read_bytes() == OTHER[:1000]


async def test_a_recording_that_keeps_changing_ends_the_attempt(downloads: Downloads) -> None:
    downloads.put()

    class Replaced(Cut):
        def begin(self) -> None:
            downloads.put(RECORDING)

    downloads.fake.faults.always(Replaced(HALF))
    error = await downloads.failure()
    assert type(error) is AudioDownloadError
    assert "keeps changing" in str(error)


async def test_a_cancelled_download_leaves_nothing_running(downloads: Downloads) -> None:
    """No task, no open file, no connection; what has come is kept for the next attempt."""
    downloads.put()
    num_before = num_open_files()
    downloads.fake.faults.next(Stall(HALF))
    task = asyncio.create_task(downloads.fetch(stall_s=60.0))
    await until(lambda: len(downloads.shares) == HALF // BLOCK_BYTES)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await until(lambda: num_open_files() <= num_before)  # the server's end of the connection closes by itself
    assert downloads.left == KEPT
    await downloads.fetch()
    assert downloads.target.read_bytes() == RECORDING


async def interrupted(downloads: Downloads) -> int:
    """Most of the first half has come, and the attempt has ended: how much is on disk."""
    downloads.put()
    downloads.fake.faults.next(Cut(HALF))
    downloads.fake.faults.always(html_502())
    await downloads.failure(no_progress_s=0.05)
    downloads.fake.faults.clear()
    downloads.fake.requests.clear()
    assert downloads.left == KEPT
    return (downloads.job / KEPT[0]).stat().st_size


def num_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not holds():
            await asyncio.sleep(0.01)
