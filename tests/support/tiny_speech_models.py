"""
Speech models made on the spot, in milliseconds: they understand nothing, but the real libraries load and run them.

The Whisper is a clockwork: whatever it hears, the token at each position of its decoder is known beforehand. So what
it writes shows how many tokens of prompt and hotwords stood before, and any leftover of another meeting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
"""Written in turn: position p of the decoder writes WORDS[p % 8]."""

FIRST_POSITION = 3
"""Before the first word stand: start of transcript, language, task, no timestamps."""

WORDS_PER_PASSAGE = 11
LANGUAGE = "de"
"""What it takes every recording for."""

_DIM = 64
_NUM_TIMESTAMPS = 1501
_NUM_POSITIONS = 448


def written(num_hints: int = 0) -> list[str]:
    """The words of one passage, with so many tokens of hints (and the token before them) in front."""
    first = FIRST_POSITION + (num_hints + 1 if num_hints else 0)
    last = next(p for p in range(first + 1, _NUM_POSITIONS) if _ends(p))
    return [WORDS[p % len(WORDS)] for p in range(first, last)]


def _ends(position: int) -> bool:
    return (position - FIRST_POSITION) % (WORDS_PER_PASSAGE + 1) == WORDS_PER_PASSAGE


def untyped(module: str) -> Any:
    """A library without type information, imported when it is needed: these take seconds."""
    return import_module(module)


def write_whisper(folder: Path, words: Sequence[str] = WORDS, scale: float = 1.0) -> Path:
    """
    A multilingual Whisper in CTranslate2 format, 1.3 MB.

    Args:
        words: of WORDS, what it writes in turn; one of them makes it a model that is caught in a loop.
        scale: how sure it is of them. At 0.05 it draws others as well when it is decoded with a temperature.
    """
    tokenizers = untyped("tokenizers")
    languages = untyped("faster_whisper.tokenizer")._LANGUAGE_CODES
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    specials += [f"<|{name}|>" for name in ("translate", "transcribe", "startoflm", "startofprev", "nospeech")]
    specials += ["<|notimestamps|>"]
    # the empty string in the vocabulary is how CTranslate2 knows a multilingual model
    tokens = ["<unk>", *(f"Ġ{word}" for word in WORDS), "", *specials]
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in specials])
    end = {f"{role}_token": "<|endoftext|>" for role in ("unk", "bos", "eos", "pad")}

    source = folder.with_name(f"{folder.name}-transformers")
    _clockwork(ids, [f"<|{code}|>" for code in languages], words, scale).save_pretrained(source)
    untyped("transformers").PreTrainedTokenizerFast(tokenizer_object=tokenizer, **end).save_pretrained(source)
    features = {"feature_size": 80, "hop_length": 160, "n_fft": 400, "chunk_length": 30, "sampling_rate": 16000}
    (source / "preprocessor_config.json").write_text(json.dumps(features))
    copied = ["tokenizer.json", "preprocessor_config.json"]
    untyped("ctranslate2").converters.TransformersConverter(str(source), copy_files=copied).convert(str(folder))
    return folder


def _clockwork(ids: dict[str, int], languages: list[str], words: Sequence[str], scale: float) -> Any:
    """Layers that add nothing, and at each position the embedding of the token that is to come next."""
    import torch

    transformers = untyped("transformers")
    end = ids["<|endoftext|>"]
    sizes = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in _SIZES.items()}
    marks = {f"{role}_token_id": end for role in ("pad", "bos", "eos")}
    marks["decoder_start_token_id"] = ids["<|startoftranscript|>"]
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=len(ids) + _NUM_TIMESTAMPS, d_model=_DIM, num_mel_bins=80, **sizes, **marks
        )
    )
    decoder = model.model.decoder
    with torch.no_grad():
        embeddings = torch.zeros(len(ids) + _NUM_TIMESTAMPS, _DIM)
        embeddings[: len(ids)] = scale * torch.randn(len(ids), _DIM, generator=torch.Generator().manual_seed(0))
        decoder.embed_tokens.weight.copy_(embeddings)
        following = [end if _ends(p) else ids[f"Ġ{words[p % len(words)]}"] for p in range(_NUM_POSITIONS)]
        following[0] = ids[f"<|{LANGUAGE}|>"]
        decoder.embed_positions.weight.copy_(10 * embeddings[following])
        for layer in decoder.layers:
            for linear in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
    model.generation_config = transformers.GenerationConfig(
        suppress_tokens=[ids["<unk>"]],
        begin_suppress_tokens=[end],
        lang_to_id={token: ids[token] for token in languages},
        alignment_heads=[[0, 0]],
        **marks,
    )
    return model


_SIZES = {"layers": 1, "attention_heads": 1, "ffn_dim": 64}


def write_aligner(folder: Path, num_outputs: int | None = None) -> Path:
    """
    A wav2vec2 that tells English letters apart by chance, 170 kB: its times are exact nonsense.

    With fewer outputs than there are letters (32) it does not belong to its vocabulary, and fails on most words.
    """
    import torch

    transformers = untyped("transformers")
    folder.mkdir(parents=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(vocabulary))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Wav2Vec2ForCTC(
            transformers.Wav2Vec2Config(
                vocab_size=num_outputs or len(letters),
                hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=64,
                conv_dim=(32,) * 7,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=2,
                pad_token_id=0,
            )
        )
    model.save_pretrained(folder)
    return folder
