"""The port of the ledger, a part of `worker.ports.Store`: who is who, and what people decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from worker.models import Decision, Person, SpeakerEmbedding, WriteAnswer


class Ledger(Protocol):
    """
    Who is who: what people decide about speakers and voices. Every decision is a row, and undoing it leaves everything
    as if it had never been made, whatever was decided before or after; only what was erased does not come back.

    A voice is one label of one meeting. It belongs to whom the newest decision about it says, else to a speaker of its
    own; one who was merged into another stands for that other. Names, `speakers.embedding`, `speakers.meeting_ids` and
    the speaker ids in transcripts follow from that. All answer `gone` for what is not there or is somebody else's,
    `refused` with a sentence, `already_done`, or `done` with the decision's id.
    """

    async def people(self, user_id: UUID | None = None) -> tuple[Person, ...]:
        """A user's speakers, or the lab's: those with a name by name, then the others, last heard first."""
        ...

    async def decisions(self, user_id: UUID | None = None, *, limit: int = 50) -> tuple[Decision, ...]:
        """Newest first."""
        ...

    async def name_speaker(self, speaker_id: UUID, name: str | None) -> WriteAnswer: ...

    async def merge_speakers(self, speaker_id: UUID, into_id: UUID) -> WriteAnswer:
        """`speaker_id` is `into_id`, whose name wins. Refused where only one of them has opted out."""
        ...

    async def split_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        """Give one meeting's voice a speaker of its own."""
        ...

    async def confirm_voice(self, meeting_id: UUID, label: str, speaker_id: UUID | None = None) -> WriteAnswer:
        """The voice is this speaker's; None: of whom it is suggested or identified to be."""
        ...

    async def reject_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        """The voice is not whom the worker took it for, or suggested."""
        ...

    async def undo_decision(self, decision_id: int) -> WriteAnswer: ...

    async def forget_speaker(self, speaker_id: UUID) -> WriteAnswer:
        """Erase all that was kept of the voice; transcripts keep label and name. Cannot be undone."""
        ...

    async def keep_voice(self, speaker_id: UUID, *, kept: bool) -> WriteAnswer:
        """False: the speaker opts out; the voice is erased, and none is kept from now on. True takes that back."""
        ...

    async def stale_voices(self, models: Sequence[str]) -> tuple[UUID, ...]:
        """
        Everybody's completed meetings, newest first, with a voice that was described, but by none of these models.
        """
        ...

    async def refresh_voices(
        self, meeting_id: UUID, completed_at: datetime, embeddings: Sequence[SpeakerEmbedding]
    ) -> WriteAnswer:
        """
        Keep these descriptions too, of the voices of the result of `completed_at`. Left out are voices that were erased
        or whose speaker has opted out, and what a model says that has described the voice already; `already_done` if
        nothing remains.
        """
        ...
