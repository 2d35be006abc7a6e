"""
A queue with everything around it that a test needs: a clock to turn, people who edit the tables, and eyes on the rows.

One subclass per store; the contract suite (tests/contract/test_store_*.py) knows only QueueWorld. The clock stands
still until a test turns it, in Postgres too: there the queue's only clock, pc_worker.now(), is replaced in the test's
database.
"""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.queue_invariants import BROKEN
from tests.support.queue_values import AttemptSeen, JobSeen, SpeakerSeen
from tests.support.queue_values import result as result
from tests.support.queue_values import worker_info as worker_info
from worker.adapters.migrate_postgres import migrate
from worker.adapters.postgres_errors import mapped
from worker.adapters.store_postgres import PostgresStore
from worker.models import (
    Beat,
    Claim,
    MeetingDetail,
    MeetingStatus,
    NewMeeting,
    ProcessingResult,
    Stage,
    WorkerInfo,
)
from worker.ports import Store
from worker.testing.memory_tables import EPOCH, QueueLimits
from worker.testing.store_memory import MemoryStore

# --- worlds ------------------------------------------------------------------------------------------------------


class QueueWorld(ABC):
    """The store under test and what surrounds it."""

    store: Store
    limits = QueueLimits()

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Turn the queue's clock. Nobody calls meanwhile: the fleet is silent."""

    @abstractmethod
    def another_store(self) -> Store:
        """A second client of the same queue."""

    @abstractmethod
    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None: ...

    @abstractmethod
    def edit_text(self, meeting_id: UUID, index: int, text: str) -> None: ...

    @abstractmethod
    def edit_priority(self, meeting_id: UUID, priority: int) -> None: ...

    @abstractmethod
    def delete_meeting(self, meeting_id: UUID) -> None: ...

    @abstractmethod
    def name_speaker(self, speaker_id: UUID, name: str | None) -> None:
        """By hand, in the table."""

    @abstractmethod
    def delete_speaker(self, speaker_id: UUID) -> None: ...

    @abstractmethod
    def job(self, meeting_id: UUID) -> JobSeen: ...

    @abstractmethod
    def attempts(self, meeting_id: UUID) -> list[AttemptSeen]:
        """Oldest first."""

    @abstractmethod
    def speaker_rows(self) -> list[SpeakerSeen]: ...

    async def advance_with_fleet(self, seconds: float) -> None:
        """Turn the clock while another worker goes on calling, so that the queue sees no outage."""
        bystander = await self.worker("bystander", host="pc-9")
        while seconds > 0:
            step_s = min(seconds, self.limits.heartbeat_s)
            self.advance(step_s)
            await self.store.heartbeat(bystander.worker_id, bystander.instance_id, [])
            seconds -= step_s

    async def expire_leases(self) -> None:
        """Long enough that the next claim reaps every lease that is not renewed."""
        await self.advance_with_fleet(self.limits.lease_s + self.limits.grace_s + 1)

    async def worker(self, worker_id: str = "w1", *, host: str = "pc-1") -> WorkerInfo:
        """A registered worker."""
        info = worker_info(worker_id, host=host)
        registration = await self.store.register(info)
        if registration.outcome != "registered":  # the bystander of an earlier call
            raise AssertionError(registration)
        return info

    async def enqueue(self, title: str = "meeting", **columns: Any) -> UUID:
        return await self.store.enqueue(NewMeeting(title=title, **{"audio_path": "lab/a.wav", **columns}))

    async def try_claim(self, info: WorkerInfo, **options: float) -> Claim | None:
        answer = await self.store.claim(info.worker_id, info.instance_id, uuid4(), **options)
        return answer.claim

    async def claim(self, info: WorkerInfo) -> Claim:
        claim = await self.try_claim(info)
        assert claim is not None, "there should have been something to claim"
        return claim

    async def beat(
        self, info: WorkerInfo, claim: Claim, stage: Stage | None = None, progress: float | None = None
    ) -> str:
        beats = [Beat(meeting_id=claim.meeting.id, token=claim.token, stage=stage, progress=progress)]
        answer = await self.store.heartbeat(info.worker_id, info.instance_id, beats)
        return answer.jobs[0].outcome

    async def completed(self, info: WorkerInfo, *texts: str) -> UUID:
        """A meeting that went through."""
        return await self.heard(info, result(*texts or ("hello",)))

    async def heard(self, info: WorkerInfo, sent: ProcessingResult, **columns: Any) -> UUID:
        """A meeting that went through with this result."""
        meeting_id = await self.enqueue(**columns)
        await self.complete_next(info, sent)
        return meeting_id

    async def heard_anew(self, info: WorkerInfo, meeting_id: UUID, sent: ProcessingResult) -> None:
        await self.store.retry(meeting_id)
        await self.complete_next(info, sent)

    async def complete_next(self, info: WorkerInfo, sent: ProcessingResult) -> None:
        claim = await self.claim(info)
        answer = await self.store.complete(claim.meeting.id, claim.token, sent)
        assert answer.outcome == "completed"

    async def detail(self, meeting_id: UUID) -> MeetingDetail:
        """A meeting that must be there, and everything that was written about it."""
        detail = await self.store.meeting(meeting_id)
        assert detail is not None
        return detail

    async def texts(self, meeting_id: UUID) -> list[str]:
        return [part.text for part in (await self.detail(meeting_id)).segments]

    async def status_of(self, meeting_id: UUID) -> MeetingStatus:
        return (await self.detail(meeting_id)).meeting.status


