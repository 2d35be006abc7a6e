"""
Who is who in memory: facts that only ever grow, and everything else computed from them, from scratch at every look.

This is the model that the derived columns of worker/sql are held to: nothing is cached here, so nothing can be stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from uuid import UUID, uuid4

from worker.models import Decision, MeetingSpeaker, SpeakerEmbedding
from worker.testing.memory_tables import DecisionRow, SpeakerRow, VoiceRow

LAB = "lab"
"""Who decides by a function without being signed in."""


class MemoryVoices:
    def __init__(self) -> None:
        self.voices: list[VoiceRow] = []
        self.decisions: list[DecisionRow] = []
        self.owners: dict[UUID, UUID | None] = {}  # of every speaker there ever was
        self._versions: dict[UUID | None, int] = {}
        self._voice_ids, self._decision_ids = itertools.count(1), itertools.count(1)

    # --- facts -------------------------------------------------------------------------------------------------------

    def new_speaker(self, user_id: UUID | None) -> UUID:
        speaker_id = uuid4()
        self.owners[speaker_id] = user_id
        return speaker_id

    def add_voice(self, meeting_id: UUID, user_id: UUID | None, heard: MeetingSpeaker) -> VoiceRow:
        score = heard.match.score if heard.score is None and heard.match else heard.score
        home = self.new_speaker(user_id)
        voice = VoiceRow(next(self._voice_ids), meeting_id, heard.label, home, heard.speech_s, score, heard.embeddings)
        self.voices.append(voice)
        return voice

    def add_decision(
        self, kind: str, user_id: UUID | None, *, voice: VoiceRow | None, places: bool, **columns: object
    ) -> Decision:
        about = {} if voice is None else {"meeting_id": voice.meeting_id, "label": voice.label}
        row = {"id": next(self._decision_ids), "kind": kind, "user_id": user_id, "decided_by": LAB, **about, **columns}
        decision = Decision.model_validate(row)
        self.decisions.append(DecisionRow(decision, voice.id if voice else None, places))
        return decision

    def drop_voice(self, voice: VoiceRow) -> None:
        """The decisions about it stay, without it."""
        self.voices.remove(voice)
        for row in self.decisions:
            if row.voice_id == voice.id:
                row.voice_id = None

    def drop_meeting(self, meeting_id: UUID) -> None:
        self.voices = [voice for voice in self.voices if voice.meeting_id != meeting_id]
        self.decisions = [row for row in self.decisions if row.value.meeting_id != meeting_id]

    def settle(self, user_id: UUID | None) -> None:
        """After every change of an owner's facts: nothing is kept of the voice of who has opted out."""
        for voice in self.voices:
            speaker_id = self.speaker_of(voice)
            if speaker_id is not None and not self.keeps_voice(speaker_id):
                voice.erase()
        self._versions[user_id] = self.version(user_id) + 1

    def version(self, user_id: UUID | None) -> int:
        return self._versions.get(user_id, 0)

    # --- what follows from them --------------------------------------------------------------------------------------

    def active(self, *kinds: str) -> Iterator[DecisionRow]:
        """Newest first."""
        return (row for row in reversed(self.decisions) if row.is_active and row.value.kind in kinds)

    def about(self, voice: VoiceRow) -> Iterator[DecisionRow]:
        """The active ones, newest first."""
        return (row for row in reversed(self.decisions) if row.is_active and row.voice_id == voice.id)

    def root(self, speaker_id: UUID) -> UUID:
        """Whom a speaker stands for since it was merged into another."""
        into = {row.value.other_speaker_id: row.value.speaker_id for row in self.active("merged")}
        while (next_id := into.get(speaker_id)) is not None:
            speaker_id = next_id
        return speaker_id

    def placing(self, voice: VoiceRow) -> DecisionRow | None:
        """The decision by which a voice belongs to whom it does; None: it is with the speaker of its own."""
        return next((row for row in self.about(voice) if row.places), None)

    def speaker_of(self, voice: VoiceRow) -> UUID | None:
        """None after somebody has deleted the speaker."""
        placing = self.placing(voice)
        placed = voice.home if placing is None else placing.value.speaker_id
        return None if placed is None else self.root(placed)

    def name_of(self, speaker_id: UUID) -> str | None:
        """What was said last of the speaker, else of those that were merged into it, newest merge first."""
        for row in self.active("named", "deleted"):
            if row.value.speaker_id == speaker_id:
                return row.value.name
        for row in self.active("merged"):
            source = row.value.other_speaker_id
            if row.value.speaker_id == speaker_id and source is not None and (name := self.name_of(source)):
                return name
        return None

    def opted_out(self, root: UUID) -> list[UUID]:
        """Who of those that are one speaker now has opted out, in the order in which they did."""
        newest: dict[UUID, str] = {}
        for row in self.active("opted_out", "opted_in"):
            if row.value.speaker_id is not None:
                newest.setdefault(row.value.speaker_id, row.value.kind)
        out = [member for member, kind in newest.items() if kind == "opted_out" and self.root(member) == root]
        return out[::-1]

    def keeps_voice(self, root: UUID) -> bool:
        return not self.opted_out(root)

    def voices_of(self, root: UUID) -> list[VoiceRow]:
        return [voice for voice in self.voices if self.speaker_of(voice) == root]

    def rows(self) -> dict[UUID, SpeakerRow]:
        """What `public.speakers` holds: the roots that have a name or a voice."""
        heard = {speaker_id for voice in self.voices if (speaker_id := self.speaker_of(voice)) is not None}
        named = {self.root(row.value.speaker_id) for row in self.active("named") if row.value.speaker_id is not None}
        roots = heard | {root for root in named if self.name_of(root) is not None}
        return {root: self._row(root) for root in sorted(roots)}

    def _row(self, root: UUID) -> SpeakerRow:
        voices = self.voices_of(root)
        return SpeakerRow(
            id=root,
            user_id=self.owners[root],
            name=self.name_of(root),
            keeps_voice=self.keeps_voice(root),
            meeting_ids=tuple(sorted({voice.meeting_id for voice in voices if voice.is_current})),
            embeddings=tuple(embedding for voice in voices for embedding in voice.embeddings),
        )

    def current(self, meeting_id: UUID) -> list[VoiceRow]:
        voices = [voice for voice in self.voices if voice.meeting_id == meeting_id and voice.is_current]
        return sorted(voices, key=lambda voice: voice.label)

    def suggestion(self, voice: VoiceRow) -> UUID | None:
        """Whom the voice may be, as long as nobody has said anything about it."""
        for row in self.about(voice):
            if row.value.kind in ("confirmed", "rejected"):
                return None
            if row.value.kind == "suggested" and row.value.speaker_id is not None:
                root = self.root(row.value.speaker_id)
                return root if root in self.rows() and root != self.speaker_of(voice) else None
        return None

    def of_meeting(self, meeting_id: UUID) -> tuple[MeetingSpeaker, ...]:
        """The voices of its newest result, with whom they belong to now."""
        return tuple(self._shown(voice) for voice in self.current(meeting_id))

    def _shown(self, voice: VoiceRow) -> MeetingSpeaker:
        speaker_id, suggested_id = self.speaker_of(voice), self.suggestion(voice)
        newest = next(self.about(voice), None)
        return MeetingSpeaker(
            label=voice.label,
            speech_s=voice.speech_s,
            speaker_id=speaker_id,
            name=self.name_of(speaker_id) if speaker_id else None,
            score=voice.score,
            decision=newest.value.kind if newest else None,
            suggested_id=suggested_id,
            suggested_name=self.name_of(suggested_id) if suggested_id else None,
        )

    def embeddings_known_to(
        self, meeting_id: UUID, row: SpeakerRow, models: Collection[str]
    ) -> tuple[SpeakerEmbedding, ...]:
        """Those that the meeting's voices are compared with: ten of each model, the confirmed ones first."""
        counted = [
            (any(decision.value.kind == "confirmed" for decision in self.about(voice)), embedding)
            for voice in self.voices_of(row.id)
            if row.name is not None or voice.meeting_id != meeting_id
            for embedding in voice.embeddings
        ]
        newest_first = counted[::-1]
        ranked = sorted(newest_first, key=lambda one: (not one[0], -one[1].speech_s))
        return tuple(
            embedding
            for model in sorted(set(models))
            for embedding in [one for _, one in ranked if one.model == model][:10]
        )
