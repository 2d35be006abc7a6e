"""Summaries of completed meetings written anew: what is asked for, what is kept, what people are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import result, voice
from tests.support.queue_worlds import MemoryWorld
from tests.support.settings import settings_in
from tests.support.summary_rows import DOWN, edit_overview, past_summaries, written
from worker.app_summaries import CORRECTED, MAX_FAILURES_IN_A_ROW, Outcome, Resummarizer, resummarizer
from worker.exceptions import ChildCrashedError, ConfigurationError
from worker.models import MeetingSummary, TranscriptSegment
from worker.ports import Report, Stages
from worker.testing.scripted import ScriptedDecoder, ScriptedDiarizer, ScriptedTranscriber
from worker.testing.stages_inline import InlineStages


class ModelDouble:
    """A Summarizer that gives these answers in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: MeetingSummary | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[str], str | None, dict[str, str], str | None]] = []

    def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        report(0.5)
        self.asked.append(([segment.text for segment in segments], language, dict(names or {}), guidance))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


FALLBACK = written("picked", method="extractive", warnings=(DOWN,))


def stages_with(model: ModelDouble) -> Stages:
    return InlineStages(
        decoder=ScriptedDecoder(),
        transcriber=ScriptedTranscriber(),
        diarizer=ScriptedDiarizer(),
        summarizer=model,
        settings={},
    )


def writer(
    world: MemoryWorld, model: ModelDouble, *, by_model: bool = True, replace_edits: bool = False
) -> Resummarizer:
    return Resummarizer(world.store, stages_with(model), by_model=by_model, replace_edits=replace_edits)


async def overview_of(world: MemoryWorld, meeting_id: UUID) -> str:
    summary = (await world.detail(meeting_id)).summary
    assert summary is not None
    return summary.overview


async def test_the_model_gets_the_transcript_as_it_is_now(world: MemoryWorld) -> None:
    """With corrections, the language that was heard, people's names, and the guidance of the meeting's owner."""
    owner = uuid4()
    meeting_id = await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav", language="de")
    claim = await world.claim(await world.worker())
    await world.store.complete(meeting_id, claim.token, result("helo", voices=(voice("SPEAKER_00"),)))
    (speaker,) = (await world.detail(meeting_id)).speakers
    assert speaker.speaker_id is not None
    world.name_speaker(speaker.speaker_id, "Ada")
    world.edit_text(meeting_id, 0, "hello")
    await world.store.set_guidance("Briefly.")
    model = ModelDouble(written("new"))
    assert (await writer(world, model).resummarize(meeting_id)).is_done
    await world.store.set_guidance("For physicists.", owner)
    await writer(world, model).resummarize(meeting_id)
    assert model.asked == [
        (["hello"], "en", {"SPEAKER_00": "Ada"}, "Briefly."),
        (["hello"], "en", {"SPEAKER_00": "Ada"}, "For physicists."),
    ]


async def test_a_new_summary_takes_the_place_of_the_old_one(world: MemoryWorld) -> None:
    """Who wrote it is said."""
    meeting_id = await world.completed(await world.worker(), "old")
    outcome = await writer(world, ModelDouble(written("new"))).resummarize(meeting_id)
    assert outcome == Outcome(meeting_id, "A new summary, written by a model.", is_done=True)
    assert await overview_of(world, meeting_id) == "new"


async def test_a_models_summary_is_not_replaced_by_picked_sentences(world: MemoryWorld) -> None:
    """Where the endpoint is down; the warning of today does not stand at the summary of yesterday."""
    meeting_id = await world.completed(await world.worker(), "old")
    await world.store.write_summary(meeting_id, written("good"))
    outcome = await writer(world, ModelDouble(FALLBACK)).resummarize(meeting_id)
    assert outcome == Outcome(meeting_id, "The summary stays as it is. The endpoint is down.", failed=True)
    detail = await world.detail(meeting_id)
    assert (detail.summary, detail.meeting.warnings) == (written("good"), ())


async def test_picked_sentences_get_the_warning_of_the_last_try(world: MemoryWorld) -> None:
    """So that the dashboard says why there is nothing better."""
    meeting_id = await world.completed(await world.worker(), "old")
    outcome = await writer(world, ModelDouble(FALLBACK)).resummarize(meeting_id)
    assert (outcome.sentence, outcome.failed, outcome.is_done) == ("The endpoint is down.", True, False)
    assert (await world.detail(meeting_id)).meeting.warnings == (DOWN,)


