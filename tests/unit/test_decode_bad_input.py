"""What people upload by mistake: each kind has its stable code and a sentence, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import audio_files
from worker.adapters import decode_spool
from worker.adapters.decode_pyav import PyavDecoder
from worker.exceptions import (
    AudioCorruptedError,
    AudioEmptyError,
    AudioMissingError,
    AudioNotFiniteError,
    AudioSilentError,
    AudioTooBigError,
    AudioTooLongError,
    AudioTooShortError,
    AudioTruncatedError,
    DiskFailedError,
    DiskFullError,
    NoAudioStreamError,
    NotAudioError,
    PCWorkerException,
)
from worker.models import AudioMetadata

SPEECH = audio_files.speech(2.0)


def decode(source: Path, *, max_hours: float = 1.0, max_bytes: int = 10**9) -> AudioMetadata:
    decoder = PyavDecoder(max_hours=max_hours, max_bytes=max_bytes)
    return decoder.decode(source, source.parent / "decoded.wav", lambda share: None)


def refused(source: Path, expected: type[PCWorkerException], **limits: float) -> PCWorkerException:
    """The error, after making sure that it is of exactly this class and that no file was left."""
    before = set(source.parent.iterdir())
    with pytest.raises(PCWorkerException) as caught:
        decode(source, **limits)  # type: ignore[arg-type]  # mypy cannot see which limit it is
    assert type(caught.value) is expected
    assert str(source.parent) not in str(caught.value)
    assert set(source.parent.iterdir()) == before
    return caught.value


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def wav(path: Path, header: dict[str, int], data: bytes) -> Path:
    return written(path, audio_files.wav_header(**header) + data)


CD = {"rate_hz": 44_100, "num_channels": 1}


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "a.wav", AudioMissingError)


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    refused(tmp_path, AudioCorruptedError)


def test_a_pipe_is_no_recording_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    refused(tmp_path / "a.wav", AudioCorruptedError)


def test_empty_file(tmp_path: Path) -> None:
    refused(written(tmp_path / "a.wav", b""), AudioEmptyError)


@pytest.mark.parametrize(
    "data",
    [
        b"Minutes of the meeting: nobody came.\n" * 200,
        b"x",
        bytes(5000),
        b"%PDF-1.7\n" + bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nother.wav\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile other.wav\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
    ],
    ids=["text", "one byte", "zeros", "pdf", "png", "hls", "concat", "dash"],
)
@pytest.mark.proves("audio missing, empty, truncated, wrong checksum, not audio, too long or too big")
def test_other_things_with_the_name_of_a_recording(tmp_path: Path, data: bytes) -> None:
    """Playlists are among them: they would make us open whatever file or address they name."""
    audio_files.write_sound(tmp_path / "other.wav", SPEECH)
    refused(written(tmp_path / "a.wav", data), NotAudioError)


def test_video_without_sound(tmp_path: Path) -> None:
    refused(audio_files.video(tmp_path / "a.mp4"), NoAudioStreamError)


def test_a_header_and_no_sound(tmp_path: Path) -> None:
    refused(audio_files.write_sound(tmp_path / "a.wav", SPEECH[:0]), AudioTooShortError)


@pytest.mark.parametrize("num_samples", [1, 100, 4000])
def test_next_to_no_sound(tmp_path: Path, num_samples: int) -> None:
    refused(audio_files.write_sound(tmp_path / "a.wav", SPEECH[:num_samples]), AudioTooShortError)


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "flac"])
def test_digital_silence(tmp_path: Path, extension: str) -> None:
    path, silence = tmp_path / f"a.{extension}", SPEECH * 0
    made = audio_files.write_sound(path, silence) if extension == "wav" else audio_files.encode(path, silence)
    refused(made, AudioSilentError)


def test_dithered_silence_is_silence(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1, 2, (44_100, 1)) / 32768
    refused(audio_files.write_sound(tmp_path / "a.wav", noise), AudioSilentError)


def test_a_whisper_is_not_silence(tmp_path: Path) -> None:
    decode(audio_files.write_sound(tmp_path / "a.wav", SPEECH * 0.001))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    samples = SPEECH.copy()
    samples[1000] = bad
    refused(audio_files.write_sound(tmp_path / "a.wav", samples, subtype="FLOAT"), AudioNotFiniteError)


def test_absurdly_loud_floats_are_no_reason_to_fail(tmp_path: Path) -> None:
    source = audio_files.write_sound(tmp_path / "a.wav", SPEECH * 1e30, subtype="DOUBLE")
    assert decode(source).duration_s == 2.0


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"rate_hz": 1_000_000_000}, AudioCorruptedError),
        ({"rate_hz": 1}, AudioCorruptedError),
        ({"rate_hz": 0}, AudioCorruptedError),
        ({"num_channels": 0}, AudioCorruptedError),
        ({"num_channels": 60_000}, AudioCorruptedError),
        ({"bits": 0}, NotAudioError),
        ({"bits": 7777}, NotAudioError),
    ],
    ids=str,
)
def test_absurd_headers(tmp_path: Path, header: dict[str, int], expected: type[PCWorkerException]) -> None:
    data = audio_files.pcm16(SPEECH)
    refused(wav(tmp_path / "a.wav", {**CD, "num_data_bytes": len(data), **header}, data), expected)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 192_000])
def test_a_header_that_claims_four_gigabytes_is_not_believed(tmp_path: Path, rate_hz: int) -> None:
    """Recorders that crashed leave these: what there is is used, with a warning, and is not taken for too long."""
    samples = audio_files.speech(3.0, rate_hz=rate_hz)
    header = {"rate_hz": rate_hz, "num_channels": 1, "num_data_bytes": 2**32 - 100}
    metadata = decode(wav(tmp_path / "a.wav", header, audio_files.pcm16(samples)))
    assert metadata.duration_s == 3.0
    assert [warning.code for warning in metadata.warnings] == ["audio_truncated"]


def test_a_streamed_wav_of_unknown_length_is_whole(tmp_path: Path) -> None:
    """A recorder that writes to a pipe states 2**32 - 1 bytes, because it cannot know."""
    metadata = decode(wav(tmp_path / "a.wav", {**CD, "num_data_bytes": 2**32 - 1}, audio_files.pcm16(SPEECH)))
    assert metadata.duration_s == 2.0
    assert metadata.warnings == ()


def test_bigger_than_allowed(tmp_path: Path) -> None:
    source = audio_files.write_sound(tmp_path / "a.wav", SPEECH)
    refused(source, AudioTooBigError, max_bytes=source.stat().st_size - 1)


def test_longer_than_allowed_is_seen_in_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decoded: the scratch file could not take a sample."""
    source = audio_files.write_sound(tmp_path / "a.wav", SPEECH)
    monkeypatch.setattr(decode_spool, "write_all", disk(errno.EIO))
    refused(source, AudioTooLongError, max_hours=1.9 / 3600)


