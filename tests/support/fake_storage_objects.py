"""The buckets and objects of FakeStorage, on disk, and its refusals in the words of the real server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

BLOCK_BYTES = 1 << 18
NAME = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")


class Refusal(Exception):
    """An error answer: mostly HTTP 400 with the true status as a string in the body."""

    def __init__(self, status_code: int, error: str, message: str, code: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.status_code = status_code
        self.error = error
        self.code = code

    def body(self, *, with_code: bool) -> str:
        fields = {"statusCode": str(self.status_code), "error": self.error, "message": str(self)}
        return json.dumps({**fields, "code": self.code} if with_code else fields)


def no_such_object() -> Refusal:
    return Refusal(404, "not_found", "Object not found", "NoSuchKey")


def no_such_bucket() -> Refusal:
    return Refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")


def bad_key(message: str) -> Refusal:
    return Refusal(403, "Unauthorized", message, "AccessDenied")


def bad_request(message: str) -> Refusal:
    return Refusal(400, "Error", message, "InvalidRequest")


def bad_token(message: str) -> Refusal:
    return Refusal(400, "InvalidJWT", message, "InvalidJWT")


def bad_signature() -> Refusal:
    return Refusal(400, "InvalidSignature", "Invalid signature", "InvalidSignature")


def duplicate() -> Refusal:
    return Refusal(409, "Duplicate", "The resource already exists", "KeyAlreadyExists")


def too_large() -> Refusal:
    return Refusal(413, "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")


def wrong_type(content_type: str) -> Refusal:
    message = f"mime type {content_type} is not supported"
    return Refusal(415, "invalid_mime_type", message, "InvalidMimeType")


def internal() -> Refusal:
    return Refusal(500, "Internal", "Internal Server Error", "InternalError", status=500)


def range_refused() -> Refusal:
    return Refusal(416, "invalid_range", "The requested range is not satisfiable", "InvalidRange", status=416)


def checked_name(name: str) -> str:
    """Raises Refusal for a name that no object can have."""
    if not NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise Refusal(400, "InvalidKey", f"Invalid key: {name}", "InvalidKey")
    return name


@dataclass
class Bucket:
    name: str
    file_size_limit: int | None = None
    allowed_mime_types: tuple[str, ...] | None = None

    def check(self, size_bytes: int, content_type: str) -> None:
        """Raises Refusal for what the bucket does not take."""
        if self.file_size_limit is not None and size_bytes > self.file_size_limit:
            raise too_large()
        types = self.allowed_mime_types
        if types is not None and content_type not in types and f"{content_type.split('/')[0]}/*" not in types:
            raise wrong_type(content_type)


@dataclass(frozen=True)
class StoredObject:
    """One version of an object. Its bytes are those of `path`, or of `block` again and again."""

    name: str
    size_bytes: int
    md5: str
    content_type: str
    metadata: dict[str, Any] | None
    path: Path
    block: bytes | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        return f'"{self.md5}"'

    def opened(self) -> BinaryIO:
        """Raises FileNotFoundError for a row without its file."""
        return self.path.open("rb")

    def pieces(self, file: BinaryIO, start: int, num_bytes: int) -> Iterator[bytes]:
        """The bytes from `start`; of a file that was opened before it was replaced, the old ones."""
        while num_bytes > 0:
            piece = self._piece(file, start, min(BLOCK_BYTES, num_bytes))
            if not piece:
                return
            yield piece
            start += len(piece)
            num_bytes -= len(piece)

    def _piece(self, file: BinaryIO, start: int, num_bytes: int) -> bytes:
        if self.block is None:
            file.seek(start)
            return file.read(num_bytes)
        offset = start % len(self.block)
        return self.block[offset : offset + num_bytes]

    def read_bytes(self) -> bytes:
        with self.opened() as file:
            return b"".join(self.pieces(file, 0, self.size_bytes))

    def info(self, bucket: str) -> dict[str, Any]:
        """As GET /object/info answers."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "bucket_id": bucket,
            "size": self.size_bytes,
            "content_type": self.content_type,
            "cache_control": "max-age=3600",
            "etag": self.etag,
            "metadata": self.metadata,
            "last_modified": timestamp(self.updated_at),
            "created_at": timestamp(self.created_at),
        }

    def row(self, name: str) -> dict[str, Any]:
        """As POST /object/list answers."""
        metadata = {
            "eTag": self.etag,
            "size": self.size_bytes,
            "mimetype": self.content_type,
            "cacheControl": "max-age=3600",
            "lastModified": timestamp(self.updated_at),
            "contentLength": self.size_bytes,
            "httpStatusCode": 200,
        }
        times = dict.fromkeys(("updated_at", "created_at", "last_accessed_at"), timestamp(self.updated_at))
        return {"name": name, "id": self.id, **times, "metadata": metadata}


def timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user_metadata(text: str | None, *, encoded: bool = False) -> dict[str, Any] | None:
    """The user's metadata as a form field carries it, or as the header x-metadata does (base64)."""
    if not text:
        return None
    value = json.loads(base64.b64decode(text) if encoded else text)
    return value if isinstance(value, dict) else None


class Shelf:
    """Buckets by name, and in each its objects by name. Thread-safe; every version is a file of its own."""

    def __init__(self, folder: Path, buckets: list[Bucket]) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self.buckets = {bucket.name: bucket for bucket in buckets}
        self.objects: dict[str, dict[str, StoredObject]] = {bucket.name: {} for bucket in buckets}

    def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise no_such_bucket()
        return self.buckets[name]

    def find(self, bucket: str, name: str) -> StoredObject | None:
        with self._lock:
            return self.objects.get(bucket, {}).get(name)

    def new_file(self) -> Path:
        return self._folder / uuid.uuid4().hex

    def keep(self, bucket: str, found: StoredObject, *, upsert: bool) -> StoredObject:
        """Make `found` the object of its name: the same id as before, a new version."""
        with self._lock:
            before = self.objects[bucket].get(found.name)
            if before is not None and not upsert:
                found.path.unlink()
                raise duplicate()
            if before is not None:
                before.path.unlink(missing_ok=True)
                found = replace(found, id=before.id, created_at=before.created_at)
            self.objects[bucket][found.name] = found
            return found

    def remove(self, bucket: str, name: str) -> StoredObject | None:
        with self._lock:
            found = self.objects.get(bucket, {}).pop(name, None)
            if found is not None:
                found.path.unlink(missing_ok=True)
            return found

    def listing(self, bucket: str, prefix: str, may_read: Callable[[str], bool]) -> list[dict[str, Any]]:
        """What lies directly in the folder `prefix`; a folder in it has no id."""
        folder = prefix.strip("/") + "/" if prefix.strip("/") else ""
        rows: dict[str, dict[str, Any]] = {}
        with self._lock:
            for name, found in sorted(self.objects.get(bucket, {}).items()):
                if name.startswith(folder) and may_read(name):
                    first, *rest = name.removeprefix(folder).split("/")
                    rows[first] = {"name": first, "id": None, "metadata": None} if rest else found.row(first)
        return list(rows.values())


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
