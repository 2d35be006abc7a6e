"""How children end, and what is left of them: nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import (
    DEADLINE_S,
    NOBODY,
    Progress,
    cancel,
    identity,
    is_running,
    leftovers,
    recording,
    running_pid,
    scripted_child,
    start_endless,
    transcribe,
    wait_until,
)
from worker.adapters.child_process import ChildProcess, ObjectSpec
from worker.exceptions import (
    ChildCrashedError,
    ChildStalledError,
    ModelUnavailableError,
    OutOfMemoryError,
    PCWorkerException,
    WorkerStoppedError,
)
from worker.testing.scripted import DEFAULT_WORDS

pytestmark = pytest.mark.crash


@pytest.fixture
async def child() -> AsyncIterator[ChildProcess]:
    async with scripted_child("transcriber", "diarizer") as child:
        yield child


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"kill_signal": signal.SIGSEGV}, r"ended by signal 11 \(segmentation fault\)"),
        ({"kill_signal": signal.SIGKILL}, r"probably out of memory"),
        ({"kill_signal": signal.SIGABRT}, r"ended by signal 6 \(aborted\)"),
        ({"exit_status": 3}, r"exit status 3"),
        ({"exit_status": 0}, r"exit status 0"),
    ],
)
async def test_a_death_is_told_in_plain_words_and_the_next_call_works(
    child: ChildProcess, tmp_path: Path, script: dict[str, int], words: str
) -> None:
    with pytest.raises(ChildCrashedError, match=words):
        await transcribe(child, recording(tmp_path, transcribe=script))
    assert child.pid is None
    assert (await transcribe(child, recording(tmp_path))).words == DEFAULT_WORDS


async def test_a_crash_says_where_for_the_administrator(child: ChildProcess, tmp_path: Path) -> None:
    """faulthandler's stack is in the details, not in the sentence for people."""
    with pytest.raises(ChildCrashedError) as caught:
        await transcribe(child, recording(tmp_path, transcribe={"kill_signal": signal.SIGSEGV}))
    assert "in die" in caught.value.details["output_tail"]
    assert "in die" not in str(caught.value)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param("Loading model ...\n", id="text: as a length it is over the limit"),
        pytest.param("\xff\xff\xff\xff", id="a frame longer than allowed"),
        pytest.param("\0\0\0\0", id="an empty frame"),
        pytest.param("\0\0\0\x04junk", id="a frame that is not JSON"),
        pytest.param("\0\0\0\x02{}", id="JSON that is no answer"),
        pytest.param('\0\0\0\x1b{"id":99,"kind":"progress"}', id="an answer to another call"),
        pytest.param('\0\0\0\x15{"id":1,"kind":"log"}', id="a log record that is none"),
        pytest.param("\0\0\0\x08{}", id="a torn frame"),
    ],
)
async def test_garbage_on_the_channel_is_a_crash(child: ChildProcess, tmp_path: Path, garbage: str) -> None:
    with pytest.raises(ChildCrashedError, match="no answer"):
        await transcribe(child, recording(tmp_path, transcribe={"garbage": garbage}))
    assert (await transcribe(child, recording(tmp_path))).words == DEFAULT_WORDS


async def test_silence_beyond_the_limit_ends_the_process(child: ChildProcess, tmp_path: Path) -> None:
    pid = (await identity(child))["pid"]
    with pytest.raises(ChildStalledError):
        await transcribe(child, recording(tmp_path, transcribe={"hang": True}), stall_s=0.2)
    assert not is_running(pid)
    assert (await transcribe(child, recording(tmp_path))).words == DEFAULT_WORDS


async def test_progress_is_a_sign_of_life(child: ChildProcess, tmp_path: Path) -> None:
    """Work much longer than the limit is fine as long as it reports."""
    audio = recording(tmp_path, transcribe={"seconds": 1.5})
    assert (await transcribe(child, audio, stall_s=0.7)).words == DEFAULT_WORDS


async def test_a_process_that_died_between_calls_is_replaced(child: ChildProcess) -> None:
    pid = (await identity(child))["pid"]
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(pid))
    while child.pid is not None:
        await asyncio.sleep(0)
    assert (await identity(child))["num_calls"] == 1


