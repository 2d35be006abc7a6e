"""What enqueueing does with a file or an address: where it goes, what it is called, and what is refused at once."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.settings import settings_in
from tests.unit.conftest import RealClock
from worker.app_recordings import audio_path_of, enqueue_file, enqueue_url, is_url
from worker.exceptions import AudioMissingError, AudioTooBigError, AudioUrlRefusedError
from worker.models import Meeting, NewMeeting
from worker.testing.store_memory import MemoryStore

ASKED = NewMeeting(title="", language="en")
ID = UUID("6f1d3c1e-0000-4000-8000-000000000001")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(RealClock())


async def row(store: MemoryStore, meeting_id: UUID) -> Meeting:
    found = await store.meeting(meeting_id)
    assert found is not None
    return found.meeting


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("board.mp3", "audio.mp3"),
        ("Möte 3 (räksmörgås).M4A", "audio.m4a"),
        ("evil.w?a#v", "audio.wav"),
        ("notes.éàü", "audio"),
        ("no extension", "audio"),
        (".hidden", "audio"),
        ("a.averylongextension", "audio.averylon"),
        ("a.tar.gz", "audio.gz"),
        ("trailing.", "audio"),
    ],
)
def test_of_a_files_name_only_a_plain_extension_is_in_its_path(name: str, file: str) -> None:
    path = audio_path_of(name, ID, None)
    assert path == f"lab/{ID}/{file}"
    assert re.fullmatch(r"[a-z0-9/.-]+", path)


def test_a_users_recording_lies_below_the_users_id() -> None:
    user = uuid4()
    assert audio_path_of("a.wav", ID, user) == f"{user}/{ID}/audio.wav"


async def test_a_file_is_kept_first_and_its_name_becomes_the_title(tmp_path: Path, store: MemoryStore) -> None:
    file = tmp_path / "Möte 3.WAV"
    file.write_bytes(b"sound" * 1000)
    shares: list[float] = []
    meeting = await row(store, await enqueue_file(settings_in(tmp_path), store, file, ASKED, shares.append))
    assert (meeting.title, meeting.language) == ("Möte 3.WAV", "en")
    assert meeting.audio_path == f"lab/{meeting.id}/audio.wav"
    assert (tmp_path / "recordings" / meeting.audio_path).read_bytes() == file.read_bytes()
    assert shares[-1] == 1.0


async def test_a_title_that_was_given_is_kept(tmp_path: Path, store: MemoryStore) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    asked = NewMeeting(title="Board, 3 May")
    meeting = await row(store, await enqueue_file(settings_in(tmp_path), store, tmp_path / "a.wav", asked))
    assert meeting.title == "Board, 3 May"


async def test_a_file_that_no_worker_would_take_is_refused_before_it_is_copied(
    tmp_path: Path, store: MemoryStore
) -> None:
    (tmp_path / "big.wav").write_bytes(b"x" * 101)
    settings = settings_in(tmp_path, MAX_AUDIO_BYTES="100")
    with pytest.raises(AudioTooBigError, match=r"big\.wav has 101 bytes; 100 are allowed\."):
        await enqueue_file(settings, store, tmp_path / "big.wav", ASKED)
    assert list((tmp_path / "recordings").iterdir()) == []
    assert await store.meetings() == ()


async def test_without_a_file_there_is_no_row(tmp_path: Path, store: MemoryStore) -> None:
    with pytest.raises(AudioMissingError):
        await enqueue_file(settings_in(tmp_path), store, tmp_path / "missing.wav", ASKED)
    assert await store.meetings() == ()


@pytest.mark.parametrize(
    ("url", "title"),
    [
        ("https://media.example.org/2024/M%C3%B6te%203.mp3?token=abc", "Möte 3.mp3"),
        ("HTTPS://media.example.org/folder/", "folder"),
        ("https://media.example.org", "media.example.org"),
    ],
)
async def test_an_address_is_left_for_the_worker_to_fetch(store: MemoryStore, url: str, title: str) -> None:
    meeting = await row(store, await enqueue_url(store, url, ASKED))
    assert (meeting.audio_url, meeting.audio_path, meeting.title) == (url, None, title)


@pytest.mark.parametrize("url", ["http://media.example.org/a.mp3", "ftp://x/a.mp3", "file:///etc/passwd", "https:///a"])
async def test_any_other_address_is_refused(store: MemoryStore, url: str) -> None:
    assert is_url(url)
    with pytest.raises(AudioUrlRefusedError, match="https://"):
        await enqueue_url(store, url, ASKED)
    assert await store.meetings() == ()


@pytest.mark.parametrize("name", ["a.wav", "/tmp/a.wav", "C:\\a.wav", "https.wav", "odd:name/a.wav"])
def test_what_has_no_scheme_is_a_file(name: str) -> None:
    assert not is_url(name)
