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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from worker.engine.assignment import Frames, decide_frames, reassign
from worker.engine.clustering import Bounds, Evidence, cluster, means, merge_into_nearest, renumbered
from worker.engine.grid import FRAME_S, MEL_FRAMES_PER_S, Bools, Floats, Ints, edge_s, runs
from worker.engine.pieces import Pieces, cut_pieces
from worker.engine.recording import RATE_HZ, open_recording
from worker.engine.segmentation import SegmentationModel
from worker.engine.tracks import Tracks, follow_voices
from worker.engine.voices import DIM, MODEL, VoiceEncoder, num_mel_frames
from worker.exceptions import EngineError
from worker.models import Diarization, ResultWarning, SpeakerEmbedding, SpeakerTurn, Stage
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

_CHUNK_STEP = 30
"""Frames between chunks, 0.506 s. 1.0 s is a third faster and as good on AMI; 0.5 s is steadier on shifted audio."""
_SEGMENTATION_SHARE = 0.7
_VOICES_SHARE = 0.25
_GHOST_SHARE = 0.02
_GHOST_TURN_S = 2.0


class BundledDiarizer:
    """
    A Diarizer that works offline; its models stay loaded between meetings.

    Args:
        num_threads: batches computed at once, each on one core. PyTorch is told to use one thread per batch, for the
            whole process: OpenMP threads waiting for each other make a small LSTM 100 times slower on a busy CPU.

    Raises ModelUnavailableError: a model cannot be loaded.
    """

    def __init__(self, *, num_threads: int = 2) -> None:
        self._num_threads = num_threads
        self._segmentation = SegmentationModel()
        self._encoder = VoiceEncoder()

        import torch

        torch.set_num_threads(1)

    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        """
        Who speaks when, and what each voice sounds like. Silence gives no turns and no embeddings; it is not an error.

        Args:
            audio: WAV as the Decoder writes it.
            min_speakers: clusters are not merged below it. Fewer are found where the recording holds too little speech;
                a warning says so.
            max_speakers: the closest voices are merged until no more are left.

        Raises AudioPreprocessingError, EngineError.
        """
        bounds = _bounds(min_speakers, max_speakers)
        try:
            with open_recording(audio) as sound:
                duration_s = sound.frames / RATE_HZ
                tracks, pieces, vectors = self._hear(sound, report)
        except RuntimeError as error:
            raise EngineError(reason=str(error)) from error
        beside = tuple(track.beside for track in tracks.tracks)
        evidence = Evidence(vectors, pieces.track, pieces.middle_s, pieces.length, beside)
        labels, frames = _tell_apart(tracks, pieces, evidence, bounds)
        report(1.0)
        return _as_diarization(frames, evidence, labels, duration_s, bounds)

    def _hear(self, sound: soundfile.SoundFile, report: Report) -> tuple[Tracks, Pieces, Floats]:
        """All that the two models say about the recording; the rest is arithmetic."""
        activations = self._segmentation.activations(
            sound, step=_CHUNK_STEP, num_threads=self._num_threads, report=_part(report, 0, _SEGMENTATION_SHARE)
        )
        tracks = follow_voices(activations, _CHUNK_STEP)
        pieces = cut_pieces(tracks, num_mel_frames(sound.frames))
        vectors = self._encoder.describe(
            sound, pieces, num_threads=self._num_threads, report=_part(report, _SEGMENTATION_SHARE, _VOICES_SHARE)
        )
        return tracks, pieces, vectors


def _bounds(min_speakers: int | None, max_speakers: int | None) -> Bounds:
    """What people wrote, made possible: at least one, and the maximum wins where the two contradict each other."""
    at_most = max(1, max_speakers) if max_speakers is not None else None
    at_least = max(1, min_speakers or 1)
    return Bounds(at_least if at_most is None else min(at_least, at_most), at_most)


def _part(report: Report, start: float, share: float) -> Report:
    return lambda done: report(start + share * done)


def _tell_apart(tracks: Tracks, pieces: Pieces, evidence: Evidence, bounds: Bounds) -> tuple[Ints, Frames]:
    """The voice of each piece, and who speaks in every frame; ghosts merged into the voice they resemble most."""
    labels = cluster(evidence, bounds)
    if not evidence.says_something.any():
        return labels, _one_voice(tracks)
    labels = renumbered(reassign(evidence, labels))
    frames = decide_frames(tracks, pieces, evidence, labels)
    while (ghost := _ghost(frames.speaks)) is not None and frames.speaks.shape[1] > bounds.min_speakers:
        labels = merge_into_nearest(evidence, labels, ghost)
        frames = decide_frames(tracks, pieces, evidence, labels)
    return labels, frames


def _one_voice(tracks: Tracks) -> Frames:
    """Speech too short to tell voices apart is one voice's."""
    speaks = (tracks.num_voices > 0)[:, None]
    return Frames(speaks, speaks.astype(np.float32))


def _ghost(speaks: Bools) -> int | None:
    """The voice with the least speech, if that is under 2 % of all and no turn is over 2 s (design, section 8)."""
    frames = speaks.sum(axis=0)
    if len(frames) < 2:
        return None
    least = int(frames.argmin())
    starts, stops = runs(speaks[:, least])
    longest_s = float((stops - starts).max(initial=0)) * FRAME_S
    return least if frames[least] < _GHOST_SHARE * frames.sum() and longest_s <= _GHOST_TURN_S else None


def _as_diarization(frames: Frames, evidence: Evidence, labels: Ints, duration_s: float, bounds: Bounds) -> Diarization:
    order = _by_first_speech(frames.speaks)
    names = {voice: f"SPEAKER_{rank:02d}" for rank, voice in enumerate(order)}
    few = len(order) < bounds.min_speakers
    return Diarization(
        turns=_turns(frames.speaks, names, duration_s),
        exclusive=_turns(_loudest_only(frames), names, duration_s),
        embeddings=_embeddings(evidence, labels, names),
        diarizer="bundled",
        model=f"pyannote-segmentation+{MODEL}",
        warnings=(_FEW_SPEAKERS,) if few else (),
    )


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


def _embeddings(evidence: Evidence, labels: Ints, names: dict[int, str]) -> tuple[SpeakerEmbedding, ...]:
    voices = means(evidence, labels)
    speech_s = _described_speech_s(evidence, labels, len(voices))
    return tuple(
        SpeakerEmbedding(
            label=label,
            model=MODEL,
            dim=DIM,
            vector=tuple(voices[voice].astype(float).tolist()),
            speech_s=round(float(speech_s[voice]), 2),
        )
        for voice, label in names.items()
        if voice < len(voices) and voices[voice].any()
    )


def _described_speech_s(evidence: Evidence, labels: Ints, num_voices: int) -> npt.NDArray[np.float64]:
    useful = evidence.says_something & (labels >= 0)
    return np.bincount(labels[useful], evidence.length[useful], minlength=num_voices) / MEL_FRAMES_PER_S
