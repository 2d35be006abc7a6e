"""
Which models this PC's settings need, what of them is here, and how the rest gets here: part of the composition root.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from worker.app_children import child_environment
from worker.app_model_names import model_named, models_of, pyannote_of, unnamed_models
from worker.app_recordings import storage_of, web_of
from worker.config import Settings
from worker.exceptions import AudioDownloadError, ConfigurationError, ModelUnavailableError
from worker.ports import Fetcher, Report, unheard

if TYPE_CHECKING:
    from worker.adapters.models_bundle import LabModels
    from worker.adapters.models_manifest import Manifest
    from worker.adapters.models_place import Found, Model

HUB = "https://huggingface.co"
AT_HAND_S = 4.0
MAX_FILE_BYTES = 20 * 1000**3


class ModelState(StrEnum):
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ModelHere:
    """
    A line of `models list`.

    Attributes:
        is_needed: by the settings of this PC.
        size_bytes: on the disk, a download that was cut off included.
        revision: a commit of the hub's; None for what did not come from there.
    """

    name: str
    kind: str
    state: ModelState
    is_needed: bool
    size_bytes: int
    licence: str
    revision: str | None
    page: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What `models check` found out; `problems` is None where nobody wrote down what the files should be."""

    name: str
    problems: tuple[str, ...] | None


NewBar = Callable[[str], Report]
"""Called with a model's name when work on it begins; what it returns is told how far that is."""


def _nobody(name: str) -> Report:  # noqa: ARG001  # NewBar's signature
    return unheard


def inventory(settings: Settings) -> tuple[ModelHere, ...]:
    """What the settings need, and what else is in MODEL_CACHE_DIR."""
    needed = models_of(settings)
    others = unnamed_models(settings, known=needed)
    return tuple(_here(settings, model, is_needed=model in needed) for model in (*needed, *others))


def _here(settings: Settings, model: Model, *, is_needed: bool) -> ModelHere:
    from worker.adapters.models_manifest import kept_manifest
    from worker.adapters.models_place import left_over_bytes

    cache = settings.model_cache_dir
    state, found = _state(cache, model)
    manifest = kept_manifest(cache, model)
    return ModelHere(
        name=model.name,
        kind=model.kind,
        state=state,
        is_needed=is_needed,
        size_bytes=(found.size_bytes if found else 0) + left_over_bytes(cache, model),
        licence=manifest.licence if manifest else model.licence,
        revision=found.revision if found else None,
        page=model.page,
    )


def _state(cache: Path, model: Model) -> tuple[ModelState, Found | None]:
    from worker.adapters.models_check import lacks_files
    from worker.adapters.models_place import find, is_complete, left_over_bytes

    found = find(cache, model)
    if found is None:
        return (ModelState.INCOMPLETE if left_over_bytes(cache, model) else ModelState.MISSING), None
    is_whole = is_complete(cache, model, found) and not lacks_files(cache, model, found)
    return (ModelState.COMPLETE if is_whole else ModelState.INCOMPLETE), found


# --- from the hub ------------------------------------------------------------------------------------------------


def pull(
    settings: Settings, names: Sequence[str] = (), *, bar: NewBar = _nobody, web: Fetcher | None = None
) -> tuple[str, ...]:
    """
    Bring what is missing or damaged, and write down its checksums. Blocks; Ctrl-C stops it, the next call goes on.

    Returns the models' names. Raises ConfigurationError, ModelUnavailableError, DiskFullError.
    """
    if settings.models_offline:
        raise ConfigurationError("MODELS_OFFLINE is set, so that no hub is asked. Unset it, or pull with --from-lab.")
    models = _chosen(settings, names)
    for model in models:
        _pull(settings, model, bar(model.name), web or web_of(settings))
    return tuple(model.name for model in models)


