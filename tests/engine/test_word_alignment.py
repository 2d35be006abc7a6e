"""
The own aligner against whisperx.align on the same models, and what it promises when there is none.

The models understand nothing (tests/support/aligned_speech.py), so their best path hangs on every rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tiny_speech_models as tiny
from tests.support.aligned_speech import Speech, by_whisperx, speech, torchaudio_model
from worker.engine.aligner_models import AlignerModel, load_aligner
from worker.engine.ctc_emissions import CtcNetwork, fitting_compute_type
from worker.engine.whisperx_library import hushed
from worker.engine.word_alignment import AlignedWords, WordAligner

pytestmark = pytest.mark.timeout(120)

SAME_S = 0.02
SAME_SHARE = 0.99


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a model for English and Japanese."""
    home = tmp_path_factory.mktemp("align")
    for language in ("en", "ja"):
        tiny.write_aligner(home / language)
    return home


@pytest.fixture(scope="module")
def spoken() -> Speech:
    return speech(60.0)


def aligner(home: Path, **options: Any) -> WordAligner:
    chosen: dict[str, Any] = {"device": "cpu", "num_threads": 2, "compute_type": "float32"} | options
    return WordAligner(cache=home, **chosen)


def model_of(home: Path, language: str = "en") -> AlignerModel:
    with hushed():
        return load_aligner(language, cache=home, device="cpu", model=None, offline=True)


def nobody(progress: float) -> None:
    """Nobody watches."""


def align(one: WordAligner, spoken: Speech, language: str = "en") -> AlignedWords:
    return one.align(spoken.words, language, spoken.samples, nobody, spoken.passages)


def share_of_same_times(answer: AlignedWords, reference: list[dict[str, Any]]) -> float:
    assert [word.text for word in answer.words] == [found["word"] for found in reference]
    apart_s = [
        max(abs(word.start_s - found["start"]), abs(word.end_s - found["end"]))
        for word, found in zip(answer.words, reference, strict=True)
    ]
    return float(np.mean(np.array(apart_s) <= SAME_S))


# --- the same as whisperx ----------------------------------------------------------------------------------------


def test_words_are_where_whisperx_places_them(home: Path, spoken: Speech) -> None:
    """Digits, signs and accents among them; one word after the other, each inside its passage."""
    answer = align(aligner(home), spoken)
    with hushed():
        reference = by_whisperx(spoken, model_of(home), "en", home / "nltk_data")
    assert share_of_same_times(answer, reference) >= SAME_SHARE
    scores = [float(found["score"]) for found in reference]
    assert [word.confidence for word in answer.words] == pytest.approx(scores, abs=0.002)
    assert answer.warning is None
    assert_inside_passages(answer, spoken)


def assert_inside_passages(answer: AlignedWords, spoken: Speech) -> None:
    assert all(before.end_s <= after.start_s for before, after in pairwise(answer.words))
    given = iter(answer.words)
    for passage in spoken.passages:
        for _ in passage.text.split():
            word = next(given)
            assert passage.start_s <= word.start_s <= word.end_s <= passage.end_s + 0.001


def test_models_of_torchaudio_are_heard_alike(home: Path, spoken: Speech) -> None:
    """English, French, German, Spanish and Italian come from there."""
    model = torchaudio_model()
    answer = align(aligner(home, load=lambda *_, **__: model), spoken)
    with hushed():
        reference = by_whisperx(spoken, model, "en", home / "nltk_data")
    assert share_of_same_times(answer, reference) >= SAME_SHARE


def test_characters_without_spaces_are_where_whisperx_places_them(home: Path) -> None:
    """Each is a word of its own, for whisperx as for us."""
    spoken = speech(20.0, words=tuple("今日はabcde。"), joint="")
    answer = align(aligner(home), spoken, "ja")
    with hushed():
        reference = by_whisperx(spoken, model_of(home, "ja"), "ja", home / "nltk_data")
    assert share_of_same_times(answer, reference) >= SAME_SHARE


