"""
The two time grids of the bundled diarizer, and the way between them.

The segmentation model hears chunks of 5 s and answers with 293 frames per chunk, one each 270 samples; the first
frame is centred at sample 495.5 (the receptive field of PyanNet's SincNet front end). Chunks begin on whole frames, so
that all of them share one grid and frame f of the recording is the same instant in every chunk. Voices are described
on a mel grid of 100 frames per second, frame m centred at m * 10 ms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from worker.engine.recording import RATE_HZ

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CHUNK_SAMPLES = 80_000
CHUNK_FRAMES = 293
FRAME_SAMPLES = 270
FRAME_S = FRAME_SAMPLES / RATE_HZ
FIRST_CENTRE_S = 495.5 / RATE_HZ
MEL_FRAMES_PER_S = 100


def num_chunks(num_samples: int, step: int) -> int:
    """How many chunks, `step` frames apart, cover the recording; the last one may reach beyond its end."""
    return num_chunks_every(step * FRAME_SAMPLES, num_samples)


def num_chunks_every(hop_samples: int, num_samples: int) -> int:
    """The same for chunks that need not begin on whole frames."""
    return 1 + -(-max(0, num_samples - CHUNK_SAMPLES) // hop_samples)


def edge_s(frame: Ints) -> npt.NDArray[np.floating]:
    """Seconds at which each frame begins; a run of frames [a, b) lasts from edge_s(a) to edge_s(b)."""
    return FIRST_CENTRE_S + FRAME_S * (frame - 0.5)


def runs(active: Bools) -> tuple[Ints, Ints]:
    """First frames, and frames after the last, of each stretch of True in `active`, shape (num_frames,)."""
    change = np.diff(active.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def mel_frames(active: Bools, first: int, num_mel_frames: int) -> Ints:
    """Numbers of the mel frames centred in an active frame; `active` begins with frame `first` of the recording."""
    starts, stops = (np.ceil(edge_s(x + first) * MEL_FRAMES_PER_S).astype(int) for x in runs(active))
    parts = [np.arange(a, min(b, num_mel_frames)) for a, b in zip(starts, stops, strict=True)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=int)