class TurnedClock:
    """worker.ports.Clock that a test turns."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class MemoryWorld(QueueWorld):
    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.memory = MemoryStore(self.clock)
        self.store = self.memory

    def advance(self, seconds: float) -> None:
        self.clock.at_s += seconds

    def another_store(self) -> Store:
        return self.memory

    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None:
        self.memory.edit_status(meeting_id, status)

    def edit_text(self, meeting_id: UUID, index: int, text: str) -> None:
        self.memory.edit_text(meeting_id, index, text)

    def edit_priority(self, meeting_id: UUID, priority: int) -> None:
        self.memory.edit_priority(meeting_id, priority)

    def delete_meeting(self, meeting_id: UUID) -> None:
        self.memory.delete_meeting(meeting_id)

    def name_speaker(self, speaker_id: UUID, name: str | None) -> None:
        self.memory.edit_name(speaker_id, name)

    def delete_speaker(self, speaker_id: UUID) -> None:
        self.memory.delete_speaker(speaker_id)

    def job(self, meeting_id: UUID) -> JobSeen:
        job = self.memory.queue.jobs[meeting_id]
        return JobSeen(
            job.state,
            job.token,
            job.num_attempts,
            job.num_failures,
            job.num_crashes,
            job.lease_expires_at is not None,
        )

    def attempts(self, meeting_id: UUID) -> list[AttemptSeen]:
        return [
            AttemptSeen(past.token, past.attempt, past.worker_id, past.outcome, past.code, past.stage)
            for past in self.memory.queue.attempts.values()
            if past.meeting_id == meeting_id
        ]

    def speaker_rows(self) -> list[SpeakerSeen]:
        return [
            SpeakerSeen(
                row.id, row.name, row.user_id, row.meeting_ids, row.centroid, len(row.embeddings), row.keeps_voice
            )
            for row in self.memory.queue.voices.rows().values()
        ]


class PostgresWorld(QueueWorld):
    """A migrated database of its own, whose queue's clock stands still."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._stores: list[Store] = []
        self.store = self.another_store()
        self.admin: psycopg.Connection[dict[str, Any]] = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        self.admin.close()

    def another_store(self) -> Store:
        store = self.new_store()
        self._stores.append(store)
        return store

    def new_store(self) -> Store:
        return PostgresStore(self.dsn, application_name="contract test")

    def advance(self, seconds: float) -> None:
        self.admin.execute("update pc_worker.test_clock set at = at + make_interval(secs => %s)", [seconds])

    def edit(self, statement: str, *parameters: object) -> None:
        """What somebody does in the table editor; refusals come as our errors, as everywhere."""
        try:
            self.admin.execute(statement.encode(), parameters)
        except psycopg.Error as error:
            raise mapped(error) from error

    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None:
        self.edit("update public.meetings set status = %s where id = %s", status.value, meeting_id)

    def edit_text(self, meeting_id: UUID, index: int, text: str) -> None:
        self.edit(
            "update public.transcript_segments set text = %s where meeting_id = %s and segment_index = %s",
            text,
            meeting_id,
            index,
        )

    def edit_priority(self, meeting_id: UUID, priority: int) -> None:
        self.edit("update public.meetings set priority = %s where id = %s", priority, meeting_id)

    def delete_meeting(self, meeting_id: UUID) -> None:
        self.edit("delete from public.meetings where id = %s", meeting_id)

    def name_speaker(self, speaker_id: UUID, name: str | None) -> None:
        self.edit("update public.speakers set name = %s where id = %s", name, speaker_id)

    def delete_speaker(self, speaker_id: UUID) -> None:
        self.edit("delete from public.speakers where id = %s", speaker_id)

    def empty(self) -> None:
        """As new, with the clock at zero."""
        self.admin.execute(_EMPTY.encode())

    def broken_invariants(self) -> list[str]:
        return [row["broken"] for row in self.rows(BROKEN)]

    def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        return self.admin.execute(statement.encode(), parameters).fetchall()

    def job(self, meeting_id: UUID) -> JobSeen:
        row = self.rows("select * from pc_worker.jobs where meeting_id = %s", meeting_id)[0]
        return JobSeen(
            row["state"],
            row["token"],
            row["num_attempts"],
            row["num_failures"],
            row["num_crashes"],
            row["lease_expires_at"] is not None,
        )

    def attempts(self, meeting_id: UUID) -> list[AttemptSeen]:
        columns = "token, attempt, worker_id, outcome, code, stage"
        rows = self.rows(
            f"select {columns} from pc_worker.job_attempts where meeting_id = %s order by token", meeting_id
        )
        return [AttemptSeen(**row) for row in rows]

    def speaker_rows(self) -> list[SpeakerSeen]:
        rows = self.rows(
            "select s.*, (select count(*) from public.speaker_embeddings e where e.speaker_id = s.id) as num_embeddings"
            " from public.speakers s order by s.id"
        )
        return [
            SpeakerSeen(
                row["id"],
                row["name"],
                row["user_id"],
                tuple(row["meeting_ids"]),
                None if row["embedding"] is None else tuple(row["embedding"]),
                row["num_embeddings"],
                row.get("keeps_voice", True),
            )
            for row in rows
        ]


