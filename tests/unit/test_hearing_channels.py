"""A meeting whose channels are one person's each goes through a worker, over scripted engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.unit.conftest import Workshop
from worker import events
from worker.models import Stage

HELLO = [{"text": "hello", "start_s": 1.0, "end_s": 1.4}, {"text": "there", "start_s": 1.5, "end_s": 1.9}]
HI = [{"text": "hi", "start_s": 0.2, "end_s": 0.5}, {"text": "bye", "start_s": 1.6, "end_s": 1.8}]
APART: dict[str, Any] = {
    "decode": {"channels_apart": True, "channel_speech_s": (1.0, 3.0)},
    "transcribe-1": {"words": HELLO, "language": "de"},
    "transcribe-2": {"words": HI, "language": "sv"},
    "diarize": {"raise_code": "engine_failed"},
}


def counting(folder: Path, name: str) -> dict[str, Any]:
    return {"only_first": 0, "count_file": str(folder / name)}


def times(folder: Path, name: str) -> int:
    return (folder / name).stat().st_size if (folder / name).exists() else 0


async def test_each_word_stands_under_the_speaker_of_its_channel_and_no_diarizer_runs(workshop: Workshop) -> None:
    """The louder channel is heard first: its language is the meeting's."""
    meeting_id = await workshop.enqueue(**APART)
    await workshop.worker().run(once=True)
    found = await workshop.found(meeting_id)
    assert [(s.speaker_label, s.text) for s in found.segments] == [
        ("SPEAKER_00", "hi"),
        ("SPEAKER_01", "hello there"),
        ("SPEAKER_00", "bye"),
    ]
    assert found.meeting.warnings == ()
    result = found.meeting.result
    assert result is not None
    assert result["channels_apart"] is True
    assert result["diarization"]["diarizer"] == "channels"
    assert result["asr"]["language"] == "sv"


async def test_each_stage_begins_and_ends_once_and_its_progress_only_grows(workshop: Workshop) -> None:
    """With three quarters of it for the channel on which three quarters are said."""
    await workshop.enqueue(**APART)
    await workshop.worker().run(once=True)
    for stage in (Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE):
        for kind in (events.StageStarted, events.StageFinished):
            assert sum(isinstance(e, kind) and e.stage is stage for e in workshop.seen) == 1
    grown = [e.progress for e in workshop.seen if isinstance(e, events.StageProgressed) and e.stage is Stage.TRANSCRIBE]
    assert grown == sorted(grown)
    assert 0.75 in grown
    assert grown[-1] == 1.0


async def test_each_voice_is_described_by_its_own_channel(workshop: Workshop) -> None:
    """The scripts of the channels tell them apart."""
    described = {"model": "scripted", "dim": 1, "vector": (1.0,), "speech_s": 1.0}
    voices: dict[str, Any] = {
        f"describe-{n}": {"voices": [described | {"label": f"SPEAKER_0{n % 2}", "speech_s": float(n)}]} for n in (1, 2)
    }
    meeting_id = await workshop.enqueue(**APART, **voices)
    await workshop.worker().run(once=True)
    found = await workshop.found(meeting_id)
    assert {(s.label, round(s.speech_s, 1)) for s in found.speakers} == {("SPEAKER_00", 0.5), ("SPEAKER_01", 0.9)}
    stored = {e.label: e.speech_s for row in workshop.store.queue.voices.voices for e in row.embeddings}
    assert stored == {"SPEAKER_00": 2.0, "SPEAKER_01": 1.0}


async def test_voices_that_cannot_be_described_cost_a_warning(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(**APART, describe={"raise_code": "engine_failed"})
    await workshop.worker().run(once=True)
    found = await workshop.found(meeting_id)
    assert [warning.code for warning in found.meeting.warnings] == ["voices_not_described"]
    assert {s.speaker_label for s in found.segments} == {"SPEAKER_00", "SPEAKER_01"}


async def test_nobody_is_described_where_nobody_is_to_be_recognised(workshop: Workshop) -> None:
    meeting_id = await workshop.enqueue(**APART, describe={"raise_code": "engine_failed"})
    await workshop.worker(identify_speakers=False).run(once=True)
    assert (await workshop.found(meeting_id)).meeting.warnings == ()


async def test_a_channel_that_was_transcribed_is_not_transcribed_again(workshop: Workshop) -> None:
    """The second one kills its engine at the first attempt."""
    folder = workshop.folder
    dies = {"raise_code": "engine_crashed", "only_first": 1, "count_file": str(folder / "2")}
    scripts = APART | {
        "transcribe-1": APART["transcribe-1"] | dies,
        "transcribe-2": APART["transcribe-2"] | counting(folder, "1"),
    }
    meeting_id = await workshop.enqueue(**scripts)
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    workshop.store.queue.jobs[meeting_id].run_at = workshop.store.queue.now()
    assert await running == 1
    assert (times(folder, "1"), times(folder, "2")) == (1, 2)
    assert len((await workshop.found(meeting_id)).segments) == 3


async def test_what_was_decoded_is_used_again_only_with_the_files_of_both_channels(workshop: Workshop) -> None:
    folder = workshop.folder
    scripts = APART | {
        "decode": APART["decode"] | counting(folder, "decoded"),
        "transcribe-2": APART["transcribe-2"] | counting(folder, "transcribed"),
        "align-2": {"raise_code": "engine_crashed", "only_first": 1, "count_file": str(folder / "aligned")},
    }
    meeting_id = await workshop.enqueue(**scripts)
    running = asyncio.create_task(workshop.worker().run(once=True))
    await workshop.wait_for(events.MeetingFailed, outcome="retrying")
    (folder / "temp" / str(meeting_id) / "audio-2.wav").unlink()
    workshop.store.queue.jobs[meeting_id].run_at = workshop.store.queue.now()
    assert await running == 1
    assert (times(folder, "decoded"), times(folder, "transcribed")) == (2, 1)
    result = (await workshop.found(meeting_id)).meeting.result
    assert result is not None
    assert result["reused_stages"] == ["transcribe"]
