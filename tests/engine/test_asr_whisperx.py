"""
WhisperX, the real library, on models that understand nothing (see tests/support/tiny_speech_models.py).

What is promised here is everything around the text: words, times, languages, hints, what a meeting leaves behind, and
what happens without a model.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_speech_models as tiny
from tests.support.settings import settings_in
from tests.support.speech_sample import RATE_HZ, read_sound, write_wav
from worker import app_children
from worker.adapters.child_process import ChildProcess
from worker.engine.asr_whisperx import WhisperXTranscriber
from worker.engine.passages import passages_of, written_words
from worker.engine.plan import FixedPlan
from worker.engine.whisper_files import whisper_folder
from worker.exceptions import EngineError, ModelUnavailableError, UnsupportedLanguageError
from worker.models import EnginePlan, Transcript, Word
from worker.ports import Report

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

LENGTH_S = 40.0
SECOND_S = 35.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with aligners for English and Japanese, a broken one for German, and an empty folder for French."""
    cache = tmp_path_factory.mktemp("models")
    for language in ("en", "ja"):
        tiny.write_aligner(cache / "align" / language)
    tiny.write_aligner(cache / "align" / "de", num_outputs=6)
    (cache / "align" / "fr").mkdir()
    return cache


@pytest.fixture(scope="module")
def whisperx(cache: Path) -> WhisperXTranscriber:
    return transcriber(tiny.write_whisper(cache / "tiny"), cache)


def transcriber(model: Path, cache: Path) -> WhisperXTranscriber:
    plan = EnginePlan(model=str(model), device="cpu", compute_type="int8", batch_size=4)
    return WhisperXTranscriber(plans=FixedPlan(plan), cache_dir=str(cache), cuda_device=0, num_threads=2)


@pytest.fixture(scope="module")
def meeting(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of talk twice, so far apart that they are two passages."""
    talk = read_sound(sample)[6 * RATE_HZ : 11 * RATE_HZ]
    samples = np.concatenate([talk, np.zeros(30 * RATE_HZ, np.float32), talk])
    return write_wav(tmp_path_factory.mktemp("meeting") / "meeting.wav", samples)


@pytest.fixture(scope="module")
def greeting(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short passage."""
    return write_wav(
        tmp_path_factory.mktemp("greeting") / "greeting.wav", read_sound(sample)[6 * RATE_HZ : 10 * RATE_HZ]
    )


def nobody(progress: float) -> None:
    """Nobody watches."""


def run(
    whisperx: WhisperXTranscriber,
    audio: Path,
    language: str | None = "en",
    prompt: str | None = None,
    hotwords: str | None = None,
    report: Report = nobody,
) -> Transcript:
    return whisperx.transcribe(audio, language=language, prompt=prompt, hotwords=hotwords, report=report)


def texts(transcript: Transcript) -> list[str]:
    return [word.text for word in transcript.words]


def assert_in_order(words: tuple[Word, ...], length_s: float) -> None:
    assert all(0 <= word.start_s <= word.end_s <= length_s for word in words)
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))
    assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in words)


# --- transcribe --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def progress() -> list[float]:
    return []


@pytest.fixture(scope="module")
def transcript(whisperx: WhisperXTranscriber, meeting: Path, progress: list[float]) -> Transcript:
    return run(whisperx, meeting, report=progress.append)


def test_words_have_times_inside_their_passage(transcript: Transcript) -> None:
    assert texts(transcript) == tiny.written() * 2
    assert_in_order(transcript.words, LENGTH_S)
    first, second = passages_of(transcript.words)
    assert (len(first), len(second)) == (tiny.WORDS_PER_PASSAGE,) * 2
    assert first[0].start_s == pytest.approx(0.7, abs=0.3), "the reference has 'Hello?' at 6.68 s"
    assert second[0].start_s == pytest.approx(SECOND_S + 0.7, abs=0.3)


def test_a_transcript_says_what_wrote_it(transcript: Transcript) -> None:
    assert (transcript.engine, transcript.device, transcript.compute_type) == ("whisperx", "cpu", "int8")
    assert transcript.model.endswith(" tiny"), "the model's name, not where it lies"
    assert (transcript.language, transcript.warnings) == ("en", ())


def test_progress_begins_before_the_first_word_and_never_falls(transcript: Transcript, progress: list[float]) -> None:
    """Finding speech takes minutes per hour on a CPU; a process that is silent for too long is killed."""
    assert len([done for done in progress if 0 < done < 0.25]) >= 2
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_the_language_is_found_out_unless_it_is_given(whisperx: WhisperXTranscriber, greeting: Path) -> None:
    assert run(whisperx, greeting, None).language == tiny.LANGUAGE
    assert run(whisperx, greeting, " ").language == tiny.LANGUAGE


