"""Damaged recordings are used as far as they go, on the time line of the original, and nothing foreign ever leaves."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support import audio_files
from worker.adapters.decode_pyav import PyavDecoder
from worker.exceptions import AudioCorruptedError, AudioProcessingError, AudioTruncatedError
from worker.models import AudioMetadata

NUM_MUTATED = 240


def decode(source: Path, target: Path | None = None) -> AudioMetadata:
    decoder = PyavDecoder(max_hours=0.1, max_bytes=10**9)
    return decoder.decode(source, target or source.parent / "decoded.wav", lambda share: None)


def codes(metadata: AudioMetadata) -> list[str]:
    return [warning.code for warning in metadata.warnings]


def clicks(path: Path) -> list[float]:
    """Times of the samples above half of full scale, in seconds, one per 50 ms."""
    samples, rate_hz = soundfile.read(path)
    loud_s = np.flatnonzero(np.abs(samples) > 0.5) / rate_hz
    return [float(time_s) for time_s, before_s in zip(loud_s, [-1, *loud_s], strict=False) if time_s - before_s > 0.05]


def with_clicks(*times_s: float, duration_s: float, rate_hz: int = 44_100) -> audio_files.Samples:
    samples = audio_files.speech(duration_s, rate_hz=rate_hz) * 0.01
    for time_s in times_s:
        samples[round(time_s * rate_hz)] = 0.9
    return samples


@pytest.mark.parametrize("extension", ["wav", "mp3", "flac", "mkv", "webm"])
def test_a_recording_cut_off_is_used_as_far_as_it_goes(tmp_path: Path, extension: str) -> None:
    """A person would rather have half a transcript and know it than an error."""
    rate_hz = audio_files.CODECS.get(extension, ("", 44_100))[1]
    samples = audio_files.speech(12.0, rate_hz=rate_hz)
    path = tmp_path / f"a.{extension}"
    made = audio_files.write_sound(path, samples) if extension == "wav" else audio_files.encode(path, samples)
    metadata = decode(audio_files.cut_short(made, 0.5))
    assert "audio_truncated" in codes(metadata)
    assert 4.0 < metadata.duration_s < 8.0


def test_nearly_whole_is_whole(tmp_path: Path) -> None:
    """The last packet of a long recording is no reason for a warning."""
    made = audio_files.encode(tmp_path / "a.mp3", audio_files.speech(20.0))
    assert codes(decode(audio_files.cut_short(made, 0.97))) == []


def test_a_length_that_is_a_guess_is_no_reason_for_a_warning(tmp_path: Path) -> None:
    """An mp3 without Info tag whose quiet beginning has few bits: FFmpeg's guess of its length is far too long."""
    samples = np.concatenate((audio_files.speech(10.0) * 1e-6, audio_files.speech(10.0)))
    made = audio_files.encode(
        tmp_path / "a.mp3", samples, options={"write_xing": "0", "id3v2_version": "0", "abr": "1"}
    )
    metadata = decode(made)
    assert metadata.duration_s == pytest.approx(20.0, abs=0.1)
    assert codes(metadata) == []


@pytest.mark.parametrize("extension", ["m4a", "mkv", "webm"])
def test_lost_packets_leave_silence_of_their_length(tmp_path: Path, extension: str) -> None:
    """So what comes after the hole keeps its time. The second click comes after a stretch of noise."""
    rate_hz = audio_files.CODECS[extension][1]
    made = audio_files.encode(
        tmp_path / f"a.{extension}", with_clicks(1.0, 9.0, duration_s=10.0, rate_hz=rate_hz), rate_hz=rate_hz
    )
    data = bytearray(made.read_bytes())
    begin, end = int(len(data) * 0.2), int(len(data) * 0.35)
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    made.write_bytes(data)
    metadata = decode(made)
    assert metadata.num_bad_packets > 0 or metadata.gap_s > 0
    heard = clicks(tmp_path / "decoded.wav")
    assert heard[0] == pytest.approx(1.0, abs=0.05)
    assert heard[-1] == pytest.approx(9.0, abs=0.05)


