"""From a meeting's voices to people, through the worker: over the memory twins, with scripted engines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.conftest import RealClock, Workshop
from worker import events
from worker.exceptions import SupabaseConnectionError, SupabaseQueryError
from worker.models import KnownSpeakers, MeetingSpeaker, ProcessingResult, Stage, WriteAnswer
from worker.testing.store_memory import MemoryStore
from worker.voiceprints import THRESHOLDS

MODEL = next(iter(THRESHOLDS))
ANNA, BERT = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
NEARLY_ANNA = (0.77, 0.0, 0.638)
"""Between the thresholds."""


def voices(*vectors: tuple[float, ...]) -> dict[str, Any]:
    """A script for the diarizer: SPEAKER_00, SPEAKER_01 ... speak one after the other, and sound like this."""
    labels, each_s = [f"SPEAKER_{i:02d}" for i in range(len(vectors))], 4.0 / len(vectors)
    return {
        "turns": [{"label": at, "start_s": i * each_s, "end_s": (i + 1) * each_s} for i, at in enumerate(labels)],
        "voices": [
            {"label": label, "model": MODEL, "dim": 3, "vector": vector, "speech_s": 20.0}
            for label, vector in zip(labels, vectors, strict=True)
        ],
    }


async def speakers_of(workshop: Workshop, meeting_id: UUID) -> list[MeetingSpeaker]:
    return sorted((await workshop.found(meeting_id)).speakers, key=lambda speaker: speaker.label)


async def held(workshop: Workshop, *vectors: tuple[float, ...], **worker: Any) -> list[MeetingSpeaker]:
    """A meeting of these voices, worked from beginning to end."""
    meeting_id = await workshop.enqueue(diarize=voices(*vectors))
    await workshop.worker(**worker).run(once=True)
    return await speakers_of(workshop, meeting_id)


async def named(workshop: Workshop, speaker: MeetingSpeaker, name: str) -> None:
    assert speaker.speaker_id is not None
    assert (await workshop.store.name_speaker(speaker.speaker_id, name)).outcome == "done"


async def test_a_voice_that_returns_is_the_same_speaker_and_has_the_name(workshop: Workshop) -> None:
    anna, bert = await held(workshop, ANNA, BERT)
    assert anna.speaker_id != bert.speaker_id
    await named(workshop, anna, "Anna")
    bert_again, anna_again = await held(workshop, BERT, ANNA)
    assert (anna_again.speaker_id, anna_again.name) == (anna.speaker_id, "Anna")
    assert (bert_again.speaker_id, bert_again.name) == (bert.speaker_id, None)
    assert [e for e in workshop.seen if isinstance(e, events.SpeakersIdentified)][1].num_identified == 2


async def test_a_voice_between_the_thresholds_is_suggested_and_stays_somebody_of_its_own(workshop: Workshop) -> None:
    (anna,) = await held(workshop, ANNA)
    (unsure,) = await held(workshop, NEARLY_ANNA)
    assert unsure.speaker_id not in (None, anna.speaker_id)
    assert unsure.suggested_id == anna.speaker_id


async def test_whoever_writes_the_summary_is_told_the_names_of_those_who_were_identified(
    workshop: Workshop, tmp_path: Path
) -> None:
    (anna,) = await held(workshop, ANNA)
    await named(workshop, anna, "Anna")
    told = tmp_path / "names.json"
    await held(workshop, NEARLY_ANNA, ANNA, summarize={"names_to": told})
    assert json.loads(told.read_text()) == {"SPEAKER_01": "Anna"}


async def test_vectors_that_are_no_description_cost_neither_transcript_nor_the_other_voices(workshop: Workshop) -> None:
    (anna,) = await held(workshop, ANNA)
    nothing, anna_again = await held(workshop, (0.0, 0.0, 0.0), ANNA)
    assert anna_again.speaker_id == anna.speaker_id
    assert nothing.speaker_id != anna.speaker_id


class Faulty(MemoryStore):
    """A store whose calls fail as told: the next ones by name, an exception each."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.faults: dict[str, list[Exception]] = {}
        self.num_asked = 0

    def fail_if_told(self, name: str) -> None:
        if self.faults.get(name):
            raise self.faults[name].pop()

    async def speakers(self, meeting_id: UUID, token: int, models: Any) -> KnownSpeakers:
        self.num_asked += 1
        self.fail_if_told("speakers")
        return await super().speakers(meeting_id, token, models)

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        self.fail_if_told("complete")
        return await super().complete(meeting_id, token, result)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("store_calls.FIRST_PAUSE_S", "store_calls.LONGEST_PAUSE_S", "handover.FIRST_PAUSE_S"):
        monkeypatch.setattr(f"worker.{pause}", 0.01)


