"""
How likely anybody speaks, frame by frame: what whisperx's own detector computes, without its waste.

whisperx.vads.pyannote.VoiceActivitySegmentation runs the same model over the whole recording in memory, on one thread,
and was 159 of the 191 s that an hour took. Here audio is read in blocks and computed in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.engine.grid import CHUNK_FRAMES, CHUNK_SAMPLES, FRAME_S, Floats, num_chunks_every
from worker.engine.recording import RATE_HZ
from worker.engine.segmentation import SegmentationModel
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

FRAME_DURATION_S = 991 / RATE_HZ
"""How much sound one frame hears (PyanNet's receptive field); `grid.FRAME_S` is how far apart frames are."""

_HOP_SAMPLES = RATE_HZ // 2
"""A tenth of a chunk, pyannote.audio's default and so whisperx's."""


def speech_scores(
    sound: soundfile.SoundFile, report: Report, *, model: SegmentationModel, num_threads: int = 2
) -> Floats:
    """
    How likely at least one voice speaks, in [0, 1], shape (num_frames,).

    Frame f begins at f * FRAME_S, as whisperx counts: what its `merge_chunks` expects is
    `SlidingWindowFeature(scores[:, None], SlidingWindow(start=0.0, step=FRAME_S, duration=FRAME_DURATION_S))`.
    Equal to whisperx 3.8's detector, which takes the most active local voice of each chunk and averages chunks under a
    Hamming window. Memory: 12 bytes per frame, 2.6 MB per hour.

    Raises RuntimeError: what torch raises; AudioPreprocessingError through `open_recording`.
    """
    total = num_chunks_every(_HOP_SAMPLES, sound.frames)
    window = np.hamming(CHUNK_FRAMES).astype(np.float32)
    summed, weight = (np.zeros(_frame_after(total), dtype=np.float32) for _ in range(2))
    done = 0
    for batch in model.stream(sound, hop_samples=_HOP_SAMPLES, num_threads=num_threads):
        for activity in batch.max(axis=2):
            first = round(done * _HOP_SAMPLES / RATE_HZ / FRAME_S)
            summed[first : first + CHUNK_FRAMES] += activity * window
            weight[first : first + CHUNK_FRAMES] += window
            done += 1
        report(done / total)
    scores = np.divide(summed, weight, out=np.zeros_like(summed), where=weight > 0)
    return scores[: _num_frames(sound.frames, len(scores))]


def _frame_after(num_chunks: int) -> int:
    """One more than the frame nearest to the end of the last chunk; the few that no chunk reaches stay zero."""
    end_s = (CHUNK_SAMPLES + (num_chunks - 1) * _HOP_SAMPLES) / RATE_HZ
    return round(end_s / FRAME_S) + 1


def _num_frames(num_samples: int, computed: int) -> int:
    """Without frames that begin after the recording's end, where the last chunk was padded."""
    is_padded = num_samples < CHUNK_SAMPLES or (num_samples - CHUNK_SAMPLES) % _HOP_SAMPLES > 0
    return min(computed, int(num_samples / RATE_HZ / FRAME_S) + 1) if is_padded else computed
