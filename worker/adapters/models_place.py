"""
Where speech models lie below MODEL_CACHE_DIR, in the layouts in which the engines find them.

    <room>/models--<owner>--<name>/snapshots/<revision>/...    as the Hugging Face hub's own client keeps them
    align/<file>.pth                                           a single file of torchaudio's
    align/<language>/...                                       a folder that somebody put there
    manifests/<model>.json                                     what `models pull` brought, with checksums

Source of the hub's layout: huggingface_hub, "Understand caching".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path


class Layout(StrEnum):
    HUB = "hub"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Model:
    """
    One that an engine can use.

    Attributes:
        name: as people call it: small, align-de, pyannote, or owner/repository.
        kind: whisper, aligner or diarizer.
        room: the folder below MODEL_CACHE_DIR in which its engine looks.
        repository: on the hub; None for a single file.
        url: of a single file; None for what is on the hub.
        language: of an aligner.
        patterns: which of the repository's files its engine reads; licences and model cards go along anyway.
        needs: each must be met by a file, or the model is not complete; patterns, with `|` between alternatives.
        num_bytes: about what is downloaded.
        licence, page: for people.
    """

    name: str
    kind: str
    room: str
    repository: str | None = None
    url: str | None = None
    language: str | None = None
    patterns: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    num_bytes: int = 0
    licence: str = "see its model card"
    page: str = ""

    @property
    def slug(self) -> str:
        """The name as a file and as a folder of a bucket."""
        return self.name.replace("/", "--")


@dataclass(frozen=True, slots=True)
class Found:
    """A model on this disk. `files` are relative to `folder`; `revision` is a commit of the hub's."""

    layout: Layout
    folder: Path
    files: tuple[str, ...]
    revision: str | None = None

    @property
    def size_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)


def find(cache: Path, model: Model) -> Found | None:
    """What an engine would use, complete or not; None if there is nothing."""
    return _folder(cache, model) or _file(cache, model) or _snapshot(cache, model)


def is_complete(cache: Path, model: Model, found: Found) -> bool:
    """Whether nothing of it is missing, as far as names tell; `models_check` reads the files."""
    if found.layout is Layout.FILE:
        return True
    if found.layout is Layout.HUB and any(repository_folder(cache, model).glob("blobs/*.incomplete")):
        return False
    return all(
        any(fnmatch(name, pattern) for name in found.files for pattern in need.split("|")) for need in model.needs
    )


def repository_folder(cache: Path, model: Model) -> Path:
    """Raises ValueError for a model that is on no hub."""
    if model.repository is None:
        raise ValueError(f"{model.name} has no repository")
    return cache / model.room / ("models--" + model.repository.replace("/", "--"))


def left_over_bytes(cache: Path, model: Model) -> int:
    """Of a download that was cut off."""
    if model.repository is None:
        return 0
    return sum(path.stat().st_size for path in repository_folder(cache, model).glob("blobs/*.incomplete"))


def remove_left_overs(cache: Path, model: Model) -> None:
    """Of downloads of other revisions, once one is whole."""
    for path in repository_folder(cache, model).glob("blobs/*.incomplete"):
        path.unlink(missing_ok=True)


def file_name(model: Model) -> str:
    """Of a single file, by its address."""
    return (model.url or "").rpartition("/")[2]


def _folder(cache: Path, model: Model) -> Found | None:
    folder = cache / model.room / (model.language or "")
    if model.language is None or not folder.is_dir():
        return None
    return Found(Layout.FOLDER, folder, files_in(folder))


def _file(cache: Path, model: Model) -> Found | None:
    folder = cache / model.room
    if model.url is None or not (folder / file_name(model)).is_file():
        return None
    return Found(Layout.FILE, folder, (file_name(model),))


def _snapshot(cache: Path, model: Model) -> Found | None:
    if model.repository is None:
        return None
    home = repository_folder(cache, model)
    try:
        revision = (home / "refs" / "main").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = home / "snapshots" / revision
    return Found(Layout.HUB, folder, files_in(folder), revision) if folder.is_dir() else None


def files_in(folder: Path) -> tuple[str, ...]:
    """Every file below the folder, links to files included; sorted, with slashes."""
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