async def test_death_is_noticed_where_the_kernel_has_no_pidfd(
    child: ChildProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_call(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown_call)
    with pytest.raises(ChildCrashedError, match="segmentation fault"):
        await transcribe(child, recording(tmp_path, transcribe={"kill_signal": signal.SIGSEGV}))


# --- foreign errors, and what is not the recording's fault -----------------------------------------------------------


@pytest.mark.parametrize(
    ("foreign", "error"),
    [("MemoryError", OutOfMemoryError), ("ZeroDivisionError", PCWorkerException), ("SystemExit", PCWorkerException)],
)
async def test_a_foreign_error_is_mapped_and_the_process_replaced(
    child: ChildProcess, tmp_path: Path, foreign: str, error: type[PCWorkerException]
) -> None:
    """What a half-failed library left behind is nobody's to guess."""
    pid = (await identity(child))["pid"]
    with pytest.raises(error) as caught:
        await transcribe(child, recording(tmp_path, transcribe={"raise_foreign": foreign}))
    assert type(caught.value) is error
    assert caught.value.details["type"] == foreign
    assert any(frame.endswith("in complain") for frame in caught.value.details["stack"])
    assert (await identity(child))["pid"] != pid


async def test_a_result_of_the_wrong_type_is_an_error_without_its_text(child: ChildProcess, tmp_path: Path) -> None:
    """What was said must not reach a log through an error."""
    word = {"text": "a secret", "start_s": 0.0, "end_s": 1.0}
    audio = recording(tmp_path, transcribe={"words": [word]})
    with pytest.raises(PCWorkerException) as caught:
        await child.call("transcriber.transcribe", {"audio": audio, **NOBODY}, int, Progress())
    assert caught.value.code == "engine_failed"
    assert "secret" not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import no_such_package", id="a package is missing"),
        pytest.param("", id="a class is missing"),
        pytest.param("class Engine:\n    def __init__(self): raise RuntimeError('no CUDA')", id="it raises"),
        pytest.param("import os\nos.kill(os.getpid(), 9)", id="it dies"),
        pytest.param("import time\ntime.sleep(60)", id="it hangs"),
    ],
)
async def test_an_object_that_cannot_be_loaded_is_not_the_recordings_fault(source: str, tmp_path: Path) -> None:
    """No attempt is spent, and no recording is called poison, because this PC lacks something."""
    (tmp_path / "broken_engine.py").write_text(source)
    objects = {"transcriber": ObjectSpec(factory="broken_engine:Engine")}
    environment = {"PYTHONPATH": str(tmp_path)}
    child = ChildProcess(name="engine", objects=objects, environment=environment, stall_s=DEADLINE_S, load_s=1.5)
    async with child:
        with pytest.raises(ModelUnavailableError):
            await identity(child)


