"""
The requests of which an upload to Supabase Storage is made, each with its time limit, and what their answers mean.

Small files go in one request. Large ones go resumably, by the protocol TUS 1.0.0: create an upload, send pieces, ask
how far it is. Of TUS that is all there is; `tuspy` would bring the same three requests without time limits, over a new
connection for each piece, with redirects followed and only the system's certificates.

Source: tus.io/protocols/resumable-upload; Supabase documentation, "Resumable uploads"; supabase/storage v1.70.6.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.download_source import Pace
from worker.adapters.storage_errors import Passing, refusal
from worker.exceptions import AudioTooBigError, PCWorkerException, SupabaseAccessError, SupabaseStorageError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

PIECE_BYTES = 6 << 20
"""Supabase takes resumable uploads in pieces of exactly this size, but for the last."""

WIRE_BYTES = 1 << 16
MAX_ANSWER_BYTES = 1 << 16

TOO_LARGE = (
    "The file is larger than Supabase Storage allows. Raise the file size limit of the project (Storage, Settings) "
    "and of the bucket meeting-audio, if it has one of its own, or compress the recording."
)
WRONG_TYPE = (
    "The bucket meeting-audio does not take files of this type. Remove the bucket's list of allowed types, or upload "
    "another format."
)
NO_WRITING = (
    "This key may not upload recordings; a worker's token may only read them. "
    "Use an administrator's key, SUPABASE_ADMIN_KEY."
)
UNREADABLE = "What answers at SUPABASE_URL is no Supabase Storage. Compare it with the project's address."


TUS = {"Tus-Resumable": "1.0.0"}
TUS_ERRORS = {"Invalid key": "InvalidKey", "Bucket not found": "Bucket not found"}
"""What `error` would be, by how the text begins."""

MAY_NOT_WRITE = ("permission denied", "row-level security")


class UploadGone(Exception):
    """The server knows this resumable upload no more: it has expired, or somebody tidied up."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    def offset(self, size_bytes: int) -> int:
        """How many bytes the server has. Raises Passing if it does not say so properly."""
        said = self.headers.get("Upload-Offset", "")
        if not said.isdigit() or int(said) > size_bytes:
            raise Passing(SupabaseStorageError(UNREADABLE))
        return int(said)


@dataclass(frozen=True, slots=True)
class Upload:
    """What is uploaded, whereto and as what."""

    bucket: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str

    @property
    def user_metadata(self) -> str:
        """Kept beside the object and handed out by `info`."""
        return json.dumps({"sha256": self.sha256})


