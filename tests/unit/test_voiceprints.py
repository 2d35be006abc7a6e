"""Who is recognised by the voice, who is only suggested, and who is not."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.models import KnownSpeaker, KnownSpeakers, MeetingSpeaker, SpeakerEmbedding, VoiceMatch
from worker.voiceprints import THRESHOLDS, Thresholds, comparable_models, identify, names_of

WIDE, NARROW = THRESHOLDS
ANNA, BERT, CORA = UUID(int=1), UUID(int=2), UUID(int=3)
DIM = 8


def direction(*values: float) -> tuple[float, ...]:
    """A vector of DIM numbers that begins with these."""
    return (*values, *(0.0 for _ in range(DIM - len(values))))


def at(score: float, *, axis: int = 1) -> tuple[float, ...]:
    """A unit vector whose cosine with direction(1) is `score`."""
    vector = [score] + [0.0] * (DIM - 1)
    vector[axis] = math.sqrt(max(0.0, 1.0 - score * score))
    return tuple(vector)


def heard(vector: tuple[float, ...], *, model: str = WIDE, speech_s: float = 20.0, label: str = "") -> SpeakerEmbedding:
    return SpeakerEmbedding(label=label, model=model, dim=len(vector), vector=vector, speech_s=speech_s)


def voice(label: str, *embeddings: SpeakerEmbedding) -> MeetingSpeaker:
    return MeetingSpeaker(label=label, speech_s=30.0, embeddings=embeddings)


def person(speaker_id: UUID, *embeddings: SpeakerEmbedding, name: str | None = None) -> KnownSpeaker:
    return KnownSpeaker(id=speaker_id, name=name, embeddings=embeddings)


def everybody(*people: KnownSpeaker) -> KnownSpeakers:
    return KnownSpeakers(version=7, speakers=people)


def match_of(found: MeetingSpeaker) -> VoiceMatch:
    assert found.match is not None
    return found.match


def only(known: KnownSpeakers | None, *embeddings: SpeakerEmbedding) -> MeetingSpeaker:
    """What becomes of a meeting's only voice."""
    (found,) = identify([voice("A", *embeddings)], known)
    return found


@pytest.mark.parametrize("model", [WIDE, NARROW])
def test_the_two_thresholds_part_identified_suggested_and_unknown(model: str) -> None:
    limits = THRESHOLDS[model]
    for score, outcome in [
        (limits.confirm_from + 0.001, "identified"),
        (limits.confirm_from - 0.001, "suggested"),
        (limits.suggest_from + 0.001, "suggested"),
        (limits.suggest_from - 0.001, "unknown"),
    ]:
        known = everybody(person(ANNA, heard(direction(1.0), model=model)))
        found = only(known, heard(at(score), model=model))
        match = match_of(found)
        assert match.outcome == outcome
        assert (found.speaker_id, found.suggested_id) == (
            ANNA if outcome == "identified" else None,
            ANNA if outcome == "suggested" else None,
        )
        assert match.reason == (None if outcome == "identified" else "score")


def test_a_match_says_who_came_how_near_and_what_it_was_held_against() -> None:
    known = everybody(person(ANNA, heard(direction(1.0))), person(BERT, heard(at(0.5))))
    match = match_of(only(known, heard(direction(1.0))))
    limits = THRESHOLDS[WIDE]
    assert (match.speaker_id, match.runner_up_id, match.model) == (ANNA, BERT, WIDE)
    assert match.score == pytest.approx(1.0)
    assert match.runner_up_score == pytest.approx(0.5)
    assert (match.confirm_from, match.suggest_from, match.margin) == (
        limits.confirm_from,
        limits.suggest_from,
        limits.margin,
    )


def test_an_unknown_voice_also_says_who_comes_nearest() -> None:
    match = match_of(only(everybody(person(ANNA, heard(at(0.3)))), heard(direction(1.0))))
    assert (match.outcome, match.speaker_id) == ("unknown", ANNA)
    assert match.score == pytest.approx(0.3)


