"""
The reference of diarizer_speed.py: what anybody would build from the same two models.

pyannote.audio's own SpeakerDiarization with the segmentation model of the whisperx wheel, its agglomerative clustering,
and Resemblyzer's encoder as the embedding: that pipeline hands it chunks with a mask per local voice, and it describes
one after the other, as Resemblyzer's `embed_utterance` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tests.support.speech_sample import RATE_HZ
from worker.engine.grid import Floats
from worker.engine.segmentation import packaged_file
from worker.engine.whisperx_library import hushed

if TYPE_CHECKING:
    from torch import Tensor

_DIM = 256
_WINDOW = 160
_WINDOW_HOP = round(RATE_HZ / 1.3 / 160)
"""Resemblyzer's rate: 1.3 windows a second."""
_QUIETEST = 10 ** (-30 / 20)
_SHORTEST_SAMPLES = 6_400


def naive_pipeline() -> Any:
    """`pipeline({"waveform": ..., "sample_rate": ...}).speaker_diarization` says who speaks when."""
    with hushed():
        from pyannote.audio import Model

        recipe: Any = import_module("pyannote.audio.pipelines.speaker_diarization")
        segmentation = Model.from_pretrained(packaged_file("whisperx", "assets/pytorch_model.bin"), strict=False)
        found = recipe.PretrainedSpeakerEmbedding, recipe.get_plda
        recipe.PretrainedSpeakerEmbedding, recipe.get_plda = lambda *_, **__: _MaskedVoices(), lambda *_, **__: None
        try:
            pipeline = recipe.SpeakerDiarization(
                segmentation=segmentation,
                embedding="resemblyzer",
                clustering="AgglomerativeClustering",
                segmentation_batch_size=32,
                embedding_batch_size=32,
            )
        finally:
            recipe.PretrainedSpeakerEmbedding, recipe.get_plda = found
    clustering = {"method": "centroid", "threshold": 0.5, "min_cluster_size": 6}
    pipeline.instantiate({"segmentation": {"threshold": 0.45, "min_duration_off": 0.0}, "clustering": clustering})
    return pipeline


class _MaskedVoices:
    """What pyannote's pipeline asks of an embedding model."""

    sample_rate: ClassVar[int] = RATE_HZ
    dimension: ClassVar[int] = _DIM
    metric: ClassVar[str] = "cosine"
    min_num_samples: ClassVar[int] = _SHORTEST_SAMPLES

    def __init__(self) -> None:
        import torch

        self._lstm, self._linear = torch.nn.LSTM(40, _DIM, 3, batch_first=True), torch.nn.Linear(_DIM, _DIM)
        path = packaged_file("resemblyzer", "pretrained.pt")
        weights = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        for name, part in (("lstm.", self._lstm), ("linear.", self._linear)):
            part.load_state_dict({k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)})

    def to(self, _device: Any) -> _MaskedVoices:
        return self

    def __call__(self, chunks: Tensor, masks: Tensor) -> Floats:
        """Shape (num_chunks, 256); not a number where a voice speaks too little."""
        pairs = zip(chunks.numpy()[:, 0], masks.numpy(), strict=True)
        return np.vstack([self._describe(_heard(samples, mask)) for samples, mask in pairs])

    def _describe(self, samples: Floats) -> Floats:
        import torch

        if len(samples) < _SHORTEST_SAMPLES:
            return np.full(_DIM, np.nan, dtype=np.float32)
        with torch.inference_mode():
            _, (hidden, _) = self._lstm(torch.from_numpy(_windows(samples)))
            vectors = torch.relu(self._linear(hidden[-1]))
            mean: Floats = torch.nn.functional.normalize(vectors).mean(dim=0).numpy()
        return mean / np.linalg.norm(mean)


def _heard(samples: Floats, mask: Floats) -> Floats:
    return samples[np.repeat(mask > 0.5, -(-len(samples) // len(mask)))[: len(samples)]]


def _windows(samples: Floats) -> Floats:
    """Mel windows as `VoiceEncoder.compute_partial_slices` cuts them, quiet speech made louder: (windows, 160, 40)."""
    import librosa

    loudness = float(np.sqrt(np.mean(samples**2))) + 1e-9
    samples = samples * max(1.0, _QUIETEST / loudness)
    num_frames = -(-(len(samples) + 1) // 160)
    starts = list(range(0, max(1, num_frames - _WINDOW + _WINDOW_HOP + 1), _WINDOW_HOP))
    if len(starts) > 1 and (len(samples) - starts[-1] * 160) / (_WINDOW * 160) < 0.75:
        starts.pop()
    samples = np.pad(samples, (0, max(0, (starts[-1] + _WINDOW) * 160 - len(samples))))
    mel = (
        librosa.feature.melspectrogram(y=samples, sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=40).astype(np.float32).T
    )
    return np.stack([mel[start : start + _WINDOW] for start in starts])
