"""What lies on a PC though nobody works on it: who may go, who must stay."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.embedded_postgres import reachable_directory
from tests.support.queue_values import failure, result
from tests.support.queue_worlds import TurnedClock, worker_info
from tests.unit.conftest import RealClock, Workshop
from worker import events
from worker.daemon import PCWorker
from worker.exceptions import FailureKind, SupabaseConnectionError, SupabaseQueryError
from worker.housekeeping import DAY_S, Housekeeping, Keeping
from worker.job_folder import KeptResult, open_job_folder
from worker.kept_results import KeptResults
from worker.models import Claim, MeetingStatus, ProcessingResult, Trouble, WriteAnswer
from worker.store_calls import StoreCalls
from worker.testing.store_memory import MemoryStore


def housekeeping(workshop: Workshop, *, temp: Path | None = None, clock: Any = None, **options: Any) -> Housekeeping:
    temp, clock, store = temp or workshop.folder / "temp", clock or RealClock(), options.pop("store", workshop.store)
    calls, random = StoreCalls(workshop.note, Random(1)), Random(1)
    results = KeptResults(store, calls, temp, workshop.note, clock, random)
    missing_bytes = options.pop("missing_bytes", int)
    return Housekeeping(store, results, temp, workshop.note, clock, Keeping(**options), missing_bytes)


async def claimed(workshop: Workshop) -> Claim:
    """A meeting that a worker holds."""
    info, meeting_id = worker_info("w1"), await workshop.enqueue()
    await workshop.store.register(info)
    claim = (await workshop.store.claim(info.worker_id, info.instance_id, uuid4())).claim
    assert claim is not None
    assert claim.meeting.id == meeting_id
    return claim


async def became(workshop: Workshop, status: MeetingStatus | None) -> UUID:
    """A meeting that came to this; None: it is deleted."""
    store, claim = workshop.store, await claimed(workshop)
    meeting_id, token = claim.meeting.id, claim.token
    if status is MeetingStatus.PENDING:
        await store.release(meeting_id, token)
    elif status is MeetingStatus.COMPLETED:
        await store.complete(meeting_id, token, result("hello"))
    elif status is MeetingStatus.FAILED:
        await store.fail(meeting_id, token, failure(FailureKind.PERMANENT))
    elif status is MeetingStatus.CANCELLED:
        await store.cancel(meeting_id)
    elif status is None:
        del store.queue.meetings[meeting_id], store.queue.jobs[meeting_id]
    return meeting_id


def left_folder(
    workshop: Workshop, meeting_id: UUID, *, age_days: float = 0.0, size_bytes: int = 10, token: int | None = None
) -> Path:
    """As an attempt leaves it that was broken off; with a token, its result is there as well."""
    folder = open_job_folder(workshop.folder / "temp", meeting_id, token or 1)
    (folder.path / "source.part").write_bytes(b"x" * size_bytes)
    if token is not None:
        folder.save_result(KeptResult(meeting_id=meeting_id, token=token, result=result("hello")))
    folder.close()
    set_age(folder.path, age_days)
    return folder.path


def set_age(path: Path, days: float) -> None:
    changed_s = path.stat().st_mtime - days * DAY_S
    os.utime(path, (changed_s, changed_s))


@asynccontextmanager
async def at_work(worker: PCWorker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.request_stop()
        await running


def swept(workshop: Workshop) -> list[tuple[str, int, int]]:
    return [(e.reason, e.num_folders, e.size_bytes) for e in workshop.seen if isinstance(e, events.FoldersSwept)]


def not_removed(workshop: Workshop) -> list[str]:
    return [event.name for event in workshop.seen if isinstance(event, events.FolderNotRemoved)]


# --- by what became of the meeting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "is_kept"),
    [
        (MeetingStatus.PENDING, True),
        (MeetingStatus.PROCESSING, True),
        (MeetingStatus.FAILED, True),
        (MeetingStatus.COMPLETED, False),
        (MeetingStatus.CANCELLED, False),
        (None, False),
    ],
)
async def test_what_a_next_attempt_may_need_stays_and_all_else_goes_at_once(
    workshop: Workshop, status: MeetingStatus | None, is_kept: bool
) -> None:
    """Somebody deleted a meeting for a reason: its recording does not lie on a PC for another week."""
    path = left_folder(workshop, await became(workshop, status))
    await housekeeping(workshop).sweep()
    assert path.exists() == is_kept
    assert swept(workshop) == ([] if is_kept else [(str(status or "gone"), 1, 10)])


async def test_what_is_kept_of_a_completed_meeting_goes_when_it_is_deleted(workshop: Workshop) -> None:
    """KEEP_STAGES_DAYS is no promise to the one who deleted it."""
    meeting_id = await became(workshop, MeetingStatus.COMPLETED)
    open_job_folder(workshop.folder / "temp", meeting_id, 1).keep_stages()
    house = housekeeping(workshop, stages_days=30.0)
    await house.sweep()
    assert workshop.leftovers == [str(meeting_id)]
    del workshop.store.queue.meetings[meeting_id]
    await house.sweep()
    assert workshop.leftovers == []


async def test_a_folder_in_which_somebody_works_is_left_alone_whatever_became_of_the_meeting(
    workshop: Workshop,
) -> None:
    """Its worker learns with its next heartbeat that the meeting is gone."""
    path = left_folder(workshop, uuid4(), age_days=100.0)
    house = housekeeping(workshop, missing_bytes=lambda: 1)
    with closing(open_job_folder(path.parent, UUID(path.name), 2)):
        await house.sweep()
        await house.make_room()
        assert (path / "source.part").exists()
    assert not_removed(workshop) == []


class Retried(MemoryStore):
    """Somebody asks for the meeting again in the moment after the first answer."""

    async def statuses(self, meeting_ids: Any) -> dict[UUID, MeetingStatus]:
        answer = await super().statuses(meeting_ids)
        for meeting_id in meeting_ids:
            await self.retry(meeting_id)
        return answer


async def test_a_meeting_that_is_asked_for_again_during_the_sweep_keeps_its_folder(workshop: Workshop) -> None:
    workshop.store = Retried(RealClock())
    path = left_folder(workshop, await became(workshop, MeetingStatus.COMPLETED))
    await housekeeping(workshop).sweep()
    assert (path / "source.part").exists()


class Away(MemoryStore):
    """`statuses` and `complete` fail while there is an error."""

    error: Exception | None = None

    async def statuses(self, meeting_ids: Any) -> dict[UUID, MeetingStatus]:
        if self.error is not None:
            raise self.error
        return await super().statuses(meeting_ids)

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        if self.error is not None:
            raise self.error
        return await super().complete(meeting_id, token, result)


@pytest.mark.parametrize("error", [SupabaseConnectionError(), SupabaseQueryError()])
async def test_while_the_database_does_not_say_only_age_counts(workshop: Workshop, error: Exception) -> None:
    store = workshop.store = Away(RealClock())
    young, old = left_folder(workshop, uuid4(), age_days=6.9), left_folder(workshop, uuid4(), age_days=7.1)
    store.error = error
    house = housekeeping(workshop)
    await house.sweep()
    assert (young.exists(), old.exists()) == (True, False)
    store.error = None
    await house.sweep()
    assert not young.exists()


# --- by age ----------------------------------------------------------------------------------------------------------


async def test_whatever_is_older_than_keep_temp_days_goes(workshop: Workshop) -> None:
    meetings = [await became(workshop, MeetingStatus.FAILED) for _ in range(2)]
    young = left_folder(workshop, meetings[0], age_days=0.9)
    left_folder(workshop, meetings[1], age_days=1.1)
    await housekeeping(workshop, days=1.0).sweep()
    assert workshop.leftovers == [young.name]
    assert swept(workshop) == [("old", 1, 10)]


async def test_what_seems_to_be_of_the_future_ages_since_it_was_first_seen(workshop: Workshop) -> None:
    """It was written while the clock was ahead, or the clock is behind now; neither is a reason to lose it today."""
    clock = TurnedClock()
    path = left_folder(workshop, await became(workshop, MeetingStatus.FAILED), age_days=-400.0)
    house = housekeeping(workshop, clock=clock)
    for day in range(8):
        await house.sweep()
        assert path.exists(), day
        clock.at_s += DAY_S
    await house.sweep()
    assert not path.exists()


# --- what is none of its business ------------------------------------------------------------------------------------


async def test_nothing_but_job_folders_is_touched(workshop: Workshop) -> None:
    """Models may lie there as well, and users have ids as meetings have."""
    temp, elsewhere = workshop.folder / "temp", workshop.folder / "elsewhere"
    kept = [
        temp / "models" / "hub" / "blobs" / "abc.part",
        temp / str(uuid4()) / "recordings" / "audio.wav",
        temp / f"{uuid4()}-backup" / "lock",
        temp / "note.txt",
        elsewhere / "lock",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("keep")
        set_age(path.parent, 1000.0)
    (temp / str(uuid4())).symlink_to(elsewhere)
    (temp / str(uuid4())).write_text("a file")
    before = workshop.leftovers
    house = housekeeping(workshop, missing_bytes=lambda: 1)
    await house.sweep()
    await house.make_room()
    assert workshop.leftovers == before
    assert all(path.exists() for path in kept)


async def test_no_link_in_a_folder_is_followed(workshop: Workshop) -> None:
    path, precious = left_folder(workshop, uuid4()), workshop.folder / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("keep")
    (path / "directory").symlink_to(precious)
    (path / "source").symlink_to(precious / "thesis")
    await housekeeping(workshop).sweep()
    assert not path.exists()
    assert (precious / "thesis").read_text() == "keep"


async def test_an_empty_folder_goes(workshop: Workshop) -> None:
    """Somebody was killed while he opened or removed it."""
    (workshop.folder / "temp" / str(uuid4())).mkdir(parents=True)
    await housekeeping(workshop).sweep()
    assert workshop.leftovers == []


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_folder_that_cannot_be_emptied_is_told_once_and_tried_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = sorted(left_folder(workshop, uuid4()) for _ in range(2))
    (path / "audio.wav").touch()
    unlink = Path.unlink

    def failing(self: Path, missing_ok: bool = False) -> None:
        if self == path / "audio.wav":
            raise OSError(errno.EIO, "Input/output error")
        unlink(self, missing_ok=missing_ok)

    house = housekeeping(workshop)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing)
        await house.sweep()
        await house.sweep()
    assert sorted(entry.name for entry in path.iterdir()) == ["audio.wav", "lock"]
    assert not other.exists()
    assert not_removed(workshop) == [path.name]
    await house.sweep()
    assert not path.exists()


@contextmanager
def locked_out(path: Path) -> Iterator[None]:
    """The folder seems to be another user's, also to root."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    mode = path.stat().st_mode
    try:
        if path.stat().st_uid == os.geteuid():
            path.chmod(0)
        yield
    finally:
        os.seteuid(os.getuid())
        path.chmod(mode)


