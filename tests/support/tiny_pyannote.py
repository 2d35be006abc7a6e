"""
pyannote pipelines made on the spot, in the layout of speaker-diarization-community-1: pyannote.audio loads them as they
are, from a folder or from the hub's cache.

The segmentation model is the one inside the whisperx wheel. The voice model is the encoder inside the Resemblyzer wheel
as a `pyannote.audio.Model` (tiny_voice_model.py), so that voices are really told apart; pyannote finds its class by
the name in the checkpoint.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.speech_sample import read_sound, sample_folder
from worker.engine.pyannote_pipeline import quiet
from worker.engine.segmentation import packaged_file
from worker.engine.voices import DIM

REPOSITORY = "pyannote/speaker-diarization-community-1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_CLUSTERING: dict[str, dict[str, object]] = {
    "VBxClustering": {"threshold": 0.6, "Fa": 0.2, "Fb": 0.8},
    "AgglomerativeClustering": {"method": "centroid", "threshold": 0.9, "min_cluster_size": 6},
}


def write_pipeline(folder: Path, clustering: str = "AgglomerativeClustering") -> Path:
    """A whole pipeline in `folder`: config.yaml, segmentation, embedding, plda; 6 MB, the segmentation is a link."""
    for part in ("segmentation", "embedding", "plda"):
        (folder / part).mkdir(parents=True)
    (folder / "segmentation" / "pytorch_model.bin").symlink_to(packaged_file("whisperx", "assets/pytorch_model.bin"))
    _write_voice_model(folder / "embedding" / "pytorch_model.bin")
    _write_plda(folder / "plda")
    (folder / "config.yaml").write_text(_config(clustering))
    return folder


def write_cache(cache: Path, clustering: str = "AgglomerativeClustering") -> Path:
    """The same as huggingface_hub keeps it; the snapshot's folder."""
    repository = cache / f"models--{REPOSITORY.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return write_pipeline(repository / "snapshots" / COMMIT, clustering)


def _config(clustering: str) -> str:
    params = "\n".join(f"    {name}: {value}" for name, value in _CLUSTERING[clustering].items())
    return f"""\
dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: {clustering}
    segmentation: $model/segmentation
    segmentation_step: 0.2
    segmentation_batch_size: 32
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering:
{params}
  segmentation:
    threshold: 0.45
    min_duration_off: 0.0
"""


def _write_voice_model(path: Path) -> None:
    with quiet():
        torch, _ = import_module("torch"), import_module("pyannote.audio")  # whose parts import each other in a circle
        task = import_module("pyannote.audio.core.task")
        model = import_module("tests.support.tiny_voice_model").GE2EVoice()
    weights = torch.load(packaged_file("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True)
    model.load_state_dict(
        {k: v for k, v in weights["model_state"].items() if k.startswith(("lstm", "linear"))}, strict=False
    )
    model.usual = _usual_voice(model.eval())
    model.specifications = task.Specifications(
        problem=task.Problem.REPRESENTATION, resolution=task.Resolution.CHUNK, duration=5.0
    )
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": import_module("lightning").__version__,
    }
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


def _usual_voice(model: Any) -> Any:
    """The mean over the sample: what is left without it is what tells voices apart."""
    torch = import_module("torch")
    torch.set_num_threads(1)  # as in the engine child: threads that wait for each other take minutes on a busy PC
    samples = read_sound(sample_folder() / "sample.wav")
    parts = torch.from_numpy(samples[: len(samples) // 16_000 * 16_000]).reshape(-1, 1, 16_000)
    with torch.inference_mode():
        usual = model(parts).mean(dim=0)
    return usual.clone()


def _write_plda(folder: Path) -> None:
    """One that changes nothing: VBx then works on the voice vectors themselves."""
    np.savez(folder / "xvec_transform.npz", mean1=np.zeros(DIM), mean2=np.zeros(DIM), lda=np.eye(DIM))
    np.savez(folder / "plda.npz", mu=np.zeros(DIM), tr=np.eye(DIM), psi=np.linspace(8.0, 1.0, DIM))
