"""
How well people are recognised by their voices: error rates, and what the thresholds of worker/voiceprints.py give.

    python -m tests.benchmarks.voiceprints FOLDER [--csv FILE]

FOLDER holds a folder of recordings per person (any format that soundfile reads). Everybody is enrolled with stretches
of 20 s and tried with others of 3 s, which the voice describer describes as it does in a meeting; one side or both come
through a simulated channel (CHANNELS below). Each voice is tried twice: with everybody enrolled, and with everybody
but its owner. With one session per person these figures are better than life.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tests.benchmarks._voice_channels import CHANNELS, RATE_HZ, Sound
from tests.support.speech_sample import write_wav
from worker.engine.voice_describer import NARROW_MODEL, VoiceDescriber
from worker.engine.voices import MODEL
from worker.models import KnownSpeaker, KnownSpeakers, MeetingSpeaker, SpeakerEmbedding, SpeakerTurn
from worker.voiceprints import THRESHOLDS, identify

Scores = npt.NDArray[np.float64]
TELEPHONES = tuple(name for name in CHANNELS if name.startswith("telephone"))
LENGTHS_S = (3.0, 10.0)
SCORES = tuple(round(0.40 + 0.02 * step, 2) for step in range(30))


@dataclass(frozen=True)
class Voice:
    """One stretch of one person's speech, seconds `start_s` to `end_s` of all that the person says."""

    person: str
    start_s: float
    end_s: float
    embeddings: tuple[SpeakerEmbedding, ...]

    def vector(self, model: str) -> npt.NDArray[np.float64] | None:
        found = [np.array(its.vector) for its in self.embeddings if its.model == model]
        return found[0] if found else None

    def overlaps(self, other: Voice) -> bool:
        return self.person == other.person and self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True)
class Trial:
    """Cosines of one model between enrolled and tried voices, of the same person and of different ones."""

    name: str
    model: str
    same: Scores
    different: Scores

    def equal_error(self) -> tuple[float, float]:
        """The error rate where as many are refused wrongly as accepted wrongly, and the score where that is."""
        scores = np.unique(np.concatenate([self.same, self.different]))
        refused, accepted = self.refused(scores), self.accepted(scores)
        crossing = int(np.argmin(np.abs(refused - accepted)))
        return float(refused[crossing] + accepted[crossing]) / 2, float(scores[crossing])

    def refused(self, scores: Scores) -> Scores:
        """Share of the same person's voices that score less (FRR)."""
        return np.searchsorted(np.sort(self.same), scores) / len(self.same)

    def accepted(self, scores: Scores) -> Scores:
        """Share of other people's voices that score as much or more (FAR)."""
        return 1 - np.searchsorted(np.sort(self.different), scores) / len(self.different)


def read_people(folder: Path) -> dict[str, list[Sound]]:
    people = {}
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        people[person.name] = [read(path) for path in sorted(person.iterdir())]
    return people


def read(path: Path) -> Sound:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    sound: Sound = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ).astype(np.float32)
    return sound


