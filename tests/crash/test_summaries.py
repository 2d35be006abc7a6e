"""A meeting whose summary a language model writes, through a real worker: in the database, or the warning is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.crash.conftest import Lab
from tests.support.children import wait_until
from tests.support.queue_values import segment
from tests.support.scripted_llm import ScriptedLlm, data_lines, hangs, honest, status, thinks
from tests.support.settings import settings_in
from worker.app_children import build_stages, child_objects
from worker.models import MeetingStatus
from worker.ports import unheard

pytestmark = pytest.mark.crash

KEY = "sk-very-secret"


def endpoint(llm: ScriptedLlm) -> dict[str, str]:
    return {"SUMMARY_LLM_URL": llm.url, "SUMMARY_LLM_MODEL": "llama", "SUMMARY_LLM_KEY": KEY}


def summary_children() -> list[Path]:
    """Processes of this one that write summaries, as `ps` would show them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"\nPPid:\t{os.getpid()}\n" in (folder / "status").read_text()
            if is_ours and b"summary" in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(folder)
        except OSError:
            continue
    return found


async def test_a_summary_comes_into_the_database_or_its_warning_does(lab: Lab) -> None:
    """One of two meetings in a row finds the endpoint well."""
    meetings = [await lab.enqueue(), await lab.enqueue()]
    await lab.store.set_guidance("Name every price.")
    with ScriptedLlm(thinks(honest), status(401)) as llm:
        worker = lab.worker("w1", once=True, MAX_CONCURRENT_JOBS="1", **endpoint(llm))
        assert await asyncio.to_thread(worker.wait) == 0, worker.errors
    first, second = [await lab.found(meeting_id) for meeting_id in meetings]
    assert {found.meeting.status for found in (first, second)} == {MeetingStatus.COMPLETED}
    assert first.summary is not None
    assert second.summary is not None
    assert (first.summary.method, first.summary.model) == ("llm", "llama")
    assert [item.segments for item in first.summary.key_points] == [(0,)]
    assert [line["text"] for line in data_lines(llm.questions[0])] == [s.text for s in first.segments]
    assert "Name every price." in str(llm.questions[0])
    assert first.meeting.warnings == ()
    assert second.summary.method == "extractive"
    assert [warning.code for warning in second.meeting.warnings] == ["summary_llm_failed"]
    logs = "".join(path.read_text() for path in lab.folder.rglob("*.log"))
    assert "cause=unauthorized" in logs
    assert KEY not in logs + worker.errors
    assert first.segments[0].text not in logs


async def test_nobody_waits_for_an_endpoint_longer_than_for_the_meeting(tmp_path: Path) -> None:
    """A cancelled meeting ends the process that waits; and who may look at processes does not see the key there."""
    with ScriptedLlm(hangs) as llm:
        settings = settings_in(tmp_path, **endpoint(llm))
        stages = build_stages(settings, child_objects(settings))
        task = asyncio.create_task(stages.summarize((segment(0, "We met."),), language="en", report=unheard))
        assert await asyncio.to_thread(wait_until, lambda: bool(llm.questions))
        (child,) = summary_children()
        assert KEY.encode() not in (child / "environ").read_bytes() + (child / "cmdline").read_bytes()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wait_until, lambda: not child.exists())
        await stages.close()
