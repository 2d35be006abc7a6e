"""
Who of the people we know speaks in a meeting: each of its voices is held against the voices kept of them. Pure.

Only descriptions made by the same model are compared. A person's score is the cosine of the kept voice that comes
nearest: people sound different over the telephone and in a room, and each way may be there. A voice is given to a
person only where nothing speaks against it:

    enough speech on both sides, a score over the threshold of the model,
    each is the other's best match, and nobody else comes close.

An unnamed speaker who sounds like that person does not count as somebody else: most likely nobody has merged the two.
What reaches the lower threshold only, or fails one of the last two, is suggested to people; the rest is unknown. Two
voices of one meeting are never one person here: whether they are is the diarizer's business, or somebody's decision.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import TypeAlias
from uuid import UUID

from worker.models import KnownSpeakers, MeetingSpeaker, ProcessingResult, SpeakerEmbedding, VoiceMatch

MIN_SPEECH_S = 2.0
"""Of clean speech, on both sides: with one second the same voice scores 0.81 in the mean, which is no proof."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    Cosines of one model.

    Attributes:
        confirm_from: a voice is the person's.
        suggest_from: it may be.
        margin: how far everybody else has to be behind.
    """

    confirm_from: float
    suggest_from: float
    margin: float

    def nearness(self, score: float) -> float:
        """0 at the lower threshold, 1 at the upper one: by that, scores of two models can be compared."""
        return (score - self.suggest_from) / (self.confirm_from - self.suggest_from)

    def score_at(self, nearness: float) -> float:
        return self.suggest_from + nearness * (self.confirm_from - self.suggest_from)


THRESHOLDS: Mapping[str, Thresholds] = {
    "resemblyzer-ge2e-0.1.4": Thresholds(confirm_from=0.86, suggest_from=0.76, margin=0.04),
    "resemblyzer-ge2e-0.1.4+narrow": Thresholds(confirm_from=0.91, suggest_from=0.82, margin=0.03),
}
"""
By model; the one that says more comes first. Who is described by another model only is never named.

The upper one is over every pair of different people that was seen, in one noisy room too (0.85) and on one telephone
line (0.89), and under all recordings of one person over one channel (0.91, 0.92). Another room, noise or another day
mostly ends between the two.

Source: `python -m tests.benchmarks.voiceprints`, table "Voices" in CONTRIBUTING.md.
"""

_Vector: TypeAlias = "array[float]"  # Python 3.11 cannot evaluate it
"""A quarter of a tuple's memory: a lab of 200 people has a million numbers."""

_Prints: TypeAlias = "dict[str, list[_Vector]]"
"""By model; unit vectors."""


@dataclass(frozen=True, slots=True)
class _Likeness:
    """How much a voice sounds like a person; sorts by nearness, ties by id."""

    nearness: float
    score: float
    model: str
    speaker_id: UUID

    @property
    def rank(self) -> tuple[float, UUID]:
        return -self.nearness, self.speaker_id


def comparable_models(
    voices: Iterable[MeetingSpeaker], thresholds: Mapping[str, Thresholds] = THRESHOLDS
) -> tuple[str, ...]:
    """The models by which any of the voices can be recognised."""
    found = {model for voice in voices for model in _prints(voice.embeddings, thresholds)}
    return tuple(model for model in thresholds if model in found)


def identify(
    voices: Sequence[MeetingSpeaker],
    known: KnownSpeakers | None,
    thresholds: Mapping[str, Thresholds] = THRESHOLDS,
) -> tuple[MeetingSpeaker, ...]:
    """
    The voices in their order, each with its `match`, and with `speaker_id` or `suggested_id` where that says so; what
    an earlier call said is forgotten. Neither the order of the voices nor that of the people matters.

    A vector that is no description (zero, NaN, of another length than it says) is left out of the voice: it must not
    cost the transcript when a database refuses it.

    Args:
        known: None is nobody.
        thresholds: by model, the one that says more first.
    """
    speakers = known.speakers if known else ()
    people = {person.id: _prints(person.embeddings, thresholds) for person in speakers}
    named = frozenset(person.id for person in speakers if person.name)
    described = [_described(voice) for voice in voices]
    likenesses = [
        _without_doubles(
            _likenesses(_prints(voice.embeddings, thresholds), people, thresholds), people, named, thresholds
        )
        for voice in described
    ]
    nearest = _nearest_voices(described, likenesses)
    matches = (
        _match(found, thresholds, is_mutual=nearest[found[0].speaker_id] == voice.label)
        if found
        else VoiceMatch(outcome="unknown", reason=_why_not_comparable(voice, thresholds))
        for voice, found in zip(described, likenesses, strict=True)
    )
    return tuple(_matched(voice, match) for voice, match in zip(described, matches, strict=True))


def identify_again(
    result: ProcessingResult, known: KnownSpeakers, thresholds: Mapping[str, Thresholds] = THRESHOLDS
) -> ProcessingResult:
    """The result of a meeting as it is among other people; only its speakers change."""
    speakers = identify(result.speakers, known, thresholds)
    return result.model_copy(update={"speakers": speakers, "speakers_version": known.version})


def names_of(voices: Iterable[MeetingSpeaker], known: KnownSpeakers | None) -> dict[str, str]:
    """The names of those who were identified and have one, by label."""
    names = {person.id: person.name for person in (known.speakers if known else ()) if person.name}
    return {voice.label: names[voice.speaker_id] for voice in voices if voice.speaker_id in names}


def _described(voice: MeetingSpeaker) -> MeetingSpeaker:
    return voice.model_copy(update={"embeddings": tuple(filter(_is_description, voice.embeddings))})


def _is_description(embedding: SpeakerEmbedding) -> bool:
    has_direction = _unit(embedding.vector) is not None
    return has_direction and len(embedding.vector) == embedding.dim and math.isfinite(embedding.speech_s)


