"""
What a wav2vec2 CTC model hears in many stretches of sound, several at a time.

Padding the sound would change the result (the group norm of the first layer spans the padding: another best label in a
third of the frames), so the convolutions run stretch by stretch, their features are padded, and the transformer
is told where each ends. That gives exactly what one stretch at a time gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.engine.convolutions import convolutions_of

MIN_SAMPLES = 400
"""The first frame sees so many; shorter sound is padded with zeros, as whisperx does."""

_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Processors without these emulate bfloat16, slower than float32. Source: oneDNN, "Data Types"."""

_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)
"""Of the GPU: Ampere and later have bfloat16; float16 is fast from Volta on. Source: CUDA C++ Programming Guide."""

Extract = Callable[[Any], Any]
Label = Callable[[Any, Any], Any]
Halves = tuple[Extract, Label]


class CtcNetwork:
    """
    Args:
        network: a wav2vec2 CTC model of transformers or torchaudio, in evaluation mode, on `device`.
        device: as torch names it.
        compute_type: `float32`, `bfloat16` or `float16`: of the large matrices; sums and norms stay exact.
    """

    def __init__(self, network: Any, *, device: str, compute_type: str = "float32") -> None:
        self._network = network
        self._halves = _halves_of(network, device)
        self._device = device
        self._compute_type = compute_type

    def log_probs(self, waves: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """
        Natural logarithms, for each wave shape (num_frames, num_labels). May be called by several threads at once.

        Args:
            waves: 16 000 Hz, each of shape (num_samples,), of any length.
        """
        found = self._computed(waves, self._compute_type)
        if self._compute_type == "float16" and not all(np.isfinite(one).all() for one in found):
            return self._computed(waves, "float32")  # float16 ends at 65 504, which large models reach
        return found

    def _computed(self, waves: Sequence[npt.NDArray[np.float32]], compute_type: str) -> list[npt.NDArray[np.float32]]:
        import torch

        reduced: Any = nullcontext()
        if compute_type != "float32":
            reduced = torch.autocast(self._device.partition(":")[0], getattr(torch, compute_type))
        with torch.inference_mode(), reduced:
            tensors = [self._tensor(wave) for wave in waves]
            if self._halves is None:
                logits = [_plain(self._network(tensor))[0] for tensor in tensors]
            else:
                logits = self._batched(tensors, *self._halves)
            return [torch.log_softmax(one.float(), dim=-1).cpu().numpy() for one in logits]

    def _tensor(self, wave: npt.NDArray[np.float32]) -> Any:
        """Shape (1, num_samples)."""
        import torch

        padded = np.zeros(max(MIN_SAMPLES, len(wave)), np.float32)
        padded[: len(wave)] = wave
        return torch.from_numpy(padded)[None].to(self._device)

    def _batched(self, tensors: Sequence[Any], extract: Extract, label: Label) -> list[Any]:
        import torch

        features = [extract(tensor) for tensor in tensors]
        lengths = torch.tensor([len(one) for one in features], device=self._device)
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        logits = label(padded, None if lengths.min() == lengths.max() else lengths)
        return [row[:length] for row, length in zip(logits, lengths.tolist(), strict=True)]


def _halves_of(network: Any, device: str) -> Halves | None:
    """Sound to features (frames, dim), and padded features with their lengths to logits; None: cannot be divided."""
    from torchaudio.models import Wav2Vec2Model  # type: ignore[import-untyped]  # ships no type information
    from transformers import Wav2Vec2ForCTC

    if isinstance(network, Wav2Vec2ForCTC) and network.wav2vec2.adapter is None:
        extractor = network.wav2vec2.feature_extractor
        extract, label = _halves_of_transformers(network)
    elif isinstance(network, Wav2Vec2Model):
        extractor = network.feature_extractor
        extract, label = _halves_of_torchaudio(network)
    else:
        return None
    in_pieces = convolutions_of(extractor) if device == "cpu" else None  # a GPU has nothing to gain from pieces
    return in_pieces or extract, label


def _halves_of_transformers(network: Any) -> Halves:
    import torch

    wav2vec2 = network.wav2vec2

    def extract(sound: Any) -> Any:
        return wav2vec2.feature_extractor(sound)[0].T

    def label(features: Any, lengths: Any) -> Any:
        mask = None
        if lengths is not None:
            mask = torch.arange(features.shape[1], device=features.device)[None] < lengths[:, None]
        hidden, _ = wav2vec2.feature_projection(features)
        return network.lm_head(wav2vec2.encoder(hidden, attention_mask=mask)[0])

    return extract, label


def _halves_of_torchaudio(network: Any) -> Halves:
    def extract(sound: Any) -> Any:
        return network.feature_extractor(sound, None)[0][0]

    def label(features: Any, lengths: Any) -> Any:
        hidden = network.encoder(features, lengths)
        return hidden if network.aux is None else network.aux(hidden)

    return extract, label


def _plain(answer: Any) -> Any:
    """Logits out of what transformers (`.logits`) or torchaudio (a tuple) returns."""
    return answer.logits if hasattr(answer, "logits") else answer[0]


def batches_of(lengths: Sequence[int], *, max_total: int) -> Iterator[list[int]]:
    """
    Indices of stretches to be computed together, the longest first; padded to the longest they are at most `max_total`.

    A stretch that is longer still comes alone.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_total:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def fitting_compute_type(wanted: str, device: str, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """`wanted`, or for `auto` what is fastest on this device and exact enough."""
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "bfloat16" if _CPU_FLAGS & _cpu_flags(cpuinfo) else "float32"
    import torch

    capability = torch.cuda.get_device_capability(torch.device(device))
    if capability >= _BFLOAT16_CAPABILITY:
        return "bfloat16"
    return "float16" if capability >= _FLOAT16_CAPABILITY else "float32"


def _cpu_flags(cpuinfo: Path) -> set[str]:
    """Of the first processor; none where there is no such file (not Linux)."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
