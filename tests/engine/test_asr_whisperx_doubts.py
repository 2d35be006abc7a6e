"""
Second thoughts of WhisperX, through the real libraries: doubtful passages, the language vote, the next plan when memory
runs out, and what stays loaded.

The models understand nothing (tests/support/tiny_speech_models.py); what they write shows which way it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_speech_models as tiny
from tests.support.speech_sample import RATE_HZ, read_sound, write_wav
from worker.engine.asr_whisperx import WhisperXTranscriber
from worker.engine.plan import FixedPlan, Plans
from worker.engine.whisper_model import WarmWhisper
from worker.exceptions import EngineError, GpuOutOfMemoryError
from worker.models import EnginePlan, Transcript
from worker.ports import Report, unheard

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def plan(folder: Path) -> EnginePlan:
    return EnginePlan(model=str(folder), device="cpu", compute_type="int8", batch_size=4)


@pytest.fixture(scope="module")
def greeting(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One passage of 5 s."""
    talk = read_sound(sample)[6 * RATE_HZ : 11 * RATE_HZ]
    return write_wav(tmp_path_factory.mktemp("greeting") / "greeting.wav", talk)


class Ladder:
    """The given plans, and what became of them."""

    def __init__(self, *plans: EnginePlan) -> None:
        self.plans = list(plans)
        self.worked_with: list[EnginePlan] = []
        self.failed_with: list[EnginePlan] = []

    def rungs(self, audio_s: float) -> Sequence[EnginePlan]:
        return tuple(self.plans)

    def worked(self, plan: EnginePlan, audio_s: float) -> None:
        self.worked_with.append(plan)

    def failed(self, plan: EnginePlan, audio_s: float) -> None:
        self.failed_with.append(plan)


def transcriber(plans: Plans, tmp_path: Path, allowed: tuple[str, ...] = ()) -> WhisperXTranscriber:
    return WhisperXTranscriber(
        plans=plans, cache_dir=str(tmp_path), cuda_device=0, num_threads=2, allowed_languages=allowed, offline=True
    )


def run(
    whisperx: WhisperXTranscriber,
    audio: Path,
    language: str | None = "en",
    prompt: str | None = None,
    report: Report = unheard,
) -> Transcript:
    return whisperx.transcribe(audio, language=language, prompt=prompt, hotwords=None, report=report)


# --- doubts ------------------------------------------------------------------------------------------------------


def test_a_passage_without_doubts_is_decoded_once(plan: EnginePlan, greeting: Path, tmp_path: Path) -> None:
    transcript = run(transcriber(FixedPlan(plan), tmp_path), greeting)
    (passage,) = transcript.passages
    assert passage.text.split() == tiny.written()
    assert (passage.doubts, passage.decoding, passage.other_text) == ((), "batched", None)
    assert passage.speech_s == pytest.approx(4.3, abs=0.7), "most of the greeting is speech"
    assert transcript.warnings == ()


def test_a_loop_gives_way_to_what_the_temperatures_find(greeting: Path, tmp_path: Path) -> None:
    """An unsure model that is caught in a loop: only faster-whisper's sequential path draws something else."""
    stuck = EnginePlan(
        model=str(tiny.write_whisper(tmp_path / "stuck", words=("alpha",), scale=0.05)),
        device="cpu",
        compute_type="float32",
        batch_size=4,
    )
    reported: list[float] = []
    (passage,) = (transcript := run(transcriber(FixedPlan(stuck), tmp_path), greeting, report=reported.append)).passages
    assert passage.other_text == " ".join(["alpha"] * tiny.WORDS_PER_PASSAGE)
    assert passage.decoding == "sequential"
    assert passage.text != passage.other_text, "what was drawn is chance; 120 of 120 tries were better than the loop"
    assert [word.text for word in transcript.words] == passage.text.split()
    assert (reported, reported[-1]) == (sorted(reported), 1.0)


def test_a_loop_that_nothing_helps_against_stays_with_its_doubt(greeting: Path, tmp_path: Path) -> None:
    """A model that is sure of it draws the same at any temperature."""
    stuck = EnginePlan(
        model=str(tiny.write_whisper(tmp_path / "stuck", words=("alpha",))),
        device="cpu",
        compute_type="int8",
        batch_size=4,
    )
    transcript = run(transcriber(FixedPlan(stuck), tmp_path), greeting)
    (passage,) = transcript.passages
    assert (passage.doubts, passage.decoding) == (("repetition",), "batched")
    assert passage.other_text == passage.text
    assert [warning.code for warning in transcript.warnings] == ["transcript_doubtful"]


# --- language ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conversation(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds."""
    samples = np.concatenate([read_sound(sample), read_sound(sample)[6 * RATE_HZ : 16 * RATE_HZ]])
    return write_wav(tmp_path_factory.mktemp("conversation") / "conversation.wav", samples)