# --- databases ---------------------------------------------------------------------------------------------------

TEMPLATE = "pcw_template"

STILL_CLOCK = f"""
create table pc_worker.test_clock (at timestamptz not null);
insert into pc_worker.test_clock values ('{EPOCH.isoformat()}');
create or replace function pc_worker.now() returns timestamptz language sql volatile set search_path = ''
as $$ select at from pc_worker.test_clock $$;
update pc_worker.pulse set last_call_at = pc_worker.now();
"""

_EMPTY = f"""
delete from public.meetings;
delete from public.speakers;
delete from public.speaker_decisions;
delete from pc_worker.speaker_versions;
delete from public.vocabulary;
delete from public.summary_guidance;
delete from pc_worker.workers;
delete from pc_worker.settings;
insert into pc_worker.settings default values;
update pc_worker.test_clock set at = '{EPOCH.isoformat()}';
update pc_worker.pulse set last_call_at = pc_worker.now(), quiet_until = '-infinity';
"""

_numbers = itertools.count(1)


def make_template(server_dsn: str) -> str:
    """A migrated database with a clock that stands still, to be copied; the conninfo of a first copy, to be shared."""
    with fresh_database(server_dsn, name=TEMPLATE, keep=True) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(STILL_CLOCK.encode())
    with fresh_database(server_dsn, template=TEMPLATE, keep=True) as dsn:
        return dsn


@contextlib.contextmanager
def fresh_database(
    server_dsn: str, *, name: str = "", template: str = "template1", keep: bool = False
) -> Iterator[str]:
    """The conninfo of a database of one's own. Takes a third of a second: emptying a shared one takes a hundredth."""
    name = name or f"test_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"'.encode())
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            if not keep:
                connection.execute(f'drop database "{name}" with (force)'.encode())


@contextlib.asynccontextmanager
async def postgres_world(dsn: str) -> AsyncIterator[PostgresWorld]:
    """The world of a database that make_template made, emptied."""
    world = PostgresWorld(dsn)
    try:
        world.empty()
        yield world
    finally:
        await world.close()
