"""What voices sound like, on real speech: the conversation in the pyannote.audio wheel and the tests' own meetings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soxr
from scipy.signal import butter, sosfilt

from tests.support.speech_sample import RATE_HZ, read_turns, sample_folder, write_wav
from tests.support.spoken_meetings import meetings
from worker.engine.grid import Floats
from worker.engine.voice_describer import NARROW_MODEL, VoiceDescriber
from worker.engine.voices import MODEL
from worker.exceptions import AudioPreprocessingError
from worker.models import SpeakerEmbedding, SpeakerTurn

Described = dict[tuple[str, str], SpeakerEmbedding]


@pytest.fixture(scope="module")
def describer() -> VoiceDescriber:
    return VoiceDescriber()


@dataclass(frozen=True)
class Spoken:
    audio: Path
    samples: Floats
    turns: tuple[SpeakerTurn, ...]


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    """Wide band, two voices A and B, 20 s."""
    spoken = meetings()[0]
    samples = spoken.samples[: 20 * RATE_HZ]
    audio = write_wav(tmp_path_factory.mktemp("meeting") / "meeting.wav", samples)
    return Spoken(audio, samples, tuple(turn for turn in spoken.turns() if turn.end_s < 20.0))


@pytest.fixture(scope="module")
def voices(describer: VoiceDescriber, meeting: Spoken) -> Described:
    """Of the meeting."""
    return described(describer, meeting.audio, meeting.turns)


def described(describer: VoiceDescriber, audio: Path, turns: tuple[SpeakerTurn, ...]) -> Described:
    found = describer.describe(audio, turns, report=lambda _: None)
    by_voice = {(voice.label, voice.model): voice for voice in found}
    assert len(by_voice) == len(found)
    return by_voice


def by_telephone(samples: Floats, low_hz: int) -> Floats:
    """`low_hz` to 3400 Hz, 8000 samples a second, and back."""
    filtered = sosfilt(butter(4, (low_hz, 3400), "bandpass", fs=RATE_HZ, output="sos"), samples)
    narrow: Floats = soxr.resample(soxr.resample(filtered, RATE_HZ, 8000), 8000, RATE_HZ).astype(np.float32)
    return narrow


def alike(one: SpeakerEmbedding, other: SpeakerEmbedding) -> float:
    assert one.model == other.model, "only like is compared with like"
    return float(np.dot(one.vector, other.vector))


def test_a_telephone_conversation_is_described_in_narrow_band_only(describer: VoiceDescriber, sample: Path) -> None:
    turns = read_turns(sample_folder() / "sample.rttm")
    voices = described(describer, sample, turns)
    assert list(voices) == [("speaker90", NARROW_MODEL), ("speaker91", NARROW_MODEL)]
    for voice in voices.values():
        assert len(voice.vector) == voice.dim == 256
        assert np.linalg.norm(voice.vector) == pytest.approx(1.0, abs=1e-4)
        assert all(value == round(value, 5) for value in voice.vector)
        assert 5.0 < voice.speech_s < 15.0


def test_a_wide_band_voice_is_described_twice(voices: Described) -> None:
    assert list(voices) == [("A", MODEL), ("A", NARROW_MODEL), ("B", MODEL), ("B", NARROW_MODEL)]
    assert voices["A", MODEL].speech_s == voices["A", NARROW_MODEL].speech_s


@pytest.mark.parametrize("low_hz", [300, 80])
def test_over_the_telephone_a_voice_stays_the_same_in_narrow_band(
    describer: VoiceDescriber, meeting: Spoken, voices: Described, tmp_path: Path, low_hz: int
) -> None:
    """And no other one: that is what the second vector is for. Calls over IP carry lower sounds, too."""
    audio = write_wav(tmp_path / "call.wav", by_telephone(meeting.samples, low_hz))
    there = described(describer, audio, meeting.turns)
    assert set(there) == {("A", NARROW_MODEL), ("B", NARROW_MODEL)}
    for label, other in (("A", "B"), ("B", "A")):
        assert alike(voices[label, NARROW_MODEL], there[label, NARROW_MODEL]) > 0.95
        assert alike(voices[label, NARROW_MODEL], there[other, NARROW_MODEL]) < 0.9


def test_how_loud_somebody_is_makes_no_difference(
    describer: VoiceDescriber, meeting: Spoken, voices: Described, tmp_path: Path
) -> None:
    quiet = described(describer, write_wav(tmp_path / "quiet.wav", meeting.samples * 0.05), meeting.turns)
    assert list(quiet) == list(voices)
    assert all(alike(voices[name], quiet[name]) > 0.99 for name in voices)


def test_where_two_speak_at_once_nothing_is_learnt_of_either(describer: VoiceDescriber, meeting: Spoken) -> None:
    """A stranger speaks along with everything after the first turn."""
    before, after = meeting.turns[:1], meeting.turns[1:]
    stranger = tuple(turn.model_copy(update={"label": "X"}) for turn in after)
    assert described(describer, meeting.audio, (*before, *after, *stranger)) == described(
        describer, meeting.audio, before
    )


def test_under_a_second_of_speech_says_nothing(describer: VoiceDescriber, meeting: Spoken) -> None:
    start_s = meeting.turns[0].start_s
    for seconds, is_described in ((0.9, False), (1.1, True)):
        some = SpeakerTurn(start_s=start_s, end_s=start_s + seconds, label="A")
        assert bool(described(describer, meeting.audio, (some,))) == is_described


def test_silence_and_turns_outside_the_recording_say_nothing(describer: VoiceDescriber, tmp_path: Path) -> None:
    """Turns of another decoding of the same recording may end a little later."""
    audio = write_wav(tmp_path / "silence.wav", np.zeros(3 * RATE_HZ, dtype=np.float32))
    turns = (SpeakerTurn(start_s=0.0, end_s=4.0, label="A"), SpeakerTurn(start_s=10.0, end_s=20.0, label="B"))
    assert described(describer, audio, turns) == {}
    assert described(describer, audio, ()) == {}


def test_the_same_recording_gives_the_same_voices(describer: VoiceDescriber, sample: Path) -> None:
    """With another number of threads, too."""
    turns = read_turns(sample_folder() / "sample.rttm")
    assert described(VoiceDescriber(num_threads=1), sample, turns) == described(describer, sample, turns)


def test_progress_grows_to_one(describer: VoiceDescriber, meeting: Spoken) -> None:
    reported: list[float] = []
    describer.describe(meeting.audio, meeting.turns, report=reported.append)
    assert reported == sorted(reported)
    assert len(set(reported)) > 1
    assert reported[-1] == 1.0


def test_a_file_that_is_no_prepared_recording_is_refused(describer: VoiceDescriber, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a recording")
    for audio in (tmp_path / "notes.wav", tmp_path / "missing.wav"):
        with pytest.raises(AudioPreprocessingError):
            described(describer, audio, ())


@pytest.fixture
def refused() -> Iterator[list[int]]:
    """A device that has no room for the first batch; its size. Torch's own hook raises torch's own error."""
    from torch import OutOfMemoryError, Tensor
    from torch.nn import LSTM, Module
    from torch.nn.modules.module import register_module_forward_pre_hook

    batches: list[int] = []

    def refuse(module: Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, LSTM) and not batches:
            batches.append(len(inputs[0]))
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = register_module_forward_pre_hook(refuse)
    yield batches
    hook.remove()


def test_without_room_on_the_gpu_the_cpu_describes_the_same(
    meeting: Spoken, voices: Described, refused: list[int]
) -> None:
    """`cpu:0` is torch's other name of the CPU: not what we call it, so it is treated like a GPU."""
    assert described(VoiceDescriber(device="cpu:0"), meeting.audio, meeting.turns) == voices
    assert len(refused) == 1


@pytest.mark.gpu
def test_a_gpu_describes_the_same_voices(meeting: Spoken, voices: Described) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")
    there = described(VoiceDescriber(device="cuda:0"), meeting.audio, meeting.turns)
    assert list(voices) == list(there)
    assert all(alike(voices[name], there[name]) > 0.999 for name in voices)
