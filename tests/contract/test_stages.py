"""What the pipeline may rely on, whether the stages work in child processes or inline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.children import Progress, recording, scripted_stages
from worker.exceptions import AudioTruncatedError, GpuOutOfMemoryError, PCWorkerException, WorkerStoppedError
from worker.models import Stage, TranscriptSegment, Word
from worker.ports import Stages, channel_paths
from worker.testing.scripted import (
    DEFAULT_TURNS,
    DEFAULT_WORDS,
    ScriptedDecoder,
    ScriptedDiarizer,
    ScriptedSummarizer,
    ScriptedTranscriber,
)
from worker.testing.stages_inline import InlineStages


def inline_stages() -> InlineStages:
    return InlineStages(
        decoder=ScriptedDecoder(),
        transcriber=ScriptedTranscriber(),
        diarizer=ScriptedDiarizer(),
        describer=ScriptedDiarizer(),
        summarizer=ScriptedSummarizer(),
        settings={"transcribe": "scripted"},
    )


@pytest.fixture(params=["inline", "children"])
async def stages(request: pytest.FixtureRequest) -> AsyncIterator[Stages]:
    stages: Stages = inline_stages() if request.param == "inline" else scripted_stages()
    yield stages
    await stages.close()


def silent(progress: float) -> None:
    """Nobody watches."""


async def transcribe(stages: Stages, audio: Path, report: Progress | None = None) -> tuple[Word, ...]:
    async with stages.engine() as engine:
        work = engine.transcribe(audio, language=None, prompt=None, hotwords=None, report=report or Progress())
        return (await work).words


async def test_a_meeting_goes_through_all_computing_stages(stages: Stages, tmp_path: Path) -> None:
    """Each stage takes and returns plain values: paths, models, tuples, None."""
    source, audio = recording(tmp_path), tmp_path / "größer als ein Wort.wav"
    metadata = await stages.decode(source, audio, silent)
    assert audio.read_bytes() == source.read_bytes()
    assert metadata.duration_s == 4.0

    async with stages.engine() as engine:
        transcript = await engine.transcribe(audio, language="de", prompt="names", hotwords="Ada", report=silent)
        assert transcript.words == DEFAULT_WORDS
        assert transcript.language == "de"
        assert await engine.align(audio, transcript, silent) == transcript

        diarization = await engine.diarize(audio, min_speakers=None, max_speakers=2, report=silent)
    assert diarization.turns == DEFAULT_TURNS
    assert [voice.vector for voice in diarization.embeddings] == [(1.0, 0.0), (0.0, 1.0)]

    summary = await stages.summarize((segment(0, "hello"), segment(1, "good-bye")), language="en", report=silent)
    assert [point.text for point in summary.key_points] == ["hello", "good-bye"]


async def test_voices_are_described_without_a_diarizer(stages: Stages, tmp_path: Path) -> None:
    """Of two voices that are told apart by their channels, say; with what was spoken of each."""
    async with stages.engine() as engine:
        voices = await engine.describe(recording(tmp_path), DEFAULT_TURNS, silent)
    assert [(voice.label, voice.vector) for voice in voices] == [("SPEAKER_00", (1.0, 0.0)), ("SPEAKER_01", (0.0, 1.0))]
    assert [voice.speech_s for voice in voices] == pytest.approx([1.95, 2.05])


async def test_channels_of_their_own_are_files_of_their_own(stages: Stages, tmp_path: Path) -> None:
    """Each engine call then gets one of them, beside the mono sound."""
    words = [{"text": "left", "start_s": 0.0, "end_s": 0.2}]
    source = recording(tmp_path, decode={"channels_apart": True}, **{"transcribe-1": {"words": words}})
    metadata = await stages.decode(source, tmp_path / "audio.wav", silent, channels="separate")
    assert metadata.channels_apart
    first, second = channel_paths(tmp_path / "audio.wav")
    assert [word.text for word in await transcribe(stages, first)] == ["left"]
    assert await transcribe(stages, second) == DEFAULT_WORDS


def segment(index: int, text: str) -> TranscriptSegment:
    return TranscriptSegment(
        index=index, start_s=0.1, end_s=0.3, speaker_label=None, text=text, confidence=None, words=DEFAULT_WORDS
    )


async def test_words_arrive_exactly_as_the_engine_wrote_them(stages: Stages, tmp_path: Path) -> None:
    """Any script, awkward numbers, no confidence, and enough of them to fill every buffer on the way."""
    awkward = [
        {"text": text, "start_s": 0.1 + 0.2, "end_s": 1e-9, "confidence": confidence}
        for text, confidence in (("naïve", 1 / 3), ("会議", None), ("\u202eabc\x00\n", 1.0), ("🦜", 0.0))
    ]
    audio = recording(tmp_path, transcribe={"words": awkward * 5000})
    words = await transcribe(stages, audio)
    assert words == tuple(Word.model_validate(word) for word in awkward * 5000)


async def test_more_segments_than_a_pipe_holds_can_be_summarized(stages: Stages) -> None:
    segments = tuple(segment(index, "word " * 20) for index in range(3000))
    summary = await stages.summarize(segments, language=None, report=silent)
    assert summary.overview == "3000 segments"


async def test_progress_is_reported_in_order_and_before_the_result(stages: Stages, tmp_path: Path) -> None:
    progress = Progress()
    await transcribe(stages, recording(tmp_path, transcribe={"seconds": 0.25}), progress)
    at_the_end = list(progress.values)
    assert len(at_the_end) >= 2
    assert at_the_end == sorted(at_the_end)
    assert all(0.0 <= value <= 1.0 for value in at_the_end)
    await asyncio.sleep(0)
    assert progress.values == at_the_end


@pytest.mark.parametrize("error", [AudioTruncatedError, GpuOutOfMemoryError])
async def test_an_error_keeps_its_class_and_its_sentence(
    stages: Stages, tmp_path: Path, error: type[PCWorkerException]
) -> None:
    audio = recording(tmp_path, diarize={"raise_code": error.code, "raise_message": "Upload it again."})
    with pytest.raises(error, match=r"^Upload it again\.$") as caught:
        async with stages.engine() as engine:
            await engine.diarize(audio, min_speakers=None, max_speakers=None, report=silent)
    assert type(caught.value) is error


async def test_a_failed_stage_leaves_nothing_behind(stages: Stages, tmp_path: Path) -> None:
    """One recording's failure is no reason for the next one to fail."""
    with pytest.raises(AudioTruncatedError):
        await transcribe(stages, recording(tmp_path, transcribe={"raise_code": "audio_truncated"}))
    assert await transcribe(stages, recording(tmp_path)) == DEFAULT_WORDS


