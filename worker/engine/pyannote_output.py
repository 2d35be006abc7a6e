"""What pyannote.audio's pipeline answers, as a `Diarization`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.engine.ghosts import ghost_merges, relabelled
from worker.models import Diarization, ResultWarning, SpeakerTurn, Stage

FEW_SPEAKERS = ResultWarning(
    code="fewer_speakers_than_asked",
    message="Fewer voices were found than the meeting's min_speakers; some people may share a label.",
    stage=Stage.DIARIZE,
)


def as_diarization(output: Any, *, duration_s: float, min_speakers: int, **made_by: Any) -> Diarization:
    """
    Args:
        output: pyannote's DiarizeOutput. Row i of `speaker_embeddings` belongs to label i of
            `speaker_diarization.labels()`; ghosts are merged by them. Rows that are zero or hold NaN say nothing.
        min_speakers: ghosts are not merged below it, and a warning says when fewer were found.
        made_by: the remaining fields of `Diarization`.

    Labels are SPEAKER_00, SPEAKER_01 ... in order of first speech.
    """
    turns = turns_of(output.speaker_diarization, duration_s)
    vectors = vectors_of(output.speaker_diarization.labels(), output.speaker_embeddings)
    joined = ghost_merges(turns, vectors, min_speakers=min_speakers)
    kept = relabelled(turns, joined)
    names = names_by_first_speech(kept)
    exclusive = relabelled(turns_of(output.exclusive_speaker_diarization, duration_s), joined)
    return Diarization(
        turns=relabelled(kept, names),
        exclusive=relabelled((turn for turn in exclusive if turn.label in names), names),
        embeddings=(),
        warnings=(FEW_SPEAKERS,) if len(names) < min_speakers else (),
        **made_by,
    )


def turns_of(annotation: Any, duration_s: float) -> tuple[SpeakerTurn, ...]:
    """The tracks of a pyannote.core.Annotation, cut at the recording's end: the last chunk reaches beyond it."""
    turns = (
        SpeakerTurn(
            start_s=max(0.0, round(segment.start, 4)), end_s=min(duration_s, round(segment.end, 4)), label=str(label)
        )
        for segment, _, label in annotation.itertracks(yield_label=True)
    )
    return tuple(turn for turn in turns if turn.start_s < turn.end_s)


def vectors_of(labels: Sequence[str], rows: npt.NDArray[np.floating] | None) -> dict[str, tuple[float, ...]]:
    """L2-normalised, of the labels whose row says something; none where the pipeline describes no voices."""
    vectors = {}
    for label, row in zip(labels, [] if rows is None else rows, strict=False):
        length = float(np.linalg.norm(row))
        if np.isfinite(length) and length > 0:
            vectors[str(label)] = tuple((np.asarray(row, dtype=np.float64) / length).tolist())
    return vectors


def names_by_first_speech(turns: Iterable[SpeakerTurn]) -> dict[str, str]:
    """Sorted turns in; old label to SPEAKER_nn, in order of first speech."""
    labels = dict.fromkeys(turn.label for turn in turns)
    return {label: f"SPEAKER_{number:02d}" for number, label in enumerate(labels)}