@pytest.mark.parametrize("extension", ["aac", "mkv"])
def test_longer_than_allowed_is_noticed_on_the_way(tmp_path: Path, extension: str) -> None:
    source = audio_files.encode(tmp_path / f"a.{extension}", audio_files.speech(8.0))
    refused(source, AudioTooLongError, max_hours=4 / 3600)


def test_exactly_as_long_as_allowed(tmp_path: Path) -> None:
    decode(audio_files.write_sound(tmp_path / "a.wav", SPEECH), max_hours=2.0 / 3600)


def test_an_m4a_without_its_index_was_cut_off(tmp_path: Path) -> None:
    source = audio_files.encode(tmp_path / "a.m4a", audio_files.speech(5.0))
    refused(audio_files.cut_short(source, 0.7), AudioTruncatedError)


def test_a_long_header_with_nothing_after_it_was_cut_off(tmp_path: Path) -> None:
    source = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(5.0))
    refused(audio_files.cut_short(source, 0.01), AudioTruncatedError)


def disk(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, DiskFailedError)],
)
@pytest.mark.parametrize("function", ["write_all", "write_pcm"])
def test_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int, expected: type[PCWorkerException]
) -> None:
    """While spooling and while writing the result alike."""
    source = audio_files.write_sound(tmp_path / "a.wav", SPEECH)
    monkeypatch.setattr(decode_spool, function, disk(number))
    refused(source, expected)
