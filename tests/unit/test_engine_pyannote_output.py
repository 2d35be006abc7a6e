"""pyannote's answer as a Diarization: labels, bounds, voices that say nothing, ghosts. No model is needed for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from worker.engine.pyannote_output import as_diarization, vectors_of
from worker.models import Diarization


@dataclass(frozen=True)
class Segment:
    start: float
    end: float


@dataclass(frozen=True)
class Annotation:
    """What is read of pyannote.core's class of this name; tests/engine reads the real one."""

    tracks: tuple[tuple[float, float, str], ...]

    def labels(self) -> list[str]:
        return sorted({label for _, _, label in self.tracks})

    def itertracks(self, *, yield_label: bool) -> Iterator[tuple[Segment, int, str]]:
        assert yield_label
        for number, (start, end, label) in enumerate(self.tracks):
            yield Segment(start, end), number, label


@dataclass(frozen=True)
class DiarizeOutput:
    speaker_diarization: Annotation
    exclusive_speaker_diarization: Annotation
    speaker_embeddings: np.ndarray[tuple[int, int], np.dtype[np.float64]] | None


def answer(
    *tracks: tuple[float, float, str], rows: list[list[float]] | None = None, duration_s: float = 600.0, least: int = 1
) -> Diarization:
    annotation = Annotation(tracks)
    output = DiarizeOutput(annotation, annotation, None if rows is None else np.array(rows))
    return as_diarization(output, duration_s=duration_s, min_speakers=least, diarizer="pyannote", model="m")


def test_labels_are_given_in_order_of_first_speech() -> None:
    """pyannote's follow its clusters."""
    result = answer((0, 9, "SPEAKER_01"), (9, 20, "SPEAKER_00"), rows=[[0, 2], [3, 0]])
    assert [turn.label for turn in result.turns] == ["SPEAKER_00", "SPEAKER_01"]


def test_both_tracks_are_read_and_carry_the_same_labels() -> None:
    both = Annotation(((0, 9, "B"), (5, 20, "A")))
    alone = Annotation(((0, 6, "B"), (6, 20, "A")))
    output = DiarizeOutput(both, alone, None)
    result = as_diarization(output, duration_s=20.0, min_speakers=1, diarizer="p", model="m")
    assert [(t.start_s, t.end_s, t.label) for t in result.turns] == [(0, 9, "SPEAKER_00"), (5, 20, "SPEAKER_01")]
    assert [(t.start_s, t.end_s, t.label) for t in result.exclusive] == [(0, 6, "SPEAKER_00"), (6, 20, "SPEAKER_01")]


def test_no_turn_reaches_beyond_the_recording() -> None:
    """pyannote fills its last chunk up with silence, and hears the hum of the end go on in it."""
    result = answer((-0.1, 9, "A"), (9.5, 11, "A"), (10.2, 11, "A"), duration_s=10.0)
    assert [(turn.start_s, turn.end_s) for turn in result.turns] == [(0.0, 9.0), (9.5, 10.0)]


@pytest.mark.parametrize("row", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_row_that_says_nothing_is_no_voice(row: list[float]) -> None:
    assert vectors_of(["A", "B"], np.array([row, [3.0, 4.0]])) == {"B": (0.6, 0.8)}


def test_a_ghost_becomes_the_voice_that_it_sounds_like() -> None:
    """In both tracks, and the labels have no hole."""
    result = answer((0, 200, "A"), (200, 201, "G"), (201, 400, "B"), rows=[[1.0, 0.0], [0.0, 1.0], [0.1, 0.9]])
    assert [(turn.start_s, turn.label) for turn in result.turns] == [(0, "SPEAKER_00"), (200, "SPEAKER_01")]
    assert result.exclusive == result.turns
    assert result.warnings == ()


def test_a_ghost_without_a_voice_joins_whoever_speaks_next_to_it() -> None:
    result = answer((0, 200, "A"), (205, 206, "G"), (300, 400, "B"), rows=[[1.0, 0.0], [0.0, 1.0], [float("nan")] * 2])
    assert [turn.label for turn in result.turns] == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]


def test_no_ghost_is_merged_below_the_number_of_people_asked_for() -> None:
    result = answer((0, 200, "A"), (200, 201, "G"), rows=[[1.0, 0.0], [0.9, 0.1]], least=2)
    assert {turn.label for turn in result.turns} == {"SPEAKER_00", "SPEAKER_01"}


def test_fewer_speakers_than_asked_for_are_said() -> None:
    assert [warning.code for warning in answer((0, 9, "A"), least=2).warnings] == ["fewer_speakers_than_asked"]
