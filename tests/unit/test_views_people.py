"""People and decisions as they look on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console, RenderableType

from worker import views, views_people
from worker.models import (
    Decision,
    Meeting,
    MeetingDetail,
    MeetingSpeaker,
    MeetingStatus,
    Person,
    SpeakingShare,
)

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ADA, BEA, MEETING = (UUID(f"{letter * 8}-0000-4000-8000-000000000001") for letter in "abc")
NAMES = {ADA: "Ada"}


def shown(value: RenderableType, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(value)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def decision(kind: str, **fields: Any) -> Decision:
    return Decision(id=7, kind=kind, decided_by="worker:pc-1", decided_at=NOW, **fields)


VOICE: dict[str, Any] = {"meeting_id": MEETING, "label": "SPEAKER_00"}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (decision("identified", **VOICE, speaker_id=ADA), f"SPEAKER_00 of {MEETING} is Ada"),
        (decision("suggested", **VOICE, speaker_id=ADA), f"SPEAKER_00 of {MEETING} may be Ada"),
        (decision("unknown", **VOICE), f"SPEAKER_00 of {MEETING} is nobody known"),
        (decision("unknown", **VOICE, speaker_id=ADA), f"SPEAKER_00 of {MEETING} is nobody known; Ada comes nearest"),
        (decision("confirmed", **VOICE, speaker_id=ADA), f"SPEAKER_00 of {MEETING} is Ada: confirmed"),
        (decision("rejected", **VOICE, other_speaker_id=ADA), f"SPEAKER_00 of {MEETING} is not Ada"),
        (
            decision("split", **VOICE, speaker_id=BEA, other_speaker_id=ADA),
            f"SPEAKER_00 of {MEETING} is not Ada, but a speaker of its own, speaker bbbbbbbb",
        ),
        (decision("named", speaker_id=ADA, name="Ada"), "speaker aaaaaaaa is called Ada"),
        (decision("named", speaker_id=BEA), "speaker bbbbbbbb has no name"),
        (decision("merged", speaker_id=ADA, other_speaker_id=BEA), "speaker bbbbbbbb is Ada"),
        (decision("forgotten", speaker_id=ADA), "The voice of Ada was erased"),
        (decision("opted_out", speaker_id=ADA), "Ada has opted out; the voice was erased"),
        (decision("opted_in", speaker_id=ADA), "The voice of Ada may be kept again"),
        (decision("deleted", speaker_id=BEA), "speaker bbbbbbbb was deleted"),
        (decision("of_a_newer_version"), "of_a_newer_version"),
    ],
)
def test_every_decision_is_a_sentence(made: Decision, words: str) -> None:
    assert views_people.in_words(made, NAMES) == words


def test_a_worker_decision_shows_its_figures() -> None:
    """And the thresholds that it was decided by."""
    thresholds = {"confirm_from": 0.82, "suggest_from": 0.72}
    made = decision("identified", **VOICE, speaker_id=ADA, score=0.871, runner_up_score=0.55, thresholds=thresholds)
    assert views_people.in_words(made, NAMES).endswith("(score 0.87, next 0.55, sure from 0.82, suggested from 0.72)")


def test_the_history_shows_the_number_to_undo_by_and_who_undid() -> None:
    made = decision("named", speaker_id=ADA, name="Ada", undone_at=NOW, undone_by="bob")
    text = shown(views_people.history([made], [Person(id=ADA, name="Ada")]))
    line = text.splitlines()[1]
    assert line.split()[0] == "7"
    assert "2026-01-02 03:04" in line
    assert "is called Ada (undone by bob)" in line
    assert "worker:pc-1" in line


def test_an_id_of_a_speaker_can_be_copied_from_a_narrow_terminal() -> None:
    person = Person(id=ADA, name="Ada", num_meetings=3, speech_s=65, num_voiceprints=2, last_heard_at=NOW)
    text = shown(views_people.people_table([person, Person(id=BEA, keeps_voice=False)]), width=60)
    assert str(ADA) in text
    assert str(BEA) in text


def test_who_has_opted_out_is_shown_so() -> None:
    text = shown(views_people.people_table([Person(id=ADA, name="[Ada]"), Person(id=BEA, keeps_voice=False)]))
    ada, bea = text.splitlines()[1:]
    assert "[Ada]" in ada
    assert "opted out" not in ada
    assert "opted out" in bea


# --- in one meeting ----------------------------------------------------------------------------------------------


def detail(*voices: MeetingSpeaker, speaking: tuple[SpeakingShare, ...] = ()) -> str:
    result = {"speaking": [share.model_dump(mode="json") for share in speaking]}
    row = Meeting(id=MEETING, title="x", status=MeetingStatus.COMPLETED, created_at=NOW, updated_at=NOW, result=result)
    return shown(views.detail(MeetingDetail(meeting=row, speakers=voices)))


def test_a_suggestion_is_shown_with_what_to_do() -> None:
    named = MeetingSpeaker(label="SPEAKER_01", speech_s=3, suggested_id=ADA, suggested_name="Ada")
    unnamed = MeetingSpeaker(label="SPEAKER_02", speech_s=3, suggested_id=BEA)
    text = detail(MeetingSpeaker(label="SPEAKER_00", speech_s=3), named, unnamed)
    assert f"SPEAKER_01 may be Ada. If so: `python -m worker speakers confirm {MEETING} SPEAKER_01`" in text
    assert f"SPEAKER_02 may be the speaker {BEA}." in text
    assert "SPEAKER_00 may be" not in text


def share(label: str | None, speech_s: float, part: float) -> SpeakingShare:
    return SpeakingShare(
        label=label, speech_s=speech_s, share=part, num_turns=4, longest_turn_s=61, num_interruptions=2, num_questions=3
    )


def test_who_spoke_how_much_is_shown_by_name_most_first() -> None:
    voices = (
        MeetingSpeaker(label="SPEAKER_00", speech_s=3),
        MeetingSpeaker(label="SPEAKER_01", speech_s=3, name="Ada"),
    )
    text = detail(*voices, speaking=(share("SPEAKER_00", 40, 0.25), share("SPEAKER_01", 120, 0.75)))
    rows = [line.split() for line in text.splitlines() if "%" in line]
    assert rows == [["Ada", "75%", "2:00", "4", "1:01", "2", "3"], ["SPEAKER_00", "25%", "0:40", "4", "1:01", "2", "3"]]


def test_where_nobody_was_told_apart_the_figures_are_of_all() -> None:
    assert ["all", "100%"] in [line.split()[:2] for line in detail(speaking=(share(None, 9, 1),)).splitlines()]


def test_a_meeting_of_an_older_version_has_no_figures() -> None:
    assert "Who spoke" not in detail()
