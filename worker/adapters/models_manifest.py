"""
The list of a model's files with their checksums: kept beside the models, and sent to the lab's storage with them.

A manifest that comes from the storage is read as if anybody had written it: nothing in it can lead out of the folder of
the model that was asked for.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from worker.adapters.models_place import Layout, Model, file_name, repository_folder
from worker.audio_paths import split_audio_path
from worker.exceptions import AudioPathRefusedError, ModelUnavailableError

PART_BYTES = 45_000_000
"""Of one object in a bucket. Source: Supabase, "Storage file limits": 50 MB at most on the free plan."""

MAX_FILES = 500
MAX_MANIFEST_BYTES = 4 << 20
BLOCK_BYTES = 1 << 20

LICENCE_TEXTS = {
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "mit": "https://opensource.org/license/mit",
}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SINGLE_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.pth?")


def _inside(path: str) -> str:
    try:
        split_audio_path(path)
    except AudioPathRefusedError:
        raise ValueError("a path leads out of its folder") from None
    return path


def _hex(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise ValueError("a checksum is none")
    return digest


Sha256 = Annotated[str, AfterValidator(_hex)]


class ModelFile(BaseModel):
    """`path` is relative to the model's folder; `parts` are the checksums of its pieces in the storage, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_inside)]
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    parts: tuple[Sha256, ...] = ()


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    kind: str
    layout: Layout
    repository: str | None
    revision: str | None
    licence: str
    attribution: str
    part_bytes: int = Field(PART_BYTES, ge=1, le=PART_BYTES)
    files: tuple[ModelFile, ...] = Field(min_length=1, max_length=MAX_FILES)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise ValueError("a file is named twice")
        if self.layout is Layout.HUB and not _REVISION.fullmatch(self.revision or ""):
            raise ValueError("a revision is none")
        if self.layout is Layout.FILE and not (len(paths) == 1 and _SINGLE_FILE.fullmatch(paths[0])):
            raise ValueError("a single file is none")
        return self

    def num_parts_of(self, file: ModelFile) -> int:
        return math.ceil(file.size_bytes / self.part_bytes)

    def has_all_parts(self) -> bool:
        return all(len(file.parts) == self.num_parts_of(file) for file in self.files)


def folder_of(cache: Path, model: Model, manifest: Manifest) -> Path:
    """Where the files of the manifest belong. Raises ModelUnavailableError when it is of another model."""
    if manifest.name != model.name or manifest.kind != model.kind:
        raise _other(model)
    match manifest.layout:
        case Layout.HUB if manifest.repository == model.repository:
            return repository_folder(cache, model) / "snapshots" / str(manifest.revision)
        case Layout.FOLDER if model.language is not None:
            return cache / model.room / model.language
        case Layout.FILE if manifest.files[0].path == file_name(model):
            return cache / model.room
    raise _other(model)


def manifest_path(cache: Path, model: Model) -> Path:
    return cache / "manifests" / f"{model.slug}.json"


def kept_manifest(cache: Path, model: Model) -> Manifest | None:
    """What an earlier pull wrote down; None also if it cannot be read any more."""
    try:
        return Manifest.model_validate_json(manifest_path(cache, model).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_manifest(cache: Path, model: Model, manifest: Manifest) -> None:
    """With the attribution beside it, for people."""
    path = manifest_path(cache, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path.with_suffix(".ATTRIBUTION.txt"), manifest.attribution.encode())
    write_whole(path, manifest.model_dump_json(indent=1).encode())


def parsed(content: bytes, model: Model) -> Manifest:
    """A manifest of the lab's storage. Raises ModelUnavailableError for one that may not be followed."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ModelUnavailableError(
            f"What the lab's storage holds as the model {model.name} is damaged or made by another version. Push it "
            f"again: `python -m worker models push {model.name}`.",
            reason=str(error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]),
        ) from None
    if not manifest.has_all_parts():
        raise ModelUnavailableError(
            f"The lab's list of the model {model.name} contradicts itself. Push it again: "
            f"`python -m worker models push {model.name}`."
        )
    return manifest


def described(path: Path, name: str) -> ModelFile:
    """The file as it is on the disk, under the name that it has in its model."""
    return ModelFile(path=name, size_bytes=path.stat().st_size, sha256=sha256_of(path))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Complete or not at all, whatever happens to this process or to the power."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def attribution_of(model: Model) -> str:
    """Names the work, its source and its licence, as CC-BY-4.0 section 3(a) asks of whoever passes it on."""
    return (
        f"Model: {model.repository or file_name(model)}\n"
        f"Made by: {_makers(model)}\n"
        f"Source: {model.page or model.url}\n"
        f"Licence: {model.licence}{_where(model.licence)}\n"
        "Changes: none; the files are passed on as they were published.\n"
    )


def _where(licence: str) -> str:
    address = LICENCE_TEXTS.get(licence.lower())
    return f", {address}" if address else ""


def _makers(model: Model) -> str:
    if model.repository is None:
        return "the authors that its source names"
    return f"{model.repository.partition('/')[0]} and the authors that its model card names"


def _other(model: Model) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The lab's storage holds another model under the name {model.name}. Push the right one: "
        f"`python -m worker models push {model.name}`."
    )
