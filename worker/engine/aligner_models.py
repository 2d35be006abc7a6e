"""
wav2vec2 models for word times: found on this PC, or fetched once.

In this order: the model that is asked for, a folder in the cache named like the language, whisperx's choice for the
language. What is on the PC is taken from there; a hub is asked only for what is not, and never when offline.
"""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from worker.engine.forced_alignment import Alphabet

_CONNECTION_TIMEOUT_S = 20.0
"""torchaudio fetches its models without any timeout: of one read from the network, not of the whole download."""


@dataclass(frozen=True)
class AlignerModel:
    """`name` is for people: of the folder, or as the hub calls it. `network` is in evaluation mode, in float32."""

    name: str
    network: Any
    alphabet: Alphabet


class Load(Protocol):
    """See `load_aligner`."""

    def __call__(
        self, language: str, *, cache: Path, device: str, model: str | None, offline: bool
    ) -> AlignerModel: ...


def load_aligner(language: str, *, cache: Path, device: str, model: str | None, offline: bool) -> AlignerModel:
    """
    Args:
        cache: where fetched models are kept, and folders named like their language.
        model: a name or a folder, for every language; None: by language.

    Raises ValueError, OSError and whatever the libraries raise: no model for the language, not on this PC and not to be
    had, or broken.
    """
    name, folder = _choice(language, cache, model)
    if folder is not None:
        return _loaded(str(folder), language, device, cache=None, is_offline=True, shown=folder.name)
    bundle_file = _bundle_file(name)
    if bundle_file is not None:
        home = _home_of(bundle_file, cache)
        if home is None and offline:
            raise ValueError(f"the aligner {name} is not on this PC")
        return _loaded(name, language, device, cache=home or cache, is_offline=True, shown=name)
    try:
        return _loaded(name, language, device, cache=cache, is_offline=True, shown=name)
    except ValueError:
        if offline:
            raise
    return _loaded(name, language, device, cache=cache, is_offline=False, shown=name)


def _choice(language: str, cache: Path, model: str | None) -> tuple[str, Path | None]:
    """A name and, if that is what it is, a folder."""
    from whisperx.alignment import DEFAULT_ALIGN_MODELS_HF, DEFAULT_ALIGN_MODELS_TORCH

    folder = Path(model) if model else cache / language
    if folder.is_dir():
        return folder.name, folder.resolve()
    name = model or DEFAULT_ALIGN_MODELS_TORCH.get(language) or DEFAULT_ALIGN_MODELS_HF.get(language)
    if name is None:
        raise ValueError(f"no aligner is known for the language {language}")
    return name, None


def _bundle_file(name: str) -> str | None:
    """The file that torchaudio keeps the model in; None when it is not one of torchaudio's."""
    from torchaudio import pipelines  # type: ignore[import-untyped]  # ships no type information

    bundle = getattr(pipelines, name, None) if name in pipelines.__all__ else None
    return None if bundle is None else str(bundle._path).rpartition("/")[2]


def _home_of(bundle_file: str, cache: Path) -> Path | None:
    """Our cache, or torch's own, where other programs on this PC may have left the file."""
    import torch

    homes = (cache, Path(torch.hub.get_dir()) / "checkpoints")
    return next((home for home in homes if (home / bundle_file).is_file()), None)


def _loaded(name: str, language: str, device: str, *, cache: Path | None, is_offline: bool, shown: str) -> AlignerModel:
    from whisperx.alignment import LANGUAGES_WITHOUT_SPACES, load_align_model

    with _connections_time_out(), contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot load
        network, metadata = load_align_model(
            language, device, model_name=name, model_dir=cache and str(cache), model_cache_only=is_offline
        )
    labels: dict[str, int] = metadata["dictionary"]
    blank = next((column for label, column in labels.items() if label in ("[pad]", "<pad>")), 0)
    return AlignerModel(shown, network.eval(), Alphabet(labels, blank, language not in LANGUAGES_WITHOUT_SPACES))


@contextmanager
def _connections_time_out() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECTION_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
