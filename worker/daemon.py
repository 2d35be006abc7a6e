"""
PCWorker: takes meetings from the queue, keeps their leases alive, and stops without losing any.

It computes nothing itself, so that a heartbeat is never late: the stages run in child processes, the database is behind
the Store port. The heartbeat goes on until the last job is settled; if it dies, the worker stops loudly.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

from worker import events
from worker.exceptions import (
    DiskFullError,
    Disposition,
    PCWorkerException,
    SchemaMismatchError,
    WorkerIdTakenError,
    from_code,
)
from worker.gates import Gates
from worker.housekeeping import Housekeeping, Keeping
from worker.job import Job, JobRunner
from worker.kept_results import KeptResults
from worker.models import Claim, ClaimAnswer, Registration, Trouble, WorkerInfo
from worker.pipeline import Pipeline
from worker.ports import Clock, Gate, Observer, Store
from worker.store_calls import StoreCalls, is_set_within
from worker.troubles import Troubles

T = TypeVar("T")

CLAIM_AHEAD_AFTER_S = 60.0
"""A busy worker claims ahead only what an idle one would have taken long ago."""

MIN_BEAT_GAP_S = 2.0
"""A change of stage is shown soon, but beats are never closer than this."""

DRAINED = "drained"
"""The code of the trouble while somebody has told this worker to take no more meetings."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, how many, how long."""

    polling_s: float = 5.0
    max_jobs: int = 2
    num_engines: int = 1
    grace_s: float = 60.0
    keep_days: float = 7.0
    keep_stages_days: float = 0.0
    sweep_s: float = 3600.0


