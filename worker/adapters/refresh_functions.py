"""
Voices described anew, as the SQL functions take it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from worker.adapters import store_wire as wire
from worker.models import SpeakerEmbedding, WriteAnswer


class RefreshFunctions(ABC):
    """This part of ports.Ledger over any transport; StoreFunctions says what `call` does."""

    @abstractmethod
    async def call(self, function: str, **parameters: Any) -> dict[str, Any]: ...

    async def stale_voices(self, models: Sequence[str]) -> tuple[UUID, ...]:
        answer = await self.call("speaker_stale_v1", p_models=[wire.storable(model) for model in models])
        return tuple(UUID(meeting_id) for meeting_id in answer["meetings"])

    async def refresh_voices(
        self, meeting_id: UUID, completed_at: datetime, embeddings: Sequence[SpeakerEmbedding]
    ) -> WriteAnswer:
        payload = [wire.storable(embedding.model_dump(mode="json")) for embedding in embeddings]
        return wire.write_answer(
            await self.call(
                "speaker_refresh_v1",
                p_meeting_id=meeting_id,
                p_completed_at=completed_at.isoformat(),
                p_embeddings=payload,
            )
        )
