"""Two processes decode what one would: the seam is not there, and where halves cannot be made nobody notices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support import audio_files
from worker.adapters import decode_pyav
from worker.adapters.decode_halves import decode_halves
from worker.adapters.decode_measures import Measures
from worker.adapters.decode_part import IrregularError, Plan, Source, make_plan
from worker.adapters.decode_pyav import PyavDecoder
from worker.adapters.decode_spool import scratch_file
from worker.models import AudioMetadata

DURATION_S = 9.0


def recording(folder: Path, extension: str, *, num_channels: int = 2) -> Path:
    rate_hz = audio_files.CODECS.get(extension, ("", 44_100))[1]
    samples = audio_files.speech(DURATION_S, rate_hz=rate_hz, num_channels=num_channels)
    path = folder / f"a.{extension}"
    options = {"aac_pns": "0"} if extension == "m4a" else {}
    return (
        audio_files.write_sound(path, samples)
        if extension == "wav"
        else audio_files.encode(path, samples, options=options)
    )


def in_halves(path: Path) -> Measures:
    """Raises IrregularError instead of falling back."""
    source = Source(path, path.stat().st_size, max_s=100.0)
    with scratch_file(path.parent) as first, scratch_file(path.parent) as second:
        return decode_halves(source, plan_of(source), (first, second), lambda share: None)


def plan_of(source: Source) -> Plan:
    plan = make_plan(source, cut_from_s=DURATION_S / 2)
    assert plan.cut_s is not None
    return plan


def decoded(path: Path, *, cut_from_s: float) -> tuple[AudioMetadata, np.ndarray[tuple[int], np.dtype[np.int16]]]:
    target = path.parent / "decoded.wav"
    decoder = PyavDecoder(max_hours=1, max_bytes=10**9, cut_from_s=cut_from_s)
    metadata = decoder.decode(path, target, lambda share: None)
    return metadata, soundfile.read(target, dtype="int16")[0]


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a", "ogg"])
def test_two_halves_equal_one_piece_to_one_step(tmp_path: Path, extension: str) -> None:
    """
    Sample for sample, over the seam too; and what is said about the recording is the same.

    The m4a is encoded without noise substitution: where the encoder wrote only "noise here", a decoder makes it up,
    from a random state that depends on where it began.
    """
    path = recording(tmp_path, extension)
    assert in_halves(path).num_samples > 0
    in_one, whole = decoded(path, cut_from_s=float("inf"))
    in_two, joined = decoded(path, cut_from_s=1.0)
    assert len(joined) == len(whole)
    assert np.abs(joined.astype(int) - whole).max() <= 1
    assert in_two.model_copy(update={"loudness_dbfs": in_one.loudness_dbfs}) == in_one
    assert in_two.loudness_dbfs == pytest.approx(in_one.loudness_dbfs, abs=0.01)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8", "ALAW"])
def test_two_halves_of_any_wav_equal_one_piece(tmp_path: Path, subtype: str) -> None:
    """Most of them are read by libsndfile then, and by FFmpeg in one piece: both see the same samples."""
    samples = audio_files.speech(DURATION_S, num_channels=2)
    path = audio_files.write_sound(tmp_path / "a.wav", samples, subtype=subtype)
    assert in_halves(path).num_samples == DURATION_S * 16_000
    in_one, whole = decoded(path, cut_from_s=float("inf"))
    in_two, joined = decoded(path, cut_from_s=1.0)
    assert np.abs(joined.astype(int) - whole).max() <= 1
    assert in_two.model_copy(update={"loudness_dbfs": in_one.loudness_dbfs}) == in_one


def test_a_wav_that_is_shorter_than_it_says_is_one_piece(tmp_path: Path) -> None:
    path = audio_files.cut_short(recording(tmp_path, "wav"), 0.9)
    with pytest.raises(IrregularError):
        in_halves(path)


@pytest.mark.parametrize("extension", ["webm", "mkv"])
def test_time_stamps_in_milliseconds_are_no_place_to_cut(tmp_path: Path, extension: str) -> None:
    path = recording(tmp_path, extension)
    assert make_plan(Source(path, path.stat().st_size, max_s=100.0), cut_from_s=1.0).cut_s is None


def test_short_recordings_are_not_cut(tmp_path: Path) -> None:
    path = recording(tmp_path, "wav")
    assert make_plan(Source(path, path.stat().st_size, max_s=100.0), cut_from_s=DURATION_S + 1).cut_s is None


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_damage_anywhere_means_one_piece(tmp_path: Path, where: float) -> None:
    """Before, at and after the cut. The guards of one piece then do what they do."""
    path = recording(tmp_path, "m4a")
    data = bytearray(path.read_bytes())
    begin = int(len(data) * where)
    data[begin : begin + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    with pytest.raises(IrregularError):
        in_halves(path)
    in_one, whole = decoded(path, cut_from_s=float("inf"))
    in_two, again = decoded(path, cut_from_s=1.0)
    assert in_one.num_bad_packets > 0
    assert in_two == in_one
    assert np.array_equal(whole, again)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_recording_cut_off_before_or_after_the_cut(tmp_path: Path, share: float) -> None:
    path = audio_files.cut_short(recording(tmp_path, "mp3"), share)
    metadata, samples = decoded(path, cut_from_s=1.0)
    assert [warning.code for warning in metadata.warnings] == ["audio_truncated"]
    assert len(samples) / 16_000 == pytest.approx(DURATION_S * share, abs=0.3)


def test_other_channels_after_the_cut(tmp_path: Path) -> None:
    """Pasted mp3: the header tells of the first part only, so only the later half can notice."""
    mono, stereo = recording(tmp_path, "mp3", num_channels=1).read_bytes(), recording(tmp_path, "mp3").read_bytes()
    path = tmp_path / "a.mp3"
    path.write_bytes(mono[: len(mono) * 8 // 10] + stereo[len(stereo) // 2 :])
    with pytest.raises(IrregularError):
        in_halves(path)
    _, samples = decoded(path, cut_from_s=1.0)
    assert len(samples) / 16_000 == pytest.approx(DURATION_S * 1.3, abs=0.5)


def test_channels_that_cancel_in_a_long_recording(tmp_path: Path) -> None:
    path = audio_files.write_sound(tmp_path / "a.wav", audio_files.speech(DURATION_S) * np.array([0.9, -1.0]))
    metadata, joined = decoded(path, cut_from_s=1.0)
    assert [warning.code for warning in metadata.warnings] == ["audio_channels_cancel"]
    _, whole = decoded(path, cut_from_s=float("inf"))
    assert np.abs(joined.astype(int) - whole).max() <= 1


def test_a_later_half_that_dies_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault in the second process, say: the first one does it all."""
    monkeypatch.setattr("worker.adapters.decode_halves.sys.executable", "/bin/false")
    metadata, samples = decoded(recording(tmp_path, "flac"), cut_from_s=1.0)
    assert len(samples) == DURATION_S * 16_000
    assert metadata.warnings == ()


def test_the_default_cuts_an_hour_and_not_a_minute() -> None:
    assert 60 < decode_pyav.CUT_FROM_S < 3600
