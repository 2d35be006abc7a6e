"""`python -m worker speakers`: who is meant, and what people are told."""

from __future__ import annotations

from uuid import UUID

import pytest
import typer

from tests.support.queue_worlds import MemoryWorld
from worker import cli_speakers
from worker.cli_speakers import meant, speaker_named, tell
from worker.models import Person, WriteAnswer

ADA = UUID("adadadad-0000-4000-8000-000000000001")
BEA = UUID("beabeabe-0000-4000-8000-000000000002")
OTHER_BEA = UUID("cccccccc-0000-4000-8000-000000000003")
PEOPLE = (Person(id=ADA, name="Ada"), Person(id=BEA, name="Bea"), Person(id=OTHER_BEA, name="Bea"))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Ada", [ADA]),
        ("ada", []),
        ("adad", [ADA]),
        ("ADADAD", [ADA]),
        ("Bea", [BEA, OTHER_BEA]),
        ("beab", [BEA]),
        ("bea", []),
        ("", []),
    ],
)
def test_a_speaker_is_meant_by_exact_name_or_by_the_beginning_of_the_id(text: str, ids: list[UUID]) -> None:
    """Three characters are too few: they may be a name with a slip."""
    assert [person.id for person in meant(text, PEOPLE)] == ids


def test_a_name_that_is_also_the_beginning_of_an_id_means_both() -> None:
    """So that nobody erases the voice of the other."""
    namesake = Person(id=BEA, name="adad")
    assert meant("adad", (PEOPLE[0], namesake)) == [PEOPLE[0], namesake]


async def two_voices(world: MemoryWorld) -> tuple[UUID, UUID, UUID]:
    """A completed meeting and the speakers of its two voices."""
    meeting_id = await world.completed(await world.worker())
    first, second = (voice.speaker_id for voice in (await world.detail(meeting_id)).speakers)
    assert first is not None
    assert second is not None
    return meeting_id, first, second


async def test_an_ambiguous_name_is_refused_with_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    world = MemoryWorld()
    _, first, second = await two_voices(world)
    for speaker_id in (first, second):
        await world.store.name_speaker(speaker_id, "Bea")
    with pytest.raises(typer.Exit):
        await speaker_named(world.store, "Bea", None)
    told = capsys.readouterr().err
    assert str(first) in told
    assert str(second) in told


async def test_an_id_is_taken_as_it_is_and_whoever_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    world = MemoryWorld()
    assert await speaker_named(world.store, str(ADA).upper(), None) == ADA
    with pytest.raises(typer.Exit):
        await speaker_named(world.store, "[Ada]", None)
    assert "There is no speaker [Ada]." in capsys.readouterr().err


async def test_a_second_speaker_of_the_same_name_can_be_merged(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said how."""
    world = MemoryWorld()
    _, first, second = await two_voices(world)
    for speaker_id, name in ((first, "Ada"), (second, "ada")):
        await world.store.name_speaker(speaker_id, name)
    cli_speakers.tell_namesakes(await world.store.people(), second, "ada")
    assert f"speakers merge {first} {second}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("answer", "sentence", "is_failure"),
    [
        (
            WriteAnswer(outcome="done", decision_id=7),
            "Named Ada. To take that back: `python -m worker speakers undo 7`.",
            False,
        ),
        (WriteAnswer(outcome="already_done"), "So already.", False),
        (WriteAnswer(outcome="refused", message="The name is too long."), "The name is too long.", True),
        (WriteAnswer(outcome="gone"), "There is no such speaker or voice.", True),
        (WriteAnswer(outcome="lost"), "That is not possible: lost.", True),
    ],
)
def test_every_outcome_is_a_sentence(
    answer: WriteAnswer, sentence: str, is_failure: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came to nothing ends with exit code 1."""
    if is_failure:
        with pytest.raises(typer.Exit) as ended:
            tell(answer, "Named Ada.", "So already.")
        assert ended.value.exit_code == 1
    else:
        tell(answer, "Named Ada.", "So already.")
    assert sentence in " ".join(capsys.readouterr().err.split())
