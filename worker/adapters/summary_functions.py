"""
What people do about summaries, as the SQL functions take it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any
from uuid import UUID

from worker.adapters import store_wire as wire
from worker.models import MeetingSummary, WriteAnswer


class SummaryFunctions(ABC):
    """This part of ports.Store over any transport; StoreFunctions says what `call` does."""

    @abstractmethod
    async def call(self, function: str, **parameters: Any) -> dict[str, Any]: ...

    async def write_summary(
        self,
        meeting_id: UUID,
        summary: MeetingSummary,
        *,
        replace_edits: bool = False,
        completed_at: datetime | None = None,
    ) -> WriteAnswer:
        answer = await self.call(
            "meeting_summarize_v1",
            p_meeting_id=meeting_id,
            p_summary=wire.storable(summary.model_dump(mode="json", exclude={"is_edited"})),
            p_replace_edits=replace_edits,
            **({} if completed_at is None else {"p_completed_at": completed_at.isoformat()}),
        )
        return wire.write_answer(answer)

    async def extractive_meetings(
        self, *, after: UUID | None = None, limit: int = 100, with_edited: bool = False
    ) -> tuple[UUID, ...]:
        begin = {} if after is None else {"p_after": after}
        answer = await self.call("summary_backlog_v1", p_limit=limit, p_with_edited=with_edited, **begin)
        return tuple(UUID(meeting_id) for meeting_id in answer["meetings"])

    async def own_guidance(self, user_id: UUID | None = None) -> str | None:
        return wire.guidance(await self.call("guidance_get_v1", **_whose(user_id)))

    async def set_guidance(self, text: str | None, user_id: UUID | None = None) -> WriteAnswer:
        # an empty text and none are the same, and a null has no type that every transport binds alike
        asked = wire.storable(text or "")
        return wire.write_answer(await self.call("guidance_set_v1", p_text=asked, **_whose(user_id)))


def _whose(user_id: UUID | None) -> dict[str, UUID]:
    """What the lab has is what the functions mean when they are told of nobody."""
    return {} if user_id is None else {"p_user_id": user_id}
