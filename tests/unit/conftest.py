"""A worker without processes or a database: the daemon over the memory twins and inline scripted stages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.queue_worlds import worker_info
from worker import events
from worker.adapters.storage_local import LocalStorage
from worker.daemon import Pace, PCWorker
from worker.models import MeetingDetail, NewMeeting
from worker.pipeline import Limits, Pipeline
from worker.ports import Gate, Observer
from worker.testing.scripted import ScriptedDecoder, ScriptedDiarizer, ScriptedSummarizer, ScriptedTranscriber
from worker.testing.stages_inline import InlineStages
from worker.testing.store_memory import MemoryStore

PATIENCE_S = 20.0


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Workshop:
    """One memory queue, one folder, and workers on them that run in this event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore(RealClock())
        self.seen: list[events.Event] = []
        self.observers: list[Observer] = []
        self._told = asyncio.Event()
        self._stages: list[InlineStages] = []
        (folder / "recordings").mkdir()

    async def enqueue(self, *, hotwords: str | None = None, **scripts: Mapping[str, Any]) -> UUID:
        meeting_id = uuid4()
        path = f"{meeting_id}.json"
        (self.folder / "recordings" / path).write_text(json.dumps(scripts))
        return await self.store.enqueue(NewMeeting(id=meeting_id, title="meeting", audio_path=path, hotwords=hotwords))

    def worker(
        self,
        *,
        store: Any = None,
        limits: Limits | None = None,
        summarize: Mapping[str, Any] | None = None,
        gates: Sequence[Gate] = (),
        worker_id: str = "w1",
        identify_speakers: bool = True,
        asks_guidance: bool = False,
        missing_bytes: Callable[[], int] = int,
        **pace: Any,
    ) -> PCWorker:
        stages = InlineStages(
            decoder=ScriptedDecoder(),
            transcriber=ScriptedTranscriber(),
            diarizer=ScriptedDiarizer(),
            describer=ScriptedDiarizer(),
            summarizer=ScriptedSummarizer(**(summarize or {})),
            settings={},
        )
        self._stages.append(stages)
        clock = RealClock()
        limits = limits or Limits(max_audio_bytes=10**6)
        storage = LocalStorage(self.folder / "recordings")
        return PCWorker(
            info=worker_info(worker_id),
            store=store or self.store,
            pipeline=Pipeline(storage, storage, stages, self.note, clock, limits, identify_speakers, asks_guidance),
            temp_dir=self.folder / "temp",
            observe=self.note,
            clock=clock,
            random=Random(1),
            pace=Pace(**{"polling_s": 0.02, "grace_s": 5.0, **pace}),
            gates=gates,
            missing_bytes=missing_bytes,
        )

    def note(self, event: object) -> None:
        assert isinstance(event, events.Event)
        self.seen.append(event)
        for observer in self.observers:
            observer(event)
        self._told.set()

    async def wait_for(self, kind: type[events.Event], **fields: object) -> events.Event:
        """The first event of that kind with those fields, past ones included."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._told.clear()
                for event in self.seen:
                    if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                        return event
                await self._told.wait()

    async def found(self, meeting_id: UUID) -> MeetingDetail:
        detail = await self.store.meeting(meeting_id)
        assert detail is not None
        return detail

    @property
    def leftovers(self) -> list[str]:
        temp = self.folder / "temp"
        return sorted(path.name for path in temp.iterdir()) if temp.is_dir() else []

    async def close(self) -> None:
        for stages in self._stages:
            await stages.close()


@pytest.fixture
async def workshop(tmp_path: Path) -> AsyncIterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    await workshop.close()
