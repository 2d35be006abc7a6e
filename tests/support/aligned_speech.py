"""
Passages of made-up words over real speech, wav2vec2 models made on the spot, and whisperx.align as the reference.

The models understand nothing, so their best path hangs on every rounding: a stricter comparison than real speech.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.speech_sample import RATE_HZ, read_sound, sample_folder
from tests.support.tiny_speech_models import untyped
from worker.engine.aligner_models import AlignerModel
from worker.engine.forced_alignment import Alphabet
from worker.models import Passage, Word

_WORDS = (
    "the",
    "of",
    "meeting",
    "budget",
    "3,500",
    "€",
    "let's",
    "we'll",
    "project",
    "Friday",
    "ok?",
    "naïve",
    "quarter",
)
_LENGTHS_S = (0.6, 2.0, 4.0, 8.0, 15.0, 22.0, 29.5)
_PUNKT_FILES = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")


@dataclass(frozen=True)
class Speech:
    samples: npt.NDArray[np.float32]
    words: list[Word]
    passages: list[Passage]

    @property
    def length_s(self) -> float:
        return len(self.samples) / RATE_HZ


def speech(length_s: float, seed: int = 0, *, words: Sequence[str] = _WORDS, joint: str = " ") -> Speech:
    """The sample again and again, with passages of random lengths and words, as a voice detector would cut it."""
    rng = random.Random(seed)
    sample = read_sound(sample_folder() / "sample.wav")
    samples = np.resize(sample, int(length_s * RATE_HZ)).astype(np.float32)
    passages: list[Passage] = []
    timed: list[Word] = []
    at_s = 0.0
    while fitting := [passage_s for passage_s in _LENGTHS_S if at_s + passage_s <= length_s]:
        passage_s = rng.choice(fitting)
        texts = [rng.choice(words) for _ in range(max(1, int(passage_s * rng.uniform(1.0, 2.5))))]
        passages.append(Passage(start_s=round(at_s, 3), end_s=round(at_s + passage_s, 3), text=joint.join(texts)))
        edges = np.linspace(at_s, at_s + passage_s, len(texts) + 1).round(3).tolist()
        timed += [
            Word(text=text, start_s=a, end_s=b, confidence=0.5)
            for text, (a, b) in zip(texts, pairwise(edges), strict=True)
        ]
        at_s += passage_s + 0.3
    return Speech(samples, timed, passages)


def by_whisperx(spoken: Speech, model: AlignerModel, language: str, nltk_data: Path) -> list[dict[str, Any]]:
    """What whisperx.align answers: `word`, `start`, `end` and `score` of each word."""
    _provide_punkt(nltk_data)
    alignment = untyped("whisperx.alignment")
    kind = "torchaudio" if type(model.network).__module__.startswith("torchaudio") else "huggingface"
    metadata = {"language": language, "dictionary": dict(model.alphabet.labels), "type": kind}
    segments = [{"text": one.text, "start": one.start_s, "end": one.end_s} for one in spoken.passages]
    device = str(next(model.network.parameters()).device)
    found: list[dict[str, Any]] = alignment.align(segments, model.network, metadata, spoken.samples, device)[
        "word_segments"
    ]
    return found


def _provide_punkt(nltk_data: Path) -> None:
    """It splits sentences with nltk's punkt, which it would fetch. The files may be empty: only words are compared."""
    folder = nltk_data / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PUNKT_FILES:
        (folder / name).touch()
    nltk = untyped("nltk")
    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))


LETTERS = ("-", "|", *"etaonihsrdlumwcfgypbvk'xjqz")
"""The labels of torchaudio's English bundle, the blank first."""


def torchaudio_model() -> AlignerModel:
    """As torchaudio's bundles are built, with few and small layers."""
    import torch

    convolutions = [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = untyped("torchaudio.models").wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=convolutions,
            extractor_conv_bias=False,
            encoder_embed_dim=32,
            encoder_projection_dropout=0.1,
            encoder_pos_conv_kernel=16,
            encoder_pos_conv_groups=2,
            encoder_num_layers=2,
            encoder_num_heads=2,
            encoder_attention_dropout=0.1,
            encoder_ff_interm_features=64,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.1,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.05,
            aux_num_out=len(LETTERS),
        )
    return AlignerModel("torchaudio", network.eval(), Alphabet({label: i for i, label in enumerate(LETTERS)}, blank=0))


def base_model() -> AlignerModel:
    """wav2vec2-base, 94 million weights of chance."""
    import torch

    transformers = untyped("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(vocab_size=len(LETTERS), pad_token_id=0))
    return AlignerModel("base", network.eval(), Alphabet({label: i for i, label in enumerate(LETTERS)}, blank=0))