def test_the_language_is_voted_over_three_windows(plan: EnginePlan, conversation: Path, tmp_path: Path) -> None:
    transcript = run(transcriber(FixedPlan(plan), tmp_path), conversation, None)
    assert transcript.language == tiny.LANGUAGE
    assert transcript.language_vote is not None
    assert transcript.language_vote.probability > 0.9
    assert not transcript.language_vote.is_doubtful
    windows = transcript.language_vote.windows
    assert len(windows) == 3
    assert all(a.end_s < b.end_s <= 40.0 for a, b in pairwise(windows))
    assert all(window.probabilities[0][0] == tiny.LANGUAGE for window in windows)


def test_only_allowed_languages_are_found_and_given_ones_are_honoured(
    plan: EnginePlan, conversation: Path, tmp_path: Path
) -> None:
    whisperx = transcriber(FixedPlan(plan), tmp_path, allowed=("fr", "it"))
    assert run(whisperx, conversation, None).language in ("fr", "it")
    given = run(whisperx, conversation, "nl")
    assert given.language == "nl", "a person said so"
    assert given.language_vote is not None
    assert (given.language_vote.probability, given.language_vote.windows) == (1.0, ())


# --- memory, and what stays --------------------------------------------------------------------------------------


@pytest.mark.proves("GPU out of memory")
def test_when_memory_runs_out_the_next_plan_is_taken_and_said(plan: EnginePlan, greeting: Path, tmp_path: Path) -> None:
    wanted = plan.model_copy(update={"batch_size": 8})
    ladder = Ladder(wanted, plan)
    messages = iter(["CUDA failed with error out of memory"])
    reported: list[float] = []

    def report(progress: float) -> None:
        reported.append(progress)
        if progress > 0.25 and (message := next(messages, None)):
            raise RuntimeError(message)

    transcript = run(transcriber(ladder, tmp_path), greeting, report=report)
    assert (ladder.failed_with, ladder.worked_with) == ([wanted], [plan])
    assert (transcript.plan, transcript.batch_size) == (plan, 4)
    assert [word.text for word in transcript.words] == tiny.written()
    assert [warning.code for warning in transcript.warnings] == ["memory_short"]
    assert reported == sorted(reported), "the bar does not move back"


def test_when_no_plan_fits_the_error_is_that_of_the_memory(plan: EnginePlan, greeting: Path, tmp_path: Path) -> None:
    def report(progress: float) -> None:
        if progress > 0.25:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    ladder = Ladder(plan)
    with pytest.raises(GpuOutOfMemoryError):
        run(transcriber(ladder, tmp_path), greeting, report=report)
    assert ladder.failed_with == [plan]


def test_a_meeting_that_fails_in_the_library_leaves_nothing_to_one_in_another_language(
    plan: EnginePlan, greeting: Path, tmp_path: Path
) -> None:
    """PyTorch refuses the batch size when whisperx has already set language and hints."""
    ladder = Ladder(plan.model_copy(update={"batch_size": -1}))
    whisperx = transcriber(ladder, tmp_path)
    with pytest.raises(EngineError) as caught:
        run(whisperx, greeting, "fr", prompt="alpha beta")
    assert "batch_size" in caught.value.details["reason"]
    ladder.plans = [plan]
    after = run(whisperx, greeting, None, prompt="gamma")
    assert (after.language, [word.text for word in after.words]) == (tiny.LANGUAGE, tiny.written(num_hints=1))


def test_another_batch_size_does_not_load_the_model_again(plan: EnginePlan, tmp_path: Path) -> None:
    warm = WarmWhisper(cache=tmp_path, cuda_device=0, num_threads=1, offline=True)
    first = warm.ready(plan, unheard)
    smaller = plan.model_copy(update={"batch_size": 2})
    warm.make_room(smaller)
    assert warm.ready(smaller, unheard) is first
    other = smaller.model_copy(update={"compute_type": "float32"})
    warm.make_room(other)
    assert warm.plan is None
    assert warm.ready(other, unheard) is not first
    assert first.revision.startswith("sha256:")
    warm.free()
    warm.free()


@pytest.mark.parametrize("unload", [True, False])
def test_at_rest_the_model_is_unloaded_where_the_plan_says_so(
    plan: EnginePlan, greeting: Path, tmp_path: Path, unload: bool
) -> None:
    whisperx = transcriber(FixedPlan(plan.model_copy(update={"unload_asr": unload})), tmp_path)
    whisperx.rest()
    before = run(whisperx, greeting)
    whisperx.rest()
    assert (whisperx._whisper.plan is None) is unload
    assert run(whisperx, greeting) == before
