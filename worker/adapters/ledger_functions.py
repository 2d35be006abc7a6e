"""
The ledger's calls as the SQL functions take them: who is who, and what was decided about it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

from worker.adapters import store_wire as wire
from worker.models import Decision, Person, WriteAnswer


class LedgerFunctions(ABC):
    """ports.Ledger over any transport; StoreFunctions says what `call` does."""

    @abstractmethod
    async def call(self, function: str, **parameters: Any) -> dict[str, Any]: ...

    async def people(self, user_id: UUID | None = None) -> tuple[Person, ...]:
        return wire.people(await self.call("speaker_list_v1", **whose(user_id)))

    async def decisions(self, user_id: UUID | None = None, *, limit: int = 50) -> tuple[Decision, ...]:
        return wire.decisions(await self.call("speaker_decisions_v1", p_limit=limit, **whose(user_id)))

    async def name_speaker(self, speaker_id: UUID, name: str | None) -> WriteAnswer:
        # an empty name and none are the same, and a null has no type that every transport binds alike
        return await self._decide("speaker_name_v1", p_speaker_id=speaker_id, p_name=wire.storable(name or ""))

    async def merge_speakers(self, speaker_id: UUID, into_id: UUID) -> WriteAnswer:
        return await self._decide("speaker_merge_v1", p_speaker_id=speaker_id, p_into_id=into_id)

    async def split_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        return await self._decide("speaker_split_v1", p_meeting_id=meeting_id, p_label=wire.storable(label))

    async def confirm_voice(self, meeting_id: UUID, label: str, speaker_id: UUID | None = None) -> WriteAnswer:
        asked = {} if speaker_id is None else {"p_speaker_id": speaker_id}
        return await self._decide("speaker_confirm_v1", p_meeting_id=meeting_id, p_label=wire.storable(label), **asked)

    async def reject_voice(self, meeting_id: UUID, label: str) -> WriteAnswer:
        return await self._decide("speaker_reject_v1", p_meeting_id=meeting_id, p_label=wire.storable(label))

    async def undo_decision(self, decision_id: int) -> WriteAnswer:
        return await self._decide("speaker_undo_v1", p_decision_id=decision_id)

    async def forget_speaker(self, speaker_id: UUID) -> WriteAnswer:
        return await self._decide("speaker_forget_v1", p_speaker_id=speaker_id)

    async def keep_voice(self, speaker_id: UUID, *, kept: bool) -> WriteAnswer:
        return await self._decide("speaker_keep_voice_v1", p_speaker_id=speaker_id, p_kept=kept)

    async def _decide(self, function: str, **parameters: Any) -> WriteAnswer:
        return wire.write_answer(await self.call(function, **parameters))


def whose(user_id: UUID | None) -> dict[str, UUID]:
    """What the lab has is what the functions mean when they are told of nobody."""
    return {} if user_id is None else {"p_user_id": user_id}
