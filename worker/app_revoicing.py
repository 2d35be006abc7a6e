"""Voices described anew: part of the composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from worker.app_children import ChildObjects, build_stages, child_objects
from worker.app_recordings import storage_of, web_of
from worker.config import Settings
from worker.exceptions import ConfigurationError
from worker.ports import Store
from worker.revoicing import Revoiced, Revoicing
from worker.voiceprints import THRESHOLDS

MODELS = tuple(THRESHOLDS)
"""By which people are recognised now."""


async def revoiced(
    settings: Settings, store: Store, meeting_ids: Sequence[UUID] | None, *, objects: ChildObjects | None = None
) -> AsyncIterator[Revoiced]:
    """
    One meeting after the other; None: all whose voices are described by other models only. On the CPU, because a worker
    may hold the GPU.

    Raises ConfigurationError with IDENTIFY_SPEAKERS=false.
    """
    if not settings.identify_speakers:
        raise ConfigurationError(
            "IDENTIFY_SPEAKERS is off here, so no voice is described. Set it to true if you want that."
        )
    wanted = await store.stale_voices(MODELS) if meeting_ids is None else meeting_ids
    if not wanted:
        return
    stages = build_stages(settings, objects or child_objects(settings))
    work = Revoicing(
        store=store,
        storage=storage_of(settings),
        web=web_of(settings),
        stages=stages,
        temp_dir=settings.audio_temp_dir,
        max_bytes=settings.max_audio_bytes,
    )
    try:
        for meeting_id in wanted:
            yield await work.revoice(meeting_id)
    finally:
        await stages.close()
