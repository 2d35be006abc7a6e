"""A spoken meeting of two voices through `python -m worker run --once`: the database then says what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import jiwer
import pytest

from tests.support.embedded_postgres import temporary_postgres
from tests.support.real_worker import worked_off_alone
from tests.support.spoken_meetings import ALIGNER, SpokenText, sensible_meeting
from worker.adapters.migrate_postgres import migrate
from worker.models import MeetingDetail, MeetingStatus, Word

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

TOLERANCE_S = 0.3


@dataclass(frozen=True)
class Heard:
    """A written word and whose it is said to be."""

    word: Word
    label: str | None

    @property
    def text(self) -> str:
        return plain(self.word.text)


def plain(text: str) -> str:
    return text.lower().strip(".,?! ")


@pytest.fixture(scope="module")
def spoken() -> SpokenText:
    return sensible_meeting()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, spoken: SpokenText) -> Iterator[MeetingDetail]:
    with temporary_postgres() as dsn:
        migrate(dsn)
        folder = tmp_path_factory.mktemp("meeting")
        (folder / "recordings").mkdir()
        recording = spoken.write_wav(folder / "recordings")
        yield asyncio.run(worked_off_alone(dsn, folder, recording.name))


@pytest.fixture(scope="module")
def heard(found: MeetingDetail) -> list[Heard]:
    return [Heard(word, segment.speaker_label) for segment in found.segments for word in segment.words]


def pairs(heard: list[Heard], spoken: SpokenText) -> list[tuple[int, int]]:
    """Numbers of the (true, written) words that are the same, by jiwer's alignment of both texts."""
    true = " ".join(plain(word.text) for word in spoken.words)
    alignment = jiwer.process_words(true, " ".join(word.text for word in heard)).alignments[0]
    return [
        (chunk.ref_start_idx + i, chunk.hyp_start_idx + i)
        for chunk in alignment
        if chunk.type == "equal"
        for i in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


def test_at_most_a_tenth_of_the_words_are_wrong(heard: list[Heard], spoken: SpokenText) -> None:
    true = " ".join(plain(word.text) for word in spoken.words)
    assert jiwer.wer(true, " ".join(word.text for word in heard)) <= 0.10


def test_each_word_stands_within_three_tenths_of_a_second_of_the_truth(heard: list[Heard], spoken: SpokenText) -> None:
    found = pairs(heard, spoken)
    assert len(found) > 50, "too little to judge"
    off = {
        spoken.words[t].text: (
            heard[h].word.start_s - spoken.words[t].start_s,
            heard[h].word.end_s - spoken.words[t].end_s,
        )
        for t, h in found
        if abs(heard[h].word.start_s - spoken.words[t].start_s) > TOLERANCE_S
        or abs(heard[h].word.end_s - spoken.words[t].end_s) > TOLERANCE_S
    }
    assert off == {}


def test_words_follow_each_other_inside_their_segments_each_with_a_confidence(found: MeetingDetail) -> None:
    for segment in found.segments:
        times = [time for word in segment.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert segment.start_s <= times[0] <= times[-1] <= segment.end_s
        assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in segment.words)


def test_at_least_95_of_100_words_have_their_speaker(heard: list[Heard], spoken: SpokenText) -> None:
    """The labels of the result are matched to the true voices by who says most of their words."""
    said = [(heard[h].label, spoken.words[t].speaker) for t, h in pairs(heard, spoken)]
    labels = {label for label, _ in said}
    voices = [voice for _, voice in said]
    best = {label: max(set(voices), key=lambda voice: said.count((label, voice))) for label in labels}
    right = sum(best[label] == voice for label, voice in said)
    assert len(set(best.values())) == len(set(voices)) == 2
    assert right / len(said) >= 0.95


def test_the_result_says_who_did_it_with_what_and_how_fast(found: MeetingDetail) -> None:
    assert found.meeting.status is MeetingStatus.COMPLETED
    result = found.meeting.result or {}
    asr = result["asr"]
    assert (asr["engine"], asr["device"], asr["compute_type"]) == ("whisperx", "cpu", "int8")
    assert asr["revision"], "a folder's model is known by its checksum"
    assert asr["batch_size"] >= 2
    assert asr["plan"]["reasons"]
    assert result["alignment"]["model"] == ALIGNER.name
    assert result["diarization"]["model"]
    engine_stages = {"transcribe", "align", "diarize"}
    assert engine_stages <= set(result["stage_seconds"])
    assert all(result["stage_rtf"][stage] > 0 for stage in engine_stages)
    assert all(result["peak_memory"][stage]["rss_bytes"] > 50e6 for stage in engine_stages)
    quality = result["quality"]
    assert quality["language"]["language"] == "en"
    assert 0 <= quality["doubtful_share"] <= 1
    assert quality["text_over_silence_share"] <= 0.1
    assert len(quality["segments"]) == len(found.segments)
