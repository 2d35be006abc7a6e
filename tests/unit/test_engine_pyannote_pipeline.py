"""The habits of pyannote.audio's pipeline that are cured; no model is needed for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from worker.engine.diarize_pyannote import _Progress
from worker.engine.pyannote_pipeline import Parts, WillingClustering

Centroids = npt.NDArray[np.float64]
ALIKE = np.array([[1.0, 0.0], [0.99, 0.1]])
APART = np.array([[1.0, 0.0], [0.0, 1.0]])


@dataclass
class Clustering:
    """Answers like pyannote's: one voice freely, and `forced` when more are demanded."""

    forced: Centroids
    threshold: float = 0.6
    expects_num_clusters: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, embeddings: Any, **bounds: Any) -> tuple[str, None, Centroids]:
        self.calls.append(bounds)
        is_free = bounds.get("min_clusters", 1) == 1 and bounds.get("num_clusters") is None
        return ("free", None, self.forced[:1]) if is_free else ("forced", None, self.forced)


def test_a_lower_bound_is_met_where_the_voices_are_apart() -> None:
    clustering = Clustering(APART)
    answer = WillingClustering(clustering)(embeddings=None, min_clusters=2, max_clusters=2, num_clusters=2)
    assert answer[0] == "forced"
    assert clustering.calls[0] == {"min_clusters": 1, "max_clusters": 2}, "first without the lower bound"


def test_nobody_is_split_to_meet_a_lower_bound() -> None:
    """Voices nearer to each other than the pipeline's own threshold are one person's."""
    assert WillingClustering(Clustering(ALIKE))(embeddings=None, min_clusters=2, max_clusters=5)[0] == "free"
    assert WillingClustering(Clustering(ALIKE, threshold=0.05))(embeddings=None, min_clusters=2, max_clusters=5)[0] == (
        "forced"
    )


def test_without_a_lower_bound_it_is_asked_once() -> None:
    clustering = Clustering(APART)
    WillingClustering(clustering)(embeddings=None, min_clusters=1, max_clusters=np.inf)
    assert len(clustering.calls) == 1


def test_a_clustering_that_needs_a_number_gets_it() -> None:
    clustering = Clustering(APART, expects_num_clusters=True)
    WillingClustering(clustering)(embeddings=None, min_clusters=2, max_clusters=2, num_clusters=2)
    assert clustering.calls == [{"num_clusters": 2}]


class Batch(list[int]):
    """As much of a tensor as is used."""

    def tensor_split(self, num: int) -> list[Batch]:
        return [Batch(part.tolist()) for part in np.array_split(np.array(self), num)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_come_back_in_their_order(size: int) -> None:
    with ThreadPoolExecutor(3) as pool:
        parts = Parts(lambda batch: np.array(batch) * 2, SimpleNamespace(device=SimpleNamespace(type="cpu")), pool, 3)
        assert parts(Batch(range(size))).tolist() == [2 * i for i in range(size)]


def test_parts_are_computed_at_once_on_the_cpu_and_a_gpu_gets_the_whole_batch() -> None:
    """The barrier breaks if a part waits for another one's end."""
    all_here = threading.Barrier(3, timeout=30)
    sizes: list[int] = []

    def compute(batch: list[int]) -> Any:
        sizes.append(len(batch))
        if len(batch) == 2:
            all_here.wait()
        return np.array(batch)

    device = SimpleNamespace(type="cpu")
    with ThreadPoolExecutor(3) as pool:
        parts = Parts(compute, SimpleNamespace(device=device), pool, 3)
        parts(Batch(range(6)))
        device.type = "cuda"
        parts(Batch(range(6)))
    assert sizes == [2, 2, 2, 6]


def test_progress_never_goes_back_and_is_repeated_only_while_clustering() -> None:
    """A model that hangs must look like one; the arithmetic after it takes minutes and cannot hang."""
    seen: list[float] = []
    progress = _Progress(seen.append)
    progress("segmentation", None, file={}, total=2, completed=4)
    progress("segmentation", object(), file={})
    progress("embeddings", None, file={}, total=2, completed=1)
    progress("segmentation", None, file={}, total=2, completed=1)
    progress.repeat_when_silent(0.0)
    assert len(seen) == 4
    progress("embeddings", None, file={}, total=2, completed=2)
    progress.repeat_when_silent(0.0)
    assert seen == sorted(seen)
    assert seen[-1] == seen[-2] == pytest.approx(0.95)
