"""
A recording in the bucket, as a source of downloads.

Each piece is signed first, by a call with the key: only its answer tells a refused key from a missing object. `info`
follows, which asks the database alone: the size, before anything is downloaded, and the version, which changes with
every upload. The bytes come from the signed address, without the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from worker.adapters.download_source import Remote
from worker.adapters.storage_errors import REFUSED_NAME, Passing, mapped, refusal
from worker.audio_paths import split_audio_path
from worker.exceptions import AudioMissingError, AudioPathRefusedError, PCWorkerException, SupabaseStorageError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from storage3 import AsyncStorageClient

T = TypeVar("T")

SIGNATURE_S = 120
"""How long a signed address may be used to begin a transfer; one that has begun goes on beyond it."""

ALLOWED_NAME = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,-]+")
"""What Storage takes; without the question mark, whose objects no signed address reaches."""

SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_REFUSAL_BYTES = 1 << 16

ELSEWHERE = "Supabase Storage pointed to another server. Compare SUPABASE_URL with the project's address."
UNREADABLE = "What answers at SUPABASE_URL is no Supabase Storage. Compare it with the project's address."


def checked_name(audio_path: str) -> str:
    """Raises AudioPathRefusedError unless an object of the bucket can have that name."""
    split_audio_path(audio_path)
    if not ALLOWED_NAME.fullmatch(audio_path):
        raise AudioPathRefusedError(REFUSED_NAME)
    return audio_path


class BucketSource:
    """Implements `download_source.Source`; `base` is the address of Storage, with a slash at its end."""

    def __init__(self, client: AsyncStorageClient, session: ClientSession, base: str, bucket: str, name: str) -> None:
        from yarl import URL

        self._client = client
        self._session = session
        self._signed = str(URL(base).join(URL("object/sign/")))
        self._bucket = bucket
        self._name = name

    async def locate(self) -> Remote:
        signed = await sign(self._client, self._bucket, self._name)
        if isinstance(signed, Exception):
            raise signed
        if not signed.startswith(self._signed):
            raise SupabaseStorageError(ELSEWHERE)
        info = await _answer(self._client.from_(self._bucket).info(self._name))
        if isinstance(info, Exception):
            raise info
        remote = _remote(signed, info)
        if remote is None:
            raise Passing(SupabaseStorageError(UNREADABLE))
        return remote

    def get(self, remote: Remote, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ClientResponse]:
        from yarl import URL

        url = URL(remote.address, encoded=True)  # the signature is bound to these very letters
        return self._session.get(url, headers=headers, allow_redirects=False)

    def validator(self, response: ClientResponse) -> str:
        """Storage gives each answer with bytes an ETag; a page of some gateway seldom has one. A CDN may weaken it."""
        etag = response.headers.get("ETag", "").removeprefix("W/")
        if not etag:
            raise Passing(SupabaseStorageError(UNREADABLE))
        return etag

    async def refusal(self, response: ClientResponse) -> PCWorkerException | Passing:
        try:
            body = json.loads(await response.content.read(MAX_REFUSAL_BYTES))
            return refusal(body["statusCode"], body["error"], body["message"])
        except (ValueError, KeyError, TypeError):
            return refusal(response.status, None, None)


async def sign(client: AsyncStorageClient, bucket: str, name: str) -> str | PCWorkerException | Passing:
    """
    A signed address, or what is in the way (returned, so that no foreign exception clings to it).

    Signing does not tell a missing bucket from a missing object; asking for the object's size does.
    """
    files = client.from_(bucket)
    signed = await _answer(files.create_signed_url(name, SIGNATURE_S))
    if isinstance(signed, AudioMissingError):
        info = await _answer(files.info(name))
        return info if isinstance(info, SupabaseStorageError) else signed
    if isinstance(signed, Exception):
        return signed
    return signed["signedURL"] or Passing(SupabaseStorageError(UNREADABLE))


async def _answer(call: Awaitable[T]) -> T | PCWorkerException | Passing:
    """What a call of storage3 gives, or what its exception means to us."""
    try:
        return await call
    except (ValueError, TypeError, KeyError) as error:  # no JSON, or another JSON than Storage's
        return mapped(error) or Passing(SupabaseStorageError(UNREADABLE))
    except Exception as error:
        problem = mapped(error)
        if problem is None:
            raise
        return problem


def _remote(address: str, info: object) -> Remote | None:
    """None if it does not read like an answer of Storage."""
    if not isinstance(info, dict):
        return None
    size_bytes, version = info.get("size"), info.get("version")
    if not isinstance(size_bytes, int) or size_bytes < 0 or not version:
        return None
    fingerprint = hashlib.sha256(f"{info.get('id')} {version}".encode()).hexdigest()
    metadata = info.get("metadata")
    sha256 = metadata.get("sha256") if isinstance(metadata, dict) else None
    return Remote(
        address,
        version=fingerprint,
        size_bytes=size_bytes,
        sha256=sha256 if isinstance(sha256, str) and SHA256.fullmatch(sha256) else None,
        modified_ns=_modified_ns(info.get("last_modified"), fingerprint),
    )


def _modified_ns(text: object, fingerprint: str) -> int:
    """
    When the object was last changed. What is finer than Storage's milliseconds is taken from the version, so that two
    versions of one millisecond have two times.
    """
    try:
        milliseconds = round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        milliseconds = 0
    return milliseconds * 10**6 + int(fingerprint[:8], 16) % 10**6
