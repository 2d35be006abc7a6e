"""
A download that survives its connection: streamed to disk in bounded memory, cut, and resumed where it was cut.

It is made of pieces. Each asks the source anew where the recording is (a fresh signature), requests the bytes from the
first one that is not on disk, and ends when the body does, one way or the other. What each answer says about the whole
is held against what the download began with, because a server may give the rest of another recording: Supabase Storage
ignores If-Range.

Trouble that may pass is tried again with growing pauses, for as long as `Pace.no_progress_s` without progress; with
progress there is no pause and the count starts again. Everything else ends the download. What has arrived stays on disk
if another attempt is to come.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from worker.adapters.download_part import BLOCK_BYTES, Identity, PartFile, on_disk
from worker.adapters.download_source import Pace, Remote, Source, total_bytes_of
from worker.adapters.retry_after import asked_of, at_least_as_asked
from worker.adapters.storage_errors import Passing, mapped
from worker.exceptions import (
    AudioChecksumError,
    AudioDownloadError,
    AudioTooBigError,
    DiskFullError,
    Disposition,
    PCWorkerException,
)
from worker.ports import Report

if TYPE_CHECKING:
    from aiohttp import ClientResponse

TOO_SLOW = (
    "The download was too slow and was stopped. The next attempt on this PC goes on where it ended; check the network."
)
TOO_MANY_RESTARTS = (
    "The download had to begin anew too often: the recording keeps changing, or its server cannot continue a download."
)
WRONG_LENGTH = "The stored recording is not as long as its server says it is. If this lasts, upload it again."


async def download(source: Source, target: Path, *, max_bytes: int, report: Report, pace: Pace) -> None:
    """Bring the recording to `target`, complete or not at all. Raises as `ports.Fetcher.fetch` does."""
    part = PartFile(target)
    try:
        await on_disk(part, part.recover)
        await _Download(source, part, target, max_bytes=max_bytes, report=report, pace=pace).finish()
    except BaseException as error:
        await on_disk(part, part.keep if _comes_again(error) else part.discard)
        raise


def _comes_again(error: BaseException) -> bool:
    """Whether another attempt can use what is here; a full disk gets its room back first."""
    if isinstance(error, PCWorkerException):
        return error.disposition is Disposition.INFRASTRUCTURE and not isinstance(error, DiskFullError)
    return isinstance(error, asyncio.CancelledError)


def _is_here(target: Path, remote: Remote) -> bool:
    """Whether an earlier attempt has brought this very version: the size and, to the nanosecond, the time."""
    try:
        found = target.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (remote.size_bytes, remote.modified_ns)


class _Download:
    """One call of `download`."""

    def __init__(
        self, source: Source, part: PartFile, target: Path, *, max_bytes: int, report: Report, pace: Pace
    ) -> None:
        self._source = source
        self._part = part
        self._target = target
        self._max_bytes = max_bytes
        self._report = report
        self._pace = pace
        self._share = 0.0
        self._num_received = 0
        self._num_restarts = 0
        self._started_s = asyncio.get_running_loop().time()
        self._limit = asyncio.timeout(pace.whole_limit_s(max_bytes))

    async def finish(self) -> None:
        try:
            async with self._limit:
                await self._bring()
        except TimeoutError:
            pass
        else:
            self._report(1.0)
            return
        raise AudioDownloadError(TOO_SLOW)

    async def _bring(self) -> None:
        """All bytes, compared with the checksum that came with them; a mismatch gets one second download."""
        for _ in range(2):
            remote = await self._whole()
            if _is_here(self._target, remote):
                await on_disk(self._part, self._part.discard)
                return
            if remote.sha256 in (None, await on_disk(self._part, self._part.sha256)):
                await on_disk(self._part, lambda: self._part.publish(remote.modified_ns))  # noqa: B023  # awaited here
                return
            await self._empty(Identity(remote.version, None, remote.size_bytes))
        raise AudioChecksumError

    async def _whole(self) -> Remote:
        """Piece after piece, until all bytes are here."""
        while True:
            num_before = self._num_received
            problem, remote = None, None
            try:
                async for attempt in self._attempts():
                    with attempt:
                        remote = await self._piece(num_before)
            except Passing as passing:
                problem = passing.ours
            if problem is not None:
                raise problem
            if remote is not None:
                return remote

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_delay(self._pace.no_progress_s),
            wait=at_least_as_asked(
                wait_random_exponential(multiplier=self._pace.first_wait_s, max=self._pace.longest_wait_s),
                most_s=self._pace.longest_wait_s,
            ),
            reraise=True,
        )

    async def _piece(self, num_before: int) -> Remote | None:
        """
        The recording once it is complete; None when there is more to come.

        Raises Passing only if hardly anything came since `num_before`. Foreign errors end here, and none is left as
        the context of ours: their texts hold addresses with signatures.
        """
        problem: PCWorkerException | Passing | None
        try:
            return await self._request()
        except (PCWorkerException, Passing) as error:
            problem = error
        except Exception as error:
            problem = mapped(error)
            if problem is None:
                raise
        if isinstance(problem, Passing) and self._num_received - num_before >= BLOCK_BYTES:
            return None
        raise problem

    async def _request(self) -> Remote | None:
        remote = await self._source.locate()
        self._expect(remote.size_bytes)
        if _is_here(self._target, remote) or await self._has_all(remote):
            return remote
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._pace.first_byte_limit_s(remote.size_bytes or 0)):
                response = await stack.enter_async_context(self._source.get(remote, self._headers()))
            if not await self._fits(remote, response):
                return None
            await self._receive(response)
        return remote if self._is_complete() else None

    async def _has_all(self, remote: Remote) -> bool:
        """
        Whether nothing needs to be asked for. What cannot be continued is dropped first.

        A range that begins at the end would be an error, and on S3 a 500; so would any range of an empty file.
        """
        part = self._part
        if remote.size_bytes == 0:
            await self._empty(Identity(remote.version, None, 0))
        if part.identity is None:
            return False
        if part.identity.version != remote.version:
            await self._restart(remote)
        if part.num_bytes == remote.size_bytes:
            return True
        if part.num_bytes and (part.identity.validator is None or part.num_bytes == part.identity.total_bytes):
            await self._restart(remote)
        return False

    def _headers(self) -> dict[str, str]:
        """Never an explicit end: older versions of Storage do not clamp it, and hang."""
        headers = {"Accept-Encoding": "identity"}
        return headers | {"Range": f"bytes={self._part.num_bytes}-"} if self._part.num_bytes else headers

    async def _fits(self, remote: Remote, response: ClientResponse) -> bool:
        """Whether the body goes on from what is here, or begins anew; if not, what is here has been dropped."""
        offset = self._part.num_bytes
        if response.status == 416 and offset:
            await self._restart(remote)
            return False
        if response.status not in (200, 206):
            async with asyncio.timeout(self._pace.stall_s):
                problem = await self._source.refusal(response)
            if isinstance(problem, Passing):
                problem.ours.details.update(asked_of(response.headers))
            raise problem
        found = Identity(remote.version, self._source.validator(response), total_bytes_of(response, offset))
        if response.status == 206 and not self._is_of(found):
            await self._restart(remote)
            return False
        if remote.size_bytes not in (None, found.total_bytes):
            raise Passing(AudioDownloadError(WRONG_LENGTH))
        self._expect(found.total_bytes)
        if response.status == 200:
            if offset:
                await self._restart(remote)
            await self._empty(found)
        return True

    def _is_of(self, found: Identity) -> bool:
        """Whether what is here belongs to what was found; a first answer may have left open how long it is."""
        here = self._part.identity
        if here is None or here.validator is None:
            return False
        return here.validator == found.validator and here.total_bytes in (None, found.total_bytes)

    async def _receive(self, response: ClientResponse) -> None:
        """The body to disk. What came before a cut is kept."""
        block = bytearray()
        try:
            while chunk := await self._chunk(response):
                block += chunk
                self._allow(self._part.num_bytes + len(block))
                if len(block) >= BLOCK_BYTES:
                    full, block = block, bytearray()
                    await self._write(full)
        finally:
            await self._write(block)

    async def _chunk(self, response: ClientResponse) -> bytes:
        async with asyncio.timeout(self._pace.stall_s):
            return await response.content.readany()

    async def _write(self, block: bytearray) -> None:
        if not block:
            return
        await on_disk(self._part, lambda: self._part.append(block))
        self._num_received += len(block)
        total_bytes = self._part.identity.total_bytes if self._part.identity else None
        if total_bytes:
            self._share = max(self._share, min(1.0, self._part.num_bytes / total_bytes))
            self._report(self._share)

    def _expect(self, size_bytes: int | None) -> None:
        """So long it is going to be: this must be allowed, and gives the whole its limit."""
        if size_bytes is not None:
            self._allow(size_bytes)
            self._limit.reschedule(self._started_s + self._pace.whole_limit_s(size_bytes))

    def _allow(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise AudioTooBigError

    def _is_complete(self) -> bool:
        """After a body has ended properly; where nobody said how long it is, that is the only sign."""
        total_bytes = self._part.identity.total_bytes if self._part.identity else None
        return total_bytes is None or self._part.num_bytes == total_bytes

    async def _restart(self, remote: Remote) -> None:
        """Other bytes than those we have a part of, or a server that cannot continue: from the beginning."""
        self._num_restarts += 1
        if self._num_restarts > self._pace.max_restarts:
            raise AudioDownloadError(TOO_MANY_RESTARTS)
        await self._empty(Identity(remote.version, None, remote.size_bytes))

    async def _empty(self, identity: Identity) -> None:
        await on_disk(self._part, lambda: self._part.begin(identity))