def _pull(settings: Settings, model: Model, report: Report, web: Fetcher) -> None:
    from worker.adapters.models_errors import disk_problems_mapped
    from worker.adapters.models_hub import pull as pull_from_hub
    from worker.adapters.models_manifest import keep_manifest
    from worker.adapters.models_place import find, is_complete

    cache, licence = settings.model_cache_dir, model.licence
    with disk_problems_mapped(model):
        is_by_hand = _refuse_damaged_folder(cache, model)
        if model.url is not None and not is_by_hand:
            asyncio.run(_pull_file(cache, model, report, web))
    if model.repository is not None and not is_by_hand:
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        pulled = pull_from_hub(model, cache, token=token, endpoint=_endpoint(settings), report=report)
        licence = pulled.licence or licence
    found = find(cache, model)
    if found is None or not is_complete(cache, model, found):
        raise ModelUnavailableError(
            f"{model.repository or model.name} holds no {model.kind} model that the engine can read: "
            f"{' or '.join(model.needs)} is missing. Check its name."
        )
    with disk_problems_mapped(model):
        keep_manifest(cache, model, _manifest(model, found, licence))


def _refuse_damaged_folder(cache: Path, model: Model) -> bool:
    """Whether somebody put a folder there by hand, which no pull may replace. Raises ModelUnavailableError."""
    from worker.adapters.models_check import problems_of
    from worker.adapters.models_place import Layout, find

    found = find(cache, model)
    if found is None or found.layout is not Layout.FOLDER:
        return False
    problems = problems_of(cache, model, found)
    if problems:
        raise ModelUnavailableError(
            f"The folder {model.room}/{model.language} of MODEL_CACHE_DIR was put there by hand and is damaged: "
            f"{', '.join(problems)}. Copy it there again, or remove it and run the command again."
        )
    return True


async def _pull_file(cache: Path, model: Model, report: Report, web: Fetcher) -> None:
    """Its server names no checksum, so that only the one of the first time can be held against it."""
    from worker.adapters.models_check import problems_of
    from worker.adapters.models_place import file_name, find

    found, target = find(cache, model), cache / model.room / file_name(model)
    if found is not None and not problems_of(cache, model, found):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        await web.fetch(str(model.url), target, max_bytes=MAX_FILE_BYTES, report=report)
    except AudioDownloadError as error:
        raise ModelUnavailableError(
            f"The model {model.name} cannot be fetched. Let the PC reach download.pytorch.org and run the command "
            "again, it goes on where it ended; or take it from another PC of the lab: `python -m worker models pull "
            "--from-lab`.",
            reason=error.code,
        ) from error


def _manifest(model: Model, found: Found, licence: str) -> Manifest:
    """Reads every byte."""
    from dataclasses import replace

    from worker.adapters.models_manifest import Manifest, attribution_of, described

    return Manifest(
        name=model.name,
        kind=model.kind,
        layout=found.layout,
        repository=model.repository,
        revision=found.revision,
        licence=licence,
        attribution=attribution_of(replace(model, licence=licence)),
        files=tuple(described(found.folder / name, name) for name in found.files),
    )


def _endpoint(settings: Settings) -> str | None:
    return child_environment(settings).get("HF_ENDPOINT")


# --- from and to the lab's storage -------------------------------------------------------------------------------


