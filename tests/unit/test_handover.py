"""A result that was matched against people as they no longer are: matched again, on disk, sent again."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.conftest import RealClock, Workshop
from tests.unit.test_identification import ANNA, BERT, speakers_of, voices
from worker import events
from worker.exceptions import SupabaseConnectionError
from worker.handover import ROUNDS_AT_ONCE
from worker.job_folder import KeptResult, open_job_folder
from worker.models import KnownSpeakers, ProcessingResult, WriteAnswer
from worker.testing.store_memory import MemoryStore


class Crowded(MemoryStore):
    """People change right before a result arrives, as often as told: a speaker gets another name."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.num_changes = 0
        self.sent: list[ProcessingResult] = []

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        self.sent.append(result)
        if self.num_changes:
            self.num_changes -= 1
            (somebody, *_) = await self.people()
            await self.name_speaker(somebody.id, f"after {len(self.sent)} results")
        return await super().complete(meeting_id, token, result)


@pytest.fixture
async def crowded(workshop: Workshop) -> Crowded:
    """A store in which one speaker is known."""
    store = workshop.store = Crowded()
    await workshop.enqueue(diarize=voices(ANNA))
    assert await workshop.worker().run(once=True) == 1
    store.sent.clear()
    workshop.seen.clear()
    return store


def rounds(workshop: Workshop) -> list[int]:
    return [e.num_rounds for e in workshop.seen if isinstance(e, events.SpeakersChanged)]


async def test_two_meetings_with_the_same_new_voice_at_once_end_with_one_speaker(workshop: Workshop) -> None:
    """Both are matched against nobody; whoever comes second is matched again, against the first."""
    store = workshop.store = Together(RealClock())
    meetings = [await workshop.enqueue(diarize=voices(ANNA, BERT)) for _ in range(2)]
    workers = [workshop.worker(worker_id=name, max_jobs=1) for name in ("w1", "w2")]
    assert sum(await asyncio.gather(*(worker.run(once=True) for worker in workers))) == 2
    first, second = [[voice.speaker_id for voice in await speakers_of(workshop, each)] for each in meetings]
    assert first == second
    assert len(set(first)) == 2
    assert rounds(workshop) == [1]
    assert len(await store.people()) == 2


class Together(MemoryStore):
    """Nobody is told who is known before two have asked."""

    num_asked = 0

    async def speakers(self, meeting_id: UUID, token: int, models: Any) -> KnownSpeakers:
        known = await super().speakers(meeting_id, token, models)
        self.num_asked += 1
        async with asyncio.timeout(20):
            while self.num_asked < 2:
                await asyncio.sleep(0.01)
        return known