def test_where_two_people_come_close_the_better_one_is_only_suggested() -> None:
    margin = THRESHOLDS[WIDE].margin
    for behind, outcome in [(margin - 0.01, "suggested"), (margin + 0.01, "identified")]:
        known = everybody(
            person(ANNA, heard(at(0.95)), name="Anna"), person(BERT, heard(at(0.95 - behind, axis=2)), name="Bert")
        )
        found = only(known, heard(direction(1.0)))
        assert match_of(found).outcome == outcome
        assert match_of(found).reason == (None if outcome == "identified" else "margin")


def test_an_unnamed_double_does_not_stand_in_the_way_of_a_name() -> None:
    """Who was only suggested once has left an unnamed speaker behind, who sounds the same ever after."""
    anna = person(ANNA, heard(at(0.92)), name="Anna")
    for score in (0.90, 0.94):
        found = only(everybody(anna, person(BERT, heard(at(score)), name=None)), heard(direction(1.0)))
        assert found.speaker_id == ANNA
        found = only(everybody(anna, person(BERT, heard(at(score)), name="Bert")), heard(direction(1.0)))
        assert (found.speaker_id, match_of(found).reason) == (None, "margin")


def test_of_unnamed_doubles_the_nearest_is_the_speaker() -> None:
    known = everybody(person(ANNA, heard(at(0.92))), person(BERT, heard(at(0.94))), person(CORA, heard(at(0.93))))
    assert only(known, heard(direction(1.0))).speaker_id == BERT


def test_an_unnamed_speaker_as_near_as_a_named_one_but_unlike_is_somebody_else() -> None:
    known = everybody(person(ANNA, heard(at(0.9)), name="Anna"), person(BERT, heard(at(0.9, axis=2)), name=None))
    assert match_of(only(known, heard(direction(1.0)))).reason == "margin"


def test_a_person_is_given_to_the_nearest_voice_and_suggested_for_another_one() -> None:
    known = everybody(person(ANNA, heard(direction(1.0))))
    far, near = identify([voice("A", heard(at(0.9))), voice("B", heard(at(0.95)))], known)
    assert (near.speaker_id, near.suggested_id) == (ANNA, None)
    assert (far.speaker_id, far.suggested_id, match_of(far).reason) == (None, ANNA, "not_mutual")


def test_of_two_voices_equally_near_the_first_label_gets_the_person() -> None:
    known = everybody(person(ANNA, heard(direction(1.0))))
    b, a = identify([voice("B", heard(at(0.9))), voice("A", heard(at(0.9)))], known)
    assert (a.speaker_id, b.speaker_id) == (ANNA, None)


def test_of_two_people_equally_near_the_smaller_id_is_suggested() -> None:
    for people in [(ANNA, BERT), (BERT, ANNA)]:
        known = everybody(*(person(speaker_id, heard(at(0.9)), name=str(speaker_id)) for speaker_id in people))
        assert only(known, heard(at(0.9))).suggested_id == ANNA


def test_a_person_sounds_like_the_kept_voice_that_comes_nearest() -> None:
    """Whoever is known from the telephone and from a room is recognised in both."""
    known = everybody(person(ANNA, heard(at(0.1)), heard(at(0.93)), heard(at(0.2))))
    assert match_of(only(known, heard(direction(1.0)))).score == pytest.approx(0.93)


def test_an_unnamed_voice_that_returns_is_the_same_unnamed_speaker() -> None:
    known = everybody(person(ANNA, heard(direction(1.0)), name=None))
    found = only(known, heard(at(0.95)))
    assert found.speaker_id == ANNA
    assert names_of([found], known) == {}


def test_the_names_of_those_who_were_identified_go_by_label() -> None:
    known = everybody(
        person(ANNA, heard(direction(1.0)), name="Anna"), person(BERT, heard(direction(0.0, 1.0)), name="Bert")
    )
    unsure = heard(direction(0.3, 0.8, 0.52))
    found = identify([voice("A", heard(direction(1.0))), voice("B", unsure)], known)
    assert found[1].suggested_id == BERT
    assert names_of(found, known) == {"A": "Anna"}


