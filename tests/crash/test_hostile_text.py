"""
Meetings whose titles, names and files are written by somebody with bad intentions, through a real worker and the real
commands: all of them are done, nothing of it reaches a terminal or a log as anything but text.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.crash.conftest import Lab
from tests.support.nasty_text import ACTING, NASTY
from tests.support.shell import Shell
from tests.support.worker_process import ROOT, environment_in, url_of
from worker.adapters.store_wire import storable
from worker.models import MeetingStatus, NewMeeting

pytestmark = pytest.mark.crash

CLEARS = "\x1b]0;window title\x07"
"""Of NASTY."""

PATHS = (
    "../secret.wav",
    "/etc/passwd",
    "lab/../../x",
    "lab//x",
    "lab/\n.wav",
    "C:\\x",
    "lab/x\x1b[2J.wav",
    "." * 300,
    "",
)
"""No place in the storage has such a name."""

PLAIN_PATHS = (
    "lab/a b?c#d%2e%2e%2f.wav",
    "lab/-rf",
    "lab/%s%n",
    "lab/'; drop table meetings; --.wav",
    "lab/\U0001f600",
)
"""Odd, and as good as any other."""


def shell_of(lab: Lab) -> Shell:
    return Shell(lab.folder, environment_in(lab.folder, url_of(lab.dsn), f"cli-{lab.folder.name}"))


async def commanded(shell: Shell, *arguments: str) -> str:
    """What a command wrote, after looking at every character of it."""
    done = await asyncio.to_thread(shell, *arguments)
    assert done.returncode == 0, done.stderr
    assert not re.search(ACTING, done.stdout + done.stderr)
    return done.stdout


@pytest.mark.parametrize("titles", [NASTY[::3], pytest.param(NASTY, marks=pytest.mark.slow)], ids=["some", "all"])
async def test_meetings_with_nasty_titles_are_done_shown_and_logged(lab: Lab, titles: tuple[str, ...]) -> None:
    ids = [await lab.enqueue(title) for title in titles]
    lab.execute("update public.meetings set prompt = title, hotwords = left(title, 500)")
    worker = lab.worker("w1", once=True, LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    assert worker.wait(patience_s=100) == 0, worker.errors
    for meeting_id, title in zip(ids, titles, strict=True):
        found = (await lab.found(meeting_id)).meeting
        assert (found.status, found.title) == (MeetingStatus.COMPLETED, storable(title))
    lab.assert_sound()
    assert_one_object_per_line(worker.errors)
    for log in (lab.folder / f"logs-w1-{lab.folder.name}").rglob("*.log"):
        assert_one_object_per_line(log.read_text())

    speaker = (await lab.store.people())[0].id
    await lab.store.name_speaker(speaker, CLEARS)
    shell = shell_of(lab)
    listed = await commanded(shell, "list")
    assert len(listed.splitlines()) == 1 + len(titles)
    await commanded(shell, "speakers", "list")
    await commanded(shell, "show", str(ids[titles.index(CLEARS)]))
    told = json.loads(await commanded(shell, "list", "--json"))
    assert {meeting["title"] for meeting in told["meetings"]} == {storable(title) for title in titles}


def assert_one_object_per_line(text: str) -> None:
    """No title stands in a log at all, and no line is anything but an object of ours."""
    for line in text.splitlines():
        assert {"time", "level", "message"} <= json.loads(line).keys()
    assert "drop table" not in text
    assert not re.search(ACTING, text)


@pytest.mark.slow
async def test_recordings_at_nasty_places_are_refused_and_the_odd_ones_are_fetched(lab: Lab) -> None:
    """Nothing outside of the storage is looked at; `?`, `#` and `%` are letters of a name."""
    (lab.folder / "secret.wav").write_text("{}")
    refused = [await lab.store.enqueue(NewMeeting(title="x", audio_path=path)) for path in PATHS]
    done = []
    for path in PLAIN_PATHS:
        place = lab.folder / "recordings" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
        done.append(await lab.store.enqueue(NewMeeting(title="x", audio_path=path)))
    lab.execute("update pc_worker.settings set waiting_give_up_s = 0, max_failures = 1")
    worker = lab.worker("w1", once=True)
    assert worker.wait() == 0, worker.errors
    codes = [(await lab.found(meeting_id)).meeting.error_code for meeting_id in refused]
    assert set(codes) <= {"audio_path_refused", "audio_missing"}
    assert codes.count("audio_path_refused") >= len(PATHS) - 1
    for meeting_id in done:
        assert await lab.status(meeting_id) is MeetingStatus.COMPLETED


def enqueue(lab: Lab, name: bytes) -> UUID:
    """A file of that name, as a person names it in a shell; the meeting's id."""
    environment = {**shell_of(lab).environment, "PYTHONPATH": str(ROOT)}
    command = [os.fsencode(sys.executable), b"-m", b"worker", b"enqueue", b"--", name]
    done = subprocess.run(command, cwd=lab.folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert not re.search(ACTING, done.stderr)
    return UUID(done.stdout.strip())


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9 \xff.wav",
        *(pytest.param(n, marks=pytest.mark.slow) for n in (b"-rf", b"a\nb\x1b[2J.wav", b"[red]%s.wav")),
    ],
)
async def test_files_whose_names_are_no_text_are_enqueued(lab: Lab, name: bytes) -> None:
    """A folder may hold names that are no UTF-8: what cannot be written is replaced in the title."""
    Path(os.fsdecode(os.fsencode(lab.folder) + b"/" + name)).write_text("{}")
    meeting_id = await asyncio.to_thread(enqueue, lab, name)
    worker = lab.worker("w1", once=True)
    assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED


@pytest.mark.slow
async def test_a_title_of_ten_megabytes_is_a_title(lab: Lab) -> None:
    meeting_id = await lab.enqueue("x" * 10_000_000)
    worker = lab.worker("w1", once=True)
    assert worker.wait() == 0, worker.errors
    assert await lab.status(meeting_id) is MeetingStatus.COMPLETED
    shell = shell_of(lab)
    assert len(await commanded(shell, "list")) < 10_000
    await commanded(shell, "status")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[/red]", "\x1b[2J"])
@pytest.mark.parametrize("command", [["drain"], ["speakers", "forget"]])
async def test_a_command_that_is_given_nonsense_says_so(lab: Lab, text: str, command: list[str]) -> None:
    done = await asyncio.to_thread(shell_of(lab), *command, text)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not re.search(ACTING, done.stderr)
