"""`python -m worker speakers` as people use it: real processes, a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.embedded_postgres import temporary_postgres
from tests.support.queue_values import matched, result, voice, worker_info
from tests.support.shell import Shell
from tests.support.worker_process import environment_in, url_of
from worker import demo
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingSpeaker, NewMeeting

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with temporary_postgres() as dsn:
        migrate(dsn)
        yield dsn


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    return Shell(tmp_path, environment_in(tmp_path, url_of(dsn), "speakers"))


def completed(dsn: str, *voices: MeetingSpeaker) -> tuple[UUID, list[UUID | None]]:
    """A meeting with these voices, and whose they are."""

    async def work() -> tuple[UUID, list[UUID | None]]:
        store, info = PostgresStore(dsn, application_name="test"), worker_info()
        await store.register(info)
        meeting_id = await store.enqueue(NewMeeting(title="x", audio_path="lab/a.wav"))
        claim = (await store.claim(info.worker_id, info.instance_id, UUID(int=meeting_id.int))).claim
        assert claim is not None
        answer = await store.complete(meeting_id, claim.token, result("hello", voices=voices))
        assert answer.outcome == "completed"
        found = await store.meeting(meeting_id)
        await store.close()
        assert found is not None
        return meeting_id, [one.speaker_id for one in found.speakers]

    return asyncio.run(work())


def test_a_person_is_named_suggested_confirmed_undone_and_forgotten(shell: Shell, dsn: str) -> None:
    _, (ada,) = completed(dsn, voice("SPEAKER_00"))
    named = shell("speakers", "name", str(ada)[:13], "Ada")
    assert (named.returncode, named.stdout) == (0, "")
    assert named.stderr.startswith("Named Ada. To take that back: `python -m worker speakers undo ")
    meeting_id, _ = completed(dsn, matched("SPEAKER_00", "suggested", ada))
    assert f"SPEAKER_00 may be Ada. If so: `python -m worker speakers confirm {meeting_id}" in " ".join(
        shell("show", str(meeting_id)).stdout.split()
    )
    assert shell("speakers", "confirm", str(meeting_id), "SPEAKER_00").stderr.startswith("SPEAKER_00 is Ada. ")
    newest = shell.json("speakers", "history", "--limit", "1")["decisions"][0]
    assert (newest["kind"], newest["speaker_id"], newest["decided_by"]) == ("confirmed", str(ada), "lab")
    assert shell("speakers", "undo", str(newest["id"])).stderr == "Taken back.\n"

    asked = shell("speakers", "forget", "Ada")
    assert (asked.returncode, "Erase all voiceprints of Ada" in asked.stderr) == (1, True)  # nobody said yes
    assert shell("speakers", "forget", "Ada", "--yes").stderr == "The voice is erased.\n"
    listed = next(one for one in shell.json("speakers", "list")["speakers"] if one["id"] == str(ada))
    assert (listed["name"], listed["num_voiceprints"]) == ("Ada", 0)


def test_what_is_not_there_is_said_so(shell: Shell) -> None:
    """With exit code 1, and where to look."""
    nobody = shell("speakers", "name", "Zoe", "Zora")
    assert (nobody.returncode, "There is no speaker Zoe." in nobody.stderr) == (1, True)
    undone = shell("speakers", "undo", "987654")
    assert (undone.returncode, "There is no decision 987654." in undone.stderr) == (1, True)
    assert shell("speakers", "refresh").returncode == 2


def models_of(dsn: str, meeting_id: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select model from public.speaker_embeddings where meeting_id = %s", [meeting_id])
        return {model for (model,) in rows}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.engine
def test_voices_are_described_anew_from_the_recording(shell: Shell, dsn: str) -> None:
    """By the real describer, after a real meeting whose voices were described by a model of long ago."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("delete from public.meetings")
    sample = demo.sample().audio
    meeting_id = shell("enqueue", str(sample)).stdout.strip()
    done = shell("run", "--once", ASR_ENGINE="sphinx", DIARIZER="bundled")
    assert done.returncode == 0, done.stderr
    present = models_of(dsn, meeting_id)
    assert len(present) >= 1
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update public.speaker_embeddings set model = 'older' where meeting_id = %s", [meeting_id])
    refreshed = shell("speakers", "refresh", "--all")
    assert (refreshed.returncode, refreshed.stderr.splitlines()[-1]) == (0, "That is all."), refreshed.stderr
    assert models_of(dsn, meeting_id) == {"older"} | present
    again = shell("speakers", "refresh", meeting_id)
    assert (again.returncode, "nothing to add" in again.stderr) == (0, True)
