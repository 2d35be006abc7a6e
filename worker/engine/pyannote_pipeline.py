"""pyannote.audio's pipeline: loaded, and cured of three habits (see `Parts`, `VoiceModel`, `WillingClustering`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from worker.engine.pyannote_models import hub_remedy, is_disk_full
from worker.engine.whisperx_library import is_gpu_out_of_memory
from worker.exceptions import GpuOutOfMemoryError, ModelUnavailableError


@contextmanager
def quiet() -> Iterator[None]:
    """
    Import and call pyannote.audio without its warnings, which nobody here can act on: no FFmpeg for torchcodec (it is
    handed samples), TF32 switched off, bounds that were not kept (the result says so itself).
    """
    with warnings.catch_warnings(action="ignore"):
        # Lightning says at INFO, on its own handler, that it upgraded an old checkpoint in memory
        logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
        yield


def load_pipeline(folder: Path, *, cache: Path, token: str | None, device: str, num_threads: int) -> Any:
    """
    The pipeline in `folder`, ready on `device` ("cpu", "cuda:0").

    Args:
        cache, token: for pipelines whose configuration names further repositories of the hub.

    Raises ModelUnavailableError, GpuOutOfMemoryError, OSError when the disk is full.
    """
    try:
        with quiet():
            import torch
            from pyannote.audio import Pipeline

            pipeline = Pipeline.from_pretrained(folder, token=token, cache_dir=cache)
            if pipeline is None or not hasattr(pipeline, "embedding_batch_size"):
                raise TypeError("no SpeakerDiarization")
            pipeline.to(torch.device(device))
            torch.set_num_threads(1)
    except Exception as error:  # damaged weights make torch, yaml and pickle raise anything
        raise _not_loaded(error, has_token=token is not None) from error
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="diarizer")
    pipeline._segmentation.infer = Parts(pipeline._segmentation.infer, pipeline._segmentation, pool, num_threads)
    pipeline._embedding = VoiceModel(pipeline._embedding, pipeline, pool, num_threads)
    pipeline.clustering = WillingClustering(pipeline.clustering)
    return pipeline


def _not_loaded(error: Exception, *, has_token: bool) -> Exception:
    if is_disk_full(error):
        return error
    if is_gpu_out_of_memory(error):
        return GpuOutOfMemoryError(reason=str(error)[:500], replace_child=True)
    if _is_of_the_hub(error):
        return hub_remedy(error, "a model that the pipeline names", has_token=has_token)
    return ModelUnavailableError(
        "pyannote's pipeline is here and cannot be loaded. Ask the administrator to fetch it again (remove its folder "
        "in MODEL_CACHE_DIR, or copy PYANNOTE_MODEL's anew); it must be a speaker diarization pipeline for "
        "pyannote.audio 4. DIARIZER=bundled works without it.",
        reason=f"{type(error).__name__}: {error}"[:500],
        replace_child=True,
    )


def _is_of_the_hub(error: Exception) -> bool:
    return type(error).__module__.startswith(("huggingface_hub", "requests"))


class Parts:
    """
    A model's call, with each batch cut into as many parts as there are threads, as long as the model is on the CPU.

    Source: field experience with the bundled diarizer. One OpenMP thread per part is faster than several within a
    batch, and on a busy PC by far: threads that wait for each other make an LSTM up to 100 times slower.
    """

    def __init__(self, compute: Any, model: Any, pool: ThreadPoolExecutor, num_threads: int) -> None:
        self._compute = compute
        self._model = model
        self._pool = pool
        self._num_threads = num_threads

    def __call__(self, *batch: Any) -> Any:
        """Tensors of one length in, numpy of the same length out."""
        num = min(self._num_threads, len(batch[0]))
        if self._model.device.type != "cpu" or num < 2:
            return self._compute(*batch)
        parts = zip(*(tensor.tensor_split(num) for tensor in batch), strict=True)
        return np.concatenate(list(self._pool.map(lambda part: self._compute(*part), parts)))


class VoiceModel:
    """
    pyannote's voice model, with the last batch filled up to the size of the others on a GPU.

    For a batch of a new size cuDNN chooses its algorithm anew, and for the last one it took 10 GB where all others had
    taken 2: pyannote-audio issue 1963. Everything but the call is passed on.
    """

    def __init__(self, embedding: Any, pipeline: Any, pool: ThreadPoolExecutor, num_threads: int) -> None:
        self._embedding = embedding
        self._pipeline = pipeline
        self._parts = Parts(embedding, embedding, pool, num_threads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedding, name)

    def __call__(self, waveforms: Any, masks: Any) -> Any:
        """Shapes (num, 1, num_samples) and (num, num_frames); the answer is numpy, shape (num, dim)."""
        import torch

        num, size = len(waveforms), self._pipeline.embedding_batch_size
        if num < size and self._embedding.device.type == "cuda":
            places = torch.arange(size).clamp(max=num - 1)
            waveforms, masks = waveforms[places], masks[places]
        return self._parts(waveforms, masks)[:num]


class WillingClustering:
    """
    pyannote's clustering, which meets a lower bound only if that splits nobody.

    Where it finds fewer voices than `min_speakers`, pyannote cuts the voices into as many by k-means, people or not.
    Here it clusters freely first; a forced result is taken only if all of its voices are further apart than the
    distance at which the pipeline itself takes two voices for one (its own parameter `threshold`).
    """

    def __init__(self, clustering: Any) -> None:
        self._clustering = clustering

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clustering, name)

    def __call__(self, *, min_clusters: int, max_clusters: float, num_clusters: int | None = None, **heard: Any) -> Any:
        """As pyannote calls it; `num_clusters` only repeats that both bounds are equal."""
        if num_clusters is not None and self.expects_num_clusters:
            return self._clustering(num_clusters=num_clusters, **heard)
        free = self._clustering(min_clusters=1, max_clusters=max_clusters, **heard)
        if free[2] is None or len(free[2]) >= min_clusters:
            return free
        forced = self._clustering(min_clusters=min_clusters, max_clusters=max_clusters, **heard)
        return forced if self._are_apart(forced[2]) else free

    def _are_apart(self, centroids: Any) -> bool:
        lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
        voices = centroids / np.maximum(lengths, 1e-9)
        cosine = voices @ voices.T
        np.fill_diagonal(cosine, -1.0)
        nearest = float(np.sqrt(max(0.0, 2.0 - 2.0 * float(np.nan_to_num(cosine, nan=1.0).max()))))
        return nearest > float(self._clustering.threshold)
