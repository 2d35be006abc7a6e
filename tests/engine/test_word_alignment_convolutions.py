"""Convolutions over pieces of sound give what the library's own give over all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tiny_speech_models import untyped
from worker.engine.convolutions import convolutions_of

DIMS = (16,) * 7


def of_transformers(norm: str, *, bias: bool) -> Any:
    transformers = untyped("transformers")
    config = transformers.Wav2Vec2Config(
        conv_dim=DIMS,
        feat_extract_norm=norm,
        conv_bias=bias,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    return transformers.Wav2Vec2Model(config).eval().feature_extractor


def of_torchaudio(norm: str, *, bias: bool) -> Any:
    components = untyped("torchaudio.models.wav2vec2.components")
    shapes = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
    return components._get_feature_extractor(f"{norm}_norm", shapes, bias).eval()


def as_a_whole(extractor: Any, sound: torch.Tensor) -> torch.Tensor:
    is_torchaudio = type(extractor).__module__.startswith("torchaudio")
    features: torch.Tensor = extractor(sound, None)[0][0] if is_torchaudio else extractor(sound)[0].T
    return features


def sound_of(kind: str, num_samples: int) -> torch.Tensor:
    noise = np.random.default_rng(0).normal(size=num_samples).astype(np.float32)
    values = {"quiet": 0.001 * noise, "loud": noise, "shifted": 0.5 + 0.01 * noise, "silent": 0 * noise}[kind]
    return torch.from_numpy(values)[None]


@pytest.mark.parametrize("source", [of_transformers, of_torchaudio])
@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("group", True), ("layer", True)])
@pytest.mark.parametrize("num_samples", [400, 719, 720, 32_080, 70_001], ids=str)
@torch.inference_mode()
def test_features_are_those_of_the_whole(source: Any, norm: str, bias: bool, num_samples: int) -> None:
    """One frame, two, exactly as many as fit into one piece and some more, three pieces."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        extractor = source(norm, bias=bias)
        for name, values in extractor.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(values, mean=0.5)
    in_pieces = convolutions_of(extractor)
    assert in_pieces is not None
    for kind in ("loud", "quiet", "shifted", "silent"):
        sound = sound_of(kind, num_samples)
        torch.testing.assert_close(in_pieces(sound), as_a_whole(extractor, sound), atol=2e-4, rtol=1e-3)


def test_an_extractor_of_another_build_is_left_alone() -> None:
    """A group norm of several channels, or one after a later convolution, spans more than is known beforehand."""
    extractor = of_transformers("group", bias=False)
    extractor.conv_layers[0].layer_norm = torch.nn.GroupNorm(2, DIMS[0])
    assert convolutions_of(extractor) is None
    assert convolutions_of(torch.nn.Identity()) is None
    later = of_transformers("layer", bias=True)
    later.conv_layers[1].layer_norm = torch.nn.GroupNorm(DIMS[0], DIMS[0])
    assert convolutions_of(later) is None
