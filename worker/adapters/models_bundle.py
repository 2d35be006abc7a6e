"""
Models in the lab's own storage, so that one person fetches them from the hub and accepts their terms, and nobody else.

    models/<model>/<sha256>            a piece of a file, of at most PART_BYTES
    models/<model>/ATTRIBUTION.txt     for people who look into the bucket
    models/<model>/manifest.json       the list of files and their pieces; written last

Pieces are named by what is in them: one that is there is whole, is never sent twice, and never changes under somebody
who is fetching it. There is no archive to unpack, hence no names in it that could lead anywhere.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.adapters.models_errors import disk_full, disk_problems_mapped
from worker.adapters.models_manifest import (
    BLOCK_BYTES,
    MAX_MANIFEST_BYTES,
    Manifest,
    ModelFile,
    folder_of,
    keep_manifest,
    parsed,
    sha256_of,
    write_whole,
)
from worker.adapters.models_place import Layout, Model, remove_left_overs
from worker.exceptions import (
    AudioDownloadError,
    AudioMissingError,
    AudioProcessingError,
    AudioTooBigError,
    ModelUnavailableError,
    SupabaseStorageError,
)
from worker.ports import Report, Storage, unheard


class LabModels:
    """The `models` folder of a storage, and MODEL_CACHE_DIR of this PC."""

    def __init__(self, storage: Storage, cache: Path) -> None:
        self._storage = storage
        self._cache = cache

    async def push(
        self, model: Model, manifest: Manifest, folder: Path, *, again: bool = False, report: Report = unheard
    ) -> int:
        """
        Send what is not there yet (with `again`, everything); the manifest last. An older revision's pieces stay until
        somebody removes them.

        Returns the number of pieces sent. Raises as `ports.Storage.put` does.
        """
        progress, num_sent, files = _Progress(manifest.size_bytes, report), 0, []
        with disk_problems_mapped(model), _temporary_folder(self._cache) as room:
            for file in manifest.files:
                parts = []
                for number in range(manifest.num_parts_of(file)):
                    piece = room / "piece"
                    size_bytes = await asyncio.to_thread(
                        _cut, folder / file.path, piece, number * manifest.part_bytes, manifest.part_bytes
                    )
                    parts.append(await asyncio.to_thread(sha256_of, piece))
                    address, told = _address(model, parts[-1]), progress.of(size_bytes)
                    num_sent += await self._send(piece, address, told, again=again)
                files.append(file.model_copy(update={"parts": tuple(parts)}))
            await self._send_papers(model, manifest.model_copy(update={"files": tuple(files)}), room)
        report(1.0)
        return num_sent

    async def manifest(self, model: Model) -> Manifest | None:
        """What the lab has of the model; None if nobody pushed it."""
        with disk_problems_mapped(model), _temporary_folder(self._cache) as room:
            target = room / "manifest.json"
            try:
                await self._storage.fetch(
                    _address(model, "manifest.json"), target, max_bytes=MAX_MANIFEST_BYTES, report=unheard
                )
            except AudioMissingError:
                return None
            except AudioProcessingError as error:
                raise _not_fetched(model, error) from error
            return parsed(target.read_bytes(), model)

    async def bring(self, model: Model, manifest: Manifest, report: Report = unheard) -> None:
        """
        Make the model whole on this PC. What is here and right is not fetched, what an earlier attempt brought
        neither. Every file is complete before the first one takes its place.

        Raises ModelUnavailableError (it is another model, or incomplete there), SupabaseStorageError (try again),
        SupabaseAccessError, DiskFullError.
        """
        folder = folder_of(self._cache, model, manifest)
        staging = self._cache / ".from-lab" / model.slug
        progress = _Progress(manifest.size_bytes, report)
        with disk_problems_mapped(model), _alone(staging, model):
            missing = []
            for file in manifest.files:
                if await asyncio.to_thread(_is_right, folder / file.path, file):
                    progress.of(file.size_bytes)(1.0)
                else:
                    missing.append(file)
            self._check_room(model, sum(file.size_bytes for file in missing) + manifest.part_bytes, staging)
            for file in missing:
                await self._bring_file(model, manifest, file, staging, progress)
            await asyncio.to_thread(_install, missing, staging, folder)
            await asyncio.to_thread(_finish, self._cache, model, manifest, folder)
        shutil.rmtree(staging, ignore_errors=True)
        report(1.0)

    async def _send(self, piece: Path, address: str, report: Report, *, again: bool) -> bool:
        """Whether it had to be sent."""
        if not again and await self._is_there(address, piece.with_name("probe")):
            report(1.0)
            return False
        await self._storage.put(piece, address, report=report)
        return True

    async def _is_there(self, address: str, target: Path) -> bool:
        """Asked by a fetch that allows no byte: what is there is too big for it, and only its size crosses the line."""
        try:
            await self._storage.fetch(address, target, max_bytes=0, report=unheard)
        except AudioTooBigError:
            return True
        except AudioProcessingError:  # not there, or not to be had: sending tells
            return False
        return True

    async def _send_papers(self, model: Model, manifest: Manifest, room: Path) -> None:
        papers = {
            "ATTRIBUTION.txt": manifest.attribution.encode(),
            "manifest.json": manifest.model_dump_json(indent=1).encode(),
        }
        for name, content in papers.items():
            write_whole(room / name, content)
            await self._storage.put(room / name, _address(model, name))

    def _check_room(self, model: Model, needed_bytes: int, staging: Path) -> None:
        here = sum(path.stat().st_size for path in staging.iterdir())
        if shutil.disk_usage(self._cache).free < needed_bytes - here:
            raise disk_full(model, needed_bytes - here)

    async def _bring_file(
        self, model: Model, manifest: Manifest, file: ModelFile, staging: Path, progress: _Progress
    ) -> None:
        """Piece after piece into one growing file; what a checksum does not vouch for is cut off first."""
        growing = _staged(staging, file)
        num_good = await asyncio.to_thread(_keep_good_parts, growing, file, manifest.part_bytes)
        progress.of(min(file.size_bytes, num_good * manifest.part_bytes))(1.0)
        for number, part in enumerate(file.parts[num_good:], start=num_good):
            size_bytes = min(manifest.part_bytes, file.size_bytes - number * manifest.part_bytes)
            piece = staging / f"{part}.piece"
            await self._fetch_piece(model, part, piece, size_bytes, progress.of(size_bytes))
            await asyncio.to_thread(_append, piece, growing)
        if await asyncio.to_thread(sha256_of, growing) != file.sha256:
            growing.unlink()
            raise _damaged(model)

    async def _fetch_piece(self, model: Model, part: str, piece: Path, size_bytes: int, report: Report) -> None:
        try:
            await self._storage.fetch(_address(model, part), piece, max_bytes=size_bytes, report=report)
        except AudioProcessingError as error:
            raise _not_fetched(model, error) from error
        if await asyncio.to_thread(sha256_of, piece) != part:
            piece.unlink()
            raise _damaged(model)


class _Progress:
    """The share of the whole that is done, made of its pieces' shares."""

    def __init__(self, total_bytes: int, report: Report) -> None:
        self._total_bytes = max(total_bytes, 1)
        self._report = report
        self._done_bytes = 0.0

    def of(self, size_bytes: int) -> Report:
        """A Report for the next piece."""
        before = self._done_bytes
        self._done_bytes += size_bytes
        return lambda share: self._report(min(1.0, (before + share * size_bytes) / self._total_bytes))


