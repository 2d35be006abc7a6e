"""
Each call of the Store port once, on rows that it has something to do with; for what must hold for all of them.

A case prepares a world and returns the call, with its arguments, for any store of that world.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from tests.support.queue_values import failure, matched, result, voice, worker_info
from tests.support.queue_worlds import QueueWorld
from worker.ledger_port import Ledger
from worker.models import (
    Beat,
    Claim,
    MeetingStatus,
    MeetingSummary,
    NewMeeting,
    ProcessingResult,
    SpeakerEmbedding,
    Trouble,
    WorkerInfo,
)
from worker.ports import Store

Call = Callable[[Store], Awaitable[Any]]
Case = Callable[[QueueWorld], Awaitable[Call]]

CASES: dict[str, Case] = {}


def calls_of_the_port() -> set[str]:
    """What a store can be asked; `close` asks nobody."""
    return {name for port in (Store, Ledger) for name in vars(port) if not name.startswith("_")} - {"close"}


def _case(prepare: Case) -> Case:
    CASES[prepare.__name__.removeprefix("_")] = prepare
    return prepare


# --- a worker's --------------------------------------------------------------------------------------------------


async def _held(world: QueueWorld, title: str = "held") -> tuple[WorkerInfo, Claim]:
    info = await world.worker()
    await world.enqueue(title)
    return info, await world.claim(info)


@_case
async def _register(world: QueueWorld) -> Call:
    """Of a worker whose last run left a meeting behind."""
    await _held(world)
    again = worker_info()
    return lambda store: store.register(again)


@_case
async def _claim(world: QueueWorld) -> Call:
    info, claim_id = await world.worker(), uuid4()
    await world.enqueue("first")
    await world.enqueue("second")
    return lambda store: store.claim(info.worker_id, info.instance_id, claim_id)


@_case
async def _heartbeat(world: QueueWorld) -> Call:
    info, claim = await _held(world)
    beat = Beat(meeting_id=claim.meeting.id, token=claim.token, progress=0.5)
    trouble = Trouble(code="disk_full", sentence="The disk is full.")
    return lambda store: store.heartbeat(info.worker_id, info.instance_id, [beat], [trouble])


@_case
async def _complete(world: QueueWorld) -> Call:
    """With one voice that is known and one that is new."""
    _, anna, info = await _one_named(world)
    await world.enqueue("held")
    claim = await world.claim(info)
    known = await world.store.speakers(claim.meeting.id, claim.token, ["ge2e"])
    voices = (matched("SPEAKER_00", "identified", anna), voice("SPEAKER_01", vector=(1.0, 0.0)))
    sent = result("one", "two", voices=voices).model_copy(update={"speakers_version": known.version})
    return lambda store: store.complete(claim.meeting.id, claim.token, sent)


@_case
async def _fail(world: QueueWorld) -> Call:
    _, claim = await _held(world)
    return lambda store: store.fail(claim.meeting.id, claim.token, failure())


@_case
async def _release(world: QueueWorld) -> Call:
    _, claim = await _held(world)
    return lambda store: store.release(claim.meeting.id, claim.token)


@_case
async def _speakers(world: QueueWorld) -> Call:
    info = await world.worker()
    await world.heard(info, result("text", voices=(voice("SPEAKER_00"),)))
    await world.enqueue("held")
    claim = await world.claim(info)
    return lambda store: store.speakers(claim.meeting.id, claim.token, ["ge2e"])


@_case
async def _vocabulary(world: QueueWorld) -> Call:
    await world.store.add_words(["gluon"])
    _, claim = await _held(world)
    return lambda store: store.vocabulary(claim.meeting.id, claim.token)


@_case
async def _guidance(world: QueueWorld) -> Call:
    await world.store.set_guidance("Be brief.")
    _, claim = await _held(world)
    return lambda store: store.guidance(claim.meeting.id, claim.token)


@_case
async def _schema(world: QueueWorld) -> Call:
    return lambda store: store.schema()


# --- the fleet's and the queue's ---------------------------------------------------------------------------------


@_case
async def _drain(world: QueueWorld) -> Call:
    info = await world.worker()
    return lambda store: store.drain(info.worker_id, draining=True)


@_case
async def _status(world: QueueWorld) -> Call:
    await _held(world)
    return lambda store: store.status()


@_case
async def _cancel(world: QueueWorld) -> Call:
    _, claim = await _held(world)
    return lambda store: store.cancel(claim.meeting.id)


@_case
async def _retry(world: QueueWorld) -> Call:
    meeting_id = await world.completed(await world.worker(), "old")
    return lambda store: store.retry(meeting_id)


@_case
async def _enqueue(world: QueueWorld) -> Call:
    new = NewMeeting(id=uuid4(), title="new", audio_path="lab/a.wav")
    return lambda store: store.enqueue(new)


@_case
async def _meetings(world: QueueWorld) -> Call:
    await world.enqueue("waiting")
    return lambda store: store.meetings(MeetingStatus.PENDING)


@_case
async def _meeting(world: QueueWorld) -> Call:
    meeting_id = await world.completed(await world.worker(), "text")
    return lambda store: store.meeting(meeting_id)


@_case
async def _statuses(world: QueueWorld) -> Call:
    meeting_id = await world.enqueue("waiting")
    return lambda store: store.statuses([meeting_id])


# --- summaries and words -----------------------------------------------------------------------------------------


@_case
async def _write_summary(world: QueueWorld) -> Call:
    meeting_id = await world.completed(await world.worker(), "text")
    better = MeetingSummary(overview="better", method="llm", model="m")
    return lambda store: store.write_summary(meeting_id, better)


@_case
async def _extractive_meetings(world: QueueWorld) -> Call:
    await world.completed(await world.worker(), "text")
    return lambda store: store.extractive_meetings()


@_case
async def _own_guidance(world: QueueWorld) -> Call:
    await world.store.set_guidance("Be brief.")
    return lambda store: store.own_guidance()


@_case
async def _set_guidance(world: QueueWorld) -> Call:
    await world.store.set_guidance("Be brief.")
    return lambda store: store.set_guidance("Be long.")


@_case
async def _words(world: QueueWorld) -> Call:
    await world.store.add_words(["gluon"])
    return lambda store: store.words()


@_case
async def _add_words(world: QueueWorld) -> Call:
    await world.store.add_words(["gluon"])
    return lambda store: store.add_words(["gluon", "axion"])


@_case
async def _remove_words(world: QueueWorld) -> Call:
    await world.store.add_words(["gluon", "axion"])
    return lambda store: store.remove_words(["gluon"])


# --- who is who --------------------------------------------------------------------------------------------------


async def _one_named(world: QueueWorld, name: str = "Anna") -> tuple[UUID, UUID, WorkerInfo]:
    """A meeting in which somebody with a name spoke, and somebody without."""
    info = await world.worker()
    meeting_id = await world.completed(info, "text")
    anna = await _speaker_of(world, meeting_id, "SPEAKER_00")
    await world.store.name_speaker(anna, name)
    return meeting_id, anna, info


async def _speaker_of(world: QueueWorld, meeting_id: UUID, label: str) -> UUID:
    found = {each.label: each.speaker_id for each in (await world.detail(meeting_id)).speakers}[label]
    assert found is not None
    return found


async def _heard_again(world: QueueWorld, outcome: str) -> tuple[UUID, UUID]:
    """A second meeting, whose voice was `identified` or `suggested` to be the person of the first."""
    _, anna, info = await _one_named(world)
    heard: ProcessingResult = result("again", voices=(matched("SPEAKER_00", outcome, anna),))
    return await world.heard(info, heard), anna


@_case
async def _people(world: QueueWorld) -> Call:
    await _one_named(world)
    return lambda store: store.people()


@_case
async def _decisions(world: QueueWorld) -> Call:
    await _one_named(world)
    return lambda store: store.decisions()


@_case
async def _name_speaker(world: QueueWorld) -> Call:
    _, anna, _ = await _one_named(world)
    return lambda store: store.name_speaker(anna, "Anne")


@_case
async def _merge_speakers(world: QueueWorld) -> Call:
    meeting_id, anna, _ = await _one_named(world)
    nobody = await _speaker_of(world, meeting_id, "SPEAKER_01")
    return lambda store: store.merge_speakers(nobody, anna)


@_case
async def _split_voice(world: QueueWorld) -> Call:
    meeting_id, _ = await _heard_again(world, "identified")
    return lambda store: store.split_voice(meeting_id, "SPEAKER_00")


@_case
async def _confirm_voice(world: QueueWorld) -> Call:
    meeting_id, _ = await _heard_again(world, "suggested")
    return lambda store: store.confirm_voice(meeting_id, "SPEAKER_00")


@_case
async def _reject_voice(world: QueueWorld) -> Call:
    meeting_id, _ = await _heard_again(world, "identified")
    return lambda store: store.reject_voice(meeting_id, "SPEAKER_00")


@_case
async def _undo_decision(world: QueueWorld) -> Call:
    await _one_named(world)
    decision = (await world.store.decisions())[0]
    return lambda store: store.undo_decision(decision.id)


@_case
async def _forget_speaker(world: QueueWorld) -> Call:
    _, anna, _ = await _one_named(world)
    return lambda store: store.forget_speaker(anna)


@_case
async def _keep_voice(world: QueueWorld) -> Call:
    _, anna, _ = await _one_named(world)
    return lambda store: store.keep_voice(anna, kept=False)


@_case
async def _stale_voices(world: QueueWorld) -> Call:
    await _one_named(world)
    return lambda store: store.stale_voices(["newer"])


@_case
async def _refresh_voices(world: QueueWorld) -> Call:
    meeting_id, _, _ = await _one_named(world)
    at = (await world.detail(meeting_id)).meeting.completed_at
    assert at is not None
    newer = SpeakerEmbedding(label="SPEAKER_00", model="newer", dim=2, vector=(1.0, 0.0), speech_s=9.0)
    return lambda store: store.refresh_voices(meeting_id, at, [newer])