def test_mostly_damaged_packets_are_an_error(tmp_path: Path) -> None:
    made = audio_files.encode(tmp_path / "a.m4a", audio_files.speech(10.0))
    data = bytearray(made.read_bytes())
    begin, end = int(len(data) * 0.02), int(len(data) * 0.93)
    data[begin:end] = bytes([0xFF, 0x00, 0xAA, 0x13]) * ((end - begin) // 4) + bytes((end - begin) % 4)
    made.write_bytes(data)
    with pytest.raises(AudioCorruptedError):
        decode(made)


def pasted(folder: Path, extension: str, parts: list[tuple[audio_files.Samples, int]]) -> Path:
    """Whole files one after the other in one file."""
    data = b""
    for samples, rate_hz in parts:
        made = audio_files.encode(folder / f"part.{extension}", samples, rate_hz=rate_hz)
        data += made.read_bytes()
        made.unlink()
    (folder / f"a.{extension}").write_bytes(data)
    return folder / f"a.{extension}"


@pytest.mark.parametrize("extension", ["aac", "mp3"])
@pytest.mark.parametrize(
    "second", [(44_100, 2), (48_000, 1), (22_050, 2), (44_100, 1)], ids=["channels", "rate", "both", "nothing"]
)
def test_changes_in_mid_stream(tmp_path: Path, extension: str, second: tuple[int, int]) -> None:
    """Channels or rate change on the way, to and fro: AudioFifo alone would crash the process here."""
    rate_hz, num_channels = second
    one = (audio_files.speech(1.0), 44_100)
    two = (audio_files.speech(1.0, rate_hz=rate_hz, num_channels=num_channels), rate_hz)
    metadata = decode(pasted(tmp_path, extension, [one, two, one, two]))
    assert metadata.duration_s == pytest.approx(4.0, abs=0.5)


def test_pasted_recordings_are_one_after_the_other(tmp_path: Path) -> None:
    """Time stamps that begin again are no gap and no overlap."""
    one = (with_clicks(0.5, duration_s=2.0, rate_hz=48_000), 48_000)
    metadata = decode(pasted(tmp_path, "ogg", [one, one, one]))
    assert metadata.gap_s == 0.0
    assert clicks(tmp_path / "decoded.wav") == pytest.approx([0.5, 2.5, 4.5], abs=0.06)


def test_nothing_remains_of_a_decoder_that_is_killed(tmp_path: Path) -> None:
    """Neither scratch files nor half a result: only the recording is in the folder afterwards."""
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(60.0))
    program = (
        "import os, signal, sys; from pathlib import Path; from worker.adapters.decode_pyav import PyavDecoder\n"
        "PyavDecoder(max_hours=1, max_bytes=10**9).decode(Path(sys.argv[1]), Path(sys.argv[1] + '.wav'),"
        " lambda share: os.kill(os.getpid(), signal.SIGKILL) if share > 0.5 else None)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(source)], check=False, capture_output=True)
    assert ended.returncode == -9
    assert list(tmp_path.iterdir()) == [source]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A second of each kind, as bytes."""
    folder = tmp_path_factory.mktemp("originals")
    for extension, (_, rate_hz) in audio_files.CODECS.items():
        stereo = audio_files.speech(1.0, rate_hz=rate_hz, num_channels=2)
        audio_files.encode(folder / f"a.{extension}", stereo)
    audio_files.write_sound(folder / "a.wav", audio_files.speech(1.0))
    audio_files.write_sound(folder / "b.wav", audio_files.speech(1.0), subtype="FLOAT")
    audio_files.video(folder / "b.mp4", audio_files.speech(1.0))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_mutated_files_give_a_result_or_a_typed_error(tmp_path: Path, originals: dict[str, bytes]) -> None:
    """
    240 seeded mutations of twelve kinds of file; the outcome is one of ours, and both kinds of outcome occur. More
    kinds of both, in a child process: test_decode_fuzz.py.
    """
    rng = np.random.default_rng(20)
    names = list(originals)
    num_results = num_errors = 0
    for index in range(NUM_MUTATED):
        name = names[index % len(names)]
        source, target = tmp_path / f"{index}-{name}", tmp_path / "decoded.wav"
        source.write_bytes(audio_files.mutated(originals[name], rng))
        try:
            metadata = decode(source, target)
        except AudioProcessingError:
            assert not target.exists()
            num_errors += 1
        else:
            assert_valid(target, metadata)
            target.unlink()
            num_results += 1
        assert list(tmp_path.iterdir()) == [source]
        source.unlink()
    assert min(num_results, num_errors) > 10


def assert_valid(target: Path, metadata: AudioMetadata) -> None:
    samples, rate_hz = soundfile.read(target, dtype="int16")
    assert (rate_hz, samples.ndim) == (16_000, 1)
    assert len(samples) / 16_000 == pytest.approx(metadata.duration_s)
    assert np.abs(samples.astype(int)).max() >= 32767
    numbers = (metadata.loudness_dbfs or 0.0, metadata.peak_dbfs or 0.0, metadata.gap_s, metadata.clipped_share)
    assert all(math.isfinite(number) for number in numbers)


def test_an_m4a_with_its_index_in_front_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    """Without it, nothing can be read: see AudioTruncatedError in the tests of bad input."""
    made = audio_files.encode(tmp_path / "a.m4a", audio_files.speech(10.0))
    front = audio_files.index_in_front(made)
    metadata = decode(audio_files.cut_short(front, 0.5))
    assert "audio_truncated" in codes(metadata)
    assert 3.0 < metadata.duration_s < 7.0
    with pytest.raises(AudioTruncatedError):
        decode(audio_files.cut_short(made, 0.5))