async def test_the_folder_of_another_user_is_told_once_and_is_no_obstacle(workshop: Workshop) -> None:
    with reachable_directory() as base:
        base.chmod(0o777)
        foreign = open_job_folder(base, uuid4(), 1)
        foreign.close()
        with locked_out(foreign.path):
            open_job_folder(base, uuid4(), 1).close()
            house = housekeeping(workshop, temp=base)
            await house.sweep()
            await house.sweep()
            assert [path.name for path in base.iterdir()] == [foreign.path.name]
            instead = open_job_folder(base, UUID(foreign.path.name), 5)
            assert instead.path.name == f"{foreign.path.name}-5"
            instead.remove()
    assert not_removed(workshop) == [foreign.path.name]


async def test_a_sweep_that_fails_costs_nothing_but_the_sweep(workshop: Workshop) -> None:
    """The worker goes on, and so does the sweeping."""
    store = workshop.store = Away(RealClock())
    store.error = ZeroDivisionError()
    left_folder(workshop, uuid4())
    worker = workshop.worker(sweep_s=0.01)
    async with at_work(worker):
        await workshop.wait_for(events.SweepFailed)
        store.error = None
        await workshop.wait_for(events.FoldersSwept, reason="gone")
        meeting_id = await workshop.enqueue()
        await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)


