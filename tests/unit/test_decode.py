"""Recordings as people have them become 16 kHz mono PCM-16; the yardstick is the plain librosa pipeline."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import av
import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.support import audio_files
from worker.adapters.decode_pyav import PyavDecoder
from worker.models import AudioMetadata

pytestmark = pytest.mark.filterwarnings(
    "ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning"  # imported by librosa's audioread
)

STEREO = audio_files.speech(2.5, num_channels=2)


def decode(source: Path, **limits: float) -> tuple[AudioMetadata, npt.NDArray[np.int16]]:
    """Metadata, and the samples of the WAV file as int16, shape (num_samples,)."""
    target = source.parent / "decoded.wav"
    decoder = PyavDecoder(max_hours=limits.pop("max_hours", 1.0), max_bytes=10**9, **limits)
    metadata = decoder.decode(source, target, lambda share: None)
    info = soundfile.info(target)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 16_000, 1)
    return metadata, soundfile.read(target, dtype="int16")[0]


def librosa_result(samples: npt.NDArray[np.float32], rate_hz: int, folder: Path) -> npt.NDArray[np.int16]:
    """`samples` (num_channels, num_samples) through the pipeline that we promise to equal."""
    mono = librosa.resample(librosa.to_mono(samples), orig_sr=rate_hz, target_sr=16_000)
    soundfile.write(folder / "librosa.wav", librosa.util.normalize(mono), 16_000, subtype="PCM_16")
    return soundfile.read(folder / "librosa.wav", dtype="int16")[0]  # type: ignore[no-any-return]


def largest_difference(ours: npt.NDArray[np.int16], theirs: npt.NDArray[np.int16]) -> int:
    assert abs(len(ours) - len(theirs)) <= 1
    length = min(len(ours), len(theirs))
    return int(np.abs(ours[:length].astype(int) - theirs[:length]).max())


@pytest.mark.parametrize(
    ("extension", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "PCM_32"),
        ("wav", "PCM_U8"),
        ("wav", "FLOAT"),
        ("wav", "DOUBLE"),
        ("wav", "ALAW"),
        ("wav", "ULAW"),
        ("wav", "IMA_ADPCM"),
        ("aiff", "PCM_16"),
        ("flac", "PCM_24"),
        ("w64", "PCM_16"),
        ("rf64", "PCM_16"),
        ("caf", "PCM_16"),
        ("au", "PCM_16"),
    ],
)
def test_lossless_files_equal_librosa_to_one_step(tmp_path: Path, extension: str, subtype: str) -> None:
    source = audio_files.write_sound(tmp_path / f"a.{extension}", STEREO, subtype=subtype)
    _, ours = decode(source)
    samples, rate_hz = librosa.load(source, sr=None, mono=False)
    assert largest_difference(ours, librosa_result(samples, int(rate_hz), tmp_path)) <= 1


def test_mp3_equals_librosa_to_one_step(tmp_path: Path) -> None:
    """libsndfile and FFmpeg have different mp3 decoders and agree all the same, encoder priming included."""
    source = audio_files.encode(tmp_path / "a.mp3", STEREO)
    _, ours = decode(source)
    samples, rate_hz = librosa.load(source, sr=None, mono=False)
    assert largest_difference(ours, librosa_result(samples, int(rate_hz), tmp_path)) <= 1


@pytest.mark.parametrize("extension", ["m4a", "mp4", "mkv", "aac", "webm", "ogg", "opus"])
def test_what_librosa_needs_ffmpeg_for_equals_it_to_two_steps(tmp_path: Path, extension: str) -> None:
    """FFmpeg's own samples through librosa's downmix, resampling and normalisation."""
    rate_hz = audio_files.CODECS[extension][1]
    stereo = audio_files.speech(2.5, rate_hz=rate_hz, num_channels=2)
    source = audio_files.encode(tmp_path / f"a.{extension}", stereo)
    _, ours = decode(source)
    with av.open(source) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert largest_difference(ours, librosa_result(samples.astype(np.float32), rate_hz, tmp_path)) <= 2


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a", "webm", "ogg", "mp4", "mkv"])
def test_a_click_stays_where_it_was(tmp_path: Path, extension: str) -> None:
    """Encoder priming is taken off: times in the transcript are times of the recording."""
    rate_hz = audio_files.CODECS.get(extension, ("", 44_100))[1]
    click = audio_files.speech(3.0, rate_hz=rate_hz) * 0.01
    click[2 * rate_hz] = 0.9
    path = tmp_path / f"a.{extension}"
    source = audio_files.write_sound(path, click) if extension == "wav" else audio_files.encode(path, click)
    _, ours = decode(source)
    assert np.argmax(np.abs(ours.astype(int))) / 16_000 == pytest.approx(2.0, abs=0.002)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 96_000, 192_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate_hz: int) -> None:
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(2.0, rate_hz=rate_hz), rate_hz=rate_hz)
    metadata, ours = decode(source)
    assert metadata.rate_hz == rate_hz
    assert len(ours) == 32_000
    assert metadata.duration_s == 2.0


@pytest.mark.parametrize("num_channels", [1, 2, 3, 6, 8, 32])
def test_all_channels_count_the_same(tmp_path: Path, num_channels: int) -> None:
    """7.1 and beyond: the mean, as librosa takes it, whatever the layout says about centre and bass."""
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(1.0, num_channels=num_channels))
    metadata, ours = decode(source)
    samples, rate_hz = librosa.load(source, sr=None, mono=False)
    assert metadata.num_channels == num_channels
    assert largest_difference(ours, librosa_result(samples, int(rate_hz), tmp_path)) <= 1


@pytest.mark.parametrize("extension", ["m4a", "opus"])
def test_eight_channels_that_lie_apart_in_memory_are_eight(tmp_path: Path, extension: str) -> None:
    """PyAV counts more planes of a 7.1 frame than there are: the decoder's process died of reading them."""
    rate_hz = audio_files.CODECS[extension][1]
    samples = audio_files.speech(1.0, rate_hz=rate_hz, num_channels=8)
    metadata, ours = decode(audio_files.encode(tmp_path / f"a.{extension}", samples, rate_hz=rate_hz))
    assert metadata.num_channels == 8
    assert len(ours) == pytest.approx(16_000, abs=400)