async def test_a_result_follows_the_people_as_often_as_they_change(
    workshop: Workshop, crowded: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps a distance after several rounds, so that two workers do not race for ever."""
    monkeypatch.setattr("worker.handover.FIRST_PAUSE_S", 0.01)
    crowded.num_changes = ROUNDS_AT_ONCE + 2
    meeting_id = await workshop.enqueue(diarize=voices(ANNA))
    assert await workshop.worker().run(once=True) == 1
    assert rounds(workshop) == [*range(1, ROUNDS_AT_ONCE + 3)]
    (known,) = await crowded.people()
    assert [voice.speaker_id for voice in await speakers_of(workshop, meeting_id)] == [known.id]
    versions = [sent.speakers_version or 0 for sent in crowded.sent]
    assert versions == sorted(set(versions))


async def test_only_the_speakers_of_a_result_change(workshop: Workshop, crowded: Crowded) -> None:
    crowded.num_changes = 1
    await workshop.enqueue(diarize=voices(ANNA))
    assert await workshop.worker().run(once=True) == 1
    first, second = (sent.model_dump(exclude={"speakers", "speakers_version"}) for sent in crowded.sent)
    assert first == second


class Vanishing(Crowded):
    """Once stale, the database is away until told otherwise, and then stays."""

    is_away, stays = False, False

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        if self.is_away:
            raise SupabaseConnectionError
        answer = await super().complete(meeting_id, token, result)
        self.is_away = answer.outcome == "stale_speakers" and not self.stays
        return answer


async def test_a_worker_that_ends_between_two_rounds_loses_nothing(workshop: Workshop) -> None:
    """What is sent is on disk before: the next start hands it over, matched again if need be."""
    store = workshop.store = Vanishing()
    first = await workshop.enqueue(diarize=voices(ANNA))
    assert await workshop.worker().run(once=True) == 1
    store.num_changes = 1
    second = await workshop.enqueue(diarize=voices(ANNA))
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.StoreUnavailable, call="complete")
    worker.request_stop()
    worker.request_stop()
    assert await running == 0

    (path,) = (workshop.folder / "temp").glob("*/result.json")
    kept = KeptResult.model_validate_json(path.read_text())
    assert (kept.result.speakers_version or 0) > (store.sent[-1].speakers_version or 0)
    store.is_away, store.stays, store.num_changes = False, True, 1
    await workshop.worker().run(once=True)
    assert rounds(workshop) == [1, 1]
    assert (await speakers_of(workshop, second))[0].speaker_id == (await speakers_of(workshop, first))[0].speaker_id
    assert workshop.leftovers == []


class Stubborn(Crowded):
    """Says that people have changed, whatever it is sent, and names the same people."""

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        self.sent.append(result)
        known = await self.speakers(meeting_id, token, ())
        return WriteAnswer(outcome="stale_speakers", known=known)


async def test_a_database_that_never_agrees_is_a_failed_attempt_not_an_endless_one(workshop: Workshop) -> None:
    store = workshop.store = Stubborn()
    await workshop.enqueue(diarize=voices(ANNA))
    worker = workshop.worker()
    running = asyncio.create_task(worker.run())
    await workshop.wait_for(events.MeetingFailed, code="database_refused", outcome="retrying")
    worker.request_stop()
    assert await running == 0
    assert len(store.sent) == 1


# --- what an earlier run left on this PC -----------------------------------------------------------------------------


async def left_behind(workshop: Workshop, **changes: Any) -> UUID:
    """A meeting whose finished result lies on this PC, by a worker that died; some fields of it may be others."""
    meeting_id = await workshop.enqueue(diarize=voices(ANNA))
    worker = workshop.worker()
    await workshop.store.register(worker.info)
    claim = (await workshop.store.claim(worker.info.worker_id, worker.info.instance_id, uuid4())).claim
    assert claim is not None
    folder = open_job_folder(workshop.folder / "temp", meeting_id, claim.token)
    kept = {**(await worker._runner.pipeline.process(claim, folder)).model_dump(mode="json"), **changes}
    folder.save_result(
        KeptResult(meeting_id=meeting_id, token=claim.token, result=ProcessingResult.model_validate(kept))
    )
    folder.close()
    return meeting_id


async def test_a_result_that_an_earlier_run_left_is_matched_again(workshop: Workshop, crowded: Crowded) -> None:
    meeting_id = await left_behind(workshop, speakers_version=0)
    await workshop.worker().run(once=True)
    (known,) = await crowded.people()
    assert [voice.speaker_id for voice in await speakers_of(workshop, meeting_id)] == [known.id]
    assert rounds(workshop) == [1]
    assert workshop.leftovers == []


async def test_a_result_that_was_left_before_it_was_switched_off_goes_without_its_voices(
    workshop: Workshop, crowded: Crowded
) -> None:
    meeting_id = await left_behind(workshop, speakers_version=0)
    await workshop.worker(identify_speakers=False).run(once=True)
    (sent,) = crowded.sent
    assert [(voice.embeddings, voice.match, voice.speaker_id) for voice in sent.speakers] == [((), None, None)]
    assert len((await workshop.found(meeting_id)).segments) > 0


BEFORE_ISSUE_6 = {
    "segments": [
        {
            "index": 0,
            "start_s": 0.0,
            "end_s": 0.4,
            "speaker_label": "SPEAKER_00",
            "text": "the",
            "confidence": 0.9,
            "words": [{"text": "the", "start_s": 0.0, "end_s": 0.4, "confidence": 0.9}],
        }
    ],
    "speakers": [
        {
            "label": "SPEAKER_00",
            "speech_s": 4.0,
            "speaker_id": None,
            "name": None,
            "score": None,
            "decision": None,
            "embeddings": [
                {"label": "SPEAKER_00", "model": "scripted", "dim": 2, "vector": [1.0, 0.0], "speech_s": 4.0}
            ],
        }
    ],
    "summary": {
        "overview": "1 segment",
        "key_points": [{"text": "the", "segments": [0], "start_s": None, "owner": None, "due": None}],
        "decisions": [],
        "action_items": [],
        "open_questions": [],
        "topics": [],
        "method": "extractive",
        "model": None,
        "language": "en",
    },
    "language": "en",
    "duration_s": 4.0,
    "warnings": [{"code": "no_speech", "message": "None.", "stage": "transcribe"}],
    "result": {"worker_version": "0.5.0", "stage_seconds": {"transcribe": 30.0}},
}
"""As worker 0.5 wrote it."""


async def test_a_result_that_an_older_version_left_is_handed_over(workshop: Workshop, crowded: Crowded) -> None:
    meeting_id = await left_behind(workshop)
    (path,) = (workshop.folder / "temp").glob("*/result.json")
    token = json.loads(path.read_text())["token"]
    path.write_text(json.dumps({"meeting_id": str(meeting_id), "token": token, "result": BEFORE_ISSUE_6}))
    await workshop.worker().run(once=True)
    assert [segment.text for segment in (await workshop.found(meeting_id)).segments] == ["the"]
    assert workshop.leftovers == []