# --- like with like --------------------------------------------------------------------------------------------------


def test_where_both_are_described_in_full_that_is_compared_and_not_the_narrow_band() -> None:
    known = everybody(person(ANNA, heard(at(0.5), model=WIDE), heard(direction(1.0), model=NARROW)))
    match = match_of(only(known, heard(direction(1.0), model=WIDE), heard(direction(1.0), model=NARROW)))
    assert (match.model, match.outcome) == (WIDE, "unknown")


def test_a_telephone_is_compared_with_the_narrow_band_of_a_room() -> None:
    known = everybody(person(ANNA, heard(at(0.5), model=WIDE), heard(direction(1.0), model=NARROW)))
    match = match_of(only(known, heard(at(0.95), model=NARROW)))
    assert (match.model, match.outcome) == (NARROW, "identified")


def test_a_score_of_another_model_counts_by_how_far_it_is_between_its_own_thresholds() -> None:
    """0.84 is just worth a word in the narrow band, and would be a lot in the full one."""
    known = everybody(person(ANNA, heard(at(0.84, axis=2), model=NARROW)), person(BERT, heard(at(0.88), model=WIDE)))
    found = only(known, heard(direction(1.0), model=WIDE), heard(direction(1.0), model=NARROW))
    match = match_of(found)
    assert (found.speaker_id, match.runner_up_id) == (BERT, ANNA)
    wide, narrow = THRESHOLDS[WIDE], THRESHOLDS[NARROW]
    assert match.runner_up_score == pytest.approx(wide.score_at(narrow.nearness(0.84)))


def test_a_model_without_thresholds_names_nobody() -> None:
    known = everybody(person(ANNA, heard(direction(1.0), model="other")))
    match = match_of(only(known, heard(direction(1.0), model="other")))
    assert (match.outcome, match.reason, match.speaker_id) == ("unknown", "no_thresholds", None)


def test_thresholds_can_be_those_of_another_model() -> None:
    known = everybody(person(ANNA, heard(direction(1.0), model="other")))
    limits = {"other": Thresholds(confirm_from=0.5, suggest_from=0.4, margin=0.1)}
    (found,) = identify([voice("A", heard(at(0.6), model="other"))], known, limits)
    assert found.speaker_id == ANNA


def test_only_models_that_some_voice_is_described_by_are_asked_for() -> None:
    assert comparable_models([voice("A", heard(direction(1.0), model=NARROW)), voice("B")]) == (NARROW,)
    both = (heard(direction(1.0), model=NARROW), heard(direction(1.0), model=WIDE))
    assert comparable_models([voice("A", *both)]) == (WIDE, NARROW)
    assert comparable_models([voice("A", heard(direction(1.0), model="other"))]) == ()


# --- too little, and nonsense ----------------------------------------------------------------------------------------


def test_too_little_speech_on_either_side_is_no_proof() -> None:
    short, long = heard(direction(1.0), speech_s=1.9), heard(direction(1.0), speech_s=2.0)
    assert match_of(only(everybody(person(ANNA, long)), short)).reason == "little_speech"
    assert match_of(only(everybody(person(ANNA, short)), long)).reason == "nobody_known"
    assert only(everybody(person(ANNA, long)), long).speaker_id == ANNA


def test_a_voice_that_nobody_described_is_unknown() -> None:
    match = match_of(only(everybody(person(ANNA, heard(direction(1.0))))))
    assert (match.outcome, match.reason) == ("unknown", "no_voice")


def test_against_nobody_everybody_is_unknown() -> None:
    for known in (None, everybody()):
        assert match_of(only(known, heard(direction(1.0)))).reason == "nobody_known"


NONSENSE = [
    direction(0.0),
    direction(math.nan, 1.0),
    direction(math.inf),
    direction(1e308, 1e308, 1e308, 1e308),
    direction(5e-324),
    (),
]


