"""
The diarizer that needs no token and no model hub.

    segmentation    who speaks within each five seconds (the model inside the whisperx wheel)
    tracks          local voices linked over chunks
    pieces          two seconds of clean speech each
    voices          a vector per piece (the encoder inside the Resemblyzer wheel)
    clustering      which pieces are one person's
    assignment      who speaks in every frame
    turns           runs of frames, labelled in order of first speech

Memory grows with the number of chunks and pieces, not with the samples: audio is read in stretches of at most a few
minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worker.engine.assignment import Frames, decide_frames, reassign
from worker.engine.clustering import (
    Bounds,
    Evidence,
    cluster,
    merge_into_nearest,
    num_clusters_nearby,
    renumbered,
)
from worker.engine.ghosts import find_ghost
from worker.engine.grid import FRAME_S, Bools, edge_s, runs
from worker.engine.listening import CPU, Heard, Listener
from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.tracks import Tracks
from worker.engine.voices import MODEL, VoiceEncoder
from worker.engine.whisperx_library import mapped
from worker.models import Diarization, ResultWarning, SpeakerTurn, Stage
from worker.ports import Report


class BundledDiarizer:
    """
    A Diarizer that works offline; its models stay loaded between meetings.

    Args:
        num_threads: batches computed at once, each on one core. PyTorch is told to use one thread per batch, for the
            whole process: OpenMP threads waiting for each other make a small LSTM 100 times slower on a busy CPU.
        device: as torch names it (`cpu`, `cuda:0`). With a GPU whose memory runs out, see listening.py.
        batch_size: chunks of five seconds computed at once on a GPU; None: 64.
        encoder: shared with the voice describer; None: one of its own.

    Raises ModelUnavailableError: a model cannot be loaded.
    """

    def __init__(
        self,
        *,
        num_threads: int = 2,
        device: str = CPU,
        batch_size: int | None = None,
        encoder: VoiceEncoder | None = None,
    ) -> None:
        self._listener = Listener(num_threads=num_threads, device=device, batch_size=batch_size, encoder=encoder)

        import torch

        torch.set_num_threads(1)

    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        """
        Who speaks when. Silence gives no turns; it is not an error. Voices are described by the VoiceDescriber.

        Args:
            audio: WAV as the Decoder writes it.
            min_speakers: clusters are not merged below it. Fewer are found where the recording holds too little speech;
                a warning says so.
            max_speakers: the closest voices are merged until no more are left.

        Raises AudioPreprocessingError, OutOfMemoryError, EngineError.
        """
        bounds = _bounds(min_speakers, max_speakers)
        try:
            with open_recording(audio) as sound:
                duration_s = sound.frames / RATE_HZ
                heard = self._listener.hear(sound, report)
        except (RuntimeError, MemoryError) as error:
            raise mapped(error) from error
        evidence = _evidence(heard)
        frames = _tell_apart(heard, evidence, bounds)
        report(1.0)
        return _as_diarization(heard, frames, evidence, duration_s, bounds)


def _evidence(heard: Heard) -> Evidence:
    pieces = heard.pieces
    beside = tuple(track.beside for track in heard.tracks.tracks)
    return Evidence(heard.vectors, pieces.track, pieces.middle_s, pieces.length, beside)


def _bounds(min_speakers: int | None, max_speakers: int | None) -> Bounds:
    """What people wrote, made possible: at least one, and the maximum wins where the two contradict each other."""
    at_most = max(1, max_speakers) if max_speakers is not None else None
    at_least = max(1, min_speakers or 1)
    return Bounds(at_least if at_most is None else min(at_least, at_most), at_most)


def _tell_apart(heard: Heard, evidence: Evidence, bounds: Bounds) -> Frames:
    """Who speaks in every frame; ghosts merged into the voice they resemble most."""
    tracks, pieces = heard.tracks, heard.pieces
    labels = cluster(evidence, bounds)
    if not evidence.says_something.any():
        return _one_voice(tracks)
    labels = renumbered(reassign(evidence, labels))
    frames = decide_frames(tracks, pieces, evidence, labels)
    while (ghost := _ghost(frames.speaks)) is not None and frames.speaks.shape[1] > bounds.min_speakers:
        labels = merge_into_nearest(evidence, labels, ghost)
        frames = decide_frames(tracks, pieces, evidence, labels)
    return frames


def _one_voice(tracks: Tracks) -> Frames:
    """Speech too short to tell voices apart is one voice's."""
    speaks = (tracks.num_voices > 0)[:, None]
    return Frames(speaks, speaks.astype(np.float32))


def _ghost(speaks: Bools) -> int | None:
    longest = [max((stops - starts).tolist(), default=0) for starts, stops in map(runs, speaks.T)]
    return find_ghost((speaks.sum(axis=0) * FRAME_S).tolist(), [frames * FRAME_S for frames in longest])


def _as_diarization(heard: Heard, frames: Frames, evidence: Evidence, duration_s: float, bounds: Bounds) -> Diarization:
    order = _by_first_speech(frames.speaks)
    names = {voice: f"SPEAKER_{rank:02d}" for rank, voice in enumerate(order)}
    few = len(order) < bounds.min_speakers
    return Diarization(
        turns=_turns(frames.speaks, names, duration_s),
        exclusive=_turns(_loudest_only(frames), names, duration_s),
        embeddings=(),
        diarizer="bundled",
        model=f"pyannote-segmentation+{MODEL}",
        device=heard.device,
        batch_size=heard.batch_size,
        num_speakers_range=_range(len(order), num_clusters_nearby(evidence, bounds)),
        warnings=(_FEW_SPEAKERS,) if few else (),
    )


def _range(found: int, nearby: tuple[int, int]) -> tuple[int, int]:
    """What was found counts too: giving pieces away a second time and merging ghosts may leave fewer."""
    return min(found, nearby[0]), max(found, nearby[1])


_FEW_SPEAKERS = ResultWarning(
    code="fewer_speakers_than_asked",
    message="Fewer voices were found than the meeting's min_speakers; some people may share a label.",
    stage=Stage.DIARIZE,
)


def _by_first_speech(speaks: Bools) -> list[int]:
    present = np.flatnonzero(speaks.any(axis=0))
    return sorted(present.tolist(), key=lambda voice: int(speaks[:, voice].argmax()))


def _loudest_only(frames: Frames) -> Bools:
    """Of several voices in a frame the one that the segmentation is surest of; a guessed second voice gives way."""
    sureness = np.where(frames.speaks, frames.activity, -1)
    first = sureness.argmax(axis=1)
    alone: Bools = frames.speaks & (np.arange(frames.speaks.shape[1]) == first[:, None])
    return alone


def _turns(speaks: Bools, names: dict[int, str], duration_s: float) -> tuple[SpeakerTurn, ...]:
    turns = []
    for voice, label in names.items():
        starts, stops = runs(speaks[:, voice])
        for start_s, end_s in zip(edge_s(starts).tolist(), np.minimum(edge_s(stops), duration_s).tolist(), strict=True):
            if start_s < end_s:
                turns.append(SpeakerTurn(start_s=round(start_s, 4), end_s=round(end_s, 4), label=label))
    return tuple(sorted(turns, key=lambda turn: (turn.start_s, turn.end_s, turn.label)))