@pytest.mark.parametrize("source", [model_of, lambda _: torchaudio_model()], ids=["transformers", "torchaudio"])
def test_company_in_a_batch_changes_nothing(home: Path, spoken: Speech, source: Callable[[Path], AlignerModel]) -> None:
    """The padding of shorter sound would change a third of what is heard, if it were padded as sound."""
    network = CtcNetwork(source(home).network, device="cpu")
    waves = [spoken.samples[start : start + length] for start, length in ((0, 48_000), (9, 16_111), (5, 200), (0, 0))]
    together = network.log_probs(waves)
    alone = [network.log_probs([wave])[0] for wave in waves]
    assert [len(one) for one in together] == [149, 50, 1, 1]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_model_that_cannot_be_divided_hears_one_after_the_other(home: Path, spoken: Speech) -> None:
    """Any network that whisperx.align could use will do."""
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, sound: Any) -> Any:
            return self.inner(sound)

    plain = model_of(home).network
    waves = [spoken.samples[:32_000], spoken.samples[:8_000]]
    wrapped, known = CtcNetwork(Wrapped(plain), device="cpu"), CtcNetwork(plain, device="cpu")
    for one, other in zip(wrapped.log_probs(waves), known.log_probs(waves), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("compute_type", ["bfloat16", "auto"])
def test_fewer_digits_are_said_and_close(home: Path, spoken: Speech, compute_type: str) -> None:
    """Slow where the processor has no bfloat16, but the same everywhere."""
    waves = [spoken.samples[:32_000]]
    (exact,) = CtcNetwork(model_of(home).network, device="cpu").log_probs(waves)
    chosen = fitting_compute_type(compute_type, "cpu")
    (rounded,) = CtcNetwork(model_of(home).network, device="cpu", compute_type=chosen).log_probs(waves)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    answer = align(aligner(home, compute_type=compute_type), spoken)
    assert answer.alignment is not None
    assert answer.alignment.compute_type == chosen
    assert_inside_passages(answer, spoken)


# --- who placed the words ----------------------------------------------------------------------------------------


def test_it_is_said_who_placed_the_words(home: Path, spoken: Speech) -> None:
    answer = align(aligner(home), spoken).alignment
    assert answer is not None
    assert (answer.model, answer.language, answer.device, answer.num_estimated) == ("en", "en", "cpu", 0)
    pinned = align(aligner(home, model=str(home / "ja")), spoken, "en").alignment
    assert pinned is not None
    assert pinned.model == "ja", "the folder's name, not where it lies"


@pytest.mark.parametrize(
    ("language", "model"),
    [("sw", None), ("de", None), ("nl", None), ("en", "nobody/nothing"), ("en", "WAV2VEC2_ASR_LARGE_960H")],
    ids=["no model for it", "torchaudio's", "the hub's", "named", "named, torchaudio's"],
)
def test_offline_what_is_not_here_is_not_asked_for(
    home: Path, spoken: Speech, language: str, model: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """The words keep what they have, and nothing is printed: what a child prints ends up in logs."""
    answer = align(aligner(home, offline=True, model=model), spoken, language)
    assert list(answer.words) == spoken.words
    assert answer.alignment is None
    assert answer.warning is not None
    assert answer.warning.code == "alignment_unavailable"
    assert "nothing" not in "".join(capfd.readouterr())


def test_a_passage_with_more_letters_than_time_keeps_its_times(home: Path, spoken: Speech) -> None:
    crowded = spoken.words[0].model_copy(update={"text": "a" * 5000})
    answer = aligner(home).align([crowded, *spoken.words[1:]], "en", spoken.samples, nobody, spoken.passages)
    assert answer.words[0].start_s == crowded.start_s
    assert answer.words[-1] != spoken.words[-1]
    assert answer.alignment is not None
    assert answer.alignment.num_estimated == len(spoken.passages[0].text.split())
    assert answer.warning is not None


def test_a_model_that_breaks_down_over_one_passage_costs_only_that_one(home: Path, spoken: Speech) -> None:
    """Out of memory over the longest, say: what was in a batch with it is tried again alone."""
    import torch

    known = model_of(home)
    limit = max(int((one.end_s - one.start_s) * 16_000) for one in spoken.passages) - 100

    class Weak(torch.nn.Module):
        def forward(self, sound: Any) -> Any:
            if sound.shape[-1] > limit:
                raise RuntimeError("CUDA out of memory")
            return known.network(sound)

    weak = AlignerModel("weak", Weak(), known.alphabet)
    answer = align(aligner(home, load=lambda *_, **__: weak), spoken)
    assert answer.alignment is not None
    assert 0 < answer.alignment.num_estimated < len(spoken.words)
    assert [word.text for word in answer.words] == [word.text for word in spoken.words]


def test_only_slices_of_the_sound_are_read(home: Path, spoken: Speech, tmp_path: Path) -> None:
    """Hours of sound stay on the disk."""
    np.save(tmp_path / "sound.npy", spoken.samples)
    mapped = np.load(tmp_path / "sound.npy", mmap_mode="r")
    assert aligner(home).align(spoken.words, "en", mapped, nobody, spoken.passages) == align(aligner(home), spoken)


def test_rest_gives_the_model_back_and_the_next_call_loads_it_again(home: Path, spoken: Speech) -> None:
    loads: list[str] = []

    def load(language: str, **_: Any) -> AlignerModel:
        loads.append(language)
        return model_of(home)

    one = aligner(home, load=load)
    first = align(one, spoken)
    assert align(one, spoken) == first
    one.rest()
    assert align(one, spoken) == first
    assert loads == ["en", "en"]


def test_progress_rises_to_the_end(home: Path, spoken: Speech) -> None:
    reported: list[float] = []
    aligner(home).align(spoken.words, "en", spoken.samples, reported.append, spoken.passages)
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(1.0)


@pytest.mark.gpu
def test_a_gpu_places_words_where_the_processor_does(home: Path, spoken: Speech) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU that torch can use")
    with torch.backends.cudnn.flags(allow_tf32=False):  # convolutions as exact as the processor's
        on_gpu = align(aligner(home, device="cuda:0"), spoken)
    on_cpu = align(aligner(home), spoken)
    assert on_gpu.alignment is not None
    assert (on_gpu.alignment.device, on_gpu.warning) == ("cuda", None)
    reference = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in on_cpu.words]
    assert share_of_same_times(on_gpu, reference) >= SAME_SHARE