@pytest.mark.parametrize("vector", NONSENSE, ids=str)
def test_a_vector_that_is_no_description_counts_as_absent(vector: tuple[float, ...]) -> None:
    """On either side, and without costing the voices beside it."""
    good = heard(direction(1.0))
    known = everybody(person(BERT, heard(vector)), person(ANNA, heard(vector), good))
    bad_voice, good_voice = identify([voice("A", heard(vector)), voice("B", good, heard(vector))], known)
    assert good_voice.speaker_id == ANNA
    assert bad_voice.speaker_id != ANNA
    assert bad_voice.embeddings == ()
    assert good_voice.embeddings == (good,)


def test_vectors_of_different_lengths_are_never_compared() -> None:
    short = heard((1.0,))
    known = everybody(person(ANNA, short))
    assert match_of(only(known, heard(direction(1.0)))).reason == "nobody_known"
    assert match_of(only(known, short.model_copy(update={"dim": DIM}))).reason == "no_voice"
    assert only(known, short).speaker_id == ANNA


def test_what_an_earlier_match_said_is_forgotten() -> None:
    found = only(everybody(person(ANNA, heard(direction(1.0)))), heard(at(0.9)))
    assert found.speaker_id == ANNA
    (again,) = identify([found], everybody(person(BERT, heard(at(0.75, axis=2)))))
    assert (again.speaker_id, again.suggested_id) == (None, None)
    (moved,) = identify([found], everybody(person(BERT, heard(at(0.9)))))
    assert moved.speaker_id == BERT


# --- whatever comes --------------------------------------------------------------------------------------------------

vectors = st.lists(
    st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.9, math.nan, math.inf, 1e200]), st.floats(-1, 1)),
    min_size=0,
    max_size=3,
).map(tuple)
models = st.sampled_from([WIDE, NARROW, "other"])
embeddings = st.lists(
    st.builds(lambda v, m, s: heard(v, model=m, speech_s=s), vectors, models, st.sampled_from([0.0, 2.0, 30.0])),
    max_size=3,
)
meetings = st.lists(embeddings, max_size=5).map(lambda found: [voice(f"V{i}", *e) for i, e in enumerate(found)])
populations = st.lists(embeddings, max_size=5).map(
    lambda found: everybody(*(person(UUID(int=i), *e, name=f"P{i}" if i % 2 else None) for i, e in enumerate(found)))
)


@settings(max_examples=60)
@given(meetings, populations)
def test_nobody_is_given_to_two_voices_and_everybody_keeps_to_one_model(
    voices: list[MeetingSpeaker], known: KnownSpeakers
) -> None:
    found = identify(voices, known)
    given_to = [each.speaker_id for each in found if each.speaker_id is not None]
    assert len(given_to) == len(set(given_to))
    people = {each.id: {e.model for e in each.embeddings} for each in known.speakers}
    for each in found:
        match = match_of(each)
        if match.speaker_id is not None:
            assert match.model in people[match.speaker_id]
            assert match.model in {e.model for e in each.embeddings}
            assert match.model != "other"
            assert match.score is not None
            assert -1.0 <= match.score <= 1.0


@settings(max_examples=60)
@given(meetings, populations, st.randoms(use_true_random=False))
def test_the_order_of_voices_people_and_their_descriptions_does_not_matter(
    voices: list[MeetingSpeaker], known: KnownSpeakers, random: object
) -> None:
    def shuffled(values: tuple[object, ...]) -> list[object]:
        mixed = list(values)
        random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis gives it no type
        return mixed

    before = {each.label: each.match for each in identify(voices, known)}
    mixed = known.model_copy(
        update={
            "speakers": tuple(
                each.model_copy(update={"embeddings": tuple(shuffled(each.embeddings))})
                for each in shuffled(known.speakers)
                if isinstance(each, KnownSpeaker)
            )
        }
    )
    mixed_voices = [each for each in shuffled(tuple(voices)) if isinstance(each, MeetingSpeaker)]
    assert {each.label: each.match for each in identify(mixed_voices, mixed)} == before


@settings(max_examples=60)
@given(meetings, populations)
def test_to_identify_again_changes_nothing(voices: list[MeetingSpeaker], known: KnownSpeakers) -> None:
    once = identify(voices, known)
    assert identify(once, known) == once
