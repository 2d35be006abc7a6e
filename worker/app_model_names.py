"""
Models by the names that people use (small, align-de, pyannote, owner/repository): what each is and where it is from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from worker.app_model_choice import chosen_model
from worker.config import Settings
from worker.engine.catalogue import ALIASES, ALIGNERS, COMMUNITY_1, WHISPER_MODELS, AlignerModel
from worker.exceptions import ConfigurationError

if TYPE_CHECKING:
    from worker.adapters.models_place import Model

PYANNOTE = "pyannote"
ALIGN = "align-"

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")
"""owner/name on the hub; what begins with a dot or a slash is a folder."""

_WHISPER_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Source: faster_whisper.utils.download_model."""

_ALIGNER_FILES = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "model.safetensors",
    "pytorch_model.bin",
)
"""What transformers reads of a Wav2Vec2ForCTC and its processor; no language models, no TensorFlow."""

_ALIGNER_NEEDS = ("config.json", "vocab.json", "model.safetensors|pytorch_model.bin")

_PYANNOTE_FILES = ("*.yaml", "*.bin", "*.npz", "*.safetensors")

_TORCHAUDIO = "https://download.pytorch.org/torchaudio/models/"
_BUNDLE_FILES = {
    "WAV2VEC2_ASR_BASE_960H": "wav2vec2_fairseq_base_ls960_asr_ls960.pth",
    **{
        f"VOXPOPULI_ASR_BASE_10K_{code.upper()}": f"wav2vec2_voxpopuli_base_10k_asr_{code}.pt"
        for code in ("de", "es", "fr", "it")
    },
}
"""Source: torchaudio.pipelines 2.8, `_path`; reading it there would import torch."""


def models_of(settings: Settings) -> tuple[Model, ...]:
    """What the settings need; of languages, those of ALLOWED_LANGUAGES, and English when there are none."""
    return tuple(dict.fromkeys(_needed(settings)))


def _needed(settings: Settings) -> Iterator[Model]:
    if settings.asr_engine == "whisperx":
        if not Path(settings.whisper_model).is_dir():
            yield _whisper(chosen_model(settings))
        if settings.align_model is None:
            languages = settings.allowed_languages or ("en",)
            yield from (_aligner(ALIGNERS[code]) for code in languages if code in ALIGNERS)
        elif not Path(settings.align_model).is_dir():
            yield _other_aligner(settings.align_model)
    if settings.diarizer == "pyannote" or (settings.diarizer == "auto" and settings.hf_token is not None):
        yield from filter(None, [pyannote_of(settings)])


def pyannote_of(settings: Settings) -> Model | None:
    """None when PYANNOTE_MODEL is a folder."""
    return None if Path(settings.pyannote_model).is_dir() else _pyannote(settings.pyannote_model)


def model_named(settings: Settings, name: str) -> Model:
    """Raises ConfigurationError for what is no name of a model."""
    if name == PYANNOTE or name == settings.pyannote_model:
        return _pyannote(settings.pyannote_model)
    if name.startswith(ALIGN) and name.removeprefix(ALIGN) in ALIGNERS:
        return _aligner(ALIGNERS[name.removeprefix(ALIGN)])
    if name == settings.align_model:
        return _other_aligner(name)
    if name == "auto":
        return _whisper(chosen_model(settings))
    if name in WHISPER_MODELS or _REPOSITORY.fullmatch(name):
        return _whisper(name)
    raise ConfigurationError(
        f"{name} is no model. Whisper models: {', '.join(WHISPER_MODELS)}, or owner/repository of the hub; aligners: "
        f"{ALIGN}en, {ALIGN}de and so on; diarization: {PYANNOTE}."
    )


def unnamed_models(settings: Settings, *, known: Iterable[Model]) -> tuple[Model, ...]:
    """What else lies in MODEL_CACHE_DIR."""
    cache, names = settings.model_cache_dir, {model.name for model in known}
    found = dict.fromkeys((*_repositories(cache), *_files(cache), *_folders(cache)))
    return tuple(model for model in found if model.name not in names)


def _repositories(cache: Path) -> Iterator[Model]:
    makers = {"whisper": _whisper, "align": _other_aligner, "pyannote": _pyannote}
    for room, maker in makers.items():
        for folder in sorted((cache / room).glob("models--*--*")):
            yield maker("/".join(folder.name.split("--", 2)[1:]))


def _files(cache: Path) -> Iterator[Model]:
    for aligner in ALIGNERS.values():
        if aligner.is_bundle and (cache / "align" / _BUNDLE_FILES[aligner.name]).is_file():
            yield _aligner(aligner)


def _folders(cache: Path) -> Iterator[Model]:
    for aligner in ALIGNERS.values():
        if (cache / "align" / aligner.language).is_dir():
            yield _aligner(aligner)


# --- the kinds ---------------------------------------------------------------------------------------------------


def _whisper(name: str) -> Model:
    from worker.adapters.models_place import Model

    by_repository = {model.repository: model for model in WHISPER_MODELS.values()}
    known = WHISPER_MODELS.get(ALIASES.get(name, name)) or by_repository.get(name)
    repository = known.repository if known else name
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigurationError(
            f"WHISPER_MODEL={name} is no model. Use a folder, owner/repository or one of: {', '.join(WHISPER_MODELS)}."
        )
    return Model(
        name=known.name if known else name,
        kind="whisper",
        room="whisper",
        repository=repository,
        patterns=_WHISPER_FILES,
        needs=("model.bin", "config.json"),
        num_bytes=known.download_bytes if known else 0,
        licence=known.licence if known else "see its model card",
        page=_page(repository),
    )


def _aligner(aligner: AlignerModel) -> Model:
    from worker.adapters.models_place import Model

    file = _BUNDLE_FILES.get(aligner.name) if aligner.is_bundle else None
    return Model(
        name=ALIGN + aligner.language,
        kind="aligner",
        room="align",
        repository=None if aligner.is_bundle else aligner.name,
        url=_TORCHAUDIO + file if file else None,
        language=aligner.language,
        patterns=_ALIGNER_FILES,
        needs=_ALIGNER_NEEDS,
        num_bytes=aligner.download_bytes,
        licence=aligner.licence,
        page=f"{_TORCHAUDIO}{file}" if file else _page(aligner.name),
    )


def _other_aligner(name: str) -> Model:
    """One of another name than whisperx's choices: a repository of the hub, or one of torchaudio's."""
    from worker.adapters.models_place import Model

    known = next((aligner for aligner in ALIGNERS.values() if aligner.name == name), None)
    if known is not None:
        return _aligner(known)
    if not _REPOSITORY.fullmatch(name):
        raise ConfigurationError(f"ALIGN_MODEL={name} is neither a folder nor owner/repository of the hub. Correct it.")
    return Model(
        name=name,
        kind="aligner",
        room="align",
        repository=name,
        patterns=_ALIGNER_FILES,
        needs=_ALIGNER_NEEDS,
        page=_page(name),
    )


def _pyannote(repository: str) -> Model:
    from worker.adapters.models_place import Model

    is_ours = repository == COMMUNITY_1.repository
    return Model(
        name=PYANNOTE if is_ours else repository,
        kind="diarizer",
        room="pyannote",
        repository=repository,
        patterns=_PYANNOTE_FILES,
        needs=("config.yaml",),
        num_bytes=COMMUNITY_1.download_bytes if is_ours else 0,
        licence=COMMUNITY_1.licence if is_ours else "see its model card",
        page=_page(repository),
    )


def _page(repository: str) -> str:
    return f"https://huggingface.co/{repository}"
