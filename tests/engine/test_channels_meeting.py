"""A stereo recording with one person per channel through `python -m worker run --once`, where they talk at once too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from tests.support.embedded_postgres import temporary_postgres
from tests.support.real_worker import worked_off_alone
from tests.support.spoken_meetings import RATE_HZ, TrueWord, sensible_meeting
from tests.support.two_channels import noise, tracks, with_crosstalk
from worker.adapters.migrate_postgres import migrate
from worker.models import MeetingDetail, Word

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(300)]

EARLIER_S = 2.0
"""By so much the second person begins before the first one has ended."""

TOLERANCE_S = 0.3


def truth() -> dict[str, list[TrueWord]]:
    """Who says what, and when; the second person's words are moved."""
    words = sensible_meeting().words
    first = words[0].speaker
    said: dict[str, list[TrueWord]] = {"SPEAKER_00": [], "SPEAKER_01": []}
    for word in words:
        moved_s = 0.0 if word.speaker == first else EARLIER_S
        label = "SPEAKER_00" if word.speaker == first else "SPEAKER_01"
        said[label].append(TrueWord(word.text, word.start_s - moved_s, word.end_s - moved_s, label))
    return said


def write_recording(path: Path, crosstalk_db: float | None = None) -> None:
    apart = tracks()
    apart[:, 1] = np.roll(apart[:, 1], -round(EARLIER_S * RATE_HZ))
    heard = (apart if crosstalk_db is None else with_crosstalk(apart, crosstalk_db)) + noise(len(apart))
    soundfile.write(path, heard / np.abs(heard).max(), RATE_HZ, subtype="PCM_16")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeetingDetail]:
    with temporary_postgres() as dsn:
        migrate(dsn)
        folder = tmp_path_factory.mktemp("channels")
        (folder / "recordings").mkdir()
        write_recording(folder / "recordings" / "call.wav")
        yield asyncio.run(worked_off_alone(dsn, folder, "call.wav"))


def plain(text: str) -> str:
    return text.lower().strip(".,?! ")


def test_every_word_stands_under_who_said_it_also_where_both_speak(found: MeetingDetail) -> None:
    """
    What is written under a person are that person's words in their order, and next to nothing else. How many are
    written at all says more about the tests' Whisper, which loses some after a silence, also without the other voice.
    """
    assert found.meeting.result is not None
    assert found.meeting.result["channels_apart"] is True
    for label, said in truth().items():
        written = [word for segment in found.segments if segment.speaker_label == label for word in segment.words]
        compared = jiwer.process_words(
            " ".join(plain(word.text) for word in said), " ".join(plain(word.text) for word in written)
        )
        assert compared.hits >= 0.6 * len(said)
        assert compared.insertions + compared.substitutions <= 0.1 * len(written)
        assert foreign(written, said, [word for other in truth().values() for word in other if other != said]) == []


def foreign(written: list[Word], said: list[TrueWord], others: list[TrueWord]) -> list[str]:
    """Written words that the other one says at that time, and not the one under whom they stand."""
    return [word.text for word in written if is_said(word, others) and not is_said(word, said)]


def is_said(word: Word, said: list[TrueWord]) -> bool:
    return any(plain(true.text) == plain(word.text) and abs(true.start_s - word.start_s) < TOLERANCE_S for true in said)


def test_overlaps_are_there_and_segments_are_in_their_order(found: MeetingDetail) -> None:
    starts_s = [segment.start_s for segment in found.segments]
    assert starts_s == sorted(starts_s)
    assert found.meeting.result is not None
    assert found.meeting.result["diarization"]["diarizer"] == "channels"
    assert found.meeting.result["quality"]["overlap_share"] > 0.05
    assert {segment.speaker_label for segment in found.segments} == set(truth())


def test_both_channels_count_in_what_the_stages_took(found: MeetingDetail) -> None:
    assert found.meeting.result is not None
    assert {"decode", "transcribe", "align", "diarize"} <= set(found.meeting.result["stage_seconds"])
    assert found.meeting.result["peak_memory"]["transcribe"]["rss_bytes"] > 50e6
    assert found.meeting.result["audio"]["channel_speech_s"][0] > 10