def test_the_peak_is_at_full_scale(tmp_path: Path) -> None:
    _, ours = decode(audio_files.write_sound(tmp_path / "a.wav", STEREO * 0.01))
    assert np.abs(ours.astype(int)).max() in (32767, 32768)


def test_what_was_measured_describes_the_recording(tmp_path: Path) -> None:
    time_s = np.arange(44_100) / 44_100
    sine = 0.5 * np.sin(2 * np.pi * 1000 * time_s)[:, None]
    source = audio_files.write_sound(tmp_path / "a.wav", sine)
    metadata, _ = decode(source)
    assert metadata.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata.size_bytes == source.stat().st_size
    assert (metadata.container, metadata.codec) == ("wav", "pcm_s16le")
    assert metadata.peak_dbfs == pytest.approx(20 * math.log10(0.5), abs=0.1)
    assert metadata.loudness_dbfs == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.1)
    assert metadata.clipped_share == 0.0
    assert metadata.warnings == ()


def test_clipping_is_counted(tmp_path: Path) -> None:
    """A sine twice as loud as full scale is above it for two thirds of the time, on one of two channels."""
    time_s = np.arange(44_100) / 44_100
    loud = 2.0 * np.sin(2 * np.pi * 100 * time_s)
    source = audio_files.write_sound(tmp_path / "a.wav", np.clip(np.stack((loud, loud * 0.1), axis=1), -1, 1))
    metadata, _ = decode(source)
    assert metadata.clipped_share == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("num_channels", [2, 6])
def test_channels_that_cancel_are_not_mixed(tmp_path: Path, num_channels: int) -> None:
    """One side wired the wrong way round: the mean would be silence, so the louder channel speaks alone."""
    voice = audio_files.speech(2.0)
    signs = np.array([0.9, -1.0] * (num_channels // 2))
    source = audio_files.write_sound(tmp_path / "a.wav", voice * signs)
    metadata, ours = decode(source)
    assert [warning.code for warning in metadata.warnings] == ["audio_channels_cancel"]
    _, alone = decode(audio_files.write_sound(tmp_path / "b.wav", -voice))
    assert largest_difference(ours, alone) <= 1


def test_one_silent_side_is_no_cancelling(tmp_path: Path) -> None:
    voice = audio_files.speech(2.0)
    metadata, _ = decode(audio_files.write_sound(tmp_path / "a.wav", voice * np.array([1.0, 0.0])))
    assert metadata.warnings == ()


def test_video_gives_its_sound(tmp_path: Path) -> None:
    metadata, ours = decode(audio_files.video(tmp_path / "a.mp4", audio_files.speech(2.0), duration_s=2.0))
    assert metadata.codec == "aac"
    assert len(ours) == pytest.approx(32_000, abs=400)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_sound_that_begins_after_the_picture_says_how_late(tmp_path: Path, extension: str) -> None:
    """Words are timed from the first sound; with `start_offset_s` they are on the clock of whoever plays the video."""
    click = audio_files.speech(2.0) * 0.01
    click[44_100] = 0.9
    late = audio_files.video(tmp_path / f"a.{extension}", click, duration_s=4.0, sound_begins_s=1.5)
    metadata, ours = decode(late)
    assert metadata.start_offset_s == pytest.approx(1.5, abs=0.03)
    heard_s = np.argmax(np.abs(ours.astype(int))) / 16_000
    assert metadata.start_offset_s + heard_s == pytest.approx(2.5, abs=0.002)


def test_a_second_sound_track_is_mentioned(tmp_path: Path) -> None:
    metadata, _ = decode(audio_files.two_tracks(tmp_path / "a.mkv", STEREO, audio_files.speech(2.5, seed=1)))
    assert [warning.code for warning in metadata.warnings] == ["audio_tracks_ignored"]


@pytest.mark.parametrize("name", ["with space.wav", "Sitzung — größer 会议 🎙.wav", "100%d.wav", "a:b,c.wav", "-i.wav"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    metadata, _ = decode(audio_files.write_sound(tmp_path / name, STEREO))
    assert metadata.duration_s == 2.5


def test_progress_grows_to_the_end(tmp_path: Path) -> None:
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(30.0))
    shares: list[float] = []
    PyavDecoder(max_hours=1, max_bytes=10**9).decode(source, tmp_path / "b.wav", shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 10
    assert shares[-1] == 1.0


def test_a_second_run_over_cancelling_channels_is_heard_of_too(tmp_path: Path) -> None:
    """Whoever waits takes silence for a stall, so the second run reports as well; progress never goes back."""
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(30.0) * np.array([0.9, -1.0]))
    shares: list[float] = []
    PyavDecoder(max_hours=1, max_bytes=10**9).decode(source, tmp_path / "b.wav", shares.append)
    assert shares == sorted(shares)
    assert shares.count(max(shares[:-1])) > 10


def test_the_same_file_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = audio_files.encode(tmp_path / "a.mp3", STEREO)
    results = []
    for name in ("one.wav", "two.wav"):
        PyavDecoder(max_hours=1, max_bytes=10**9).decode(source, tmp_path / name, lambda share: None)
        results.append((tmp_path / name).read_bytes())
    assert results[0] == results[1]
