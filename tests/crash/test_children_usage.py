"""What a call took at its most, who is told of a broken process, and one whose GPU memory does not come back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.children import cancel, recording, running_pid, scripted_child, scripted_stages, start_endless
from tests.support.children import transcribe as transcribed
from worker.exceptions import ChildCrashedError, ChildStalledError, GpuOutOfMemoryError
from worker.models import Stage, StageUsage
from worker.ports import unheard

pytestmark = pytest.mark.crash

MIB = 2**20


class Vram:
    """A GPU's memory by process, as a test sets it, and as a driver tells it from a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.held_bytes: int | None = 3 * 10**9
        self.asked = asyncio.Event()
        self._loop = loop

    def of(self, pid: int) -> int | None:
        assert pid > 0
        self._loop.call_soon_threadsafe(self.asked.set)
        return self.held_bytes


@pytest.fixture
async def vram() -> Vram:
    return Vram(asyncio.get_running_loop())


async def test_the_peak_of_a_call_is_its_own(tmp_path: Path) -> None:
    """Not that of an earlier call: the kernel's mark is set back before each."""
    async with scripted_child("transcriber") as child:
        assert child.usage == StageUsage()
        await transcribed(child, recording(tmp_path))
        quiet_bytes = child.usage.peak_rss_bytes
        await transcribed(child, recording(tmp_path, transcribe={"allocate_bytes": 100 * MIB}))
        loud_bytes = child.usage.peak_rss_bytes
        await transcribed(child, recording(tmp_path))
        after_bytes = child.usage.peak_rss_bytes
    assert quiet_bytes is not None
    assert loud_bytes is not None
    assert after_bytes is not None
    assert loud_bytes > quiet_bytes + 150 * MIB, "twice for a moment: the bytes, and their copy that is kept"
    assert quiet_bytes + 90 * MIB < after_bytes < loud_bytes - 50 * MIB


async def test_a_gpus_memory_is_watched_while_a_call_runs(tmp_path: Path, vram: Vram) -> None:
    done = tmp_path / "done"
    async with scripted_child("transcriber", vram_of=vram.of) as child:
        task = asyncio.create_task(transcribed(child, recording(tmp_path, transcribe={"until": str(done)})))
        await vram.asked.wait()
        vram.held_bytes = 5 * 10**9
        for _ in range(2):  # the second look began after the change
            vram.asked.clear()
            await vram.asked.wait()
        vram.held_bytes = None
        done.touch()
        await task
    assert child.usage.peak_vram_bytes == 5 * 10**9


async def test_an_engine_knows_what_its_meetings_stages_took(tmp_path: Path) -> None:
    stages = scripted_stages()
    try:
        async with stages.engine() as engine:
            assert engine.usage(Stage.TRANSCRIBE) == StageUsage()
            audio = recording(tmp_path)
            await engine.transcribe(audio, language=None, prompt=None, hotwords=None, report=unheard)
            assert stages.pids() == {running_pid(engine.child)}
            peak_bytes = engine.usage(Stage.TRANSCRIBE).peak_rss_bytes
            assert peak_bytes is not None
            assert peak_bytes > 10 * MIB
            assert engine.usage(Stage.DIARIZE) == StageUsage()
        async with stages.engine() as engine:
            assert engine.usage(Stage.TRANSCRIBE) == StageUsage(), "of another meeting nothing is told"
    finally:
        await stages.close()
    assert stages.pids() == set()


async def test_only_a_process_that_broke_down_by_itself_is_told_as_such(tmp_path: Path) -> None:
    """One that is ended on purpose (a cancelled meeting, a stall) says nothing of what it was at."""
    told: list[tuple[int, bool]] = []
    async with scripted_child("transcriber", ended=lambda pid, by_itself: told.append((pid, by_itself))) as child:
        await transcribed(child, recording(tmp_path))
        with pytest.raises(GpuOutOfMemoryError):
            await transcribed(child, recording(tmp_path, transcribe={"raise_code": GpuOutOfMemoryError.code}))
        assert told == [], "an error is an answer"

        first = running_pid(child)
        with pytest.raises(ChildCrashedError):
            await transcribed(child, recording(tmp_path, transcribe={"kill_signal": signal.SIGSEGV}))
        task = await start_endless(child, tmp_path)
        second = running_pid(child)
        await cancel(task)
        with pytest.raises(ChildStalledError):
            await transcribed(child, recording(tmp_path, transcribe={"hang": True}), stall_s=0.2)
    assert told[:2] == [(first, True), (second, False)]
    assert [by_itself for _, by_itself in told] == [True, False, False]


async def test_a_swollen_process_is_replaced_after_its_call(tmp_path: Path) -> None:
    asked: list[tuple[int, str]] = []

    def is_swollen(pid: int, object_method: str) -> bool:
        asked.append((pid, object_method))
        return len(asked) == 2

    async with scripted_child("transcriber", is_swollen=is_swollen) as child:
        await transcribed(child, recording(tmp_path))
        first = running_pid(child)
        await transcribed(child, recording(tmp_path))
        assert child.pid is None
        await transcribed(child, recording(tmp_path))
        assert running_pid(child) != first
    assert [method for _, method in asked] == ["transcriber.transcribe"] * 3
    assert [pid for pid, _ in asked][:2] == [first, first]
