"""Whatever others wrote, a terminal shows it as text: nothing clears the screen, forges a row or breaks the command."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import RenderableType

from tests.support.nasty_text import ACTING, NASTY, nasty
from worker import cli_shared, views, views_people
from worker.exceptions import AudioMissingError
from worker.models import (
    Decision,
    FleetStatus,
    Meeting,
    MeetingDetail,
    MeetingSpeaker,
    MeetingSummary,
    Person,
    ResultWarning,
    SpeakingShare,
    SummaryItem,
    TranscriptSegment,
    Trouble,
    WorkerState,
    WorkInProgress,
)
from worker.terminal import PlainConsole, harmless

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID("00000000-0000-0000-0000-000000000001")


def shown(value: RenderableType) -> str:
    console = PlainConsole()
    console.file, console.width = io.StringIO(), 20_000
    console.print(value)
    return console.file.getvalue()


def meeting(text: str) -> Meeting:
    words = {"title": text, "processed_by": text, "error_code": text, "error_message": text, "stage": text}
    warnings = (ResultWarning(code=text, message=text),)
    shares = [
        SpeakingShare(
            label=text, speech_s=1, share=1, num_turns=1, longest_turn_s=1, num_interruptions=0, num_questions=0
        )
    ]
    result = {"speaking": [share.model_dump() for share in shares]}
    return Meeting(
        id=ID, status="processing", warnings=warnings, result=result, created_at=NOW, updated_at=NOW, **words
    )


def detail(text: str) -> MeetingDetail:
    item = SummaryItem(text=text, owner=text, due=text)
    sections = dict.fromkeys(("key_points", "decisions", "action_items", "open_questions", "topics"), (item,))
    segment = TranscriptSegment(index=0, start_s=0, end_s=1, speaker_label=text, text=text, confidence=None, words=())
    voice = MeetingSpeaker(label=text, speech_s=1, name=text, suggested_id=ID, suggested_name=text)
    summary = MeetingSummary(overview=text, method="llm", model=text, **sections)
    return MeetingDetail(meeting=meeting(text), segments=(segment,), speakers=(voice,), summary=summary)


def fleet(text: str) -> FleetStatus:
    work = WorkInProgress(meeting_id=ID, title=text, stage=text, progress=0.5, running_s=1)
    state: dict[str, Any] = dict.fromkeys(("worker_id", "name", "hostname", "version", "gpu", "driver"), text)
    troubles = (Trouble(code=text, sentence=text),)
    worker = WorkerState(alive=True, draining=False, last_seen_s=1, troubles=troubles, meetings=(work,), **state)
    return FleetStatus(counts={}, workers=(worker,))


def decision(text: str) -> Decision:
    words: dict[str, Any] = dict.fromkeys(("label", "name", "decided_by", "undone_by"), text)
    return Decision(id=1, kind="named", speaker_id=ID, decided_at=NOW, undone_at=NOW, **words)


VIEWS: dict[str, Callable[[str], RenderableType]] = {
    "list": lambda text: views.meetings_table([meeting(text)]),
    "show": lambda text: views.detail(detail(text)),
    "status": lambda text: views.fleet(fleet(text)),
    "speakers list": lambda text: views_people.people_table([Person(id=ID, name=text)]),
    "speakers history": lambda text: views_people.history([decision(text)], [Person(id=ID, name=text)]),
    "a sentence": str,
}


@pytest.mark.parametrize("view", VIEWS)
@given(text=nasty())
def test_nothing_that_was_written_acts_on_the_terminal(view: str, text: str) -> None:
    seen = shown(VIEWS[view](text))
    assert not re.search(ACTING, seen)
    seen.encode()


@pytest.mark.parametrize("text", ["x\nfake row", "a\r\nb", "a\x0bb\x85c\u2028d"])
@pytest.mark.parametrize("view", ["list", "speakers list", "speakers history"])
def test_a_name_cannot_begin_a_row_of_its_own(view: str, text: str) -> None:
    assert len(shown(VIEWS[view](text)).splitlines()) == 2


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300, -5.0])
def test_a_length_that_somebody_wrote_into_the_table_is_shown(seconds: float) -> None:
    """A column of double precision also holds `Infinity`."""
    row = meeting("x").model_copy(update={"duration_s": seconds})
    assert shown(views.meetings_table([row]))


@pytest.mark.parametrize("text", ["[red]urgent[/red] [/]", ":smile:", "[link=https://evil.example]click[/link]"])
def test_a_sentence_with_brackets_is_shown_as_it_is(text: str) -> None:
    """`refuse` quotes what somebody typed; markup in it changed colours, or ended the command with a stack trace."""
    assert shown(text) == f"{text}\n"


@given(text=nasty())
def test_json_says_exactly_what_was_written_and_acts_on_no_terminal(text: str) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer, "echo", said.append)
        cli_shared.print_json({"title": text, text: [text]})
    assert json.loads(said[0]) == {"title": text, text: [text]}
    assert not re.search(ACTING, said[0])


@pytest.mark.parametrize("text", NASTY)
def test_an_error_that_quotes_somebody_is_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also the name of a file that is no UTF-8, which cannot be written as it is."""
    cli_shared.complain(AudioMissingError(f"There is no file {text}."))
    seen = capsys.readouterr().err
    assert "audio_missing" in seen
    assert not re.search(ACTING, re.sub("\x1b\\[[0-9]+m", "", seen))


@given(text=st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert harmless(text, kept="") == text