@pytest.mark.parametrize(
    ("given", "code"), [("pt-BR", "pt"), ("EN_us", "en"), ("French", "fr"), ("yue", "yue"), ("castilian", "es")]
)
def test_languages_are_understood_as_people_write_them(
    whisperx: WhisperXTranscriber, greeting: Path, given: str, code: str
) -> None:
    assert run(whisperx, greeting, given).language == code


def test_an_unknown_language_is_refused(whisperx: WhisperXTranscriber, greeting: Path) -> None:
    with pytest.raises(UnsupportedLanguageError, match="'Klingon'"):
        run(whisperx, greeting, "Klingon")


def test_hints_reach_the_model_and_do_not_outlive_their_meeting(whisperx: WhisperXTranscriber, greeting: Path) -> None:
    hinted = run(whisperx, greeting, prompt="alpha beta", hotwords="gamma")
    assert texts(hinted) == tiny.written(num_hints=3)
    assert texts(hinted) != tiny.written()
    assert texts(run(whisperx, greeting)) == tiny.written()


def test_hints_longer_than_whisper_can_keep_are_shortened(whisperx: WhisperXTranscriber, greeting: Path) -> None:
    """Whisper fails on them, for good; the hotwords come first."""
    hinted = run(whisperx, greeting, prompt="alpha " * 300, hotwords="beta " * 50)
    assert texts(hinted) == tiny.written(num_hints=223)
    assert [warning.code for warning in hinted.warnings] == ["hints_shortened"]
    assert run(whisperx, greeting, prompt=" alpha\nbeta ", hotwords="gamma").warnings == ()


def test_a_meeting_that_fails_midway_leaves_nothing_behind(whisperx: WhisperXTranscriber, greeting: Path) -> None:
    def fail(progress: float) -> None:
        if progress > 0.25:
            raise RuntimeError("in the middle of it")

    with pytest.raises(EngineError) as caught:
        run(whisperx, greeting, "fr", prompt="alpha beta", report=fail)
    assert caught.value.details["replace_child"] is True
    after = run(whisperx, greeting, None)
    assert (after.language, texts(after)) == (tiny.LANGUAGE, tiny.written())


@pytest.mark.parametrize("num_samples", [1, 1600, 6 * RATE_HZ])
def test_silence_gives_no_words(whisperx: WhisperXTranscriber, tmp_path: Path, num_samples: int) -> None:
    silence = run(whisperx, write_wav(tmp_path / "silence.wav", np.zeros(num_samples, np.float32)), None)
    assert (silence.words, silence.language) == ((), None)
    assert whisperx.align(tmp_path / "silence.wav", silence, nobody) == silence


# --- align -------------------------------------------------------------------------------------------------------


def test_aligned_words_are_the_same_words_at_other_times(
    whisperx: WhisperXTranscriber, meeting: Path, transcript: Transcript, cache: Path
) -> None:
    reported: list[float] = []
    aligned = whisperx.align(meeting, transcript, reported.append)
    assert aligned.warnings == ()
    assert texts(aligned) == texts(transcript)
    assert_in_order(aligned.words, LENGTH_S)
    moved = [a for a, b in zip(aligned.words, transcript.words, strict=True) if a.start_s != b.start_s]
    assert len(moved) > len(aligned.words) / 2
    for before, after in zip(passages_of(transcript.words), (aligned.words[:11], aligned.words[11:]), strict=True):
        assert before[0].start_s - 0.03 <= after[0].start_s
        assert after[-1].end_s <= before[-1].end_s + 0.03
    assert reported[-1] == 1.0


def test_digits_and_signs_are_words_too(whisperx: WhisperXTranscriber, meeting: Path) -> None:
    """The aligner knows letters only."""
    words = ("We", "pay", "3,500", "€", "&", "okay?")
    spoken = estimated(words, 1.0, 4.0)
    aligned = whisperx.align(meeting, spoken, nobody)
    assert (aligned.warnings, tuple(texts(aligned))) == ((), words)
    assert_in_order(aligned.words, LENGTH_S)


def test_languages_without_spaces_are_aligned_character_by_character(
    whisperx: WhisperXTranscriber, meeting: Path
) -> None:
    words = tuple(written_words("今日は会議です。OK?"))
    spoken = estimated(words, 1.0, 4.0, language="ja")
    aligned = whisperx.align(meeting, spoken, nobody)
    assert (aligned.warnings, tuple(texts(aligned))) == ((), words)
    assert_in_order(aligned.words, LENGTH_S)
    assert [word.start_s for word in aligned.words] != [word.start_s for word in spoken.words]


def estimated(words: tuple[str, ...], start_s: float, end_s: float, language: str = "en") -> Transcript:
    step_s = (end_s - start_s) / len(words)
    edges = [round(start_s + step_s * number, 3) for number in range(len(words) + 1)]
    timed = [Word(text=t, start_s=a, end_s=b, confidence=0.5) for t, (a, b) in zip(words, pairwise(edges), strict=True)]
    return Transcript(words=tuple(timed), language=language, engine="whisperx", model="tiny")


