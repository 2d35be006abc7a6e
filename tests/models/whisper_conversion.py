"""
The trained small Whisper in CTranslate2 format, int8 with float16 between: what WhisperX loads.

By way of transformers' format, because the converter reads that. Other names or another order of special tokens give a
model that loads and writes nonsense: see vocabulary.py.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.models.vocabulary import END, NUM_TIMESTAMPS, START, UNKNOWN, language_tokens, special_tokens, token_ids
from tests.models.whisper_model import config

_QUANTIZATION = "int8_float16"
_WEIGHTS = "whisper."
_EMBEDDINGS = ("model.decoder.embed_tokens.weight", "proj_out.weight")

_FEATURES = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "feature_size": 80,
    "sampling_rate": 16_000,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
    "n_samples": 480_000,
    "nb_max_frames": 3_000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def convert(checkpoint: Path, folder: Path) -> None:
    """Write the model of a training checkpoint into the folder, 1.9 MB, beside what else is there."""
    state = torch.load(checkpoint)
    weights = {name.removeprefix(_WEIGHTS): value for name, value in state.items() if name.startswith(_WEIGHTS)}
    converters: Any = import_module("ctranslate2").converters
    with TemporaryDirectory() as scratch:
        source, converted = Path(scratch) / "transformers", Path(scratch) / "ctranslate2"
        _whisper(weights).save_pretrained(source)
        _tokenizer().save_pretrained(source)
        (source / "preprocessor_config.json").write_text(json.dumps(_FEATURES))
        converter = converters.TransformersConverter(
            str(source), copy_files=["tokenizer.json", "preprocessor_config.json"]
        )
        converter.convert(str(converted), quantization=_QUANTIZATION)
        shutil.copytree(converted, folder, dirs_exist_ok=True)


def _whisper(weights: dict[str, torch.Tensor]) -> Any:
    """With rows of zeros for the timestamps, which it never learnt."""
    transformers: Any = import_module("transformers")
    ids = token_ids()
    whisper = transformers.WhisperForConditionalGeneration(config(len(ids) + NUM_TIMESTAMPS))
    unused = torch.zeros(NUM_TIMESTAMPS, whisper.config.d_model)
    for name in _EMBEDDINGS:
        weights[name] = torch.cat([weights[_EMBEDDINGS[0]][: len(ids)], unused])
    whisper.load_state_dict(weights)
    suppressed = {"suppress_tokens": [ids[UNKNOWN]], "begin_suppress_tokens": [ids[END]]}
    for name, tokens in suppressed.items():
        setattr(whisper.config, name, tokens)  # save_pretrained takes them from here, not from generation_config
    last = whisper.config.decoder_layers - 1
    whisper.generation_config = transformers.GenerationConfig(
        **suppressed,
        lang_to_id={token: ids[token] for token in language_tokens()},
        alignment_heads=[[last, 0], [last, 1]],
        decoder_start_token_id=ids[START],
        **{f"{role}_token_id": ids[END] for role in ("bos", "eos", "pad")},
    )
    return whisper


def _tokenizer() -> Any:
    """A word with the space before it is one token, written the way GPT-2 does: Ġword."""
    tokenizers: Any = import_module("tokenizers")
    ids = {token.replace(" ", "Ġ"): number for token, number in token_ids().items()}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    specials = [tokenizers.AddedToken(token, normalized=False, special=True) for token in special_tokens()]
    tokenizer.add_special_tokens(specials)
    ends = {f"{role}_token": END for role in ("unk", "bos", "eos", "pad")}
    return import_module("transformers").PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)