async def test_a_process_that_cannot_start_is_not_the_recordings_fault(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise SystemExit('broken installation')\n")
    async with scripted_child("transcriber", environment={"PYTHONPATH": str(tmp_path)}) as child:
        with pytest.raises(ModelUnavailableError) as caught:
            await identity(child)
    assert "broken installation" in caught.value.details["output_tail"]


# --- cancel and close ------------------------------------------------------------------------------------------------


async def test_cancelling_kills_grandchildren_too(child: ChildProcess, tmp_path: Path) -> None:
    pid_file = tmp_path / "grandchild.pid"
    task = await start_endless(child, tmp_path, grandchild=str(pid_file))
    pid, grandchild = running_pid(child), int(pid_file.read_text())
    assert is_running(grandchild)
    await cancel(task)
    assert not Path(f"/proc/{pid}").exists()  # killed and reaped when the caller goes on
    assert wait_until(lambda: not is_running(grandchild))


async def test_a_crash_takes_the_grandchildren_along(child: ChildProcess, tmp_path: Path) -> None:
    """They hold the child's stdout, which must not keep anybody waiting."""
    pid_file = tmp_path / "grandchild.pid"
    audio = recording(tmp_path, transcribe={"grandchild": str(pid_file), "kill_signal": signal.SIGSEGV})
    with pytest.raises(ChildCrashedError):
        await transcribe(child, audio)
    assert wait_until(lambda: not is_running(int(pid_file.read_text())))


async def test_a_crash_is_noticed_though_a_runaway_holds_the_channel(child: ChildProcess, tmp_path: Path) -> None:
    """A fork in a session of its own survives the process group; its open descriptors must not look like life."""
    pid_file = tmp_path / "runaway.pid"
    script = {"grandchild": str(pid_file), "escapes": True, "kill_signal": signal.SIGSEGV}
    before = leftovers()
    try:
        with pytest.raises(ChildCrashedError):
            await transcribe(child, recording(tmp_path, transcribe=script))
        assert_nothing_leaked(before)
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


async def test_closing_ends_the_call_that_runs_and_those_that_wait(child: ChildProcess, tmp_path: Path) -> None:
    running = await start_endless(child, tmp_path)
    waiting = asyncio.create_task(identity(child))
    await asyncio.sleep(0)
    await child.close()
    for task in (running, waiting):
        with pytest.raises(WorkerStoppedError):
            await task
    assert child.pid is None


async def test_an_idle_child_leaves_when_asked(child: ChildProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="worker")
    pid = (await identity(child))["pid"]
    await child.close()
    assert not Path(f"/proc/{pid}").exists()
    assert [vars(record)["ended"] for record in caplog.records if record.message == "child_ended"] == [
        "ended by itself with exit status 0"
    ]


def assert_nothing_leaked(before: tuple[int, int]) -> None:
    """Servers of other tests live in this process and may close an idle connection meanwhile; a leak adds some."""
    num_descriptors, num_zombies = leftovers()
    assert num_descriptors <= before[0]
    assert num_zombies == before[1]


@pytest.mark.slow
async def test_fifty_kills_leave_no_zombie_and_no_descriptor(child: ChildProcess, tmp_path: Path) -> None:
    """Half of them cancelled at work, half dying by themselves, two at a time."""
    dying = recording(tmp_path, transcribe={"kill_signal": signal.SIGKILL})

    async def die(other: ChildProcess) -> None:
        with pytest.raises(ChildCrashedError):
            await transcribe(other, dying)

    gc.collect()  # what earlier tests left behind is not counted
    async with scripted_child("transcriber") as other:
        before = leftovers()
        for _ in range(25):
            task, _died = await asyncio.gather(start_endless(child, tmp_path), die(other))
            await cancel(task)
    gc.collect()
    assert_nothing_leaked(before)


# --- signals and parents ---------------------------------------------------------------------------------------------


async def test_ctrl_c_is_the_supervisors_alone(child: ChildProcess, tmp_path: Path) -> None:
    done, progress = tmp_path / "done", Progress()
    task = asyncio.create_task(transcribe(child, recording(tmp_path, transcribe={"until": str(done)}), progress))
    await progress.wait()
    pid = running_pid(child)
    assert os.getsid(pid) == pid != os.getsid(0)
    os.kill(pid, signal.SIGINT)
    done.touch()
    assert (await task).words == DEFAULT_WORDS


SUPERVISOR = """
    import asyncio, os, sys
    from pathlib import Path
    from tests.support.children import NOBODY, scripted_child
    from worker.models import Transcript

    async def main():
        child = scripted_child("transcriber")
        report = lambda progress: print(child.pid, flush=True)
        await child.call("transcriber.transcribe", {"audio": Path(sys.argv[1]), **NOBODY}, Transcript, report)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "script", [{"until": "/nonexistent"}, {"hang": True}, {"seconds": 0.0}], ids=["at work", "stuck in silence", "idle"]
)
def test_a_child_dies_with_its_supervisor(tmp_path: Path, script: dict[str, Any]) -> None:
    """SIGKILL leaves the supervisor no time for anything; the kernel does it."""
    audio = recording(tmp_path, transcribe=script)
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(audio)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    assert wait_until(lambda: not is_running(pid))


async def test_a_child_cannot_be_started_where_it_would_die_too_early() -> None:
    """PDEATHSIG follows the thread that forked, not the process."""
    child = scripted_child("transcriber")
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(lambda: asyncio.run(identity(child)))