async def test_what_somebody_corrected_costs_no_minutes(world: MemoryWorld) -> None:
    """It is refused before the model is asked."""
    meeting_id = await world.completed(await world.worker(), "old")
    edit_overview(world, meeting_id, "mine")
    model = ModelDouble(written("new"))
    assert await writer(world, model).resummarize(meeting_id) == Outcome(meeting_id, CORRECTED)
    assert model.asked == []
    assert (await writer(world, model, replace_edits=True).resummarize(meeting_id)).is_done
    assert [past.overview for past in past_summaries(world, meeting_id)] == ["old", "mine"]


async def test_what_somebody_corrected_is_never_replaced_by_picked_sentences(world: MemoryWorld) -> None:
    """--replace-edits asks for a model's summary."""
    meeting_id = await world.completed(await world.worker(), "old")
    edit_overview(world, meeting_id, "mine")
    outcome = await writer(world, ModelDouble(FALLBACK), replace_edits=True).resummarize(meeting_id)
    assert outcome.failed
    assert await overview_of(world, meeting_id) == "mine"


async def test_without_a_model_sentences_are_picked_because_somebody_wants_that(world: MemoryWorld) -> None:
    """The summary before is a version."""
    meeting_id = await world.completed(await world.worker(), "old")
    await world.store.write_summary(meeting_id, written("by a model"))
    model = ModelDouble(written("picked", method="extractive"))
    outcome = await writer(world, model, by_model=False).resummarize(meeting_id)
    assert outcome.sentence == "A new summary, picked from the transcript."
    assert await overview_of(world, meeting_id) == "picked"
    assert model.asked[0][-1] is None


async def test_meetings_that_cannot_be_summarized_are_told_apart(world: MemoryWorld) -> None:
    """Each in a sentence, without asking anybody."""
    info, model = await world.worker(), ModelDouble(written("new"))
    silent = await world.heard(info, result("  "))
    again = await world.completed(info)
    await world.store.retry(again)
    sentences = [
        (await writer(world, model).resummarize(meeting_id)).sentence for meeting_id in (uuid4(), silent, again)
    ]
    assert sentences == [
        "There is no such meeting.",
        "Nobody says anything in it.",
        "The meeting is pending. Only a completed meeting can be summarized anew.",
    ]
    assert model.asked == []


async def test_a_crash_of_the_process_costs_only_this_try(world: MemoryWorld) -> None:
    """The summary stays, and people are told."""
    meeting_id = await world.completed(await world.worker(), "old")
    outcome = await writer(world, ModelDouble(ChildCrashedError())).resummarize(meeting_id)
    assert outcome.failed
    assert outcome.sentence.startswith("Nothing was changed: ")
    assert await overview_of(world, meeting_id) == "old"


async def test_a_backlog_is_worked_off_and_goes_on_where_it_ended(world: MemoryWorld) -> None:
    """Oldest first; it ends when the endpoint seems to be down, and a failure in between does not count."""
    info = await world.worker()
    ids = []
    for number in range(6):
        ids.append(await world.completed(info, f"meeting {number}"))
        world.advance(1)
    down = [FALLBACK] * MAX_FAILURES_IN_A_ROW
    model = ModelDouble(written("new"), FALLBACK, written("new"), *down)
    first = [outcome async for outcome in writer(world, model).backlog()]
    assert [(outcome.meeting_id, outcome.is_done) for outcome in first] == list(
        zip(ids, (True, False, True, False, False, False), strict=True)
    )
    model = ModelDouble(written("new"))
    second = [outcome async for outcome in writer(world, model).backlog()]
    assert [outcome.meeting_id for outcome in second] == [ids[1], *ids[3:]]
    assert [outcome async for outcome in writer(world, model).backlog()] == []


async def test_without_an_endpoint_the_command_says_what_to_set(world: MemoryWorld, tmp_path: Path) -> None:
    """It would write what is there already."""
    settings = settings_in(tmp_path)
    with pytest.raises(ConfigurationError, match=r"SUMMARY_LLM_URL.*--extractive"):
        async with resummarizer(settings, world.store, extractive=False, replace_edits=False):
            pass