def _address(model: Model, name: str) -> str:
    return f"models/{model.slug}/{name}"


def _cut(source: Path, piece: Path, start: int, num_bytes: int) -> int:
    """Copies a stretch of a file; how long it was."""
    left = num_bytes
    with source.open("rb") as file, piece.open("wb") as target:
        file.seek(start)
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            target.write(block)
            left -= len(block)
    return num_bytes - left


def _is_right(path: Path, file: ModelFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def _keep_good_parts(growing: Path, file: ModelFile, part_bytes: int) -> int:
    """How many of the first pieces are here and right; the file is cut off behind them."""
    growing.touch()
    num_good = 0
    with growing.open("r+b") as opened:
        for part in file.parts:
            piece = opened.read(part_bytes)
            if hashlib.sha256(piece).hexdigest() != part:
                break
            num_good += 1
        opened.truncate(min(num_good * part_bytes, file.size_bytes))
    return num_good


def _staged(staging: Path, file: ModelFile) -> Path:
    """Where it grows: another one for each path and each content."""
    return staging / hashlib.sha256(f"{file.path}\0{file.sha256}".encode()).hexdigest()


def _append(piece: Path, growing: Path) -> None:
    with piece.open("rb") as source, growing.open("ab") as target:
        shutil.copyfileobj(source, target, BLOCK_BYTES)
        target.flush()
        os.fsync(target.fileno())
    piece.unlink()


def _install(files: list[ModelFile], staging: Path, folder: Path) -> None:
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        _staged(staging, file).replace(target)


def _finish(cache: Path, model: Model, manifest: Manifest, folder: Path) -> None:
    """The revision's name last: by it the engines find the rest."""
    keep_manifest(cache, model, manifest)
    if manifest.layout is Layout.HUB:
        refs = folder.parent.parent / "refs"
        refs.mkdir(exist_ok=True)
        write_whole(refs / "main", str(manifest.revision).encode())
        remove_left_overs(cache, model)


@contextmanager
def _temporary_folder(cache: Path) -> Iterator[Path]:
    """On the disk of the models: /tmp may be small, and is often memory."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lab-", dir=cache) as name:
        yield Path(name)


@contextmanager
def _alone(staging: Path, model: Model) -> Iterator[None]:
    """Two processes must not let the same file grow."""
    staging.mkdir(parents=True, exist_ok=True)
    with staging.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelUnavailableError(
                f"The model {model.name} is being pulled on this PC already. Wait until that has ended."
            ) from None
        yield


def _not_fetched(model: Model, error: AudioProcessingError) -> ModelUnavailableError | SupabaseStorageError:
    if isinstance(error, AudioDownloadError) and not isinstance(error, (AudioMissingError, AudioTooBigError)):
        return SupabaseStorageError(
            f"The model {model.name} could not be fetched from the lab's storage. Check the network and run the "
            "command again; it goes on where it ended.",
            reason=error.code,
        )
    return _damaged(model)


def _damaged(model: Model) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The model {model.name} is incomplete or damaged in the lab's storage. Push it anew from a PC that has it: "
        f"`python -m worker models push --again {model.name}`."
    )
