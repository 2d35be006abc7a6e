"""
A small wav2vec2 that knows when the words of the vocabulary are said, for whisperx.align.

whisperx lets each character be heard in one frame and silence (the blank) in all others; a character lasts until the
next one, and a word until the `|` after it. So the network learns just that, frame by frame, from the true times of
the words: the first character where the word begins, the others spread over it, `|` where it ends.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from tests.models.corpus import read_corpus
from tests.models.synthesis import SpokenWord
from tests.models.vocabulary import sounds
from tests.models.windows import FRAMES_PER_S, Window, compose, sounds_of

BLANK, WORD_END = "<pad>", "|"
CHARACTERS = (BLANK, "<s>", "</s>", "<unk>", WORD_END, *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
_IDS = {character: number for number, character in enumerate(CHARACTERS)}

_BLANK_WEIGHT = 0.3
"""Nine in ten frames are blank; at full weight nothing else is learnt at first."""

_SOUND_WEIGHT = 0.5
_RATES = (0.002, 0.00002)
_NUM_WARM_UP = 100
_STEPS_PER_LINE = 50


@dataclass(frozen=True)
class Mix:
    """Batches of so many windows, of so many seconds."""

    window_s: float
    batch_size: int


MIXES = (Mix(6, 8), Mix(6, 8), Mix(20, 3))
NUM_STEPS = 2500
SEED = 500


@dataclass(frozen=True)
class Batch:
    """
    B windows of S samples and T frames.

    Attributes:
        samples: float32, shape (B, S).
        characters, sounds: what is to be heard in each frame, ids of shape (B, T).
    """

    samples: Tensor
    characters: Tensor
    sounds: Tensor


class SpelledWindows(IterableDataset[Batch]):
    """Batches without end, the same for the same seed."""

    def __init__(self, corpus: Path, mix: Mix, seed: int) -> None:
        self._corpus = corpus
        self._mix = mix
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        parts = read_corpus(self._corpus)
        rng, noise = Random(self._seed), np.random.default_rng(self._seed)
        num_frames = int(self._mix.window_s * FRAMES_PER_S)
        while True:
            windows = [compose(parts, self._mix.window_s, rng, noise) for _ in range(self._mix.batch_size)]
            yield Batch(
                samples=torch.from_numpy(np.stack([window.samples for window in windows])),
                characters=torch.from_numpy(np.stack([spelled(window, num_frames) for window in windows])),
                sounds=torch.from_numpy(np.stack([sounds_of(window, num_frames) for window in windows])),
            )


def spelled(window: Window, num_frames: int) -> npt.NDArray[np.int64]:
    """
    The character to be heard in each frame, shape (num_frames,).

    `|` stands twice at the end of a sentence: whisperx puts the full stop, which has no sound, somewhere before it.
    """
    frames = np.full(num_frames + 1, _IDS[BLANK], np.int64)
    for words in window.sentences:
        for word in words:
            for place, character in _places(word):
                frames[min(place, num_frames)] = _IDS[character]
        frames[min(_frame(words[-1].end_s), num_frames)] = _IDS[WORD_END]
    return frames[:num_frames]


def _places(word: SpokenWord) -> Iterator[tuple[int, str]]:
    first, last = _frame(word.start_s), _frame(word.end_s) - 1
    for number, character in enumerate(word.text.upper()):
        yield first + number * (last - first) // len(word.text), character
    yield last, WORD_END


def _frame(seconds: float) -> int:
    return round(seconds * FRAMES_PER_S)


class Learner(nn.Module):
    """The aligner, and what names the word in each frame; only training has that."""

    def __init__(self) -> None:
        super().__init__()
        self.aligner = new_aligner()
        self.namer = nn.Linear(self.aligner.config.hidden_size, len(sounds()) + 1)


def new_aligner() -> Any:
    """
    0.4 million parameters. A frame each 320 samples, as in every wav2vec2, in four steps instead of seven: quicker.

    A frame hears 366 samples; whisperx gives it at least 400.
    """
    transformers: Any = import_module("transformers")
    still = ("attention_dropout", "activation_dropout", "hidden_dropout", "final_dropout", "feat_proj_dropout")
    config = transformers.Wav2Vec2Config(
        vocab_size=len(CHARACTERS),
        pad_token_id=_IDS[BLANK],
        conv_dim=(64, 96, 96, 96),
        conv_kernel=(16, 8, 4, 2),
        conv_stride=(10, 4, 4, 2),
        feat_extract_norm="group",
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        apply_spec_augment=False,
        layerdrop=0.0,
        **dict.fromkeys(still, 0.0),
    )
    return transformers.Wav2Vec2ForCTC(config)


def train_aligner(corpus: Path, checkpoint: Path, num_steps: int = NUM_STEPS) -> None:
    torch.set_num_threads(1)  # two are hardly quicker
    torch.manual_seed(0)
    learner = Learner()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=_RATES[0], betas=(0.9, 0.98), weight_decay=0.01)
    weights = torch.ones(len(CHARACTERS))
    weights[_IDS[BLANK]] = _BLANK_WEIGHT
    batches = _batches(corpus, MIXES)
    began = time.monotonic()
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, num_steps)
        with torch.autocast("cpu", torch.bfloat16):
            characters, words = _losses(learner, next(batches), weights)
        total: Any = characters + _SOUND_WEIGHT * words
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % _STEPS_PER_LINE == 0:
            step_s = (time.monotonic() - began) / (step + 1)
            losses = f"characters {characters.item():.3f} words {words.item():.3f}"
            print(f"aligner step {step + 1} {losses} {step_s:.2f} s/step", flush=True)
            torch.save(learner.state_dict(), checkpoint)
    torch.save(learner.state_dict(), checkpoint)


def _batches(corpus: Path, mixes: Sequence[Mix]) -> Iterator[Batch]:
    """One process per mix: the order of batches is always the same."""
    loaders = []
    for number, mix in enumerate(mixes):
        windows = SpelledWindows(corpus, mix, SEED + number)
        loaders.append(iter(DataLoader(windows, batch_size=None, num_workers=1, prefetch_factor=3)))
    for loader in cycle(loaders):
        yield next(loader)


def _rate(step: int, num_steps: int) -> float:
    first, last = _RATES
    falling = last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return falling * min(1.0, (step + 1) / _NUM_WARM_UP)


def _losses(learner: Learner, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Of the characters and of the words; the network has a frame or two less than the window."""
    states = learner.aligner.wav2vec2(batch.samples).last_hidden_state
    num_frames = states.shape[1]
    characters = learner.aligner.lm_head(states).float().transpose(1, 2)
    words = learner.namer(states).float().transpose(1, 2)
    return (
        functional.cross_entropy(characters, batch.characters[:, :num_frames], weights),
        functional.cross_entropy(words, batch.sounds[:, :num_frames]),
    )


def save_aligner(checkpoint: Path, folder: Path) -> None:
    """As transformers keeps it, in float16: 0.8 MB."""
    transformers: Any = import_module("transformers")
    learner = Learner()
    learner.load_state_dict(torch.load(checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        vocabulary = Path(scratch) / "vocab.json"
        vocabulary.write_text(json.dumps(_IDS))
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(vocabulary), pad_token=BLANK, word_delimiter_token=WORD_END)
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
        transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    learner.aligner.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"  # to be computed with; the file keeps halves
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "model.safetensors").chmod(0o644)
