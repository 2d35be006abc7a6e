"""Where pyannote's pipeline is: in a folder, in the cache, or on the Hugging Face hub. Imports no torch."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.exceptions import ModelUnavailableError

CONFIG = "config.yaml"
_WEIGHTS = {"pytorch_model.bin"}
_PLDA = {"plda.npz", "xvec_transform.npz"}
_PART = re.compile(r"\$model/([\w./-]+)")
_FILES = (CONFIG, "*.bin", "*.npz", "*.md", "LICENSE*")
_OTHER_WAYS = (
    "`python -m worker models pull --from-lab` gets it from the project's Storage if somebody put it there; "
    "DIARIZER=bundled works without it."
)


@dataclass(frozen=True, slots=True)
class Hub:
    """
    The Hugging Face hub as this process may use it.

    `token`: community-1 is given out to accounts that accepted its terms. `is_offline`: it is never asked.
    """

    token: str | None
    address: str
    is_offline: bool


def hub_of_this_process(*, offline: bool) -> Hub:
    """What HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE say, read as huggingface_hub itself does."""
    from huggingface_hub import constants, get_token

    return Hub(token=get_token(), address=constants.ENDPOINT, is_offline=offline or bool(constants.HF_HUB_OFFLINE))


def pipeline_folder(model: str, cache: Path, hub: Hub) -> Path:
    """
    The folder with the pipeline. The hub is asked only for what is not here.

    Args:
        model: `owner/repository` on the hub, or a folder.
        cache: where fetched pipelines are kept, in the hub's own layout.

    Raises ModelUnavailableError with the remedy as its message, OSError when the disk is full.
    """
    found = pipeline_at_hand(model, cache)
    if found is not None:
        return found
    if Path(model).is_dir():
        raise ModelUnavailableError(
            f"The folder PYANNOTE_MODEL holds no complete pyannote pipeline ({CONFIG} and the models that it names). "
            f"Copy the whole repository there, or correct PYANNOTE_MODEL. {_OTHER_WAYS}"
        )
    if not is_repository(model):
        raise ModelUnavailableError(
            "There is no such folder as PYANNOTE_MODEL says. Correct it, or set a name such as "
            f"pyannote/speaker-diarization-community-1. {_OTHER_WAYS}"
        )
    if hub.is_offline:
        raise ModelUnavailableError(
            f"pyannote's {model} is not on this PC, and MODELS_OFFLINE forbids to fetch it. Fetch it once without "
            f"MODELS_OFFLINE, or set PYANNOTE_MODEL to a folder. {_OTHER_WAYS}"
        )
    return _fetched(model, cache, hub)


def pipeline_at_hand(model: str, cache: Path) -> Path | None:
    """The folder with the pipeline if it is complete on this PC; reads a few folder entries and no weights."""
    if Path(model).is_dir():
        return Path(model) if is_complete(Path(model)) else None
    if not is_repository(model):
        return None
    return next((folder for folder in _snapshots(model, cache) if is_complete(folder)), None)


def is_repository(model: str) -> bool:
    """Whether it can be a name on the hub: `owner/repository`."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None


def is_complete(folder: Path) -> bool:
    """Whether the configuration and all models of the folder that it names are there; False for a download cut off."""
    try:
        config = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    parts = ({path.name for path in (folder / part).glob("*") if path.is_file()} for part in _PART.findall(config))
    return all(files >= _WEIGHTS or files >= _PLDA for files in parts)


def revision_of(folder: Path) -> str:
    """The hub's commit where the folder came from the hub, else a checksum over all that the pipeline is made of."""
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(_made_of(folder)):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def hub_remedy(error: BaseException, model: str, *, has_token: bool) -> ModelUnavailableError:
    """
    What to do about an error of huggingface_hub, or of the network below it.

    The hub says 401 with GatedRepo when no token came, 403 with GatedRepo when the account has not accepted the terms
    or a fine-grained token may not see gated repositories, and 401 without either for a token that it does not know.
    Source: huggingface_hub.utils._http.hf_raise_for_status, tried with its version 0.36.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import RepositoryNotFoundError as NotFound

    chain = list(_causes(error))
    status = next((code for link in chain if (code := _status(link)) is not None), None)

    def is_one_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) and not isinstance(link, LocalEntryNotFoundError) for link in chain)

    if not has_token and (status in (401, 403) or is_one_of(GatedRepoError, NotFound)):
        message = _NO_ACCOUNT
    elif is_one_of(GatedRepoError) or status == 403:
        message = _TERMS
    elif is_one_of(NotFound, RevisionNotFoundError, EntryNotFoundError):
        message = _NOT_THERE
    else:
        message = _ACCOUNT_REFUSED if status == 401 else _UNREACHABLE
    return ModelUnavailableError(f"{message.format(model=model)} {_OTHER_WAYS}", reason=_reason(chain))


_NO_ACCOUNT = (
    "pyannote's {model} is given out by the Hugging Face hub to accounts that accepted its terms. Accept them once on "
    "https://huggingface.co/{model}, create a token (read) and set it as HF_TOKEN."
)
_TERMS = (
    "The Hugging Face hub knows HF_TOKEN and does not give out {model}. Open https://huggingface.co/{model} with the "
    "account of the token and accept the terms; a fine-grained token also needs read access to public gated "
    "repositories."
)
_ACCOUNT_REFUSED = (
    "The Hugging Face hub refuses HF_TOKEN. Create a new token (read) on https://huggingface.co/settings/tokens."
)
_NOT_THERE = (
    "There is no pyannote pipeline {model} on the Hugging Face hub, or HF_TOKEN may not see it. Correct PYANNOTE_MODEL."
)
_UNREACHABLE = (
    "pyannote's {model} is not on this PC, and the Hugging Face hub cannot be reached. Let the PC reach "
    "huggingface.co once, or set PYANNOTE_MODEL to a folder that holds the pipeline."
)


def _fetched(model: str, cache: Path, hub: Hub) -> Path:
    from huggingface_hub import snapshot_download

    token = hub.token or False  # None would make it look for one by itself
    try:
        folder = Path(
            snapshot_download(model, cache_dir=cache, endpoint=hub.address, token=token, allow_patterns=list(_FILES))
        )
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors as well
        if is_disk_full(error):
            raise
        raise hub_remedy(error, model, has_token=hub.token is not None) from error
    if not is_complete(folder):
        raise ModelUnavailableError(f"{_NOT_THERE.format(model=model)} {_OTHER_WAYS}", reason="it came incomplete")
    return folder


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _snapshots(model: str, cache: Path) -> Iterator[Path]:
    """The hub's cache of a repository: what `main` was when it was fetched first, then the newest."""
    repository = cache / f"models--{model.replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = ""
    folders = [folder for folder in (repository / "snapshots").glob("*") if folder.is_dir()]
    yield from sorted(folders, key=lambda folder: (folder.name != commit, -folder.stat().st_mtime))


def _made_of(folder: Path) -> Iterator[Path]:
    config = folder / CONFIG
    yield config
    for part in set(_PART.findall(config.read_text(encoding="utf-8"))):
        yield from (path for path in (folder / part).iterdir() if path.suffix in (".bin", ".npz", ".yaml"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _reason(chain: list[BaseException]) -> str:
    """Kinds only: the texts hold addresses, request ids and folders."""
    return " < ".join(type(link).__name__ for link in chain)
