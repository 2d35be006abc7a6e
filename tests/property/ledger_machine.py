"""
Meetings, and people who name, merge, split, confirm, reject, undo, forget and delete: a Hypothesis state machine.

Every step is done to PostgresStore, which keeps columns up to date, and to the memory twin, which computes them from
the facts at every look. After each step all of them are equal, but for the ids that each store chose at random.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.ledger_snapshot import LedgerSeen, Pairs, memory_ledger
from tests.support.queue_values import result, worker_info
from tests.support.queue_worlds import MemoryWorld, QueueWorld
from worker.exceptions import SupabaseQueryError
from worker.models import (
    Claim,
    KnownSpeakers,
    MeetingSpeaker,
    NewMeeting,
    ProcessingResult,
    SpeakerEmbedding,
    VoiceMatch,
    WriteAnswer,
)

OWNERS = (None, UUID(int=7))
MAX_MEETINGS = 4
MODELS = ("wide", "narrow")
INDEX = st.integers(0, 999)
NAMES = st.sampled_from(["Anna", "Anna", "Bo", " Bo ", "", None, "x" * 1025])
UNDOABLE = ("identified", "confirmed", "rejected", "split", "named", "merged", "opted_out", "opted_in")


@dataclass(frozen=True)
class Heard:
    """A voice of a result, as the worker took it; `index` picks for whom."""

    how: str
    index: int
    models: tuple[str, ...]
    speech_s: float


HEARD = st.lists(
    st.builds(
        Heard,
        st.sampled_from(["new", "new", "identified", "matched", "suggested", "unknown"]),
        INDEX,
        st.sampled_from([("wide",), ("narrow",), MODELS, ()]),
        st.sampled_from([1.0, 2.5, 40.0]),
    ),
    min_size=1,
    max_size=3,
)
Act = Callable[[QueueWorld, int], Coroutine[Any, Any, WriteAnswer]]


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, other: QueueWorld, see_other: Callable[[], LedgerSeen], runner: asyncio.Runner) -> None:
        super().__init__()
        self.memory, self.see_other, self.runner = MemoryWorld(), see_other, runner
        self.worlds: tuple[QueueWorld, QueueWorld] = (self.memory, other)
        self.pairs = Pairs()
        self.meetings: list[UUID] = []
        self.num_heard = self.num_enqueued = 0
        self.info = worker_info("w1")
        self.both(lambda world, _: world.store.register(self.info))
        self.seen = self.look()

    # --- both stores at once -----------------------------------------------------------------------------------------

    def both(self, call: Callable[[QueueWorld, int], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        memory, postgres = (self.runner.run(call(world, which)) for which, world in enumerate(self.worlds))
        return memory, postgres

    def same(self, call: Act) -> str:
        """Do it; both answer alike."""
        memory, postgres = self.both(call)
        assert memory.outcome == postgres.outcome, (memory, postgres)
        assert (memory.message is None) == (postgres.message is None)
        self.seen = self.look()
        for column in ("speaker_id", "decision_id"):
            assert (getattr(memory, column) is None) == (getattr(postgres, column) is None), column
        assert self.pairs.name_of(0)(memory.speaker_id) == self.pairs.name_of(1)(postgres.speaker_id)
        return str(postgres.outcome)

    def by_hand(self, edit: Callable[[QueueWorld, int], None]) -> None:
        allowed = []
        for which, world in enumerate(self.worlds):
            try:
                edit(world, which)
                allowed.append(True)
            except SupabaseQueryError:
                allowed.append(False)
        assert allowed[0] == allowed[1], "the stores disagree on a hand edit"
        self.seen = self.look()

    def look(self) -> tuple[LedgerSeen, LedgerSeen]:
        seen = memory_ledger(self.memory), self.see_other()
        self.pairs.learn(*seen)
        return seen

    # --- picking -----------------------------------------------------------------------------------------------------

    def somebody(self, index: int) -> tuple[UUID, UUID]:
        """Mostly who has a row now; else anybody there ever was, or nobody."""
        if self.seen[0].speakers and index % 9 < 8:
            return self.somebody_there(index)
        return [*self.pairs.ids, (UUID(int=1), UUID(int=1))][index % (len(self.pairs.ids) + 1)]

    def somebody_there(self, index: int) -> tuple[UUID, UUID]:
        ids = {row["id"] for row in self.seen[0].speakers}
        pairs = [pair for pair in self.pairs.ids if pair[0] in ids]
        return pairs[index % len(pairs)]

    def some_meeting(self, index: int) -> UUID:
        return self.meetings[index % len(self.meetings)]

    def some_voice(self, index: int) -> tuple[UUID, str]:
        """Mostly one that is there."""
        shown = self.seen[0].shown
        if not shown or index % 13 == 12:
            return self.some_meeting(index), "SPEAKER_02"
        return UUID(shown[index % len(shown)]["meeting_id"]), shown[index % len(shown)]["label"]

    def theirs(self, user_id: UUID | None, index: int) -> tuple[UUID, UUID] | None:
        """One of an owner's speakers."""
        rows = [row["id"] for row in self.seen[0].speakers if row["user_id"] == user_id]
        pairs = [pair for pair in self.pairs.ids if pair[0] in rows]
        return pairs[index % len(pairs)] if pairs else None

    # --- meetings ----------------------------------------------------------------------------------------------------

    @initialize(heard=HEARD)
    def begin(self, heard: list[Heard]) -> None:
        for _ in range(2):
            self.hear(0, heard, "none", anew=False)

    @rule(
        index=INDEX,
        heard=HEARD,
        version=st.sampled_from(["none", "present", "old"]),
        anew=st.booleans(),
    )
    def hear(self, index: int, heard: list[Heard], version: str, anew: bool) -> None:
        """A meeting is completed, for the first time or anew; matched against the present speakers or those before."""
        meeting_id = self.begun(index, anew=anew)
        claims = self.both(lambda world, _: world.claim(self.info))
        asked = self.both(lambda world, i: world.store.speakers(meeting_id, claims[i].token, MODELS))
        self.compare_known(asked)
        sent = [self.matched(which, claims[0], heard) for which in (0, 1)]
        versions = {"none": (None, None), "present": [one.version for one in asked], "old": (-1, -1)}[version]
        sent = [one.model_copy(update={"speakers_version": v}) for one, v in zip(sent, versions, strict=True)]
        self.num_heard += 1
        answers = self.both(lambda world, i: world.store.complete(meeting_id, claims[i].token, sent[i]))
        assert answers[0].outcome == answers[1].outcome == ("stale_speakers" if version == "old" else "completed")
        if version == "old":
            self.compare_known(tuple(one.known for one in answers))
            sent = [
                a.model_copy(update={"speakers_version": b.known.version}) for a, b in zip(sent, answers, strict=True)
            ]
            answers = self.both(lambda world, i: world.store.complete(meeting_id, claims[i].token, sent[i]))
            assert [one.outcome for one in answers] == ["completed"] * 2
        self.seen = self.look()

    def begun(self, index: int, *, anew: bool) -> UUID:
        if self.meetings and (anew or len(self.meetings) == MAX_MEETINGS):
            meeting_id = self.some_meeting(index)
            self.both(lambda world, _: world.store.retry(meeting_id, replace_edits=True))
            return meeting_id
        self.num_enqueued += 1
        owner, asked_id = OWNERS[index % 5 == 4], UUID(int=100 + self.num_enqueued)  # the same order in every run
        path = "lab/a.wav" if owner is None else f"{owner}/a.wav"
        asked = NewMeeting(id=asked_id, title="m", audio_path=path, user_id=owner)
        self.both(lambda world, _: world.store.enqueue(asked))
        self.meetings.append(asked_id)
        return asked_id

    def matched(self, which: int, claim: Claim, heard: list[Heard]) -> ProcessingResult:
        voices = tuple(self.voice(which, claim, number, one) for number, one in enumerate(heard))
        return result(*(f"said {number}" for number in range(len(voices))), voices=voices)

    def voice(self, which: int, claim: Claim, number: int, heard: Heard) -> MeetingSpeaker:
        label, pair = f"SPEAKER_{number:02}", self.theirs(claim.meeting.user_id, heard.index)
        vector = (1.0, float(self.num_heard), float(heard.index % 7))
        embeddings = tuple(
            SpeakerEmbedding(label=label, model=model, dim=3, vector=vector, speech_s=heard.speech_s)
            for model in heard.models
        )
        plain = MeetingSpeaker(label=label, speech_s=heard.speech_s, embeddings=embeddings)
        if heard.how == "new" or (pair is None and heard.how != "unknown"):
            return plain
        whom = pair[which] if pair else None
        if heard.how == "identified":  # as old workers say it
            return plain.model_copy(update={"speaker_id": whom})
        if heard.how == "matched":
            match = VoiceMatch(outcome="identified", speaker_id=whom, score=0.75, confirm_from=0.5, margin=0.125)
            return plain.model_copy(update={"speaker_id": whom, "match": match})
        return plain.model_copy(update={"match": VoiceMatch(outcome=heard.how, speaker_id=whom, score=0.25)})

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(index=INDEX, name=NAMES)
    def name(self, index: int, name: str | None) -> None:
        whom = self.somebody(index)
        self.same(lambda world, i: world.store.name_speaker(whom[i], name))

    @precondition(lambda self: self.seen[0].speakers)
    @rule(index=INDEX, name=NAMES)
    def name_by_hand(self, index: int, name: str | None) -> None:
        whom = self.somebody_there(index)
        self.by_hand(lambda world, i: world.name_speaker(whom[i], name))

    @rule(index=INDEX, into=INDEX)
    def merge(self, index: int, into: int) -> None:
        source, target = self.somebody(index), self.somebody(into)
        self.same(lambda world, i: world.store.merge_speakers(source[i], target[i]))

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, act=st.sampled_from(["split_voice", "confirm_voice", "reject_voice"]))
    def judge(self, index: int, act: str) -> None:
        voice = self.some_voice(index)
        self.same(lambda world, _: getattr(world.store, act)(*voice))

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, whose=INDEX)
    def confirm(self, index: int, whose: int) -> None:
        voice, whom = self.some_voice(index), self.somebody(whose)
        self.same(lambda world, i: world.store.confirm_voice(*voice, whom[i]))

    @precondition(lambda self: self.seen[0].decisions)
    @rule(index=INDEX)
    def undo(self, index: int) -> None:
        number = index % len(self.seen[0].decisions)
        ids = [int(seen.decisions[number]["id"]) for seen in self.seen]
        self.same(lambda world, i: world.store.undo_decision(ids[i]))

    @rule(index=INDEX, times=st.integers(1, 3))
    def undo_what_stands(self, index: int, times: int) -> None:
        """Several, from anywhere in the history."""
        for step in range(times):
            standing = [n for n, row in enumerate(self.seen[0].decisions) if _can_be_undone(row)]
            if standing:
                number = standing[(index + 7 * step) % len(standing)]
                ids = [int(seen.decisions[number]["id"]) for seen in self.seen]
                self.same(lambda world, i, ids=ids: world.store.undo_decision(ids[i]))  # type: ignore[misc]  # bound now

    @rule(index=INDEX, act=st.sampled_from(["opt_out", "opt_in", "opt_in", "forget"]))
    def erase(self, index: int, act: str) -> None:
        whom = self.somebody(index)
        if act == "forget":
            self.same(lambda world, i: world.store.forget_speaker(whom[i]))
        else:
            self.same(lambda world, i: world.store.keep_voice(whom[i], kept=act == "opt_in"))

    @precondition(lambda self: self.meetings)
    @rule(index=INDEX, what=st.sampled_from(["speaker", "meeting"]))
    def delete_by_hand(self, index: int, what: str) -> None:
        if what == "meeting":
            meeting_id = self.some_meeting(index)
            self.meetings.remove(meeting_id)
            self.by_hand(lambda world, _: world.delete_meeting(meeting_id))
        elif self.seen[0].speakers:
            whom = self.somebody_there(index)
            self.by_hand(lambda world, i: world.delete_speaker(whom[i]))

    # --- after each step ---------------------------------------------------------------------------------------------

    @invariant()
    def columns_are_what_the_facts_say(self) -> None:
        memory, postgres = self.seen
        assert postgres.broken == [], postgres.broken
        ours, theirs = memory.as_model(self.pairs.name_of(0)), postgres.as_model(self.pairs.name_of(1))
        for table in ours:
            assert ours[table] == theirs[table], table
        ours, theirs = memory.centroids(self.pairs.name_of(0)), postgres.centroids(self.pairs.name_of(1))
        assert ours == {key: vector and pytest.approx(vector, abs=2e-6) for key, vector in theirs.items()}

    def compare_known(self, known: tuple[KnownSpeakers, KnownSpeakers]) -> None:
        """Whom workers match against is the same in both."""
        ours, theirs = (
            {
                self.pairs.name_of(which)(one.id): (one.name, sorted(e.model_dump_json() for e in one.embeddings))
                for one in known[which].speakers
            }
            for which in (0, 1)
        )
        assert ours == theirs


def _can_be_undone(row: dict[str, Any]) -> bool:
    return row["undone_at"] is None and row["kind"] in UNDOABLE
