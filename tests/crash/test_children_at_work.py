"""Children at work: what stays warm, when they are replaced, what becomes of what they print."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.children import (
    NOBODY,
    Identity,
    Progress,
    cancel,
    identity,
    recording,
    scripted_child,
    transcribe,
)
from worker.adapters.child_process import ChildProcess
from worker.adapters.stages_children import ChildStages
from worker.exceptions import (
    AudioMissingError,
    ChildCrashedError,
)
from worker.models import Transcript
from worker.testing.scripted import DEFAULT_WORDS

pytestmark = pytest.mark.crash


@pytest.fixture
async def child() -> AsyncIterator[ChildProcess]:
    async with scripted_child("transcriber", "diarizer") as child:
        yield child


# --- warm ------------------------------------------------------------------------------------------------------------


async def test_an_object_stays_warm_between_calls(child: ChildProcess, tmp_path: Path) -> None:
    """The same object in the same process: models are loaded once."""
    first = await identity(child)
    await transcribe(child, recording(tmp_path))
    second = await identity(child)
    assert (second["pid"], second["object"]) == (first["pid"], first["object"])
    assert second["num_calls"] == 2
    assert first["pid"] == child.pid != os.getpid()


async def test_one_of_our_errors_leaves_the_process_warm(child: ChildProcess, tmp_path: Path) -> None:
    before = await identity(child)
    with pytest.raises(AudioMissingError) as caught:
        await transcribe(child, recording(tmp_path, transcribe={"raise_code": "audio_missing"}))
    assert caught.value.details == {"child": "engine"}
    assert (await identity(child))["pid"] == before["pid"]


async def test_callers_are_served_in_the_order_they_came(child: ChildProcess) -> None:
    calls = [asyncio.create_task(identity(child)) for _ in range(5)]
    assert [(await call)["num_calls"] for call in calls] == [1, 2, 3, 4, 5]


async def test_leaving_the_queue_does_not_disturb_the_call_that_runs(child: ChildProcess, tmp_path: Path) -> None:
    done, progress = tmp_path / "done", Progress()
    running = asyncio.create_task(transcribe(child, recording(tmp_path, transcribe={"until": str(done)}), progress))
    await progress.wait()
    waiting = asyncio.create_task(identity(child))
    await asyncio.sleep(0)
    await cancel(waiting)
    done.touch()
    assert (await running).words == DEFAULT_WORDS


async def test_a_quiet_pc_warms_up_one_engine_and_a_busy_one_all(tmp_path: Path) -> None:
    engines = [scripted_child("transcriber") for _ in range(2)]
    stages = ChildStages(prep=scripted_child("decoder"), engines=engines, settings={})

    async def pid_of(seconds: float) -> int:
        audio = recording(tmp_path, transcribe={"seconds": seconds})
        await stages.call("transcriber.transcribe", {"audio": audio, **NOBODY}, Transcript, Progress())
        return (await stages.call("transcriber.identity", {}, Identity, Progress()))["pid"]

    assert await pid_of(0.0) == await pid_of(0.0)
    assert [engine.pid for engine in engines].count(None) == 1
    await asyncio.gather(pid_of(0.2), pid_of(0.2))
    assert None not in [engine.pid for engine in engines]
    await stages.close()


# --- replaced in time ------------------------------------------------------------------------------------------------


async def test_a_child_is_replaced_after_so_many_calls() -> None:
    async with scripted_child("transcriber", max_calls=2) as child:
        pids = [(await identity(child))["pid"] for _ in range(5)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]


async def test_a_child_that_has_grown_too_big_is_replaced(tmp_path: Path) -> None:
    async with scripted_child("transcriber", max_rss_bytes=200 * 2**20) as child:
        small = [(await identity(child))["pid"] for _ in range(2)]
        await transcribe(child, recording(tmp_path, transcribe={"allocate_bytes": 200 * 2**20}))
        assert child.pid is None
        assert small[0] == small[1] != (await identity(child))["pid"]


# --- what it prints, and what others can see -------------------------------------------------------------------------


@pytest.mark.parametrize("num_bytes", [1, 1_000_000])
async def test_printing_neither_blocks_nor_breaks_the_protocol(
    child: ChildProcess, tmp_path: Path, num_bytes: int
) -> None:
    audio = recording(tmp_path, transcribe={"print_bytes": num_bytes})
    assert (await transcribe(child, audio)).words == DEFAULT_WORDS


async def test_only_the_end_of_what_it_printed_is_kept(child: ChildProcess, tmp_path: Path) -> None:
    with pytest.raises(ChildCrashedError) as caught:
        await transcribe(child, recording(tmp_path, transcribe={"print_bytes": 100_000, "exit_status": 1}))
    assert len(caught.value.details["output_tail"]) == 4096


async def test_our_own_log_records_come_home(
    child: ChildProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="worker")
    await transcribe(child, recording(tmp_path))
    (record,) = [record for record in caplog.records if record.name == "worker.testing.scripted"]
    assert (record.message, vars(record)["acted"]) == ("script_acted", "transcribe")


async def test_nobody_else_sees_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line can be read by everybody on the PC; the supervisor's environment holds the Supabase key."""
    monkeypatch.setenv("SUPABASE_KEY", "sb_secret_1")
    scripts = {"transcriber": {"raise_message": "hf_secret_2"}}
    async with scripted_child("transcriber", scripts=scripts) as child:
        proc = Path(f"/proc/{(await identity(child))['pid']}")
        assert b"hf_secret_2" not in (proc / "cmdline").read_bytes()
        assert b"sb_secret_1" not in (proc / "environ").read_bytes()
