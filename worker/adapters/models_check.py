"""Whether a model's files still are what was downloaded: each is read and hashed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from worker.adapters.models_manifest import BLOCK_BYTES, Manifest, folder_of, kept_manifest, sha256_of
from worker.adapters.models_place import Found, Model
from worker.exceptions import ModelUnavailableError
from worker.ports import Report, unheard

GIT_HASH_LENGTH = 40
"""The hub names small files by git's hash, the others by their SHA-256 (64)."""


def problems_of(cache: Path, model: Model, found: Found, report: Report = unheard) -> tuple[str, ...] | None:
    """
    Names of files that are missing or damaged, each with what is wrong; empty when all is well. None when nobody
    wrote down what the files should be.
    """
    manifest = kept_manifest(cache, model)
    if manifest is not None and _is_of(manifest, cache, model, found):
        return tuple(_against_manifest(manifest, found, report))
    blobs = {name: (found.folder / name).resolve() for name in found.files}
    if not blobs or any(path.parent.name != "blobs" for path in blobs.values()):
        return None
    return tuple(_against_names(blobs, report))


def lacks_files(cache: Path, model: Model, found: Found) -> bool:
    """Whether a file that is in the model's manifest is not here, or has another size. Reads none."""
    manifest = kept_manifest(cache, model)
    if manifest is None or not _is_of(manifest, cache, model, found):
        return False
    return any(not _has_size(found.folder / file.path, file.size_bytes) for file in manifest.files)


def _is_of(manifest: Manifest, cache: Path, model: Model, found: Found) -> bool:
    """The engine may have fetched a newer revision since."""
    try:
        return folder_of(cache, model, manifest) == found.folder and manifest.revision == found.revision
    except ModelUnavailableError:
        return False


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def _against_manifest(manifest: Manifest, found: Found, report: Report) -> Iterator[str]:
    num_read = 0
    for file in manifest.files:
        path = found.folder / file.path
        if not path.is_file():
            yield f"{file.path} is missing"
        elif not _has_size(path, file.size_bytes) or sha256_of(path) != file.sha256:
            yield f"{file.path} is damaged"
        num_read += file.size_bytes
        report(num_read / max(manifest.size_bytes, 1))


def _against_names(blobs: dict[str, Path], report: Report) -> Iterator[str]:
    for number, (name, path) in enumerate(blobs.items(), start=1):
        if hub_hash_of(path, is_git=len(path.name) == GIT_HASH_LENGTH) != path.name:
            yield f"{name} is damaged"
        report(number / len(blobs))


def hub_hash_of(path: Path, *, is_git: bool) -> str:
    """Lower-case hex. Git's is the SHA-1 of a heading with the size and the content (gitformat-pack: blob)."""
    if not is_git:
        return sha256_of(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
