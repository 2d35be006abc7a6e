"""
Models from the Hugging Face hub, by its own client: only the files that an engine reads, resumed where a download was
cut off, each held against the hub's checksum.

The client checks sizes and no checksums, and names a revision before its files are there. Here the name comes last.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from worker.adapters.models_check import hub_hash_of
from worker.adapters.models_errors import disk_full, disk_problem
from worker.adapters.models_manifest import BLOCK_BYTES, write_whole
from worker.adapters.models_place import Model, remove_left_overs, repository_folder
from worker.exceptions import DiskFullError, ModelUnavailableError
from worker.ports import Report

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

PAPERS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "README.md", "*/LICENSE*", "*/NOTICE*")
"""What goes along with every model."""

SAFE_WEIGHTS, OTHER_WEIGHTS = "model.safetensors", "pytorch_model.bin"
"""The same weights twice; transformers prefers the first."""

ASK_S = 20.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Pulled:
    """`licence` is what the model's card says, such as mit."""

    revision: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class HubFile:
    """`digest` is a SHA-256 for large files, and git's hash for small ones, by which the hub's cache names them."""

    name: str
    size_bytes: int
    digest: str
    is_git: bool


def pull(model: Model, cache: Path, *, token: str | None, endpoint: str | None, report: Report) -> Pulled:
    """
    Bring the newest revision, or what is missing or damaged of it. Blocks, and may be interrupted and called again.

    Args:
        cache: MODEL_CACHE_DIR.
        endpoint: another hub than huggingface.co, as HF_ENDPOINT says.

    Raises ModelUnavailableError with what to do, DiskFullError.
    """
    _quiet_client()
    home = repository_folder(cache, model)
    with problems_mapped(model):
        info = _asked(model, token, endpoint)
        files = wanted_files(info, model.patterns)
        _check_room(home, model, files)
        with _watched(home, files, report):
            for file in files:
                _bring(model, home, file, str(info.sha), token=token, endpoint=endpoint)
        (home / "refs").mkdir(exist_ok=True)
        write_whole(home / "refs" / "main", str(info.sha).encode())
        remove_left_overs(cache, model)
    report(1.0)
    return Pulled(str(info.sha), str(licence) if (licence := getattr(info.card_data, "license", None)) else None)


def _quiet_client() -> None:
    """Its bars would be drawn over ours, and Xet, its other way of downloading, starts from zero after a kill."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:  # else the client warns that the environment decides
        disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings quote signed addresses
    constants.HF_HUB_DISABLE_XET = True
    constants.DOWNLOAD_CHUNK_SIZE = BLOCK_BYTES  # what a broken line costs: of its 10 MB only whole ones are kept


def _asked(model: Model, token: str | None, endpoint: str | None) -> ModelInfo:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, token=token)
    return api.model_info(str(model.repository), revision="main", files_metadata=True, timeout=ASK_S)


def wanted_files(info: ModelInfo, patterns: Sequence[str]) -> tuple[HubFile, ...]:
    """What the patterns and PAPERS say, and of weights that are there twice the better."""
    siblings = {found.rfilename: found for found in info.siblings or ()}
    patterns = [p for p in patterns if not (p == OTHER_WEIGHTS and SAFE_WEIGHTS in siblings)]
    return tuple(
        _file(found)
        for name, found in sorted(siblings.items())
        if any(fnmatch(name, pattern) for pattern in (*patterns, *PAPERS))
    )


def _file(found: RepoSibling) -> HubFile:
    digest = found.lfs.sha256 if found.lfs else found.blob_id or ""
    return HubFile(found.rfilename, found.size or 0, digest, is_git=found.lfs is None)


def _check_room(home: Path, model: Model, files: Sequence[HubFile]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    missing = sum(file.size_bytes for file in files) - num_arrived(home, files)
    if shutil.disk_usage(home).free < missing:
        raise disk_full(model, missing)


def num_arrived(home: Path, files: Sequence[HubFile]) -> int:
    """Bytes that are on the disk, those of a file on its way included."""
    return sum(max(_size(home / "blobs" / f.digest), _size(home / "blobs" / f"{f.digest}.incomplete")) for f in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bring(model: Model, home: Path, file: HubFile, revision: str, *, token: str | None, endpoint: str | None) -> None:
    """What is here is believed as little as what comes: a second time it is fetched anew."""
    for _ in range(2):
        path = _fetched(model, home, file, revision, token=token, endpoint=endpoint)
        if hub_hash_of(path, is_git=file.is_git) == file.digest:
            return
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    raise ModelUnavailableError(
        f"The file {file.name} of the model {model.name} arrives damaged. Run `python -m worker models pull "
        f"{model.name}` again; if that does not help, something on the way (a proxy, a virus scanner) changes it."
    )


def _fetched(
    model: Model, home: Path, file: HubFile, revision: str, *, token: str | None, endpoint: str | None
) -> Path:
    """A line that breaks inside a file ends the client's call (0.36); it is called again for as long as it gets on."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    repository, cache = str(model.repository), home.parent
    while True:
        before = num_arrived(home, [file])
        try:
            return Path(
                hf_hub_download(
                    repository, file.name, revision=revision, cache_dir=cache, token=token, endpoint=endpoint
                )
            )
        except OSError as error:
            if isinstance(error, HfHubHTTPError) or num_arrived(home, [file]) <= before:
                raise


