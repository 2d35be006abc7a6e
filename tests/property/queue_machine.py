"""
Three workers, impatient people and a bad network against the queue: a Hypothesis state machine.

Every step is done to PostgresStore and to its memory twin; both must answer alike and end up in the same state. And
whatever the twin thinks, the rows in Postgres must obey the invariants of `everything_is_sound` after each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.property.queue_snapshot import MeetingSeen, memory_snapshot, postgres_snapshot
from tests.support.queue_values import failure, result, worker_info
from tests.support.queue_worlds import MemoryWorld, PostgresWorld, QueueWorld
from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import (
    Beat,
    MeetingStatus,
    NewMeeting,
    ProcessingResult,
    Stage,
    WorkerInfo,
    WriteAnswer,
)
from worker.testing.store_memory import ANEW_FROM

MAX_MEETINGS = 4  # few, so that everybody fights over the same ones
WORKERS = st.sampled_from(["w1", "w2", "w3"])
INDEX = st.integers(0, 11)
LOST = st.booleans()


def in_their_order(anew_from: dict[Stage, int]) -> list[Stage]:
    """The stages from which a meeting was asked for, the earliest wish first; the numbers differ between the stores."""
    return sorted(anew_from, key=anew_from.__getitem__)


@dataclass(frozen=True)
class Held:
    """A claim somebody was given, in both stores; it may be long outdated."""

    info: WorkerInfo
    meeting_id: UUID
    tokens: tuple[int, int]


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, postgres: PostgresWorld, runner: asyncio.Runner) -> None:
        super().__init__()
        postgres.empty()
        self.postgres, self.memory, self.runner = postgres, MemoryWorld(), runner
        self.worlds: tuple[QueueWorld, QueueWorld] = (self.memory, self.postgres)
        self.instances = {worker_id: worker_info(worker_id) for worker_id in ("w1", "w2", "w3", "reaper")}
        self.meetings: list[UUID] = []
        self.held: list[Held] = []
        self.sizes: dict[int, int] = {}  # of the results, by the Postgres token they were sent with
        self.edited: set[UUID] = set()
        self.retried_at: dict[UUID, int] = {}
        self.were: dict[UUID, str] = {}
        self.may_leave_completed: set[UUID] = set()
        for info in self.instances.values():
            self.both(lambda world, _, info=info: world.store.register(info))  # type: ignore[misc]  # bound now
        self.both(lambda world, _: world.store.drain("reaper", draining=True))
        self.enqueue(priority=0)
        self.enqueue(priority=1)

    # --- both stores at once -----------------------------------------------------------------------------------------

    def both(self, call: Callable[[QueueWorld, int], Awaitable[Any]]) -> tuple[Any, Any]:
        memory, postgres = (self.runner.run(self._await(call(world, i))) for i, world in enumerate(self.worlds))
        return memory, postgres

    async def _await(self, call: Awaitable[Any]) -> Any:
        return await call

    def both_sync(self, call: Callable[[QueueWorld], None]) -> bool:
        """A hand edit; False when it was refused, by both."""
        allowed = []
        for world in self.worlds:
            try:
                call(world)
                allowed.append(True)
            except SupabaseQueryError:
                allowed.append(False)
        assert allowed[0] == allowed[1], "the stores disagree on a hand edit"
        return allowed[0]

    def same(self, call: Callable[[QueueWorld, int], Awaitable[WriteAnswer]]) -> str:
        memory, postgres = self.both(call)
        assert memory.outcome == postgres.outcome
        assert (memory.message is None) == (postgres.message is None)
        return str(postgres.outcome)

    def advance_both(self, seconds: float) -> None:
        self.both_sync(lambda world: world.advance(seconds))

    def pick(self, index: int) -> Held:
        """Mostly a claim that is still good, but any old one too."""
        jobs = self.memory.memory.queue.jobs
        good = [held for held in self.held if (job := jobs.get(held.meeting_id)) and job.token == held.tokens[0]]
        candidates = good if good and index < 9 else self.held
        return candidates[index % len(candidates)]

    def has_pending(self) -> bool:
        return bool(self.memory.memory.queue.pending())

    def some_meeting(self, index: int) -> UUID:
        return self.meetings[index % len(self.meetings)]

    # --- workers -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.has_pending())
    @rule(worker_id=WORKERS)
    def claim(self, worker_id: str) -> None:
        self.claim_over_a_bad_line(worker_id, times=1, heard=True)

    @rule(worker_id=WORKERS, times=st.integers(1, 2), heard=st.booleans())
    def claim_over_a_bad_line(self, worker_id: str, times: int, heard: bool) -> None:
        """`times=2`: the first answer was lost. Not heard: all answers were lost, and nobody knows of the lease."""
        info, claim_id = self.instances[worker_id], uuid4()
        for _ in range(times):
            memory, postgres = self.both(lambda world, _: world.store.claim(info.worker_id, info.instance_id, claim_id))
            assert memory.outcome == postgres.outcome
            assert (memory.num_pending, memory.next_run_in_s) == (postgres.num_pending, postgres.next_run_in_s)
        if postgres.claim is None:
            assert memory.claim is None
            return
        assert memory.claim.meeting.id == postgres.claim.meeting.id
        assert memory.claim.attempt == postgres.claim.attempt
        assert in_their_order(memory.claim.anew_from) == in_their_order(postgres.claim.anew_from)
        if heard:
            self.held.append(Held(info, postgres.claim.meeting.id, (memory.claim.token, postgres.claim.token)))

    @precondition(lambda self: self.held)
    @rule(index=INDEX, stage=st.sampled_from(Stage), progress=st.sampled_from([0.0, 0.125, 1.0]))
    def heartbeat(self, index: int, stage: Stage, progress: float) -> None:
        held = self.pick(index)

        async def beat(world: QueueWorld, which: int) -> tuple[str, bool, bool]:
            line = Beat(meeting_id=held.meeting_id, token=held.tokens[which], stage=stage, progress=progress)
            answer = await world.store.heartbeat(held.info.worker_id, held.info.instance_id, [line])
            return answer.jobs[0].outcome, answer.registered, answer.draining

        memory, postgres = self.both(beat)
        assert memory == postgres

    @precondition(lambda self: self.held)
    @rule(index=INDEX, lost=LOST, size=st.integers(0, 3))
    def complete(self, index: int, lost: bool, size: int) -> None:
        held = self.pick(index)
        sent = self.marked_result(held, size)
        outcomes = [
            self.same(lambda world, which: world.store.complete(held.meeting_id, held.tokens[which], sent))
            for _ in range(1 + lost)
        ]
        if outcomes[0] == "completed":
            self.sizes[held.tokens[1]] = size
            self.edited.discard(held.meeting_id)
            assert outcomes[1:] in ([], ["already_done"])

    def marked_result(self, held: Held, size: int) -> ProcessingResult:
        token = held.tokens[1]
        sent = result(*(f"{token}/{number}" for number in range(size)))
        return sent.model_copy(update={"duration_s": float(token)})

    @precondition(lambda self: self.held)
    @rule(index=INDEX, kind=st.sampled_from(FailureKind), lost=LOST, retry_in_s=st.sampled_from([0.0, 0.0, 0.0, 50.0]))
    def fail(self, index: int, kind: FailureKind, lost: bool, retry_in_s: float) -> None:
        held = self.pick(index)
        reason = failure(kind, retry_in_s=retry_in_s)
        outcomes = [
            self.same(lambda world, which: world.store.fail(held.meeting_id, held.tokens[which], reason))
            for _ in range(1 + lost)
        ]
        if outcomes[0] in ("retrying", "failed"):
            assert outcomes[1:] in ([], ["already_done"])

    @precondition(lambda self: self.held)
    @rule(index=INDEX, lost=LOST)
    def release(self, index: int, lost: bool) -> None:
        held = self.pick(index)
        outcomes = [
            self.same(lambda world, which: world.store.release(held.meeting_id, held.tokens[which]))
            for _ in range(1 + lost)
        ]
        if outcomes[0] == "released":
            assert outcomes[1:] in ([], ["already_done"])

    @rule(worker_id=WORKERS)
    def restart_worker(self, worker_id: str) -> None:
        """Killed and started again."""
        self.instances[worker_id] = worker_info(worker_id)
        memory, postgres = self.both(lambda world, _: world.store.register(self.instances[worker_id]))
        assert (memory.outcome, memory.num_taken_over) == (postgres.outcome, postgres.num_taken_over)

    # --- time --------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([29.0, 61.0, 4000.0, 90000.0]))
    def silence(self, seconds: float) -> None:
        """Nobody calls: an outage, or a quiet night."""
        self.advance_both(seconds)

    @rule(steps=st.sampled_from([1, 4, 5, 5]))
    def expire_and_reap(self, steps: int) -> None:
        """Time passes while one worker keeps calling, and at the end it reaps (it drains, so it claims nothing)."""
        info = self.instances["reaper"]
        for _ in range(steps):
            self.advance_both(60.0)  # two heartbeats: just no outage yet
            self.both(lambda world, _: world.store.heartbeat(info.worker_id, info.instance_id, []))
        self.both(lambda world, _: world.store.claim(info.worker_id, info.instance_id, uuid4()))

    # --- people ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.meetings) < MAX_MEETINGS)
    @rule(priority=st.integers(0, 2))
    def enqueue(self, priority: int) -> None:
        asked = NewMeeting(id=uuid4(), title="m", audio_path="lab/a.wav", priority=priority)
        self.both(lambda world, _: world.store.enqueue(asked))
        assert asked.id is not None
        self.meetings.append(asked.id)

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, replace_edits=st.booleans(), stage=st.sampled_from([None, None, *ANEW_FROM, Stage.ALIGN]))
    def retry(self, index: int, replace_edits: bool, stage: Stage | None) -> None:
        meeting_id = self.some_meeting(index)
        outcome = self.same(
            lambda world, _: world.store.retry(meeting_id, replace_edits=replace_edits, from_stage=stage)
        )
        if outcome == "pending":
            self.note_retry(meeting_id)

    def note_retry(self, meeting_id: UUID) -> None:
        self.may_leave_completed.add(meeting_id)
        issued = self.postgres.rows("select last_value from pc_worker.lease_tokens")
        self.retried_at[meeting_id] = issued[0]["last_value"]

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, status=st.sampled_from(MeetingStatus))
    def edit_status(self, index: int, status: MeetingStatus) -> None:
        meeting_id = self.some_meeting(index)
        was = self.were.get(meeting_id)
        if self.both_sync(lambda world: world.edit_status(meeting_id, status)) and status == "pending" != was:
            self.note_retry(meeting_id)

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, act=st.sampled_from(["cancel", "delete", "edit_text", "edit_priority", "name", "drain"]))
    def interfere(self, index: int, act: str) -> None:
        """One rule for all these, so that most of the time the workers can work."""
        getattr(self, act)(self.some_meeting(index), index)

    def cancel(self, meeting_id: UUID, _: int) -> None:
        self.same(lambda world, _: world.store.cancel(meeting_id))

    def delete(self, meeting_id: UUID, _: int) -> None:
        self.both_sync(lambda world: world.delete_meeting(meeting_id))
        self.meetings.remove(meeting_id)
        self.were.pop(meeting_id, None)

    def edit_text(self, meeting_id: UUID, index: int) -> None:
        text = f"better {index}"
        if self.both_sync(lambda world: world.edit_text(meeting_id, 0, text)):
            self.edited.add(meeting_id)

    def edit_priority(self, meeting_id: UUID, index: int) -> None:
        self.both_sync(lambda world: world.edit_priority(meeting_id, index % 3))

    def drain(self, _: UUID, index: int) -> None:
        self.same(lambda world, _: world.store.drain(f"w{1 + index % 3}", draining=index > 9))

    def name(self, meeting_id: UUID, _: int) -> None:
        """Somebody names the first voice."""

        async def name_first(world: QueueWorld, _: int) -> None:
            detail = await world.store.meeting(meeting_id)
            assert detail is not None
            for person in detail.speakers[:1]:
                if person.speaker_id is not None:
                    world.name_speaker(person.speaker_id, "Anna")

        self.both(name_first)

    # --- after each step ---------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_sound(self) -> None:
        """The twins agree, no row breaks an invariant, and what happened is what may happen."""
        now = postgres_snapshot(self.postgres)
        assert now.broken == []
        assert now == memory_snapshot(self.memory)
        for meeting_id, seen in now.meetings.items():
            self.check_transition(meeting_id, seen)
            self.check_history(meeting_id, seen)
            self.check_result(meeting_id, seen)
        self.may_leave_completed.clear()

    def check_transition(self, meeting_id: UUID, seen: MeetingSeen) -> None:
        """Completed is left only by a retry."""
        if self.were.get(meeting_id) == "completed" != seen.shown["status"]:
            assert meeting_id in self.may_leave_completed
        self.were[meeting_id] = seen.shown["status"]

    def check_history(self, meeting_id: UUID, seen: MeetingSeen) -> None:
        """The counts are what the history since the last retry says, and within their limits."""
        outcomes = [outcome for token, outcome in seen.tokens if token > self.retried_at.get(meeting_id, 0)]
        assert seen.job["num_failures"] == outcomes.count("failure") + outcomes.count("permanent") <= 3
        assert seen.job["num_crashes"] == outcomes.count("crash") + outcomes.count("reaped") <= 2
        spent = seen.job["num_failures"] + seen.job["num_crashes"]
        others = outcomes.count(None) + outcomes.count("completed") + outcomes.count("cancelled")
        assert seen.job["num_attempts"] == spent + others

    def check_result(self, meeting_id: UUID, seen: MeetingSeen) -> None:
        """What is written was sent with the token that completed last, all of it; or there is nothing at all."""
        completed = [token for token, outcome in seen.tokens if outcome == "completed"]
        if not completed:
            assert (seen.texts, seen.voices, seen.overview) == ([], [], None)
            return
        size = self.sizes[completed[-1]]
        expected = [f"{completed[-1]}/{number}" for number in range(size)]
        num_edited = int(meeting_id in self.edited)
        assert len(seen.texts) == size
        assert seen.texts[num_edited:] == expected[num_edited:]
        assert seen.overview == " ".join(expected)
        assert len(seen.voices) == 2
        if seen.shown["status"] == "completed":
            assert seen.shown["duration_s"] == completed[-1]
