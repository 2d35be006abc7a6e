"""A census that cannot fail proves nothing: it must find what is wrong. And half a minute of `make soak` itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.soak.census import Asked, Census, take_census
from tests.soak.database import Client, Server, keep_notes
from tests.soak.leaks import find_leaks
from tests.soak.pc import PC
from tests.soak.plan import Fate, PlannedMeeting, meetings_of
from tests.support.embedded_postgres import reachable_directory
from tests.support.queue_values import result, worker_info
from tests.support.queue_worlds import fresh_database
from tests.support.worker_process import ROOT
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import NewMeeting

pytestmark = pytest.mark.crash

PLAN = tuple(replace(m, fate=Fate.PLAIN, num_turns=2) for m in meetings_of(1, duration_s=60, num_meetings=3))
ALL = Asked({meeting.id for meeting in PLAN})
FIRST, SECOND = PLAN[0].id, PLAN[1].id


def texts(meeting: PlannedMeeting) -> list[str]:
    return [" ".join(f"{meeting.mark}{turn}-{word}" for word in range(3)) for turn in range(meeting.num_turns)]


async def complete_all(dsn: str) -> None:
    store, info, by_id = PostgresStore(dsn, application_name="soak test"), worker_info(), {m.id: m for m in PLAN}
    await store.register(info)
    for meeting in PLAN:
        await store.enqueue(
            NewMeeting(id=meeting.id, title=meeting.mark, user_id=meeting.owner, audio_path=meeting.audio_path)
        )
    for _ in PLAN:
        claim = (await store.claim(info.worker_id, info.instance_id, uuid4())).claim
        assert claim is not None
        done = result(*texts(by_id[claim.meeting.id]))
        assert (await store.complete(claim.meeting.id, claim.token, done)).outcome == "completed"
    await store.close()


@pytest.fixture(scope="module")
def good_night(crash_server_dsn: str) -> Iterator[str]:
    """A database in which every meeting of the plan is completed, as it should be."""
    with fresh_database(crash_server_dsn, name=f"soak_{uuid4().hex[:12]}") as dsn:
        migrate(dsn)
        keep_notes(dsn)
        asyncio.run(complete_all(dsn))
        yield dsn


def census_after(dsn: str, wrong: str = "", asked: Asked = ALL) -> Census:
    """The census of the good night after one thing was made wrong, behind the back of all triggers; then undone."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set local session_replication_role = replica")
        for statement in filter(None, wrong.split(";")):
            connection.execute(statement.encode())

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode()).fetchall()

        census = take_census(rows, PLAN, asked)
        connection.rollback()
    return census


def found_in(census: Census) -> dict[str, int]:
    names = ("lost", "duplicated", "partial", "unwanted", "broken")
    return {name: len(getattr(census, name)) for name in names if getattr(census, name)}


def test_a_good_night_is_all_there(good_night: str) -> None:
    census = census_after(good_night)
    assert found_in(census) == {}
    assert (census.num_inserted, census.num_completed) == (3, 3)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (f"delete from public.meetings where id = '{FIRST}'", "lost"),
        (f"update public.meetings set status = 'failed', error_code = 'poison' where id = '{FIRST}'", "lost"),
        (f"update public.meetings set status = 'processing' where id = '{FIRST}'", "lost"),
        (
            "insert into pc_worker.job_attempts select token + 100, meeting_id, 2, worker_id, instance_id, started_at,"
            f" ended_at, outcome, code, stage from pc_worker.job_attempts where meeting_id = '{FIRST}'",
            "duplicated",
        ),
        (
            f"update public.transcript_segments set text = '{texts(PLAN[1])[0]}'"
            f" where meeting_id = '{FIRST}' and segment_index = 1",
            "duplicated",
        ),
        (
            "insert into public.transcript_segments (meeting_id, segment_index, start_s, end_s, text)"
            " select meeting_id, segment_index + 2, start_s, end_s, text from public.transcript_segments"
            f" where meeting_id = '{FIRST}'",
            "duplicated",
        ),
        (f"delete from public.transcript_segments where meeting_id = '{FIRST}' and segment_index = 0", "partial"),
        (f"delete from public.transcript_segments where meeting_id = '{FIRST}'", "partial"),
        (f"delete from public.meeting_summaries where meeting_id = '{FIRST}'", "partial"),
        (f"delete from public.meeting_speakers where meeting_id = '{FIRST}'", "partial"),
        (f"""update public.meetings set warnings = '[{{"code": "odd"}}]' where id = '{FIRST}'""", "partial"),
        (f"update pc_worker.jobs set state = 'pending' where meeting_id = '{FIRST}'", "broken"),
    ],
)
def test_what_is_wrong_is_found(good_night: str, wrong: str, found: str) -> None:
    assert found in found_in(census_after(good_night, wrong))


def test_what_users_did_not_want_is_not_counted_as_lost_and_must_not_come_back(good_night: str) -> None:
    gone = replace(ALL, asked_to_delete={FIRST})
    assert found_in(census_after(good_night, asked=gone)) == {"unwanted": 1}
    assert "lost" not in found_in(census_after(good_night, f"delete from public.meetings where id = '{FIRST}'", gone))
    cancelled = replace(ALL, asked_to_cancel={FIRST}, cancelled={FIRST})
    assert found_in(census_after(good_night, asked=cancelled)) == {"unwanted": 1}


def test_a_retried_meeting_may_be_completed_twice(good_night: str) -> None:
    again = (
        "insert into pc_worker.job_attempts select token + 100, meeting_id, 2, worker_id, instance_id, started_at,"
        f" ended_at, outcome, code, stage from pc_worker.job_attempts where meeting_id = '{FIRST}';"
        f"insert into soak.notes (meeting_id, note) values ('{FIRST}', 'retried')"
    )
    assert "duplicated" not in found_in(census_after(good_night, again))


@pytest.mark.slow
def test_what_is_left_behind_is_found() -> None:
    with reachable_directory() as folder, subprocess.Popen(["sleep", "600"]) as sleeper:
        server = Server(folder / "postgres", lease_s=6, heartbeat_s=1, grace_s=2)
        pc = PC(0, folder / "pc0", folder, server.dsn, "test")
        client = Client(server.dsn, "soak: test")
        (pc.temp / str(FIRST)).mkdir(parents=True)
        (pc.tmpdir / "forgotten").touch()
        with psycopg.connect(server.dsn, application_name="pc-worker of before"):
            leaks = find_leaks(server, [pc], client, {"/dev/shm"}, settles_within_s=0)
        sleeper.kill()
        client.close()
        pc.close(0.0)
        server.close()
    assert [path.split(": ")[-1] for path in leaks.files] == [f"temp_audio/{FIRST}", "tmp/forgotten", "/dev/shm"]
    assert leaks.connections == ["pc-worker of before"]
    assert f"{sleeper.pid}: sleep 600" in leaks.processes


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_half_a_minute_of_faults_loses_nothing(tmp_path: Path) -> None:
    """`make soak`, small: two PCs, a fault every four seconds. In a process of its own, which adopts all orphans."""
    figures = tmp_path / "soak.json"
    command = ["--minutes", "0.6", "--workers", "2", "--meetings", "60", "--fault-every", "4", "--json", str(figures)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.soak", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(figures.read_text())
    assert told["faults_found"] == []
    assert int(told["rows"]["completed"]) > 45
    assert told["rows"]["meetings inserted"] == "60"
