"""
Diarization error rate of the bundled diarizer, per recording and pooled.

    python -m tests.benchmarks.diarization [DIRECTORY]

Scores the two-speaker sample of pyannote.audio and six copies of it (shifted, faster, slower, louder); with a
directory, also every recording in it that has an .rttm of the same name beside it, and six copies of each. One setting
for all, the shipped one. Collar 0, overlap counted. What fits a recording and not its copies is luck, not a setting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.support.speech_sample import (
    COPIES,
    RATE_HZ,
    copied,
    read_sound,
    read_turns,
    sample_folder,
    write_rttm,
    write_wav,
)
from worker.engine.diarize_bundled import BundledDiarizer
from worker.engine.scoring import ReferenceScorer
from worker.models import SpeakerTurn
from worker.scores import Scores


@dataclass(frozen=True)
class Recording:
    group: str
    name: str
    samples: npt.NDArray[np.float32]
    turns: tuple[SpeakerTurn, ...]


def recordings(directory: Path | None) -> Iterator[Recording]:
    folder = sample_folder()
    yield from with_copies("sample", "sample", read_sound(folder / "sample.wav"), read_turns(folder / "sample.rttm"))
    for rttm in sorted(directory.glob("*.rttm")) if directory else ():
        audio = next(p for p in sorted(rttm.parent.glob(f"{rttm.stem}.*")) if p.suffix != ".rttm")
        yield from with_copies(rttm.parent.name, rttm.stem, read_sound(audio), read_turns(rttm))


def with_copies(
    group: str, name: str, samples: npt.NDArray[np.float32], turns: tuple[SpeakerTurn, ...]
) -> Iterator[Recording]:
    yield Recording(group, name, samples, turns)
    for copy in COPIES:
        yield Recording(f"{group}, copies", f"{name}, {copy.name}", *copied(copy, samples, turns))


def score(diarizer: BundledDiarizer, recording: Recording, folder: Path) -> tuple[Scores, float]:
    audio = write_wav(folder / "sound.wav", recording.samples)
    began = time.perf_counter()
    result = diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=lambda _: None)
    seconds = time.perf_counter() - began
    scores = ReferenceScorer().score(
        reference_rttm=write_rttm(folder / "sound.rttm", recording.turns),
        reference_stm=None,
        turns=result.turns,
        segments=(),
        duration_s=len(recording.samples) / RATE_HZ,
    )
    return scores, seconds


def row(name: str, missed: float, false_alarm: float, confusion: float, rest: str) -> str:
    der = missed + false_alarm + confusion
    return f"{name:32} {der:6.1%} {missed:6.1%} {false_alarm:6.1%} {confusion:6.1%}  {rest}"


def pooled(name: str, all_scores: list[Scores]) -> str:
    """Errors of all recordings over the speech of all recordings; the mean weighs each recording alike."""
    speech_s = sum(s.reference_speech_s or 0 for s in all_scores)
    missed, false_alarm, confusion = (
        sum((getattr(s, part) or 0.0) * (s.reference_speech_s or 0) for s in all_scores) / speech_s
        for part in ("missed", "false_alarm", "confusion")
    )
    mean = sum(s.der or 0 for s in all_scores) / len(all_scores)
    return row(f"{name} pooled", missed, false_alarm, confusion, f"mean {mean:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="recordings with an .rttm beside each")
    directory = parser.parse_args().directory
    diarizer = BundledDiarizer()
    groups: dict[str, list[Scores]] = {}
    print(f"{'recording':32} {'DER':>6} {'missed':>6} {'false':>6} {'confus':>6}  speakers found / real, seconds")
    with tempfile.TemporaryDirectory() as folder:
        for recording in recordings(directory):
            scores, seconds = score(diarizer, recording, Path(folder))
            groups.setdefault(recording.group, []).append(scores)
            parts = scores.missed or 0.0, scores.false_alarm or 0.0, scores.confusion or 0.0
            people = f"{scores.num_speakers} / {scores.num_reference_speakers}, {seconds:.2f} s"
            print(row(recording.name, *parts, rest=people), flush=True)
    for group, all_scores in groups.items():
        print(pooled(group, all_scores))


if __name__ == "__main__":
    main()