def _prints(embeddings: Iterable[SpeakerEmbedding], thresholds: Mapping[str, Thresholds]) -> _Prints:
    """What can be compared of a voice or a person."""
    prints: _Prints = {}
    for embedding in embeddings:
        if embedding.model in thresholds and embedding.speech_s >= MIN_SPEECH_S:
            vector = _unit(embedding.vector)
            if vector is not None and len(vector) == embedding.dim:
                prints.setdefault(embedding.model, []).append(vector)
    return prints


def _unit(vector: Sequence[float]) -> _Vector | None:
    """Scaled to length 1; None where there is no direction."""
    length = math.hypot(*vector)
    if not math.isfinite(length) or length < 1e-9:
        return None
    return array("d", (value / length for value in vector))


def _likenesses(
    prints: _Prints, people: Mapping[UUID, _Prints], thresholds: Mapping[str, Thresholds]
) -> list[_Likeness]:
    """To everybody who can be compared, the nearest first; of each by the first model that both have."""
    found = (_likeness(prints, theirs, speaker_id, thresholds) for speaker_id, theirs in people.items())
    return sorted(filter(None, found), key=lambda likeness: likeness.rank)


def _likeness(
    ours: _Prints, theirs: _Prints, speaker_id: UUID, thresholds: Mapping[str, Thresholds]
) -> _Likeness | None:
    for model, limits in thresholds.items():
        score = _score(ours.get(model, ()), theirs.get(model, ()))
        if score is not None:
            return _Likeness(limits.nearness(score), score, model, speaker_id)
    return None


def _without_doubles(
    found: list[_Likeness],
    people: Mapping[UUID, _Prints],
    named: Collection[UUID],
    thresholds: Mapping[str, Thresholds],
) -> list[_Likeness]:
    """
    Leave out unnamed speakers who come as close as somebody else and sound like him or her: most likely the same
    person, whom nobody has merged yet. They must not stand in the way of a name.
    """
    close = [likeness for likeness in found if not _is_behind(likeness, found[0], thresholds)]
    if len(close) < 2:
        return found
    one = next((likeness for likeness in close if likeness.speaker_id in named), close[0])
    doubles = set()
    for other in close:
        if other is not one and other.speaker_id not in named:
            alike = _likeness(people[one.speaker_id], people[other.speaker_id], other.speaker_id, thresholds)
            if alike is not None and alike.nearness >= 1.0:
                doubles.add(other.speaker_id)
    return [likeness for likeness in found if likeness.speaker_id not in doubles]


def _is_behind(other: _Likeness, best: _Likeness, thresholds: Mapping[str, Thresholds]) -> bool:
    limits = thresholds[best.model]
    return best.score - limits.score_at(other.nearness) >= limits.margin


def _score(ours: Iterable[_Vector], theirs: Sequence[_Vector]) -> float | None:
    """The cosine of the two that come nearest."""
    cosines = [sum(map(mul, a, b)) for a in ours for b in theirs if len(a) == len(b)]
    return max(-1.0, min(1.0, max(cosines))) if cosines else None


def _nearest_voices(voices: Sequence[MeetingSpeaker], likenesses: Sequence[Sequence[_Likeness]]) -> dict[UUID, str]:
    """For each person the label of the voice of this meeting that comes nearest; ties by label."""
    best: dict[UUID, tuple[float, str]] = {}
    for voice, found in zip(voices, likenesses, strict=True):
        for likeness in found:
            rank = (-likeness.nearness, voice.label)
            best[likeness.speaker_id] = min(rank, best.get(likeness.speaker_id, rank))
    return {speaker_id: label for speaker_id, (_, label) in best.items()}


def _match(found: Sequence[_Likeness], thresholds: Mapping[str, Thresholds], *, is_mutual: bool) -> VoiceMatch:
    """What follows from how much a voice sounds like everybody, the nearest first."""
    best, runner_up = found[0], found[1] if len(found) > 1 else None
    limits = thresholds[best.model]
    is_clear = runner_up is None or _is_behind(runner_up, best, thresholds)
    outcome, reason = _outcome(best.score, limits, is_mutual=is_mutual, is_clear=is_clear)
    return VoiceMatch(
        outcome=outcome,
        reason=reason,
        speaker_id=best.speaker_id,
        score=best.score,
        runner_up_id=runner_up.speaker_id if runner_up else None,
        runner_up_score=limits.score_at(runner_up.nearness) if runner_up else None,
        model=best.model,
        confirm_from=limits.confirm_from,
        suggest_from=limits.suggest_from,
        margin=limits.margin,
    )


def _outcome(score: float, limits: Thresholds, *, is_mutual: bool, is_clear: bool) -> tuple[str, str | None]:
    if score < limits.suggest_from:
        return "unknown", "score"
    if score < limits.confirm_from:
        return "suggested", "score"
    if not is_mutual:
        return "suggested", "not_mutual"
    if not is_clear:
        return "suggested", "margin"
    return "identified", None


def _why_not_comparable(voice: MeetingSpeaker, thresholds: Mapping[str, Thresholds]) -> str:
    models = {embedding.model for embedding in voice.embeddings}
    if not models:
        return "no_voice"
    if models.isdisjoint(thresholds):
        return "no_thresholds"
    return "nobody_known" if _prints(voice.embeddings, thresholds) else "little_speech"


def _matched(voice: MeetingSpeaker, match: VoiceMatch) -> MeetingSpeaker:
    return voice.model_copy(
        update={
            "match": match,
            "speaker_id": match.speaker_id if match.outcome == "identified" else None,
            "suggested_id": match.speaker_id if match.outcome == "suggested" else None,
        }
    )
