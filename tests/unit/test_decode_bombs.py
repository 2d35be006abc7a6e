"""Small files that ask for gigabytes or days: refused early, with a sentence, by a child process that lives on."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import audio_bombs, audio_files, hostile_audio
from tests.support.file_watch import watched
from tests.support.prep_child import prep_child
from worker.adapters.child_process import ChildProcess
from worker.adapters.decode_bounds import MAX_MEMORY_BYTES, bounded_memory
from worker.exceptions import (
    AudioCorruptedError,
    AudioPreprocessingError,
    AudioProcessingError,
    AudioTooLongError,
    AudioTruncatedError,
    NotAudioError,
)
from worker.models import AudioMetadata
from worker.ports import unheard

MIB = 2**20

MAX_HOURS = 0.2

SPOOL_BYTES_PER_HOUR = 3600 * 16_000 * 4


@pytest.fixture
async def prep(tmp_path: Path) -> AsyncIterator[ChildProcess]:
    async with prep_child(tmp_path, max_hours=MAX_HOURS) as child:
        yield child


async def decode(prep: ChildProcess, source: Path) -> AudioMetadata:
    arguments = {"source": source, "target": source.with_name("decoded.wav"), "channels": None}
    return await prep.call("decoder.decode", arguments, AudioMetadata, unheard)


def written_bytes(prep: ChildProcess) -> int:
    """By the process in all, to the disk and to us."""
    lines = Path(f"/proc/{prep.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


async def refused(
    prep: ChildProcess, source: Path, expected: type[AudioProcessingError], *, peak_bytes: int, disk_bytes: int = MIB
) -> None:
    """With this error, without having taken more than that; nothing is left, and the process goes on."""
    with pytest.raises(AudioProcessingError) as caught:
        await decode(prep, source)
    assert type(caught.value) is expected
    assert str(source.parent) not in str(caught.value)
    assert list(source.parent.iterdir()) == [source]
    assert (prep.usage.peak_rss_bytes or 0) < peak_bytes
    assert written_bytes(prep) < disk_bytes


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("bomb", "expected"),
    [
        (audio_bombs.index_bomb, AudioTruncatedError),
        pytest.param(audio_bombs.edited_index_bomb, AudioTruncatedError, marks=pytest.mark.slow),
        pytest.param(audio_bombs.deep_boxes, AudioTruncatedError, marks=pytest.mark.slow),
        pytest.param(audio_bombs.thousands_of_tracks, AudioCorruptedError, marks=pytest.mark.slow),
    ],
)
async def test_a_few_kilobytes_that_ask_for_gigabytes_of_memory_get_none(
    tmp_path: Path, prep: ChildProcess, bomb: Callable[[], bytes], expected: type[AudioProcessingError]
) -> None:
    """3 to 5 GB in FFmpeg 8.1, in up to a minute: the kernel would have looked for somebody to kill."""
    (tmp_path / "work").mkdir()
    await refused(prep, written(tmp_path / "work" / "a.m4a", bomb()), expected, peak_bytes=200 * MIB)


@pytest.mark.slow
async def test_packets_of_sixteen_million_samples_stay_below_the_bound(tmp_path: Path, prep: ChildProcess) -> None:
    (tmp_path / "work").mkdir()
    source = written(tmp_path / "work" / "a.m4a", audio_bombs.huge_alac())
    await refused(prep, source, AudioCorruptedError, peak_bytes=MAX_MEMORY_BYTES)


@pytest.mark.proves("audio missing, empty, truncated, wrong checksum, not audio, too long or too big")
async def test_hours_in_a_few_kilobytes_end_at_the_longest_recording(tmp_path: Path, prep: ChildProcess) -> None:
    """Three hours in 3 kB, and a header that is not believed."""
    (tmp_path / "work").mkdir()
    source = written(tmp_path / "work" / "a.flac", audio_bombs.constant_flac(160))
    most = round(1.1 * MAX_HOURS * SPOOL_BYTES_PER_HOUR)
    await refused(prep, source, AudioTooLongError, peak_bytes=200 * MIB, disk_bytes=most)


@pytest.mark.slow
async def test_a_day_in_a_few_kilobytes_of_twelve_allowed_hours(tmp_path: Path) -> None:
    """The limit as it is by default; the child is heard of on the way."""
    (tmp_path / "work").mkdir()
    async with prep_child(tmp_path, max_hours=12.0) as prep:
        source = written(tmp_path / "work" / "a.flac", audio_bombs.constant_flac(1400))
        most = round(1.1 * 12 * SPOOL_BYTES_PER_HOUR)
        await refused(prep, source, AudioTooLongError, peak_bytes=200 * MIB, disk_bytes=most)


@pytest.mark.slow
async def test_time_stamps_hours_apart_do_not_become_gigabytes_of_silence(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    async with prep_child(tmp_path, max_hours=12.0) as prep:
        source = audio_bombs.stamped(tmp_path / "work" / "a.mkv", [index * 3_590_000 for index in range(50)])
        await refused(
            prep, source, AudioCorruptedError, peak_bytes=200 * MIB, disk_bytes=round(1.1 * SPOOL_BYTES_PER_HOUR)
        )


@pytest.mark.slow
async def test_time_stamps_centuries_apart_are_wrong_and_filled_with_nothing(
    tmp_path: Path, prep: ChildProcess
) -> None:
    (tmp_path / "work").mkdir()
    source = audio_bombs.stamped(tmp_path / "work" / "a.mkv", [index * 10**12 for index in range(5)])
    await refused(prep, source, AudioTruncatedError, peak_bytes=200 * MIB)


@pytest.mark.parametrize("extension", ["mov", pytest.param("avi", marks=pytest.mark.slow)])
async def test_pictures_are_never_decoded(tmp_path: Path, prep: ChildProcess, extension: str) -> None:
    """Three of 36 megapixels in 2 MB: each is 144 MB once FFmpeg looks into it."""
    metadata = await decode(prep, audio_bombs.with_pictures(tmp_path / f"a.{extension}", 6000))
    assert metadata.duration_s == pytest.approx(1.0, abs=0.1)
    assert (prep.usage.peak_rss_bytes or 0) < 200 * MIB


@pytest.mark.slow
async def test_a_cover_is_never_decoded(tmp_path: Path, prep: ChildProcess) -> None:
    sound = audio_files.encode(tmp_path / "b.mp3", audio_files.speech(2.0)).read_bytes()
    cover = written(tmp_path / "a.mp3", audio_bombs.with_cover(sound, audio_bombs.png(6000)))
    assert (await decode(prep, cover)).duration_s == pytest.approx(2.0, abs=0.1)
    assert (prep.usage.peak_rss_bytes or 0) < 200 * MIB


@pytest.mark.slow
async def test_ten_thousand_empty_chunks_are_passed(tmp_path: Path, prep: ChildProcess) -> None:
    source = audio_bombs.empty_chunks(tmp_path / "a.wav", 160_000)
    assert (await decode(prep, source)).duration_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_gigabyte_of_empty_chunks_is_given_up_before_the_child_is_taken_for_dead(tmp_path: Path) -> None:
    """Two minutes in one call of FFmpeg, and as long once more in the next one. Time itself is the subject."""
    (tmp_path / "work").mkdir()
    async with prep_child(tmp_path, max_hours=1.0) as prep:
        source = audio_bombs.empty_chunks(tmp_path / "work" / "a.wav", 2 * 10**9)
        await refused(prep, source, AudioPreprocessingError, peak_bytes=200 * MIB)


def test_the_bound_on_memory_holds_only_for_as_long_as_it_should() -> None:
    with pytest.raises(AudioCorruptedError), bounded_memory(100 * MIB):
        bytearray(200 * MIB)
    assert len(bytearray(200 * MIB)) == 200 * MIB


async def test_what_names_other_files_and_addresses_makes_nobody_look_there(tmp_path: Path, prep: ChildProcess) -> None:
    """Playlists of every kind; the file that they name is a recording that could be read."""
    (tmp_path / "work").mkdir()
    secret = audio_files.write_sound(tmp_path / "secret.wav", audio_files.speech(1.0))
    with socket.create_server(("127.0.0.1", 0)) as server, watched(secret) as was_opened:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/secret.wav"
        for number, data in enumerate(hostile_audio.references(str(secret), url)):
            source = written(tmp_path / "work" / f"{number}.wav", data)
            with pytest.raises(NotAudioError):
                await decode(prep, source)
            source.unlink()
        with pytest.raises(BlockingIOError):
            server.accept()
        assert not was_opened()
        secret.read_bytes()
        assert was_opened()


async def test_a_recording_whose_sound_is_said_to_lie_in_another_file_is_not_looked_for_there(
    tmp_path: Path, prep: ChildProcess
) -> None:
    """The data reference of a QuickTime file."""
    secret = audio_files.write_sound(tmp_path / "secret.wav", audio_files.speech(1.0))
    whole = audio_files.encode(tmp_path / "b.m4a", audio_files.speech(1.0)).read_bytes()
    inside = b"\0\0\0\x0curl \0\0\0\x01"
    assert whole.count(inside) == 1
    outside = audio_bombs.box(b"alis", bytes(4), os.fsencode(secret.name), bytes(1))
    source = written(tmp_path / "a.m4a", audio_bombs.with_other_reference(whole, inside, outside))
    with watched(secret) as was_opened:
        with suppress(AudioProcessingError):
            await decode(prep, source)
        assert not was_opened()