class PCWorker:
    """One worker on one PC; `run` may be called once."""

    def __init__(
        self,
        *,
        info: WorkerInfo,
        store: Store,
        pipeline: Pipeline,
        temp_dir: Path,
        observe: Observer,
        clock: Clock,
        random: Random,
        pace: Pace,
        troubles: Troubles | None = None,
        gates: Sequence[Gate] = (),
        missing_bytes: Callable[[], int] = int,
    ) -> None:
        """
        `troubles` are told to the fleet with each heartbeat; `gates` are asked before each claim; `missing_bytes`, once
        one of them says that a disk is full, for what must go from that of `temp_dir`.
        """
        self.info, self.store, self.observe, self.random, self.pace = info, store, observe, random, pace
        self.num_completed = 0
        self._calls = StoreCalls(observe, random)
        self._runner = JobRunner(
            store,
            self._calls,
            pipeline,
            temp_dir,
            observe,
            clock,
            random,
            on_stage=self._on_stage,
            keeps_stages=pace.keep_stages_days > 0,
        )
        self._results = KeptResults(
            store,
            self._calls,
            temp_dir,
            observe,
            clock,
            random,
            keeps_voices=pipeline.identify_speakers,
            keeps_stages=pace.keep_stages_days > 0,
        )
        keeping = Keeping(pace.keep_days, pace.keep_stages_days, pace.sweep_s)
        self._house = Housekeeping(store, self._results, temp_dir, observe, clock, keeping, missing_bytes)
        self._troubles = troubles or Troubles(observe)
        self._told_troubles: tuple[Trouble, ...] = ()
        self._gates = Gates(gates, self._troubles)
        self._jobs: dict[int, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake, self._beat_soon = asyncio.Event(), asyncio.Event()
        self._heartbeat_s = 30.0
        self._is_claiming = False

    def request_stop(self) -> None:
        """
        The first time: take no more and finish what fits the grace. The second time, or before the first claim: leave
        now and give everything back.
        """
        if self._calls.stopping.is_set() or not self._is_claiming:
            self._calls.leaving.set()
        self._calls.stopping.set()
        self._wake.set()

    async def run(self, *, once: bool = False) -> int:
        """
        Work until told to stop or, with `once`, until nothing is pending and nothing is leased by this worker.

        Returns:
            the number of meetings completed.

        Raises:
            WorkerIdTakenError: the same WORKER_ID lives on another host, for longer than a lease.
            PCWorkerException: with `once` also when the database cannot be reached at the start, or a gate is closed.
        """
        num_replayed = await self._results.deliver_all(once=once)
        registration = await self._register(once=once)
        if registration is None:
            return 0
        self.observe(events.WorkerStarted(self.info.worker_id, num_replayed, registration.num_taken_over))
        self._is_claiming = True
        heart = asyncio.create_task(self._beat_until_cancelled(), name="heartbeat")
        heart.add_done_callback(lambda _: self.request_stop())
        try:
            async with self._house.at_work(once=once):
                await self._claim_until_stopped(once=once)
                await self._drain(heart)
        finally:
            await self._give_everything_back()
            heart.cancel()
            await asyncio.wait([heart])
        self.observe(events.WorkerStopped(self.info.worker_id, self.num_completed))
        if not heart.cancelled() and (error := heart.exception()) is not None:
            raise error
        return self.num_completed

    # --- before the first claim --------------------------------------------------------------------------------

    async def _register(self, *, once: bool) -> Registration | None:
        """None when told to stop meanwhile. A name that is taken is asked for again, until a lease has passed."""
        waited_s = 0.0
        while True:
            answer = await self._until_stopped("register", self._register_once, once=once)
            if answer is None:
                return None
            self._heartbeat_s = answer.heartbeat_s
            if answer.outcome == "registered":
                return answer
            pause_s, refusal = min(answer.heartbeat_s, answer.lease_s - waited_s), answer.message
            if pause_s <= 0.0:
                raise WorkerIdTakenError(refusal)
            self.observe(events.StoreUnavailable("register", WorkerIdTakenError.code, pause_s, refusal or ""))
            if await is_set_within(self._calls.stopping, pause_s):
                return None
            waited_s += pause_s

    async def _register_once(self) -> Registration:
        answer = await self.store.register(self.info)
        if answer.outcome == "schema":
            raise SchemaMismatchError(answer.message)
        return answer

    async def _until_stopped(self, name: str, call: Callable[[], Awaitable[T]], *, once: bool) -> T | None:
        return await self._calls.repeat(name, call, is_unwanted=self._calls.stopping.is_set, only_once=once)

    # --- claiming ----------------------------------------------------------------------------------------------

    async def _claim_until_stopped(self, *, once: bool) -> None:
        claim_id, num_idle = uuid.uuid4(), 0
        while not self._calls.stopping.is_set():
            self._wake.clear()
            min_wait_s = self._room()
            if min_wait_s is None:
                await self._wake.wait()
                continue
            if not self._is_let_in(once=once):
                await is_set_within(self._wake, self._idle_s(1, None))
                continue
            answer = await self._claim_once(claim_id, min_wait_s, once=once)
            if answer is not None:
                claim_id = uuid.uuid4()
                if answer.claim is not None:
                    num_idle = 0
                    self._start(answer.claim)
                    continue
                self._note_drain(is_draining=answer.outcome == "draining")
                if answer.outcome == "unregistered":
                    await self._register(once=once)
                elif once and not self._jobs and (answer.num_pending == 0 or answer.outcome == "draining"):
                    return
            num_idle += 1
            await is_set_within(self._wake, self._idle_s(num_idle, answer))

    def _room(self) -> float | None:
        """How long a meeting must have waited to be claimed now; None when this worker has enough."""
        num_before_engine = sum(job.needs_engine for job in self._jobs.values())
        if len(self._jobs) >= self.pace.max_jobs or num_before_engine > self.pace.num_engines:
            return None
        return 0.0 if num_before_engine < self.pace.num_engines else CLAIM_AHEAD_AFTER_S

    def _is_let_in(self, *, once: bool) -> bool:
        """Ask the gates. A service waits at a closed one; whoever called us once wants to know."""
        trouble = self._gates.trouble()
        if trouble is not None and trouble.code == DiskFullError.code:
            self._house.note_full_disk()
        if self._troubles.current() != self._told_troubles:
            self._beat_soon.set()
        if trouble is not None and once and not self._jobs:
            raise from_code(trouble.code, trouble.sentence)
        return trouble is None

    def _note_drain(self, *, is_draining: bool) -> None:
        if not is_draining:
            self._troubles.end(DRAINED)
            return
        sentence = (
            "Somebody told this worker to finish what it has and to take no more meetings. "
            f"`python -m worker resume {self.info.worker_id}` lets it go on."
        )
        self._troubles.begin(Trouble(code=DRAINED, sentence=sentence))

    async def _claim_once(self, claim_id: uuid.UUID, min_wait_s: float, *, once: bool) -> ClaimAnswer | None:
        """None when the database did not answer: the same claim id is sent again, so that no job is taken twice."""
        try:
            return await self.store.claim(self.info.worker_id, self.info.instance_id, claim_id, min_wait_s=min_wait_s)
        except PCWorkerException as error:
            if once and error.disposition is not Disposition.INFRASTRUCTURE:
                raise  # a service waits until somebody has mended the database; whoever called us once wants to know
            self.observe(events.StoreUnavailable("claim", error.code, self.pace.polling_s, str(error)))
            return None

    def _idle_s(self, num_idle: int, answer: ClaimAnswer | None) -> float:
        """
        From POLLING_INTERVAL_SECONDS to six times that, with jitter so that a fleet does not ask in step; sooner when
        the database has said that a meeting's time comes sooner.
        """
        idle_s = self.pace.polling_s * min(6.0, 1.5 ** (num_idle - 1)) * self.random.uniform(0.8, 1.2)
        if answer is None or answer.next_run_in_s is None:
            return idle_s
        return min(idle_s, max(0.05, answer.next_run_in_s))

    def _start(self, claim: Claim) -> None:
        job = self._jobs[claim.token] = Job(claim)
        if self._calls.stopping.is_set():
            job.end("release")  # told to take no more while this claim was on its way
        task = asyncio.create_task(self._work(job), name=f"meeting {claim.meeting.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job) -> None:
        try:
            is_completed = await self._runner.run(job)
            self.num_completed += is_completed  # not in one line: the old value would be read before the await
        finally:
            del self._jobs[job.claim.token]
            self._wake.set()

    def _on_stage(self) -> None:
        self._beat_soon.set()
        self._wake.set()

    # --- leases ------------------------------------------------------------------------------------------------

    async def _beat_until_cancelled(self) -> None:
        interval_s = self._heartbeat_s
        is_failing = False
        while True:
            try:
                await self._beat_once()
            except PCWorkerException as error:
                if error.disposition is not Disposition.INFRASTRUCTURE:
                    raise
                is_failing = True
                self.observe(events.StoreUnavailable("heartbeat", error.code, interval_s, str(error)))
            else:
                if is_failing:
                    self.observe(events.StoreRecovered("heartbeat"))
                is_failing = False
            gap_s = min(interval_s, MIN_BEAT_GAP_S)
            await asyncio.sleep(gap_s)
            await is_set_within(self._beat_soon, interval_s - gap_s)
            self._beat_soon.clear()

    async def _beat_once(self) -> None:
        jobs, troubles = dict(self._jobs), self._troubles.current()
        answer = await self.store.heartbeat(
            self.info.worker_id, self.info.instance_id, [job.beat() for job in jobs.values()], troubles
        )
        self._told_troubles = troubles
        self.observe(events.QueueSeen(answer.num_pending, answer.oldest_pending_s))
        for state in answer.jobs:
            if state.outcome != "ok" and state.token in jobs:
                jobs[state.token].end(state.outcome)
        if answer.registered:
            self._note_drain(is_draining=answer.draining)
        elif (await self._register_once()).outcome == "refused":
            raise WorkerIdTakenError

    # --- stopping ----------------------------------------------------------------------------------------------

    async def _drain(self, heart: asyncio.Task[None]) -> None:
        """Finish what fits the grace, give the rest back; heartbeats go on meanwhile."""
        if not self._tasks:
            return
        self.observe(events.DrainStarted(len(self._tasks), self.pace.grace_s))
        leave = asyncio.create_task(self._calls.leaving.wait())
        settled = asyncio.create_task(self._settled())
        await asyncio.wait([leave, settled, heart], timeout=self.pace.grace_s, return_when=asyncio.FIRST_COMPLETED)
        await self._give_everything_back()
        await settled
        leave.cancel()

    async def _settled(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _give_everything_back(self) -> None:
        """Nothing may go on computing without a heartbeat; a call that hangs is bounded by its own timeouts."""
        for job in self._jobs.values():
            job.end("release")
        self._calls.leaving.set()
        await self._settled()