@contextmanager
def _watched(home: Path, files: Sequence[HubFile], report: Report) -> Iterator[None]:
    """Reports what is on the disk: the client tells nobody how far it is, except on a bar of its own."""
    total, done = sum(file.size_bytes for file in files) or 1, threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            report(min(1.0, num_arrived(home, files) / total))

    thread = threading.Thread(target=look, name="download-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# --- what the client raises --------------------------------------------------------------------------------------


@contextmanager
def problems_mapped(model: Model) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # the client's errors are all of them one or the other
        raise problem_of(error, model) from error


def problem_of(error: Exception, model: Model) -> ModelUnavailableError | DiskFullError:
    """What the client's error means, and what to do. Its own text may quote addresses with signatures."""
    from huggingface_hub import errors

    cause = error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, Exception):
        return problem_of(cause, model)  # "not here either": what matters is why it was not fetched
    reason = type(error).__name__
    of_disk = disk_problem(error, model) if isinstance(error, OSError) else None
    if of_disk is not None:
        return of_disk
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _unavailable("HF_HUB_OFFLINE forbids to ask the hub. Unset it, or pull with --from-lab.", reason)
    if isinstance(error, errors.HfHubHTTPError):
        return _unavailable(_refusal(getattr(error.response, "status_code", 0), type(error), model), reason)
    if isinstance(error, errors.HFValidationError):
        return _unavailable(f"{model.repository} is no name of a model on the hub. Correct it.", reason)
    return _unavailable(_UNREACHABLE, reason)


_UNREACHABLE = (
    "The model hub cannot be reached, or something between here and it answers in its place. Let the PC reach "
    "huggingface.co (and *.hf.co) and run the command again, it goes on where it ended; or take the model from another "
    "PC of the lab: `python -m worker models pull --from-lab`."
)


def _refusal(status: int, kind: type[Exception], model: Model) -> str:
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model.repository}"
    if issubclass(kind, errors.GatedRepoError) and status == 401:
        return (
            f"The model {model.name} wants a token. Accept its terms at {page}, make a token of type Read at "
            "https://huggingface.co/settings/tokens, and set HF_TOKEN. Or pull with --from-lab what somebody pushed."
        )
    if issubclass(kind, errors.GatedRepoError):
        return f"The account of HF_TOKEN has not accepted the terms of the model {model.name}. Accept them at {page}."
    if issubclass(kind, errors.RepositoryNotFoundError):
        return f"The hub has no model {model.repository} that this PC may read. Check its name, and HF_TOKEN."
    if issubclass(kind, (errors.RevisionNotFoundError, errors.EntryNotFoundError)):
        return f"The hub has no files of the model {model.repository} where they should be. Check its name."
    if status == 401:
        return "The hub refuses HF_TOKEN. Copy it anew from https://huggingface.co/settings/tokens, or remove it."
    if status == 403:
        return f"HF_TOKEN may not read the model {model.repository}. Give the token the right to read gated models."
    if status == 429:
        return "The hub says that it was asked too often. Wait some minutes, then run the command again."
    return "The hub has a problem of its own. Run the command again later; it goes on where it ended."


def _unavailable(message: str, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(message, reason=reason)
