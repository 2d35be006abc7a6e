"""Events as log lines: the meeting and its stage on every line, and no word of what was said."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.unit.conftest import Workshop
from worker import events
from worker.exceptions import ChildCrashedError
from worker.models import Stage
from worker.observe.event_log import EventLog
from worker.observe.logs import configure_logging
from worker.testing.scripted import DEFAULT_WORDS


def logged(folder: Path) -> list[str]:
    return (folder / "pc_worker.log").read_text().splitlines()


async def test_every_line_of_a_meetings_work_names_meeting_and_stage(workshop: Workshop, tmp_path: Path) -> None:
    """Start, end and duration of every stage; two meetings at once are not mixed up; no transcript text."""
    meetings = [str(await workshop.enqueue()) for _ in range(2)]
    with configure_logging(
        log_dir=tmp_path / "logs", level="INFO", format="text", secrets=(), worker_id="w", console=False
    ):
        workshop.observers.append(EventLog())
        assert await workshop.worker(max_jobs=2, num_engines=2).run(once=True) == 2
    lines = logged(tmp_path / "logs")
    for meeting in meetings:
        mine = [line for line in lines if f"meeting_id={meeting}" in line]
        for stage in ("fetch", "decode", "transcribe", "align", "diarize", "turns", "identify", "summarize", "commit"):
            assert any("stage_started" in line and f"stage={stage}" in line for line in mine)
            assert any("stage_finished" in line and f"stage={stage}" in line and "seconds=" in line for line in mine)
    said = " ".join(word.text for word in DEFAULT_WORDS[:3])
    assert said == "the meeting begins"
    assert not any("begins" in line for line in lines)


def test_of_a_dead_childs_output_only_its_native_trace_is_logged(tmp_path: Path) -> None:
    """Libraries may print words of the meeting."""
    tail = 'Fatal Python error: Segmentation fault\n\nsecret words of the meeting\n  File "x.py", line 3 in f\n'
    with configure_logging(log_dir=tmp_path, level="INFO", format="text", secrets=(), worker_id="w", console=False):
        error = ChildCrashedError(None, output_tail=tail, exit="signal 11")
        EventLog()(events.MeetingFailed(uuid4(), "retrying", error.code, Stage.TRANSCRIBE, error))
    text = "\n".join(logged(tmp_path))
    assert "Segmentation fault" in text
    assert "x.py" in text
    assert "secret words" not in text