class Requests:
    """
    Each raises Passing for what may pass, errors of our tree for what will not, and UploadGone; aiohttp's go through.

    Args:
        base: the address of Storage, with a slash at its end. Nothing else is ever asked.
        headers: the key and the Bearer.
    """

    def __init__(self, session: ClientSession, base: str, headers: Mapping[str, str], pace: Pace) -> None:
        self._session = session
        self._base = base
        self._headers = {**headers, "Accept-Encoding": "identity", "x-upsert": "true"}
        self._pace = pace

    async def send_whole(self, upload: Upload, content: bytes) -> None:
        from yarl import URL

        headers = {
            "Content-Type": upload.content_type,
            "x-metadata": base64.b64encode(upload.user_metadata.encode()).decode(),
        }
        path = URL(self._base).joinpath("object", upload.bucket, *upload.name.split("/"))
        answer = await self._ask("POST", path, headers, content)
        if answer.status != 200 or '"Key"' not in answer.text:
            raise problem_of(answer)

    async def create(self, upload: Upload) -> str:
        """The name of the new resumable upload. The server's idea of its own address is not trusted, nor needed."""
        fields = {
            "bucketName": upload.bucket,
            "objectName": upload.name,
            "contentType": upload.content_type,
            "metadata": upload.user_metadata,
        }
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}
        metadata = ",".join(f"{name} {value}" for name, value in encoded.items())
        headers = {"Upload-Length": str(upload.size_bytes), "Upload-Metadata": metadata}
        answer = await self._ask("POST", self._resumable(), headers)
        upload_id = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if answer.status != 201 or not upload_id:
            raise problem_of(answer)
        return upload_id

    async def offset(self, upload_id: str, size_bytes: int) -> int:
        """How many bytes the server has."""
        answer = await self._ask("HEAD", self._resumable(upload_id), {})
        if answer.status in (404, 410):
            raise UploadGone
        if answer.status != 200:
            raise problem_of(answer)
        return answer.offset(size_bytes)

    async def send_piece(self, upload_id: str, offset: int, piece: bytes, size_bytes: int) -> int:
        """How many bytes the server has afterwards; with the last piece the object appears."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        is_last = offset + len(piece) == size_bytes
        answer = await self._ask("PATCH", self._resumable(upload_id), headers, piece, size_bytes if is_last else 0)
        if answer.status in (404, 410):
            raise UploadGone
        if answer.status != 204:
            raise problem_of(answer)
        return answer.offset(size_bytes)

    async def is_there(self, upload: Upload) -> bool:
        """Whether the object has the bytes of this upload, as far as Storage's database knows."""
        from yarl import URL

        path = URL(self._base).joinpath("object", "info", upload.bucket, *upload.name.split("/"))
        answer = await self._ask("GET", path, {})
        try:
            info = json.loads(answer.text)
            return bool(info["size"] == upload.size_bytes and info["metadata"]["sha256"] == upload.sha256)
        except (ValueError, KeyError, TypeError):
            return False

    def _resumable(self, *upload_id: str) -> URL:
        from yarl import URL

        return URL(self._base).joinpath("upload", "resumable", *upload_id)

    async def _ask(
        self, method: str, url: URL, headers: Mapping[str, str], content: bytes = b"", num_hashed: int = 0
    ) -> Answer:
        """
        Silence ends the request: while the body goes out, and, longer, while the server thinks about it.

        Args:
            num_hashed: bytes of an object that the server reads before it answers.
        """
        length = {"Content-Length": str(len(content))} if content else {}
        async with asyncio.timeout(self._pace.connect_s + self._pace.first_byte_s) as limit:
            async with self._session.request(
                method,
                url,
                headers={**self._headers, **TUS, **headers, **length},
                data=self._outgoing(content, limit, num_hashed) if content else None,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, response.headers, await text_of(response))

    async def _outgoing(self, content: bytes, limit: asyncio.Timeout, num_hashed: int) -> AsyncIterator[bytes]:
        """The body in small blocks: each that the network takes is a sign of life."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(content), WIRE_BYTES):
            yield content[start : start + WIRE_BYTES]
            limit.reschedule(loop.time() + self._pace.stall_s)
        limit.reschedule(loop.time() + self._pace.first_byte_limit_s(num_hashed))


async def text_of(response: ClientResponse) -> str:
    """The body, or the beginning of one that no Storage sends."""
    body = bytearray()
    while len(body) < MAX_ANSWER_BYTES and (block := await response.content.readany()):
        body += block
    return body.decode(errors="replace")


def problem_of(answer: Answer) -> PCWorkerException | Passing:
    """What an answer means that is not the one hoped for."""
    status, error, message = said(answer)
    number = int(str(status))
    if number == 413:
        return AudioTooBigError(TOO_LARGE, status=number)
    if number == 415:
        return SupabaseStorageError(WRONG_TYPE, status=number)
    if number == 409:  # another request of ours is still being worked on, or its answer was lost
        return Passing(SupabaseStorageError(status=number))
    if number < 300:
        return Passing(SupabaseStorageError(UNREADABLE, status=number))
    problem = refusal(status, error, message)
    if isinstance(problem, SupabaseAccessError) and any(words in message for words in MAY_NOT_WRITE):
        return SupabaseAccessError(NO_WRITING, status=number)
    return problem


def said(answer: Answer) -> tuple[str | int, str, str]:
    """
    Status, error and message as `storage_errors.refusal` takes them.

    Plain requests are refused with JSON. Resumable ones have the true status and a text, and carry `Tus-Resumable`;
    what has neither comes from a gateway.
    """
    try:
        body = json.loads(answer.text)
        return str(int(body["statusCode"])), str(body["error"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        pass
    error = next((error for words, error in TUS_ERRORS.items() if answer.text.startswith(words)), "")
    status = str(answer.status) if "Tus-Resumable" in answer.headers else answer.status
    return status, error, answer.text
