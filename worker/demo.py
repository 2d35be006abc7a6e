"""`make demo`: a real recording through a real queue, on a database of its own."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker import app, app_database, app_models, app_recordings
from worker.config import Need, Settings, load_settings
from worker.events import MeetingFailed
from worker.exceptions import ConfigurationError
from worker.models import MeetingDetail, MeetingStatus, NewMeeting, SpeakerTurn
from worker.ports import Observer
from worker.scores import Scores

DEMO_DIR = Path("demo_data")
SAMPLE = "pyannote/audio/sample/sample"

ROUGH = "Engine: PocketSphinx, which brings its model along; its text of a conversation is rough."
WHY_ROUGH = (
    f"{ROUGH} WhisperX writes good text and is used as soon as a Whisper model can be had: none is on this PC, and no "
    "model hub answers. Let the PC reach huggingface.co once, or set WHISPER_MODEL to a folder."
)


@dataclass(frozen=True, slots=True)
class Recording:
    """What the demo transcribes, and the reference to score it with where there is one."""

    audio: Path
    title: str
    reference_rttm: Path | None = None
    reference_stm: Path | None = None


def sample() -> Recording:
    """The two-speaker telephone conversation inside the pyannote.audio wheel, read as files (nothing is imported)."""
    wheel = importlib.metadata.distribution("pyannote.audio")
    files = {suffix: Path(str(wheel.locate_file(f"{SAMPLE}.{suffix}"))) for suffix in ("wav", "rttm", "stm")}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise ConfigurationError(f"The installed pyannote.audio has no {', '.join(missing)}. Run `make install` again.")
    return Recording(files["wav"], "Sample: a telephone conversation", files["rttm"], files["stm"])


def demo_settings(engine: str) -> Settings:
    """A database and folders of its own, beside whatever .env says; engine settings come from the environment."""
    DEMO_DIR.mkdir(exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SUPABASE_")}
    own = {
        "DATABASE_URL": f"embedded:{DEMO_DIR / 'postgres'}",
        "STORAGE_DIR": str(DEMO_DIR / "recordings"),
        "AUDIO_TEMP_DIR": str(DEMO_DIR / "temp_audio"),
        "LOG_DIR": str(DEMO_DIR / "logs"),
        "WORKER_ID": f"demo-{DEMO_DIR.stat().st_ino}",  # two demos of one folder would share its database
        "ASR_ENGINE": engine,
    }
    return load_settings([Need.DATABASE, Need.WORKER], environ={**environ, **own}, env_file=None)


async def chosen(engine: str | None) -> tuple[Settings, str]:
    """
    The settings for the engine that was asked for, else for WhisperX when a model of it can be had (found out within
    five seconds), else for PocketSphinx; and a sentence that says which it is and why.
    """
    if engine == "sphinx":
        return demo_settings("sphinx"), ROUGH
    settings = demo_settings("whisperx")
    where = await app_models.whisper_at_hand(settings)
    if engine is None and where is None:
        return demo_settings("sphinx"), WHY_ROUGH
    return settings, f"Engine: WhisperX. {where or 'No Whisper model is here, and no hub answers.'}"


async def run(settings: Settings, recording: Recording, observers: Iterable[Observer]) -> MeetingDetail:
    """
    Enqueue the recording, run the worker until the queue is empty, and read back what it wrote.

    A worker would try a failed meeting again, for a day if a model cannot be had; who watches a demo wants to know now.
    """

    async with app_database.opened_store(settings) as store:
        meeting_id = await app_recordings.enqueue_file(
            settings, store, recording.audio, NewMeeting(title=recording.title)
        )
        await app.run_worker(
            settings,
            once=True,
            observers=observers,
            stop_after=lambda event: isinstance(event, MeetingFailed) and event.meeting_id == meeting_id,
        )
        found = await store.meeting(meeting_id)
        if found is not None and found.meeting.status is MeetingStatus.PENDING:
            await store.cancel(meeting_id)
    if found is None:
        raise LookupError(f"meeting {meeting_id} is gone")
    return found


async def score(settings: Settings, recording: Recording, found: MeetingDetail) -> Scores | None:
    """How far the result is from the reference; None when there is none."""
    if recording.reference_rttm is None or recording.reference_stm is None or found.meeting.result is None:
        return None
    turns = tuple(
        SpeakerTurn(label=label, start_s=start_s, end_s=end_s)
        for label, start_s, end_s in found.meeting.result["turns"]
    )
    return await app.score(
        settings,
        reference_rttm=recording.reference_rttm,
        reference_stm=recording.reference_stm,
        turns=turns,
        segments=found.segments,
        duration_s=found.meeting.duration_s or 0.0,
    )


def report(found: MeetingDetail, scores: Scores | None) -> dict[str, Any]:
    """What `demo --json` prints."""
    meeting, result = found.meeting, found.meeting.result or {}
    return {
        "meeting_id": str(meeting.id),
        "status": meeting.status.value,
        "error_code": meeting.error_code,
        "error_message": meeting.error_message,
        "engine": (result.get("asr") or {}).get("engine"),
        "model": (result.get("asr") or {}).get("model"),
        "diarizer": (result.get("diarization") or {}).get("diarizer"),
        "duration_s": meeting.duration_s,
        "num_speakers": len(found.speakers),
        "num_segments": len(found.segments),
        "num_words": sum(len(segment.words) for segment in found.segments),
        "der": scores.der if scores else None,
        "wer": scores.wer if scores else None,
        "stage_seconds": result.get("stage_seconds", {}),
        "warnings": [warning.model_dump(mode="json") for warning in meeting.warnings],
    }
