"""What people and workers decide about voices, in memory: ports.Ledger over the facts of memory_voices."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from worker.models import (
    Decision,
    KnownSpeaker,
    KnownSpeakers,
    MeetingSpeaker,
    Person,
    ProcessingResult,
    VoiceMatch,
    WriteAnswer,
)
from worker.testing.memory_queue import MemoryQueue
from worker.testing.memory_tables import DecisionRow, SpeakerRow, VoiceRow, moment
from worker.testing.memory_voices import LAB

NO_SPEAKER = WriteAnswer(outcome="gone", message="There is no such speaker.")
NO_VOICE = WriteAnswer(outcome="gone", message="The meeting has no such voice.")
DONE_ALREADY = WriteAnswer(outcome="already_done")
MAX_NAME_BYTES = 1024
STAYS = {
    "unknown": "Nothing was decided about this voice, so there is nothing to undo.",
    "suggested": "A suggestion is not undone: confirm it or reject it.",
    "forgotten": "What was erased does not come back.",
    "deleted": "A speaker who was deleted does not come back. Give the voice to somebody else instead.",
}
THRESHOLDS = ("confirm_from", "suggest_from", "margin")


class MemoryLedger:
    """ports.Ledger without a database, and what complete and the table editor do to speakers."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue

    # --- looking -----------------------------------------------------------------------------------------------------

    async def people(self, user_id: UUID | None = None) -> tuple[Person, ...]:
        rows = self.queue.voices.rows().values()
        return tuple(sorted((self._person(row) for row in rows if row.user_id == user_id), key=_place))

    def _person(self, row: SpeakerRow) -> Person:
        voices = [voice for voice in self.queue.voices.voices_of(row.id) if voice.is_current]
        heard_at = [self.queue.meetings[meeting_id].value.created_at for meeting_id in row.meeting_ids]
        return Person(
            id=row.id,
            user_id=row.user_id,
            name=row.name,
            num_meetings=len(row.meeting_ids),
            speech_s=sum(voice.speech_s for voice in voices),
            num_voiceprints=len(row.embeddings),
            keeps_voice=row.keeps_voice,
            last_heard_at=max(heard_at, default=None),
        )

    async def decisions(self, user_id: UUID | None = None, *, limit: int = 50) -> tuple[Decision, ...]:
        theirs = [row.value for row in self.queue.voices.decisions if row.value.user_id == user_id]
        return tuple(reversed(theirs))[: max(limit, 0)]

    # --- speakers ----------------------------------------------------------------------------------------------------

    async def name_speaker(self, speaker_id: UUID, name: str | None) -> WriteAnswer:
        return self.decide_name(speaker_id, name, LAB)

    def decide_name(self, speaker_id: UUID, name: str | None, decided_by: str) -> WriteAnswer:
        row, wanted = self._row(speaker_id), (name or "").strip() or None
        if len((wanted or "").encode(errors="replace")) > MAX_NAME_BYTES:
            return _refused(f"A name has at most {MAX_NAME_BYTES} bytes. Shorten it.")
        if row is None:
            return NO_SPEAKER
        if wanted == row.name:
            return DONE_ALREADY
        return self.decide("named", row.user_id, speaker_id=row.id, name=wanted, decided_by=decided_by)

    async def merge_speakers(self, speaker_id: UUID, into_id: UUID) -> WriteAnswer:
        source, into = self._row(speaker_id), self._row(into_id)
        if source is None or into is None or source.user_id != into.user_id:
            return NO_SPEAKER
        if source.id == into.id:
            return DONE_ALREADY
        if source.keeps_voice != into.keeps_voice:
            return _refused("Only one of the two has opted out. Let the other opt out as well, or take it back.")
        return self.decide("merged", into.user_id, speaker_id=into.id, other_speaker_id=source.id)

    async def forget_speaker(self, speaker_id: UUID) -> WriteAnswer:
        row = self._row(speaker_id)
        if row is None:
            return NO_SPEAKER
        known = self.queue.voices.voices_of(row.id)
        is_forgotten = any(past.value.speaker_id == row.id for past in self.queue.voices.active("forgotten"))
        if is_forgotten and all(voice.is_erased for voice in known):
            return DONE_ALREADY
        for voice in known:
            voice.erase()
        return self.decide("forgotten", row.user_id, speaker_id=row.id)

    async def keep_voice(self, speaker_id: UUID, *, kept: bool) -> WriteAnswer:
        row = self._row(speaker_id)
        if row is None:
            return NO_SPEAKER
        if row.keeps_voice == kept:
            return DONE_ALREADY
        if not kept:
            return self.decide("opted_out", row.user_id, speaker_id=row.id)
        members = sorted(self.queue.voices.opted_out(row.id), key=lambda member: member == row.id)
        return [self.decide("opted_in", row.user_id, speaker_id=member) for member in members][-1]

    # --- voices ------------------------------------------------------------------------------------------------------

    async def split_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        voice = self._voice(meeting_id, label)
        if voice is None:
            return NO_VOICE
        speaker_id = self.queue.voices.speaker_of(voice)
        if speaker_id is not None and self.queue.voices.voices_of(speaker_id) == [voice]:
            return DONE_ALREADY
        return self._place_anew("split", voice, other_speaker_id=speaker_id)

    async def confirm_voice(self, meeting_id: UUID, label: str, speaker_id: UUID | None = None) -> WriteAnswer:
        voices, voice = self.queue.voices, self._voice(meeting_id, label)
        if voice is None:
            return NO_VOICE
        user_id, placing = self._owner(voice), voices.placing(voice)
        target = speaker_id or voices.suggestion(voice) or _taken_for(placing, "identified", "confirmed")
        if target is None:
            return _refused("Nobody was suggested for this voice. Say whose it is.")
        row = self._row(target)
        if row is None or row.user_id != user_id:
            return NO_SPEAKER
        if _taken_for(placing, "confirmed") and voices.speaker_of(voice) == row.id:
            return DONE_ALREADY
        return self.decide("confirmed", user_id, voice=voice, places=True, speaker_id=row.id)

    async def reject_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        voices, voice = self.queue.voices, self._voice(meeting_id, label)
        if voice is None:
            return NO_VOICE
        suggested_id = voices.suggestion(voice)
        if suggested_id is not None:
            return self.decide("rejected", self._owner(voice), voice=voice, other_speaker_id=suggested_id)
        if _taken_for(voices.placing(voice), "identified", "confirmed"):
            return self._place_anew("rejected", voice, other_speaker_id=voices.speaker_of(voice))
        if any(past.value.kind == "rejected" for past in voices.about(voice)):
            return DONE_ALREADY
        return _refused("Nobody took this voice for anybody, so there is nothing to reject.")

    def _place_anew(self, kind: str, voice: VoiceRow, *, other_speaker_id: UUID | None) -> WriteAnswer:
        user_id = self._owner(voice)
        fresh_id = self.queue.voices.new_speaker(user_id)
        columns = {"speaker_id": fresh_id, "other_speaker_id": other_speaker_id}
        return self.decide(kind, user_id, voice=voice, places=True, **columns)

    # --- undo --------------------------------------------------------------------------------------------------------

    async def undo_decision(self, decision_id: int) -> WriteAnswer:
        row = next((row for row in self.queue.voices.decisions if row.value.id == decision_id), None)
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such decision.")
        if row.value.kind in STAYS:
            return _refused(STAYS[row.value.kind])
        if not row.is_active:
            return DONE_ALREADY
        row.value = row.value.model_copy(update={"undone_by": LAB, "undone_at": moment(self.queue.now())})
        self.queue.voices.settle(row.value.user_id)
        return WriteAnswer(outcome="done", decision_id=decision_id)

    # --- what a completed meeting decides ----------------------------------------------------------------------------

    def known_speakers(self, meeting_id: UUID, models: Sequence[str]) -> KnownSpeakers:
        voices, user_id = self.queue.voices, self.queue.meetings[meeting_id].value.user_id
        known = []
        for row in voices.rows().values():
            embeddings = voices.embeddings_known_to(meeting_id, row, models)
            if row.user_id == user_id and row.keeps_voice and embeddings:
                known.append(KnownSpeaker(id=row.id, name=row.name, embeddings=embeddings))
        return KnownSpeakers(version=voices.version(user_id), speakers=tuple(known))

    def stale_answer(self, meeting_id: UUID, result: ProcessingResult) -> WriteAnswer | None:
        """When the voices were matched against others than the owner's speakers are now."""
        voices, user_id = self.queue.voices, self.queue.meetings[meeting_id].value.user_id
        theirs = {row.id for row in voices.rows().values() if row.user_id == user_id}
        if _recognised(result.speakers) <= theirs and result.speakers_version in (None, voices.version(user_id)):
            return None
        models = sorted({embedding.model for heard in result.speakers for embedding in heard.embeddings})
        return WriteAnswer(outcome="stale_speakers", known=self.known_speakers(meeting_id, models))

    def write_voices(self, meeting_id: UUID, heard: Collection[MeetingSpeaker], worker_id: str | None) -> None:
        voices, user_id = self.queue.voices, self.queue.meetings[meeting_id].value.user_id
        self._make_way(meeting_id, _recognised(heard))
        for one in heard:
            voice = voices.add_voice(meeting_id, user_id, one)
            self._decide_as_heard(voice, one, f"worker:{worker_id}")
        voices.settle(user_id)

    def _make_way(self, meeting_id: UUID, recognised: set[UUID]) -> None:
        """Before a meeting is done anew: only what a named person would lose is kept of its earlier voices."""
        rows = self.queue.voices.rows()
        for voice in [voice for voice in self.queue.voices.voices if voice.meeting_id == meeting_id]:
            speaker_id = self.queue.voices.speaker_of(voice)
            is_named = speaker_id is not None and rows[speaker_id].name is not None
            if is_named and speaker_id not in recognised and voice.embeddings:
                voice.is_current = False
            else:
                self.queue.voices.drop_voice(voice)

    def _decide_as_heard(self, voice: VoiceRow, heard: MeetingSpeaker, decided_by: str) -> None:
        """What the worker found out about a voice; old workers, which say nothing of how, only name the speaker."""
        match = heard.match or (VoiceMatch(outcome="identified") if heard.speaker_id else None)
        if match is None:
            return
        thresholds = {name: value for name in THRESHOLDS if (value := getattr(match, name)) is not None}
        self.decide(
            "identified" if heard.speaker_id else match.outcome,
            self._owner(voice),
            voice=voice,
            places=heard.speaker_id is not None,
            decided_by=decided_by,
            speaker_id=heard.speaker_id or match.speaker_id,
            other_speaker_id=match.runner_up_id,
            score=match.score,
            runner_up_score=match.runner_up_score,
            model=match.model,
            thresholds=thresholds or None,
        )

    # --- rows --------------------------------------------------------------------------------------------------------

    def _row(self, speaker_id: UUID) -> SpeakerRow | None:
        """Of whom the speaker stands for now."""
        return self.queue.voices.rows().get(self.queue.voices.root(speaker_id))

    def _voice(self, meeting_id: UUID, label: str) -> VoiceRow | None:
        return next((voice for voice in self.queue.voices.current(meeting_id) if voice.label == label), None)

    def _owner(self, voice: VoiceRow) -> UUID | None:
        return self.queue.voices.owners[voice.home]

    def decide(
        self, kind: str, user_id: UUID | None, *, voice: VoiceRow | None = None, places: bool = False, **columns: object
    ) -> WriteAnswer:
        """A new decision and what follows from it. `columns` are those of models.Decision."""
        voices, at = self.queue.voices, moment(self.queue.now())
        decision = voices.add_decision(kind, user_id, voice=voice, places=places, decided_at=at, **columns)
        voices.settle(user_id)
        speaker_id = None if voice is None else voices.speaker_of(voice)
        return WriteAnswer(outcome="done", decision_id=decision.id, speaker_id=speaker_id)


def _refused(message: str) -> WriteAnswer:
    return WriteAnswer(outcome="refused", message=message)


def _place(person: Person) -> tuple[object, ...]:
    """Those with a name by name, then the others, last heard first."""
    heard_at = person.last_heard_at.timestamp() if person.last_heard_at else 0.0
    return (person.name is None, (person.name or "").lower(), person.name or "", -heard_at, person.id)


def _recognised(heard: Collection[MeetingSpeaker]) -> set[UUID]:
    return {one.speaker_id for one in heard if one.speaker_id is not None}


def _taken_for(placing: DecisionRow | None, *kinds: str) -> UUID | None:
    """Whom a voice was given to, if by a decision of one of these kinds."""
    return placing.value.speaker_id if placing is not None and placing.value.kind in kinds else None
