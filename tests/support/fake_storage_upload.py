"""Uploading and removing objects, in one request or resumably (TUS), as FakeStorage answers it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from tests.support.fake_storage_access import PREFIX, Address, address_of, claims_of_request, write_denied
from tests.support.fake_storage_download import answer
from tests.support.fake_storage_faults import FAULT, SEEN, FailedFinish, Fault
from tests.support.fake_storage_objects import (
    BLOCK_BYTES,
    Bucket,
    Refusal,
    StoredObject,
    checked_name,
    duplicate,
    internal,
    md5_of,
    no_such_object,
    too_large,
    user_metadata,
)

if TYPE_CHECKING:
    from tests.support.fake_storage import FakeStorage

MAX_NAME_BYTES = 255
TUS = {"tus-resumable": "1.0.0"}


class Broken(Exception):
    """The connection ended while a body was read: there is nobody to answer."""


async def body_of(request: web.Request, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of an upload's body, broken off where the request's fault says."""
    fault: Fault = request[FAULT]
    limit = fault.received_limit()
    async for piece in pieces:
        left = None if limit is None else limit - request[SEEN].num_received
        request[SEEN].num_received += len(piece if left is None else piece[:left])
        yield piece if left is None else piece[:left]
        if left is not None and left <= len(piece):
            if fault.reads_on:
                async for _ in pieces:
                    pass
            await fault.broken()
            raise Broken


def permitted(storage: FakeStorage, request: web.Request, address: Address) -> Bucket:
    """The bucket to write to. Raises Refusal."""
    claims = claims_of_request(request)
    bucket = storage.shelf.bucket(address.bucket)
    if not storage.may(claims, "write", address.bucket, address.name):
        raise write_denied(claims)
    return bucket


def is_upsert(request: web.Request) -> bool:
    return request.method == "PUT" or request.headers.get("x-upsert") == "true"


# --- in one request ----------------------------------------------------------------------------------------------


@dataclass
class Arriving:
    """An upload on its way to disk."""

    path: Path
    content_type: str = "application/octet-stream"
    metadata: dict[str, Any] | None = None
    size_bytes: int = 0


async def upload(storage: FakeStorage, request: web.Request) -> web.Response:
    """POST, or PUT to replace; a form as storage3 sends it, or the bytes themselves."""
    address = address_of(request, "object")
    bucket = permitted(storage, request, address)
    if any(len(part.encode()) > MAX_NAME_BYTES for part in address.name.split("/")):
        raise internal()
    if not is_upsert(request) and storage.shelf.find(address.bucket, address.name):
        raise duplicate()
    arriving = Arriving(storage.shelf.new_file())
    try:
        if request.content_type.startswith("multipart/"):
            await receive_form(request, bucket, arriving)
        else:
            await receive_raw(request, bucket, arriving)
    except BaseException:
        arriving.path.unlink(missing_ok=True)
        raise
    kept = keep(storage, address, arriving, upsert=is_upsert(request))
    return answer({"Key": f"{address.bucket}/{address.name}", "Id": kept.id})


async def receive_raw(request: web.Request, bucket: Bucket, arriving: Arriving) -> None:
    arriving.content_type = request.headers.get("content-type", "application/octet-stream")
    arriving.metadata = user_metadata(request.headers.get("x-metadata"), encoded=True)
    bucket.check(request.content_length or 0, arriving.content_type)
    await receive(request, request.content.iter_chunked(BLOCK_BYTES), bucket, arriving)


async def receive_form(request: web.Request, bucket: Bucket, arriving: Arriving) -> None:
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.name == "metadata":
            arriving.metadata = user_metadata(await part.text())
        elif part.filename is not None:
            arriving.content_type = part.headers.get("content-type", "text/plain")
            await receive(request, pieces_of(part), bucket, arriving)


