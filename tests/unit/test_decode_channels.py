"""Recordings with one person per channel are noticed, and only those; each channel then is a file of its own."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.support import audio_files
from tests.support.spoken_meetings import RATE_HZ, sensible_meeting
from tests.support.two_channels import Tracks, noise, tracks, with_crosstalk
from worker.adapters.decode_apart import gains_at, judge
from worker.adapters.decode_levels import LevelMeter, levels_of
from worker.adapters.decode_measures import FRAMES_PER_S
from worker.adapters.decode_pyav import PyavDecoder
from worker.models import AudioMetadata
from worker.ports import channel_paths

Sound = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def apart() -> Tracks:
    return tracks()


def decode(folder: Path, samples: Tracks, *, channels: str | None = None, cut_from_s: float = 900.0) -> AudioMetadata:
    source = audio_files.write_sound(folder / "source.wav", samples, rate_hz=RATE_HZ)
    decoder = PyavDecoder(max_hours=1, max_bytes=10**9, cut_from_s=cut_from_s)
    return decoder.decode(source, folder / "audio.wav", lambda _: None, channels=channels)


def channel_files(folder: Path) -> list[Sound]:
    return [soundfile.read(path, dtype="float32")[0] for path in channel_paths(folder / "audio.wav")]


def loudness_db(samples: Sound) -> float:
    return float(10 * np.log10(np.mean(np.square(samples)) + 1e-12))


def mono(apart: Tracks) -> Tracks:
    return np.add(apart[:, :1], apart[:, 1:])


def delayed(samples: Tracks, seconds: float) -> Tracks:
    return np.roll(samples, round(seconds * RATE_HZ), axis=0)


ONE_EACH: dict[str, Callable[[Tracks], Tracks]] = {
    "telephone": lambda apart: apart,
    "telephone with line noise": lambda apart: apart + noise(len(apart), -50),
    "the other end is much softer": lambda apart: apart * (1, 0.1) + noise(len(apart)),
    "lapel microphones, -20 dB": lambda apart: with_crosstalk(apart, -20) + noise(len(apart)),
    "lapel microphones, -12 dB": lambda apart: with_crosstalk(apart, -12) + noise(len(apart)),
}

TOGETHER: dict[str, Callable[[Tracks], Tracks]] = {
    "the same on both": lambda apart: np.repeat(mono(apart), 2, axis=1),
    "one weaker": lambda apart: mono(apart) * (1, 0.2) + noise(len(apart)),
    "one dead": lambda apart: mono(apart) * (1, 0),
    "one with noise only": lambda apart: mono(apart) * (1, 0) + noise(len(apart), -50),
    "panned a little": lambda apart: apart + 0.5 * apart[:, ::-1],
    "an echo half a second later": lambda apart: np.hstack((mono(apart), delayed(mono(apart), 0.5))),
    "a plug that fails, then the other": lambda apart: (
        mono(apart) * np.array([(1, 0), (0, 1)]).repeat(-(-len(apart) // 2), axis=0)[: len(apart)]
    ),
    "a third one in the middle": lambda apart: apart + 0.5 * np.roll(mono(apart), len(apart) // 3, axis=0),
    "a third one, much nearer to one": lambda apart: (
        np.vstack((mono(apart)[: 5 * RATE_HZ] * (0.7, 0.2), apart)) + noise(len(apart) + 5 * RATE_HZ)
    ),
    "only one speaks": lambda apart: apart * (1, 0) + apart[:, ::-1] * (0, 0.05),
}


@pytest.mark.parametrize("kind", ONE_EACH)
def test_one_person_per_channel_is_noticed(tmp_path: Path, apart: Tracks, kind: str) -> None:
    """Both files are as long as the mono one, and how long either speaks is told to a few seconds."""
    metadata = decode(tmp_path, ONE_EACH[kind](apart))
    assert metadata.channels_apart
    num_samples = soundfile.info(tmp_path / "audio.wav").frames
    assert [len(sound) for sound in channel_files(tmp_path)] == [num_samples, num_samples]
    spoken = sensible_meeting().turns()
    first = sum(turn.end_s - turn.start_s for turn in spoken if turn.label == spoken[0].label)
    second = sum(turn.end_s - turn.start_s for turn in spoken if turn.label != spoken[0].label)
    assert metadata.channel_speech_s == pytest.approx((first, second), rel=0.4)


@pytest.mark.parametrize("kind", TOGETHER)
def test_anything_else_stays_mixed(tmp_path: Path, apart: Tracks, kind: str) -> None:
    """Two microphones in one room, a copy, a dead channel: whoever speaks is on both, or both are on one."""
    metadata = decode(tmp_path, TOGETHER[kind](apart))
    assert not metadata.channels_apart
    assert metadata.channel_speech_s == ()
    assert not any(path.exists() for path in channel_paths(tmp_path / "audio.wav"))


def test_a_late_copy_is_no_second_person() -> None:
    """One who says a word a second, and the same 0.6 s later on the other channel: as if two took turns."""
    speaks = np.arange(3000) % 50 < 20
    levels = np.where(np.stack((speaks, np.roll(speaks, 30)), axis=1), -20.0, -70.0).astype(np.float32)
    copied = judge(levels)
    assert (copied.dominated_share, copied.equal_share) == (1.0, 0.0)
    assert copied.echo > 0.9
    assert not copied.are_apart


def test_twelve_hours_are_judged_in_the_memory_of_one() -> None:
    """By stretches of them; how long either speaks is that of the whole."""
    turn_frames = 500
    judged = {}
    for hours in (1, 12):
        speaks = np.arange(hours * 3600 * FRAMES_PER_S) // turn_frames % 2 == 0
        levels = np.where(np.stack((speaks, ~speaks), axis=1), -20.0, -70.0).astype(np.float32)
        tracemalloc.start()
        judgement = judge(levels)
        judged[hours] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert judgement.are_apart
        assert judgement.speech_s == pytest.approx((hours * 1800, hours * 1800), rel=0.05)
    assert judged[12] <= 1.1 * judged[1]


def test_of_the_other_voice_little_is_left(tmp_path: Path, apart: Tracks) -> None:
    """Where only the other one speaks a channel is silent, or nearly; its own words are as loud as before."""
    heard = with_crosstalk(apart, -15) + noise(len(apart))
    assert decode(tmp_path, heard).channels_apart
    for channel, sound in enumerate(channel_files(tmp_path)):
        own, other = np.abs(apart[:, channel]) > 0.01, np.abs(apart[:, 1 - channel]) > 0.01
        before = heard[:, channel] / np.abs(heard[:, channel]).max()
        assert loudness_db(sound[own]) == pytest.approx(loudness_db(before[own]), abs=0.3)
        assert loudness_db(sound[other & ~own]) < loudness_db(before[other & ~own]) - 8


def test_on_the_telephone_a_soft_word_between_is_kept(tmp_path: Path, apart: Tracks) -> None:
    """Nothing leaks there, so that a voice 25 dB below the other one is that of its own channel."""
    loud, voice = (np.flatnonzero(np.abs(apart[:, channel]) > 0.1) for channel in (0, 1))
    here, length = slice(loud[0] + RATE_HZ, loud[0] + 2 * RATE_HZ), RATE_HZ
    heard = apart + noise(len(apart), -75)
    heard[here, 1] += 0.05 * apart[voice[0] : voice[0] + length, 1]
    assert decode(tmp_path, heard).channels_apart
    before = heard[here, 1] / np.abs(heard[:, 1]).max()
    assert loudness_db(channel_files(tmp_path)[1][here]) == pytest.approx(loudness_db(before), abs=1.0)


def test_the_meeting_may_say_that_they_are_mixed(tmp_path: Path, apart: Tracks) -> None:
    metadata = decode(tmp_path, apart, channels="mixed")
    assert not metadata.channels_apart
    assert not any(path.exists() for path in channel_paths(tmp_path / "audio.wav"))


def test_the_meeting_may_say_that_they_are_separate(tmp_path: Path, apart: Tracks) -> None:
    """A channel without a voice is silent then, and its hiss is not made loud."""
    metadata = decode(tmp_path, mono(apart) * (1, 0) + noise(len(apart), -85), channels="separate")
    assert metadata.channels_apart
    assert metadata.warnings == ()
    assert np.abs(channel_files(tmp_path)[1]).max() < 0.2


@pytest.mark.parametrize("num_channels", [1, 3, 6])
def test_other_than_two_channels_cannot_be_separate(tmp_path: Path, num_channels: int) -> None:
    metadata = decode(tmp_path, audio_files.speech(2.0, num_channels=num_channels), channels="separate")
    assert not metadata.channels_apart
    assert [warning.code for warning in metadata.warnings] == ["channels_not_separate"]


def test_two_halves_give_the_channels_of_one_piece(tmp_path: Path, apart: Tracks) -> None:
    samples = with_crosstalk(apart, -15) + noise(len(apart))
    assert decode(tmp_path, samples, cut_from_s=float("inf")).channels_apart
    in_one = channel_files(tmp_path)
    assert decode(tmp_path, samples, cut_from_s=1.0).channels_apart
    for one, two in zip(in_one, channel_files(tmp_path), strict=True):
        assert np.abs(one - two).max() <= 1.5 / 2**15


def test_a_compressed_recording_is_as_good(tmp_path: Path, apart: Tracks) -> None:
    source = audio_files.encode(tmp_path / "a.ogg", with_crosstalk(apart, -20), rate_hz=RATE_HZ)
    decoder = PyavDecoder(max_hours=1, max_bytes=10**9)
    assert decoder.decode(source, tmp_path / "audio.wav", lambda _: None).channels_apart


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100])
def test_levels_are_on_the_time_line_at_any_rate(rate_hz: int) -> None:
    """-20 dB on one channel, and -40 dB on the other from second 7 on, in pieces that end anywhere."""
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, (2, 10 * rate_hz)).astype(np.float32)
    sound[1] *= np.where(np.arange(10 * rate_hz) < 7 * rate_hz, 0.0, 0.1).astype(np.float32)
    meter = LevelMeter()
    for piece in np.array_split(sound, 23, axis=1):
        meter.add(rate_hz, list(piece))
    levels = levels_of(meter.codes())
    assert levels.shape == (500, 2)
    assert levels[:, 0] == pytest.approx(-20, abs=2.5)
    assert levels[:350, 1] == pytest.approx(-94)
    assert levels[350:, 1] == pytest.approx(-40, abs=2.5)
    assert meter.codes(from_s=2, to_s=5) == meter.codes()[200:500]


def test_a_channel_opens_and_closes_softly() -> None:
    """Between the middles of two frames; the parts of one recording, each asked for by itself, fit together."""
    opening = np.array([False, True, True, False, False])
    gains = gains_at(opening, 0, 5 * 320)
    assert np.abs(np.diff(gains)).max() < 0.004
    assert gains[480:800] == pytest.approx(1.0, abs=0.01)
    assert gains[1120:].max() < 0.01
    assert np.concatenate([gains_at(opening, first, 400) for first in range(0, 1600, 400)]) == pytest.approx(gains)