# --- a full disk -----------------------------------------------------------------------------------------------------


async def test_a_full_disk_takes_what_is_kept_until_there_is_room_and_no_more(workshop: Workshop) -> None:
    """First what only a retry would use, then the oldest; no result, and nothing in which somebody works."""
    meetings = [uuid4() for _ in range(5)]
    done = open_job_folder(workshop.folder / "temp", meetings[0], 1)
    done.keep_stages()
    oldest = left_folder(workshop, meetings[1], age_days=3.0, size_bytes=1000)
    second = left_folder(workshop, meetings[2], age_days=2.0, size_bytes=1000)
    young = left_folder(workshop, meetings[3], age_days=1.0, size_bytes=1000)
    finished = left_folder(workshop, meetings[4], age_days=4.0, token=7)
    in_use = open_job_folder(workshop.folder / "temp", uuid4(), 1)
    house = housekeeping(workshop, missing_bytes=lambda: int(second.exists()))
    await house.make_room()
    assert [path.exists() for path in (done.path, oldest, second)] == [False, False, False]
    assert [path.exists() for path in (young, finished, in_use.path)] == [True, True, True]
    assert swept(workshop) == [("disk_full", 3, 2000)]
    in_use.close()


async def test_with_enough_room_nothing_goes(workshop: Workshop) -> None:
    path = left_folder(workshop, await became(workshop, MeetingStatus.PENDING))
    await housekeeping(workshop).make_room()
    assert path.exists()


async def test_a_worker_whose_disk_is_full_of_what_it_keeps_goes_on_by_itself(workshop: Workshop) -> None:
    left = left_folder(workshop, await became(workshop, MeetingStatus.FAILED))

    class Disk:
        def trouble(self) -> Trouble | None:
            return Trouble(code="disk_full", sentence="It is full.") if left.exists() else None

    meeting_id = await workshop.enqueue()
    async with at_work(workshop.worker(gates=[Disk()], missing_bytes=lambda: int(left.exists()))):
        await workshop.wait_for(events.MeetingCompleted, meeting_id=meeting_id)
    assert swept(workshop) == [("disk_full", 1, 10)]