async def pieces_of(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(BLOCK_BYTES):
        yield bytes(piece)


async def receive(request: web.Request, pieces: AsyncIterator[bytes], bucket: Bucket, arriving: Arriving) -> None:
    with arriving.path.open("wb") as file:
        async for piece in body_of(request, pieces):
            arriving.size_bytes += len(piece)
            bucket.check(arriving.size_bytes, arriving.content_type)
            file.write(piece)


def keep(storage: FakeStorage, address: Address, arriving: Arriving, *, upsert: bool) -> StoredObject:
    found = StoredObject(
        name=address.name,
        size_bytes=arriving.size_bytes,
        md5=md5_of(arriving.path),
        content_type=arriving.content_type,
        metadata=arriving.metadata,
        path=arriving.path,
    )
    return storage.shelf.keep(address.bucket, found, upsert=upsert)


# --- removing ----------------------------------------------------------------------------------------------------


async def delete(storage: FakeStorage, request: web.Request) -> web.Response:
    claims, address = claims_of_request(request), address_of(request, "object")
    if not storage.may(claims, "delete", address.bucket, address.name):
        raise write_denied(claims)
    if storage.shelf.remove(address.bucket, address.name) is None:
        raise no_such_object()
    return answer({"message": "Successfully deleted"})


async def delete_many(storage: FakeStorage, request: web.Request) -> web.Response:
    claims, bucket = claims_of_request(request), request.match_info["bucket"]
    names = (await request.json())["prefixes"]
    if not all(storage.may(claims, "delete", bucket, name) for name in names):
        raise write_denied(claims)
    removed = [storage.shelf.remove(bucket, name) for name in names]
    return answer([found.row(found.name) for found in removed if found is not None])


# --- resumable (TUS 1.0.0) ---------------------------------------------------------------------------------------


@dataclass
class Resumable:
    """An upload that may take several requests; its object appears with the last byte."""

    address: Address
    arriving: Arriving
    length_bytes: int
    is_finished: bool = False


def tus_answer(status: int, text: str = "", **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=text or None, headers={**TUS, **named})


def tus_refusal(refusal: Refusal) -> web.Response:
    """Resumable uploads answer with the real status, as text."""
    return tus_answer(int(refusal.status_code), str(refusal))


def tus_metadata(header: str) -> dict[str, str]:
    pairs = (pair.strip().partition(" ") for pair in header.split(","))
    return {key: base64.b64decode(value).decode() for key, _, value in pairs}


async def create(storage: FakeStorage, request: web.Request) -> web.Response:
    metadata = tus_metadata(request.headers["upload-metadata"])
    bucket_name, name = metadata["bucketName"], checked_name(metadata["objectName"])
    address = Address(bucket_name, name, f"{bucket_name}/{name}")
    bucket = permitted(storage, request, address)
    length_bytes = int(request.headers["upload-length"])
    content_type = metadata.get("contentType", "application/octet-stream")
    if bucket.file_size_limit is not None and length_bytes > bucket.file_size_limit:
        return tus_answer(413, "Maximum size exceeded\n")
    bucket.check(length_bytes, content_type)
    if not is_upsert(request) and storage.shelf.find(bucket_name, name):
        raise duplicate()
    arriving = Arriving(storage.shelf.new_file(), content_type, user_metadata(metadata.get("metadata")))
    arriving.path.touch()
    text = f"{bucket_name}/{name}/{uuid.uuid4()}"
    upload_id = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    found = storage.resumables[upload_id] = Resumable(address, arriving, length_bytes)
    finish_if_complete(storage, request, found)
    origin = storage.own_address or f"{request.headers.get('x-forwarded-proto', 'https')}://{request.host}"
    return tus_answer(201, location=f"{origin}{PREFIX}/upload/resumable/{upload_id}")


def find_upload(storage: FakeStorage, request: web.Request) -> Resumable:
    found = storage.resumables.get(request.match_info["upload_id"])
    if found is None:
        raise Refusal(404, "not_found", "The file for this url was not found\n", "NoSuchUpload")
    return found


async def offset(storage: FakeStorage, request: web.Request) -> web.Response:
    """HEAD: needs no rights, but a token that can be read."""
    claims_of_request(request)
    found = find_upload(storage, request)
    return tus_answer(
        200,
        upload_offset=str(found.arriving.size_bytes),
        upload_length=str(found.length_bytes),
        cache_control="no-store",
    )


async def patch(storage: FakeStorage, request: web.Request) -> web.Response:
    found = find_upload(storage, request)
    permitted(storage, request, found.address)
    if request.content_type != "application/offset+octet-stream":
        return tus_answer(403, "Content-Type header required\n")
    if request.headers.get("upload-offset") != str(found.arriving.size_bytes):
        return tus_answer(409, "Upload-Offset conflict\n")
    with found.arriving.path.open("ab", buffering=0) as file:
        async for piece in body_of(request, request.content.iter_chunked(BLOCK_BYTES)):
            if found.arriving.size_bytes + len(piece) > found.length_bytes:
                raise too_large()
            file.write(piece)
            found.arriving.size_bytes += len(piece)
    finish_if_complete(storage, request, found)
    return tus_answer(204, upload_offset=str(found.arriving.size_bytes))


def finish_if_complete(storage: FakeStorage, request: web.Request, found: Resumable) -> None:
    if found.arriving.size_bytes == found.length_bytes and not found.is_finished:
        if isinstance(request[FAULT], FailedFinish):
            raise internal()
        keep(storage, found.address, found.arriving, upsert=is_upsert(request))
        found.is_finished = True
