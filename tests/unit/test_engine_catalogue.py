"""The table of models against the libraries it speaks of; their files are read, because importing takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from worker.engine.catalogue import (
    ALIGNERS,
    BYTES_PER_PARAMETER,
    COMMUNITY_1,
    REPOSITORIES,
    WHISPER_MODELS,
    AlignerModel,
    DiarizationModel,
    WhisperModel,
)


def tables_in(package: str, file: str, *names: str) -> list[dict[str, str]]:
    """The dictionaries that are assigned to these names in a module, without running it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / file).read_text())
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    found = {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    return [ast.literal_eval(found[name]) for name in names]


def test_models_are_known_by_the_names_of_faster_whisper() -> None:
    (theirs,) = tables_in("faster_whisper", "utils.py", "_MODELS")
    assert theirs == REPOSITORIES


def test_aligners_are_those_that_whisperx_takes() -> None:
    bundles, hub = tables_in("whisperx", "alignment.py", "DEFAULT_ALIGN_MODELS_TORCH", "DEFAULT_ALIGN_MODELS_HF")
    assert {code: aligner.name for code, aligner in ALIGNERS.items()} == {**bundles, **hub}
    assert {code for code, aligner in ALIGNERS.items() if aligner.is_bundle} == set(bundles)


@pytest.mark.parametrize(
    ("name", "compute_type", "batch_size", "measured_mb"),
    [
        ("large-v2", "float16", 1, 4525),
        ("large-v2", "float16", 8, 6090),
        ("large-v2", "int8", 1, 2926),
        ("large-v2", "int8", 8, 4500),
        ("turbo", "float16", 1, 2537),
        ("turbo", "int8", 1, 1545),
        ("distil-large-v3", "float16", 1, 2409),
        ("distil-large-v3", "int8", 1, 1481),
    ],
)
def test_what_a_model_takes_is_near_what_was_measured(
    name: str, compute_type: str, batch_size: int, measured_mb: int
) -> None:
    """Published figures of faster-whisper; rather too much than too little, and never far off."""
    estimated_mb = WHISPER_MODELS[name].vram_bytes(compute_type, batch_size) / 1e6
    assert 0.95 <= estimated_mb / measured_mb <= 1.35


def test_every_figure_has_its_licence_and_its_source() -> None:
    entries: list[WhisperModel | AlignerModel | DiarizationModel] = [COMMUNITY_1]
    for entry in [*entries, *WHISPER_MODELS.values(), *ALIGNERS.values()]:
        assert entry.licence
        assert entry.source
        assert entry.download_bytes > 10**7


def test_english_models_say_so() -> None:
    """`.en` and the distilled ones hear nothing else."""
    for name, model in WHISPER_MODELS.items():
        assert (model.languages == "en") == (name.endswith(".en") or name.startswith("distil"))


def test_smaller_formats_take_less() -> None:
    weights = [WHISPER_MODELS["small"].weights_bytes(format_) for format_ in ("float32", "float16", "int8_float16")]
    assert weights == sorted(weights, reverse=True)
    assert set(BYTES_PER_PARAMETER) == {"float32", "float16", "bfloat16", "int8_float16", "int8"}