def stretches(utterances: Sequence[Sound], length_s: float | None) -> list[tuple[float, float]]:
    """Consecutive ones of this length; None: the utterances themselves."""
    ends = np.cumsum([len(sound) for sound in utterances]) / RATE_HZ
    if length_s is None:
        return list(zip([0.0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    return [(number * length_s, (number + 1) * length_s) for number in range(int(ends[-1] / length_s))]


def describe(
    describer: VoiceDescriber, people: dict[str, list[Sound]], channel: str, length_s: float | None, folder: Path
) -> list[Voice]:
    """Every stretch is a label of its own, in a recording per person."""
    voices = []
    for person, utterances in people.items():
        said = np.concatenate(utterances)
        heard = CHANNELS[channel](said)
        tempo = len(heard) / len(said)
        audio = write_wav(folder / "voice.wav", heard / max(1.0, float(np.abs(heard).max())))
        spans = {f"{n:04d}": span for n, span in enumerate(stretches(utterances, length_s))}
        turns = tuple(
            SpeakerTurn(start_s=start * tempo, end_s=end * tempo, label=label) for label, (start, end) in spans.items()
        )
        found: dict[str, list[SpeakerEmbedding]] = {}
        for embedding in describer.describe(audio, turns, report=lambda _: None):
            found.setdefault(embedding.label, []).append(embedding)
        voices += [Voice(person, *spans[label], tuple(its)) for label, its in found.items()]
    return voices


def compare(name: str, model: str, enrolled: Sequence[Voice], tried: Sequence[Voice]) -> Trial:
    same: list[float] = []
    different: list[float] = []
    for ours in enrolled:
        for theirs in tried:
            one, other = ours.vector(model), theirs.vector(model)
            if one is not None and other is not None and not ours.overlaps(theirs):
                (same if ours.person == theirs.person else different).append(float(one @ other))
    return Trial(name, model, np.array(same), np.array(different))


def outcomes(enrolled: Sequence[Voice], tried: Sequence[Voice], *, is_known: bool) -> Counter[str]:
    """
    What the matching rule says of each voice, alone in its meeting. Everybody else has one enrolled stretch; with
    `is_known` its owner has one as well, another one than is tried.
    """
    said: Counter[str] = Counter()
    for voice in tried:
        own = [it for it in enrolled if it.person == voice.person and not it.overlaps(voice)]
        others = {it.person: it for it in enrolled if it.person != voice.person}
        for mine in own if is_known else [None]:
            known = KnownSpeakers(
                version=1, speakers=tuple(map(_as_known, [*others.values(), *([mine] if mine else [])]))
            )
            meeting_voice = MeetingSpeaker(label="A", speech_s=voice.end_s - voice.start_s, embeddings=voice.embeddings)
            said[_said(identify([meeting_voice], known)[0], voice.person)] += 1
    return said


def _as_known(voice: Voice) -> KnownSpeaker:
    return KnownSpeaker(id=uuid5(NAMESPACE_OID, voice.person), name=voice.person, embeddings=voice.embeddings)


def _said(voice: MeetingSpeaker, person: str) -> str:
    who = uuid5(NAMESPACE_OID, person)
    if voice.speaker_id:
        return "named right" if voice.speaker_id == who else "named wrong"
    if voice.suggested_id:
        return "suggested right" if voice.suggested_id == who else "suggested wrong"
    return "unknown"


def error_row(trial: Trial) -> str:
    rate, score = trial.equal_error()
    limits = THRESHOLDS[trial.model]
    shares = [trial.refused(np.array([s]))[0] for s in (limits.suggest_from, limits.confirm_from)]
    shares += [trial.accepted(np.array([s]))[0] for s in (limits.suggest_from, limits.confirm_from)]
    means = f"{trial.same.mean():.2f} / {trial.different.mean():.2f} ({trial.different.max():.2f})"
    counts = f"{len(trial.same)} / {len(trial.different)}"
    return (
        f"| {trial.name} | {'narrow' if trial.model == NARROW_MODEL else 'wide'} | {rate:.1%} at {score:.2f} | {means} "
        f"| {shares[0]:.1%}, {shares[1]:.1%} | {shares[2]:.2%}, {shares[3]:.2%} | {counts} |"
    )


def outcome_row(name: str, known: Counter[str], unknown: Counter[str]) -> str:
    def share(said: Counter[str], what: str) -> str:
        return f"{said[what] / said.total():.1%}"

    cells = [
        share(known, what) for what in ("named right", "named wrong", "suggested right", "suggested wrong", "unknown")
    ]
    cells += [share(unknown, what) for what in ("named wrong", "suggested wrong", "unknown")]
    return f"| {name} | {' | '.join(cells)} | {known.total()} / {unknown.total()} |"


def curve_rows(trials: Sequence[Trial]) -> Iterator[list[str]]:
    yield ["score", *(f"{trial.name} {side}" for trial in trials for side in ("FRR", "FAR"))]
    for score in SCORES:
        at = np.array([score])
        cells = [f"{rate(at)[0]:.4f}" for trial in trials for rate in (trial.refused, trial.accepted)]
        yield [f"{score:.2f}", *cells]


def measure(people: dict[str, list[Sound]], folder: Path) -> tuple[list[Trial], list[str]]:
    """The trials, and a row for each with what the thresholds make of it."""
    describer = VoiceDescriber()

    def voices(channel: str, length_s: float | None) -> list[Voice]:
        return describe(describer, people, channel, length_s, folder)

    utterances = voices("as recorded", None)
    trials = [compare("utterance / utterance", MODEL, utterances, utterances)]
    rows = []
    enrolled = {channel: voices(channel, 20.0) for channel in ("as recorded", "telephone", "room", "noise at 10 dB")}
    for ours, theirs, length_s in _tried():
        name = f"{ours} / {theirs}, {length_s:g} s"
        tried = voices(theirs, length_s)
        is_narrow = ours in TELEPHONES or theirs in TELEPHONES
        trials.append(compare(name, NARROW_MODEL if is_narrow else MODEL, enrolled[ours], tried))
        known, unknown = (outcomes(enrolled[ours], tried, is_known=is_known) for is_known in (True, False))
        rows.append(outcome_row(name, known, unknown))
    return [*trials, *(any_telephone(trials, length_s) for length_s in LENGTHS_S)], rows


def any_telephone(trials: Sequence[Trial], length_s: float) -> Trial:
    """All four together, as nobody knows which one it is."""
    names = {f"as recorded / {channel}, {length_s:g} s" for channel in TELEPHONES}
    parts = [trial for trial in trials if trial.name in names]
    same, different = (
        np.concatenate(scores) for scores in zip(*((it.same, it.different) for it in parts), strict=True)
    )
    return Trial(f"as recorded / any telephone, {length_s:g} s", NARROW_MODEL, same, different)


def _tried() -> Iterator[tuple[str, str, float]]:
    """What is enrolled, what is tried, and how long that is."""
    for length_s in LENGTHS_S:
        for channel in CHANNELS:
            yield "as recorded", channel, length_s
        yield "telephone", "telephone", length_s
    for channel in ("room", "noise at 10 dB"):
        yield channel, channel, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path, help="the curves: FRR and FAR over the score, a pair of columns per trial")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials, rows = measure(read_people(arguments.folder), Path(folder))
    print("| 20 s enrolled / tried | vector | equal error | same / different (max) | refused | accepted | trials |")
    print("|---|---|---|---|---|---|---|", *map(error_row, trials), sep="\n")
    print("\n| 20 s enrolled / tried | named right | wrong | suggested right | wrong | unknown", end=" ")
    print("| a stranger: named | suggested | unknown | trials |")
    print("|---|---|---|---|---|---|---|---|---|---|", *rows, sep="\n")
    curves = list(curve_rows(trials))
    print("", *(" ".join(f"{cell:>8.8}" for cell in row) for row in curves), sep="\n")
    if arguments.csv:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(curves)


if __name__ == "__main__":
    main()
