"""
The network of the small Whisper: transformers' own modules, run here so that attention weights can be guided.

B windows, T encoder frames, L tokens, H heads, D = 128.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from tests.models.vocabulary import END, START, token_ids

NUM_UNUSED_ROWS = 50_000
"""
Weight, in the softmax of training, of vocabulary rows that are all zero (the timestamps): e^0 each.

More than there are: a word has to win with a margin.
"""

_OFFSETS = ((-2, 2, -6, 6), (-4, 4, -10, 10), (-6, 6, -16, 16), (0, -3, 3, 0))
"""Frames that each head of each encoder layer looks away from its own place, at first."""

_SHARPNESS = math.sqrt(1.7)
_PERIODS = 10_000
_LONGEST = 25
"""Whisper's sinusoids go down to periods of 2 pi 10 000 frames; those up to 25 times 2 pi tell places apart."""


def config(vocab_size: int) -> Any:
    """1.4 million parameters."""
    transformers: Any = import_module("transformers")  # most of it is untyped
    end = token_ids()[END]
    return transformers.WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=80,
        d_model=128,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=384,
        decoder_ffn_dim=256,
        max_source_positions=1500,
        max_target_positions=448,
        dropout=0.0,
        init_std=0.05,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=token_ids()[START],
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )


def new_whisper() -> Any:
    from transformers import WhisperForConditionalGeneration

    whisper = WhisperForConditionalGeneration(config(len(token_ids())))
    for offsets, layer in zip(_OFFSETS, whisper.model.encoder.layers, strict=True):
        _look_around(layer.self_attn, offsets)
    whisper.model.encoder.embed_positions.weight.requires_grad_(False)
    return whisper


def _look_around(attention: Any, offsets: tuple[int, ...]) -> None:
    """
    Each head starts as a convolution of one tap, on the frame `offset` away; training then finds the rest in minutes.

    Queries carry sin and cos of the own place, keys those of the other one turned back by the offset: their product is
    the sum of cos(w (t + offset - s)), largest where s = t + offset.
    """
    size = attention.embed_dim
    half, pairs = size // 2, size // len(offsets) // 2
    step = math.log(_PERIODS) / (half - 1)
    chosen = torch.linspace(0, half * math.log(_LONGEST) / math.log(_PERIODS), pairs).round().long()
    query, key = torch.zeros(size, size), torch.zeros(size, size)
    for head, offset in enumerate(offsets):
        for pair, frequency in enumerate(chosen.tolist()):
            row = head * size // len(offsets) + 2 * pair
            angle = math.exp(-step * frequency) * offset
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            columns = [frequency, half + frequency]
            query[row : row + 2, columns] = _SHARPNESS * torch.eye(2)
            key[row : row + 2, columns] = _SHARPNESS * turn
    with torch.no_grad():
        attention.q_proj.weight.copy_(query + 0.02 * torch.randn(size, size))
        attention.k_proj.weight.copy_(key + 0.02 * torch.randn(size, size))
        attention.q_proj.bias.zero_()
        nn.init.xavier_uniform_(attention.v_proj.weight)
        nn.init.xavier_uniform_(attention.out_proj.weight)


def encode(whisper: Any, mels: Tensor, offsets: Tensor) -> Tensor:
    """Shape (B, T, D)."""
    encoder = whisper.model.encoder
    states = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mels)))).transpose(1, 2)
    places = encoder.embed_positions.weight
    num_frames = states.shape[1]
    states = states + torch.stack([places[first : first + num_frames] for first in offsets.tolist()])
    for layer in encoder.layers:
        normed = layer.self_attn_layer_norm(states)
        states = states + _attended(layer.self_attn, normed, normed, is_causal=False)
        states = states + _fed_forward(layer, states)
    normed_states: Tensor = encoder.layer_norm(states)
    return normed_states


def decode(whisper: Any, tokens: Tensor, encoded: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Scores of the next token, shape (B, L, vocabulary + 1); each layer's attention on sound, (B, H, L, T)."""
    decoder = whisper.model.decoder
    states = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[: tokens.shape[1]]
    weights = []
    for layer in decoder.layers:
        normed = layer.self_attn_layer_norm(states)
        states = states + _attended(layer.self_attn, normed, normed, is_causal=True)
        listened, weight = _listened(layer.encoder_attn, layer.encoder_attn_layer_norm(states), encoded)
        weights.append(weight)
        states = states + listened
        states = states + _fed_forward(layer, states)
    return _scores(decoder.layer_norm(states), decoder.embed_tokens.weight), weights


def _scores(states: Tensor, embeddings: Tensor) -> Tensor:
    scores = (states @ embeddings.T).float()
    unused = torch.full((*scores.shape[:-1], 1), math.log(NUM_UNUSED_ROWS))
    return torch.cat([scores, unused], dim=-1)


def _fed_forward(layer: Any, states: Tensor) -> Tensor:
    out: Tensor = layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(states))))
    return out


def _attended(attention: Any, states: Tensor, others: Tensor, *, is_causal: bool) -> Tensor:
    queries, keys, values = _projected(attention, states, others)
    return _joined(attention, functional.scaled_dot_product_attention(queries, keys, values, is_causal=is_causal))


def _listened(attention: Any, states: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Attention on the sound, with its weights."""
    queries, keys, values = _projected(attention, states, encoded)
    products = (queries @ keys.transpose(-1, -2)).float() / math.sqrt(queries.shape[-1])
    weights = torch.softmax(products, dim=-1)
    return _joined(attention, weights.to(values.dtype) @ values), weights


def _projected(attention: Any, states: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    heads = attention.num_heads
    queries, keys, values = attention.q_proj(states), attention.k_proj(others), attention.v_proj(others)
    return _split(queries, heads), _split(keys, heads), _split(values, heads)


def _split(states: Tensor, num_heads: int) -> Tensor:
    batch, length, size = states.shape
    return states.view(batch, length, num_heads, size // num_heads).transpose(1, 2)


def _joined(attention: Any, states: Tensor) -> Tensor:
    out: Tensor = attention.out_proj(states.transpose(1, 2).flatten(2))
    return out