async def pull_from_lab(
    settings: Settings, names: Sequence[str] = (), *, bar: NewBar = _nobody
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Bring what somebody pushed, without a hub or its token.

    Args:
        names: without any, what the settings need; pyannote too where it may be used, if the lab has it.

    Returns the names that were brought, and those that the lab does not have.
    """
    lab = _lab(settings)
    settings = settings.model_copy(update={"models_offline": False})  # `auto` may want what is not here yet
    wanted = list(_chosen(settings, names))
    if not names and settings.diarizer == "auto" and (pyannote := pyannote_of(settings)) and pyannote not in wanted:
        wanted.append(pyannote)
    brought, absent = [], []
    for model in wanted:
        manifest = await lab.manifest(model)
        if manifest is None:
            absent.append(model.name)
            continue
        await lab.bring(model, manifest, bar(model.name))
        brought.append(model.name)
    return tuple(brought), tuple(absent)


async def push(
    settings: Settings, names: Sequence[str] = (), *, again: bool = False, bar: NewBar = _nobody
) -> tuple[str, ...]:
    """
    Put models of this PC into the lab's storage, after a look that they are whole.

    Returns the models' names. Raises ModelUnavailableError, SupabaseAccessError (not an administrator's key).
    """
    lab, models = _lab(settings), _chosen(settings, names)
    for model in models:
        manifest, folder = await asyncio.to_thread(_to_push, settings.model_cache_dir, model)
        await lab.push(model, manifest, folder, again=again, report=bar(model.name))
    return tuple(model.name for model in models)


def _to_push(cache: Path, model: Model) -> tuple[Manifest, Path]:
    from worker.adapters.models_check import problems_of
    from worker.adapters.models_errors import disk_problems_mapped

    with disk_problems_mapped(model):
        state, found = _state(cache, model)
        if found is None or state is not ModelState.COMPLETE:
            raise ModelUnavailableError(
                f"The model {model.name} is {state} on this PC. Run `python -m worker models pull {model.name}` first."
            )
        problems = problems_of(cache, model, found)
        if problems:
            raise ModelUnavailableError(
                f"The model {model.name} is damaged on this PC: {', '.join(problems)}. Run `python -m worker models "
                f"pull {model.name}` first."
            )
        return _manifest(model, found, _licence(cache, model)), found.folder


def _licence(cache: Path, model: Model) -> str:
    from worker.adapters.models_manifest import kept_manifest

    manifest = kept_manifest(cache, model)
    return manifest.licence if manifest else model.licence


def _lab(settings: Settings) -> LabModels:
    from worker.adapters.models_bundle import LabModels

    return LabModels(storage_of(settings), settings.model_cache_dir)


# --- check -------------------------------------------------------------------------------------------------------


def check(settings: Settings, names: Sequence[str] = (), *, bar: NewBar = _nobody) -> tuple[Checked, ...]:
    """Read every file of the models that are named, or of all that are here or needed."""
    models = _chosen(settings, names)
    if not names:
        models = (*models, *unnamed_models(settings, known=models))
    return tuple(_checked(settings.model_cache_dir, models, bar))


def _checked(cache: Path, models: Iterable[Model], bar: NewBar) -> Iterator[Checked]:
    from worker.adapters.models_check import problems_of

    for model in models:
        state, found = _state(cache, model)
        if found is None:
            yield Checked(model.name, (f"it is {state}",))
            continue
        problems = problems_of(cache, model, found, bar(model.name))
        if state is ModelState.INCOMPLETE and not problems:
            problems = ("files are missing",)
        yield Checked(model.name, problems)


def _chosen(settings: Settings, names: Sequence[str]) -> tuple[Model, ...]:
    """Raises ConfigurationError for a name that is none, and when nothing is needed."""
    models = tuple(dict.fromkeys(model_named(settings, name) for name in names)) if names else models_of(settings)
    if not models:
        raise ConfigurationError("The settings need no model. Say which: `python -m worker models pull small`.")
    return models


# --- for the demo ------------------------------------------------------------------------------------------------


async def whisper_at_hand(settings: Settings) -> str | None:
    """Where a Whisper model is to be had from, as a sentence; None if it is not. Answers within five seconds."""
    from worker.adapters.server_clock import answers
    from worker.engine.whisper_files import is_hub_name

    name = settings.whisper_model
    if Path(name).is_dir():
        return "WHISPER_MODEL is a folder." if (Path(name) / "model.bin").is_file() else None
    if not is_hub_name(name):
        return None
    asr_only = settings.model_copy(update={"asr_engine": "whisperx", "align_model": None})
    (whisper, *_) = models_of(asr_only)
    if _state(settings.model_cache_dir, whisper)[0] is ModelState.COMPLETE:
        return _in_cache(whisper)
    is_forbidden = child_environment(settings).get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    if not (settings.models_offline or is_forbidden) and await answers(_endpoint(settings) or HUB, timeout_s=AT_HAND_S):
        return f"The Whisper model {whisper.name} can be fetched from the hub ({whisper.num_bytes / 1e9:.1f} GB)."
    (second, *_) = models_of(asr_only.model_copy(update={"models_offline": True}))  # `auto` takes what is here
    return _in_cache(second) if _state(settings.model_cache_dir, second)[0] is ModelState.COMPLETE else None


def _in_cache(model: Model) -> str:
    return f"The Whisper model {model.name} is in MODEL_CACHE_DIR."
