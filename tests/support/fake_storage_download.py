"""Signing, downloading and looking at objects, as FakeStorage answers it."""

from __future__ import annotations

import asyncio
import json
import re
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.fake_storage_access import (
    Address,
    address_of,
    claims_of_request,
    signed_token,
    tolerated_claims,
    verified_token,
)
from tests.support.fake_storage_faults import FAULT, SEEN, ExpiredToken, Fault, Reply
from tests.support.fake_storage_objects import (
    StoredObject,
    bad_request,
    internal,
    no_such_bucket,
    no_such_object,
    range_refused,
)

if TYPE_CHECKING:
    from tests.support.fake_storage import FakeStorage

INVISIBLE = "Either the object does not exist or you do not have access to it"


def answer(body: object) -> web.Response:
    return web.Response(text=json.dumps(body), content_type="application/json", charset="utf-8")


def readable(storage: FakeStorage, claims: dict[str, Any], address: Address) -> StoredObject:
    """Raises Refusal: what may not be read looks missing."""
    found = storage.shelf.find(address.bucket, address.name)
    if found is None or not storage.may(claims, "read", address.bucket, address.name):
        raise no_such_object()
    return found


async def expires_in_of(request: web.Request) -> tuple[int, dict[str, Any]]:
    body = await request.json()
    seconds = str(body.get("expiresIn", ""))
    if not re.fullmatch(r"\d+", seconds) or int(seconds) < 1:
        raise bad_request("body/expiresIn must be >= 1")
    return int(seconds), body


async def sign(storage: FakeStorage, request: web.Request) -> web.Response:
    claims = claims_of_request(request)
    expires_in_s, _ = await expires_in_of(request)
    address = address_of(request, "object", "sign")
    readable(storage, claims, address)
    token = signed_token(address.signed_text, -60 if isinstance(request[FAULT], ExpiredToken) else expires_in_s)
    return answer({"signedURL": f"/object/sign/{address.signed_text}?token={token}"})


async def sign_many(storage: FakeStorage, request: web.Request) -> web.Response:
    claims = claims_of_request(request)
    expires_in_s, body = await expires_in_of(request)
    bucket = request.match_info["bucket"]

    def signed(name: str) -> dict[str, Any]:
        if storage.shelf.find(bucket, name) is None or not storage.may(claims, "read", bucket, name):
            return {"error": INVISIBLE, "path": name, "signedURL": None}
        token = signed_token(f"{bucket}/{name}", expires_in_s)
        return {"error": None, "path": name, "signedURL": f"/object/sign/{bucket}/{name}?token={token}"}

    return answer([signed(name) for name in body["paths"]])


async def info(storage: FakeStorage, request: web.Request) -> web.Response:
    claims = tolerated_claims(request)
    address = address_of(request, "object", "info")
    storage.shelf.bucket(address.bucket)
    return answer(readable(storage, claims, address).info(address.bucket))


async def get_bucket(storage: FakeStorage, request: web.Request) -> web.Response:
    name = request.match_info["bucket"]
    bucket = storage.shelf.buckets.get(name)
    if bucket is None or not storage.may(claims_of_request(request), "bucket", name, ""):
        raise no_such_bucket()
    fields = {"file_size_limit": bucket.file_size_limit, "allowed_mime_types": bucket.allowed_mime_types}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00.000Z")
    return answer({"id": name, "name": name, "owner": "", "public": False, **fields, **times})


async def list_objects(storage: FakeStorage, request: web.Request) -> web.Response:
    claims = claims_of_request(request)
    body, bucket = await request.json(), request.match_info["bucket"]
    rows = storage.shelf.listing(bucket, body["prefix"], lambda name: storage.may(claims, "read", bucket, name))
    wanted = [row for row in rows if body.get("search", "") in row["name"]]
    start = body.get("offset", 0)
    return answer(wanted[start : start + body.get("limit", 100)])


