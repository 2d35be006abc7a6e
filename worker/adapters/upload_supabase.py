"""
An upload to Supabase Storage that survives its connection: in bounded memory, cut, and resumed where the server is.

Trouble that may pass is tried again with growing pauses, for as long as `Pace.no_progress_s` without progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from worker.adapters.download_source import Pace
from worker.adapters.storage_errors import Passing, mapped
from worker.adapters.upload_requests import PIECE_BYTES, Requests, Upload, UploadGone
from worker.adapters.upload_source import UploadSource, content_type_of, opened
from worker.exceptions import AudioDownloadError, PCWorkerException, SupabaseStorageError
from worker.ports import Report

if TYPE_CHECKING:
    from aiohttp import ClientSession

TOO_SLOW = "The upload was too slow and was stopped. Check the network, then try again."
CUT_OFF = "The recording could not be uploaded. Check the network, then try again."
TOO_MANY_RESTARTS = "Supabase Storage lost the upload several times. Try again later."


async def upload(
    source: Path,
    name: str,
    *,
    session: ClientSession,
    base: str,
    bucket: str,
    headers: Mapping[str, str],
    report: Report,
    pace: Pace,
) -> None:
    """
    Put the file into the bucket, complete or not at all; an object of that name is replaced.

    Its SHA-256 is kept beside it as user metadata, {"sha256": "<lower-case hex>"}.

    Args:
        name: the object's; one that a bucket takes.
        base: the address of Storage, with a slash at its end.
        headers: the key and the Bearer.

    Raises AudioMissingError, AudioCorruptedError (it changed meanwhile), AudioTooBigError, AudioPathRefusedError,
    SupabaseAccessError, SupabaseStorageError (try again later).
    """
    async with opened(source) as file:
        what = Upload(bucket, name, file.size_bytes, await file.sha256(), content_type_of(name))
        await _Uploading(Requests(session, base, headers, pace), what, file, report, pace).finish()


class _Uploading:
    """One call of `upload`."""

    def __init__(self, requests: Requests, what: Upload, file: UploadSource, report: Report, pace: Pace) -> None:
        self._requests = requests
        self._what = what
        self._file = file
        self._report = report
        self._pace = pace
        self._upload_id: str | None = None
        self._offset = 0  # the server's, when it was last heard of
        self._furthest = 0
        self._num_restarts = 0

    async def finish(self) -> None:
        try:
            async with asyncio.timeout(self._pace.whole_limit_s(self._what.size_bytes)):
                await self._bring()
        except TimeoutError:
            pass
        else:
            self._report(1.0)
            return
        raise SupabaseStorageError(TOO_SLOW)

    async def _bring(self) -> None:
        """Attempt after attempt; one that got further gives the next all its time again."""
        is_done = False
        while not is_done:
            problem = None
            try:
                async for attempt in self._attempts():
                    with attempt:
                        is_done = await self._attempt()
            except Passing as passing:
                problem = passing.ours
            if problem is not None:
                raise problem

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_delay(self._pace.no_progress_s),
            wait=wait_random_exponential(multiplier=self._pace.first_wait_s, max=self._pace.longest_wait_s),
            reraise=True,
        )

    async def _attempt(self) -> bool:
        """Whether all is there; False if it broke off further than before. Foreign errors end here."""
        furthest_before = self._furthest
        problem: PCWorkerException | Passing | None
        try:
            await self._send()
            return True
        except (PCWorkerException, Passing) as error:
            problem = error
        except Exception as error:
            problem = as_upload(mapped(error))
            if problem is None:
                raise
        if isinstance(problem, Passing) and self._furthest > furthest_before:
            return False
        raise problem

    async def _send(self) -> None:
        size_bytes = self._what.size_bytes
        if size_bytes <= PIECE_BYTES:
            await self._requests.send_whole(self._what, await self._file.read(0, size_bytes))
            return
        try:
            await self._resume(size_bytes)
        except UploadGone:
            self._restart()
            raise Passing(SupabaseStorageError(TOO_MANY_RESTARTS)) from None

    async def _resume(self, size_bytes: int) -> None:
        """Go on at the server's offset, in a new resumable upload if there is none."""
        if self._upload_id is None:
            self._upload_id = await self._requests.create(self._what)
        else:
            self._reached(await self._requests.offset(self._upload_id, size_bytes))
            if self._offset == size_bytes and not await self._requests.is_there(self._what):
                raise UploadGone  # the server has all bytes and made no object of them; nothing more can be sent
        while self._offset < size_bytes:
            piece = await self._file.read(self._offset, PIECE_BYTES)
            self._reached(await self._requests.send_piece(self._upload_id, self._offset, piece, size_bytes))

    def _reached(self, offset: int) -> None:
        self._offset = offset
        if offset > self._furthest:
            self._furthest = offset
            self._report(offset / self._what.size_bytes)

    def _restart(self) -> None:
        self._num_restarts += 1
        if self._num_restarts > self._pace.max_restarts:
            raise SupabaseStorageError(TOO_MANY_RESTARTS)
        self._upload_id, self._offset = None, 0


def as_upload(problem: PCWorkerException | Passing | None) -> PCWorkerException | Passing | None:
    """A connection that broke is described there as that of a download."""
    if isinstance(problem, Passing) and isinstance(problem.ours, AudioDownloadError):
        return Passing(SupabaseStorageError(CUT_OFF, **problem.ours.details))
    return problem