@pytest.mark.parametrize("language", ["sw", "fr"], ids=["no model for it", "a folder without a model"])
def test_without_an_aligner_the_times_are_whispers_own(
    whisperx: WhisperXTranscriber, meeting: Path, language: str
) -> None:
    spoken = estimated(("alpha", "beta", "gamma"), 1.0, 4.0, language)
    aligned = whisperx.align(meeting, spoken, nobody)
    assert texts(aligned) == texts(spoken)
    assert_in_order(aligned.words, LENGTH_S)
    assert [word.start_s for word in aligned.words] != [word.start_s for word in spoken.words]
    assert aligned.alignment is not None
    assert aligned.alignment.model.endswith("(cross-attention)")
    assert [warning.code for warning in aligned.warnings] == ["alignment_unavailable"]
    assert "Whisper's own" in aligned.warnings[0].message


def test_where_nobody_can_place_the_words_the_estimates_stay(whisperx: WhisperXTranscriber, meeting: Path) -> None:
    """Neither an aligner, nor a Whisper that can read them."""
    spoken = estimated(("moja", "mbili"), 1.0, 2.0, "sw")
    aligned = whisperx.align(meeting, spoken, nobody)
    assert (aligned.words, aligned.alignment) == (spoken.words, None)
    assert [warning.code for warning in aligned.warnings] == ["alignment_unavailable"]


def test_a_passage_that_cannot_be_aligned_costs_no_word(
    whisperx: WhisperXTranscriber, meeting: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """More letters than there is time for. whisperx would print them, and a child's output ends up in logs."""
    good, bad = estimated(("alpha", "beta"), 1.0, 3.0), estimated(("confidential", "matter"), 4.0, 4.06)
    spoken = good.model_copy(update={"words": good.words + bad.words})
    aligned = whisperx.align(meeting, spoken, nobody)
    assert aligned.words[2:] == bad.words
    assert aligned.words[:2] != good.words
    assert [warning.code for warning in aligned.warnings] == ["alignment_unavailable"]
    assert "1 of 2" in aligned.warnings[0].message
    assert "confidential" not in "".join(capfd.readouterr())


def test_an_aligner_that_raises_costs_no_word(whisperx: WhisperXTranscriber, meeting: Path) -> None:
    spoken = estimated(("alpha", "beta"), 1.0, 3.0, language="de")
    aligned = whisperx.align(meeting, spoken, nobody)
    assert texts(aligned) == texts(spoken)
    assert aligned.alignment is not None
    assert aligned.alignment.model.endswith("(cross-attention)"), "Whisper helps out"
    assert [warning.code for warning in aligned.warnings] == ["alignment_unavailable"]


def test_words_beyond_the_end_of_the_sound_are_kept_at_its_end(
    whisperx: WhisperXTranscriber, tmp_path: Path, transcript: Transcript
) -> None:
    short = write_wav(tmp_path / "short.wav", np.full(RATE_HZ, 0.1, np.float32))
    aligned = whisperx.align(short, transcript, nobody)
    assert texts(aligned) == texts(transcript)
    assert_in_order(aligned.words, 1.0)


# --- models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody listens here, and nobody else can."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("model", ["no-such-model", "small", "nobody/nothing", "/no/such/folder", "."])
async def test_a_model_that_cannot_be_had_names_the_remedy(
    tmp_path: Path, closed_port: int, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, its owner or its folder; without a hub."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    settings = settings_in(tmp_path, ASR_ENGINE="whisperx", WHISPER_MODEL=model, MODEL_CACHE_DIR=str(tmp_path))
    audio = write_wav(tmp_path / "a.wav", np.zeros(RATE_HZ, np.float32))
    spec = app_children.child_objects(settings).transcriber
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port}"}
    async with ChildProcess(name="engine", objects={"asr": spec}, environment=environment, stall_s=100) as child:
        hints = {"language": None, "prompt": None, "hotwords": None}
        with pytest.raises(ModelUnavailableError, match="set WHISPER_MODEL to a folder") as caught:
            await child.call("asr.transcribe", {"audio": audio, **hints}, Transcript, nobody)
    assert "/no/such" not in str(caught.value)


def test_a_folder_with_broken_files_names_another_remedy(tmp_path: Path, greeting: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"half a download")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded") as caught:
        run(transcriber(tmp_path, tmp_path), greeting)
    assert str(tmp_path) not in str(caught.value)


def test_a_fetched_model_is_found_again_without_the_hub(tmp_path: Path) -> None:
    """As huggingface_hub keeps it. One whose download was cut off is asked for again."""
    kept = tmp_path / "models--nobody--nothing"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    snapshot = kept / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailableError):
        whisper_folder("nobody/nothing", tmp_path, offline=True)
    (snapshot / "model.bin").write_bytes(b"")
    assert whisper_folder("nobody/nothing", tmp_path) == snapshot