async def download_signed(storage: FakeStorage, request: web.Request) -> web.StreamResponse:
    """GET and HEAD of a signed URL."""
    address = address_of(request, "object", "sign")
    expires = verified_token(request, address)["exp"]
    found = storage.shelf.find(address.bucket, address.name)
    if found is None:
        raise no_such_object()
    return await send(storage, request, found, {"expires": formatdate(expires, usegmt=True)})


async def download_authenticated(storage: FakeStorage, request: web.Request) -> web.StreamResponse:
    claims = claims_of_request(request)
    return await send_authenticated(storage, request, claims, address_of(request, "object", "authenticated"))


async def download_plain(storage: FakeStorage, request: web.Request) -> web.StreamResponse:
    """What storage3's `download` uses."""
    return await send_authenticated(storage, request, tolerated_claims(request), address_of(request, "object"))


async def send_authenticated(
    storage: FakeStorage, request: web.Request, claims: dict[str, Any], address: Address
) -> web.StreamResponse:
    storage.shelf.bucket(address.bucket)
    return await send(storage, request, readable(storage, claims, address), {"cache-control": "max-age=3600"})


async def send(
    storage: FakeStorage, request: web.Request, found: StoredObject, headers: dict[str, str]
) -> web.StreamResponse:
    """The object's bytes, all or a range. If-Range and If-Match are ignored, as the real server does."""
    try:
        file = found.opened()
    except FileNotFoundError as error:
        raise internal() from error
    with file:
        if storage.first_byte_delay_s:
            await asyncio.sleep(storage.first_byte_delay_s)
        if is_unchanged(request, found):
            return web.Response(status=304, headers={"etag": found.etag})
        reply = reply_of(storage, request, found, headers)
        fault: Fault = request[FAULT]
        fault.alter(reply)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        num_bytes = reply.num_bytes if reply.breaks_after is None else min(reply.num_bytes, reply.breaks_after)
        for piece in found.pieces(file, reply.start, num_bytes):
            await response.write(piece)
            request[SEEN].num_sent += len(piece)
        if reply.breaks_after is not None:
            await fault.broken()
            abort(request)
        return response


def reply_of(storage: FakeStorage, request: web.Request, found: StoredObject, headers: dict[str, str]) -> Reply:
    """Raises Refusal for a range that the server does not serve."""
    size_bytes = found.size_bytes
    start, end, status = 0, size_bytes, 200
    headers = {
        "accept-ranges": "bytes",
        "content-type": "text/plain" if found.content_type == "text/html" else found.content_type,
        "etag": found.etag,
        "x-robots-tag": "none",
        "last-modified": formatdate(found.updated_at.timestamp(), usegmt=True),
        **headers,
    }
    if asked := request.headers.get("range"):
        start, end = range_of(asked, size_bytes, past_the_end_status=storage.past_the_end_status)
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    headers["content-length"] = str(end - start)
    return Reply(status, headers, start, end - start)


def range_of(asked: str, size_bytes: int, *, past_the_end_status: int) -> tuple[int, int]:
    """First byte, and the one after the last; the end is clamped. Raises Refusal."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or found.group(0) == "bytes=-" or size_bytes == 0:
        raise range_refused()
    first, last = found.groups()
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    if int(first) >= size_bytes:
        raise range_refused() if past_the_end_status == 416 else internal()
    if last and int(last) < int(first):
        raise range_refused()
    return int(first), min(size_bytes, int(last) + 1) if last else size_bytes


def is_unchanged(request: web.Request, found: StoredObject) -> bool:
    if "if-none-match" in request.headers:
        return request.headers["if-none-match"] == found.etag
    since = request.headers.get("if-modified-since")
    return since is not None and parsedate_to_datetime(since).timestamp() >= int(found.updated_at.timestamp())


def abort(request: web.Request) -> None:
    """End the TCP connection; what was written before has been sent, as the write buffer has no room."""
    if request.transport is not None:
        request.transport.abort()