async def test_cancelling_ends_the_work(stages: Stages, tmp_path: Path) -> None:
    """Work that would never end, does; and its engine is free for others."""
    progress = Progress()
    endless = recording(tmp_path, transcribe={"until": str(tmp_path / "never")})
    task = asyncio.create_task(transcribe(stages, endless, progress))
    await progress.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await transcribe(stages, recording(tmp_path)) == DEFAULT_WORDS
    progress.values.clear()
    await transcribe(stages, recording(tmp_path, transcribe={"seconds": 0.15}))
    assert progress.values == []


async def test_two_meetings_at_once_do_not_mix(stages: Stages, tmp_path: Path) -> None:
    def speaks(text: str) -> Path:
        word = {"text": text, "start_s": 0.0, "end_s": 1.0, "confidence": None}
        return recording(tmp_path, transcribe={"words": [word], "seconds": 0.05})

    texts = ("one", "two", "three")
    answers = await asyncio.gather(*(transcribe(stages, speaks(text)) for text in texts))
    assert tuple(words[0].text for words in answers) == texts


async def test_preparing_goes_on_while_an_engine_works(stages: Stages, tmp_path: Path) -> None:
    """The next recording is decoded while this one is transcribed."""
    done, progress = tmp_path / "done", Progress()
    audio = recording(tmp_path, transcribe={"until": str(done)})
    transcribing = asyncio.create_task(transcribe(stages, audio, progress))
    await progress.wait()
    await stages.decode(recording(tmp_path), tmp_path / "next.wav", silent)
    assert not transcribing.done()
    done.touch()
    assert await transcribing == DEFAULT_WORDS


async def test_the_settings_key_is_a_copy(stages: Stages) -> None:
    key = stages.settings_key()
    assert key == {Stage.TRANSCRIBE: "scripted"}
    key.clear()
    assert stages.settings_key() == {"transcribe": "scripted"}


async def test_nothing_begins_after_close(stages: Stages, tmp_path: Path) -> None:
    await stages.close()
    await stages.close()
    with pytest.raises(WorkerStoppedError):
        await transcribe(stages, recording(tmp_path))


async def test_an_engine_has_one_tenant_and_others_wait_their_turn(stages: Stages) -> None:
    """A meeting's engine stages follow each other; nobody's come in between."""
    order: list[str] = []

    async def tenant(name: str) -> None:
        async with stages.engine():
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    async with stages.engine():
        waiting = [asyncio.create_task(tenant(name)) for name in ("a", "b")]
        await asyncio.sleep(0.01)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["a in", "a out", "b in", "b out"]


async def test_an_engine_is_free_again_after_a_failure_or_a_cancelled_wait(stages: Stages, tmp_path: Path) -> None:
    async with stages.engine():
        waiting = asyncio.create_task(transcribe(stages, recording(tmp_path)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(AudioTruncatedError):
        await transcribe(stages, recording(tmp_path, transcribe={"raise_code": "audio_truncated"}))
    assert await transcribe(stages, recording(tmp_path)) == DEFAULT_WORDS
