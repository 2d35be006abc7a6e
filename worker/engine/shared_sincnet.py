"""
The first layers of the segmentation model, computed once for all chunks that overlap.

A chunk begins every half second and lasts five, so PyanNet filters each sample ten times. Its front end is: scale the
chunk to mean 0 and variance 1, filter, take the absolute value, take the largest of each three, scale again, and two
small convolutions. Filtering is linear, so it can be done before the chunk's own scale (a, b) is known; and the largest
|a x + b| of three neighbours is that of their largest or of their smallest x. Both are shared by all chunks. The rest,
a quarter of the front end's time, is done per chunk by the model's own layers.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any

from worker.engine.grid import CHUNK_SAMPLES

if TYPE_CHECKING:
    from torch import Tensor

_POOL = 3


class SharedSincNet:
    """
    Equal to `pyannote.audio.models.blocks.sincnet.SincNet` on each chunk, but for rounding (1e-4 in the activations).

    Args:
        sincnet: the model's own; its weights are read when this is made, its layers are used on every call.
    """

    def __init__(self, sincnet: Any) -> None:
        self._sincnet = sincnet
        self._scale = sincnet.wav_norm1d
        self._stride = int(sincnet.conv1d[0].stride)
        self._filters: Tensor = sincnet.conv1d[0].get_filters().detach()
        self._answer_to_one: Tensor = self._filters.sum(dim=-1)
        num_filtered = (CHUNK_SAMPLES - self._filters.shape[-1]) // self._stride + 1
        self._num_pooled = num_filtered // _POOL

    def to(self, device: str) -> None:
        self._sincnet.to(device)
        self._filters, self._answer_to_one = self._filters.to(device), self._answer_to_one.to(device)

    def __call__(self, samples: Tensor, hop: int) -> Tensor:
        """
        Features of all chunks of 80 000 samples that begin `hop` samples apart, shape (num_chunks, 60, 293).

        Args:
            samples: shape (num_samples,), of one chunk or more.
            hop: a multiple of the filters' stride, 10 samples.
        """
        chunks = samples.unfold(0, CHUNK_SAMPLES, hop)
        return self._later_layers(self._first_layer(samples, chunks, hop // self._stride))

    def _first_layer(self, samples: Tensor, chunks: Tensor, hop: int) -> Tensor:
        """Shape (num_chunks, 80, 2658); `hop` counts filtered values."""
        import torch

        # pooled at every offset that chunks need: where `hop` is not a multiple of three, they lie between each other
        pool_hop = gcd(_POOL, hop)
        largest, smallest = self._extremes(samples, pool_hop)
        factor, offset = self._chunk_scales(chunks)
        result = samples.new_empty(len(chunks), len(self._filters), self._num_pooled)
        between = _POOL // pool_hop
        for chunk, into in enumerate(result):
            first = chunk * hop // pool_hop
            part = slice(first, first + (self._num_pooled - 1) * between + 1, between)
            top = torch.addcmul(offset[chunk], largest[:, part], factor[chunk]).abs_()
            bottom = torch.addcmul(offset[chunk], smallest[:, part], factor[chunk]).abs_()
            torch.maximum(top, bottom, out=into)
        return result

    def _extremes(self, samples: Tensor, pool_hop: int) -> tuple[Tensor, Tensor]:
        """Largest and smallest of each three filtered values, each of shape (80, num_pooled)."""
        from torch.nn.functional import conv1d, max_pool1d

        filtered = conv1d(samples[None, None], self._filters, stride=self._stride)[0]
        return max_pool1d(filtered, _POOL, pool_hop), -max_pool1d(-filtered, _POOL, pool_hop)

    def _chunk_scales(self, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """What InstanceNorm1d does to each chunk, after the filters: (num_chunks,) and (num_chunks, 80, 1)."""
        import torch

        variance, mean = torch.var_mean(chunks, dim=1, correction=0)
        factor = self._scale.weight / torch.sqrt(variance + self._scale.eps)
        shift = self._scale.bias - mean * factor
        return factor, shift[:, None, None] * self._answer_to_one

    def _later_layers(self, pooled: Tensor) -> Tensor:
        """As SincNet.forward goes on."""
        from torch.nn.functional import leaky_relu

        net = self._sincnet
        features: Tensor = leaky_relu(net.norm1d[0](pooled))
        for convolve, pool, scale in zip(net.conv1d[1:], net.pool1d[1:], net.norm1d[1:], strict=True):
            features = leaky_relu(scale(pool(convolve(features))))
        return features