@pytest.mark.usefixtures("no_pause")
async def test_a_database_that_is_away_when_people_are_asked_for_costs_nothing_but_time(workshop: Workshop) -> None:
    store = workshop.store = Faulty()
    (anna,) = await held(workshop, ANNA)
    store.faults["speakers"] = [SupabaseConnectionError() for _ in range(4)]
    (anna_again,) = await held(workshop, ANNA)
    assert anna_again.speaker_id == anna.speaker_id
    assert {e.call for e in workshop.seen if isinstance(e, events.StoreUnavailable)} == {"speakers"}


# --- where nobody is to be recognised --------------------------------------------------------------------------------


async def test_switched_off_nobody_is_asked_for_and_no_voice_leaves_the_meeting(workshop: Workshop) -> None:
    store = workshop.store = Faulty()
    (anna,) = await held(workshop, ANNA, identify_speakers=False)
    (again,) = await held(workshop, ANNA, identify_speakers=False)
    assert store.num_asked == 0
    assert not any(isinstance(e, events.StageStarted) and e.stage is Stage.IDENTIFY for e in workshop.seen)
    assert anna.match is again.match is None
    assert all(person.num_voiceprints == 0 for person in await store.people())
    assert workshop.leftovers == []


def kept_on_disk(workshop: Workshop) -> str:
    """All text that the meetings in progress left on this PC."""
    return "\n".join(path.read_text() for path in (workshop.folder / "temp").glob("*/*.json"))


async def refused(workshop: Workshop, store: Faulty, meeting_id: UUID, *, identify_speakers: bool) -> None:
    """The database refuses the meeting's result; its folder stays for the next attempt."""
    store.faults["complete"] = [SupabaseQueryError()]
    worker = workshop.worker(identify_speakers=identify_speakers)
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    worker.request_stop()
    await running
    store.queue.jobs[meeting_id].run_at = store.queue.now()


async def test_switched_off_a_failed_attempt_leaves_no_voice_on_this_pc(workshop: Workshop) -> None:
    store = workshop.store = Faulty()
    meeting_id = await workshop.enqueue(diarize=voices(ANNA))
    await refused(workshop, store, meeting_id, identify_speakers=False)
    assert '"exclusive"' in kept_on_disk(workshop)
    assert MODEL not in kept_on_disk(workshop)


async def test_voices_that_an_earlier_attempt_kept_are_forgotten_once_it_is_switched_off(workshop: Workshop) -> None:
    store = workshop.store = Faulty()
    meeting_id = await workshop.enqueue(diarize=voices(ANNA))
    await refused(workshop, store, meeting_id, identify_speakers=True)
    assert MODEL in kept_on_disk(workshop)
    workshop.seen.clear()
    await refused(workshop, store, meeting_id, identify_speakers=False)
    assert any(isinstance(e, events.StageFinished) and e.stage is Stage.DIARIZE and e.reused for e in workshop.seen)
    assert '"exclusive"' in kept_on_disk(workshop)
    assert MODEL not in kept_on_disk(workshop)
    assert await workshop.worker(identify_speakers=False).run(once=True) == 1
    assert all(person.num_voiceprints == 0 for person in await store.people())
