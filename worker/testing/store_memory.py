"""
The queue in memory: the twin of PostgresStore for tests of the core, held to the same contract suite.

Beside the port it has what people do in the table editor (memory_edits) and what tests look at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

from worker.exceptions import LeaseLostError, MeetingCancelledError, MeetingGoneError
from worker.models import (
    Beat,
    BeatAnswer,
    Claim,
    ClaimAnswer,
    Failure,
    FleetStatus,
    HeartbeatAnswer,
    KnownSpeakers,
    Meeting,
    MeetingDetail,
    MeetingStatus,
    NewMeeting,
    ProcessingResult,
    Registration,
    Stage,
    Trouble,
    WorkerInfo,
    WorkerState,
    WorkInProgress,
    WriteAnswer,
)
from worker.ports import Clock
from worker.testing.memory_queue import ENDED, MemoryQueue
from worker.testing.memory_refresh import MemoryRefresh
from worker.testing.memory_summaries import MemorySummaries
from worker.testing.memory_tables import (
    Job,
    MeetingRow,
    QueueLimits,
    Segment,
    Worker,
    moment,
    rounded_progress,
    tidied_channels,
)
from worker.testing.memory_vocabulary import MemoryVocabulary

ANEW_FROM = (Stage.DIARIZE, Stage.IDENTIFY, Stage.SUMMARIZE)


class MemoryStore(MemorySummaries, MemoryRefresh):
    """ports.Store without a database. Every call is atomic: none of them awaits anything."""

    def __init__(self, clock: Clock, limits: QueueLimits | None = None) -> None:
        super().__init__(MemoryQueue(clock, limits or QueueLimits()))
        self._vocabulary = MemoryVocabulary()

    # --- workers -----------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> Registration:
        queue = self.queue
        queue.take_pulse()
        known = queue.workers.get(worker.worker_id)
        if known is None:
            known = Worker(
                worker.worker_id, worker.name, worker.version, worker.system, worker.instance_id, queue.now()
            )
            queue.workers[worker.worker_id] = known
        is_same_host = known.host == (worker.system.hostname, worker.system.machine_id)
        refusal = self._refusal(known, worker, is_same_host=is_same_host)
        if refusal is not None:
            times = {"lease_s": queue.limits.lease_s, "heartbeat_s": queue.limits.heartbeat_s}
            return Registration(outcome="refused", message=refusal, **times)
        theirs = self._leased_to(worker.worker_id) if is_same_host and known.instance_id != worker.instance_id else []
        for job in theirs:
            queue.end_lease(job, "worker_restarted")
        self._update_worker(known, worker)
        return Registration(
            outcome="registered",
            num_taken_over=len(theirs),
            lease_s=queue.limits.lease_s,
            heartbeat_s=queue.limits.heartbeat_s,
        )

    def _refusal(self, known: Worker, worker: WorkerInfo, *, is_same_host: bool) -> str | None:
        is_alive = self.queue.now() - known.last_seen_at < self.queue.limits.lease_s
        if not is_same_host and is_alive:
            return (
                f"WORKER_ID {worker.worker_id} is in use on the PC {known.system.hostname}. "
                "Give each worker its own WORKER_ID."
            )
        if worker.instance_id in known.past_instances:
            return f"A newer worker with the WORKER_ID {worker.worker_id} has started on this PC. Stop one of the two."
        return None

    def _leased_to(self, worker_id: str) -> list[Job]:
        return [job for job in self.queue.jobs.values() if job.state == "processing" and job.worker_id == worker_id]

    def _update_worker(self, known: Worker, worker: WorkerInfo) -> None:
        if known.instance_id != worker.instance_id:
            known.past_instances = [known.instance_id, *known.past_instances][:16]
        known.name, known.version, known.system = worker.name, worker.version, worker.system
        known.instance_id, known.last_seen_at = worker.instance_id, self.queue.now()

    async def drain(self, worker_id: str, *, draining: bool) -> WriteAnswer:
        worker = self.queue.workers.get(worker_id)
        if worker is None:
            return WriteAnswer(outcome="gone", message=f"No worker with the WORKER_ID {worker_id} has ever registered.")
        worker.draining = draining
        return WriteAnswer(outcome="draining" if draining else "resumed")

    # --- leases ------------------------------------------------------------------------------------------------------

    async def claim(self, worker_id: str, instance_id: UUID, claim_id: UUID, *, min_wait_s: float = 0.0) -> ClaimAnswer:
        queue = self.queue
        worker = queue.see_worker(worker_id, instance_id)
        if worker is None:
            return ClaimAnswer(outcome="unregistered")
        if queue.take_pulse():
            queue.reap()
        for job in queue.jobs.values():
            if job.state == "processing" and (job.claim_id, job.instance_id) == (claim_id, instance_id):
                return self._claim_answer("claimed", job, min_wait_s)
        if worker.draining:
            return self._claim_answer("draining", None, min_wait_s)
        next_job = queue.next_claimable(queue.now() - min_wait_s)
        if next_job is None:
            return self._claim_answer("empty", None, min_wait_s)
        queue.lease(next_job, worker_id, instance_id, claim_id)
        return self._claim_answer("claimed", next_job, min_wait_s)

    def _claim_answer(self, outcome: str, job: Job | None, min_wait_s: float) -> ClaimAnswer:
        waiting = self.queue.pending()
        next_run_in_s = None
        if waiting:
            next_run_in_s = max(0.0, min(job.run_at for job in waiting) - self.queue.now() + min_wait_s)
        claim = None
        if job is not None and job.token is not None:
            meeting = self.queue.meetings[job.meeting_id].value.model_copy(update={"result": None})
            lease_s, attempt = self.queue.limits.lease_s, job.num_attempts
            claim = Claim(meeting=meeting, token=job.token, attempt=attempt, lease_s=lease_s, anew_from=job.anew_from)
        return ClaimAnswer(outcome=outcome, claim=claim, num_pending=len(waiting), next_run_in_s=next_run_in_s)

    async def heartbeat(
        self, worker_id: str, instance_id: UUID, beats: Sequence[Beat], troubles: Sequence[Trouble] = ()
    ) -> HeartbeatAnswer:
        worker = self.queue.see_worker(worker_id, instance_id)
        if worker is not None:
            worker.troubles = tuple(troubles)
        self.queue.take_pulse()
        answers = [
            BeatAnswer(
                meeting_id=beat.meeting_id, token=beat.token, outcome=self._beat(beat, extend=worker is not None)
            )
            for beat in beats
        ]
        return HeartbeatAnswer(
            jobs=tuple(answers),
            draining=worker is not None and worker.draining,
            registered=worker is not None,
            num_pending=len(self.queue.pending()),
            oldest_pending_s=self._oldest_pending_s(),
        )

    def _oldest_pending_s(self) -> float | None:
        now = self.queue.now()
        due = [job.run_at for job in self.queue.pending() if job.run_at <= now]
        return now - min(due) if due else None

    def _beat(self, beat: Beat, *, extend: bool) -> str:
        job = self.queue.jobs.get(beat.meeting_id)
        if job is None or job.token != beat.token:
            return self.queue.why_not(beat.meeting_id, beat.token, ())
        if extend:
            if job.state != "processing":
                self.queue.revive(job)
            job.lease_expires_at = self.queue.now() + self.queue.limits.lease_s
            now_at = (None if beat.stage is None else beat.stage.value, rounded_progress(beat.progress))
            meeting = self.queue.meetings[beat.meeting_id].value
            if (meeting.stage, meeting.progress) != now_at:
                self.queue.set_meeting(beat.meeting_id, stage=now_at[0], progress=now_at[1])
        return "ok"

    # --- ends --------------------------------------------------------------------------------------------------------

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        queue = self.queue
        held = queue.hold(meeting_id, token, ("completed",))
        if held != "ok":
            return WriteAnswer(outcome=held)
        stale = self.stale_answer(meeting_id, result)
        if stale is not None:
            return stale
        self.write_voices(meeting_id, result.speakers, queue.jobs[meeting_id].worker_id)
        row = queue.meetings[meeting_id]
        row.segments = [Segment(segment) for segment in result.segments]
        row.replace_summary(result.summary, f"worker:{queue.jobs[meeting_id].worker_id}")
        queue.end_attempt(token, "completed", stage=queue.attempts[token].stage)
        queue.close(queue.jobs[meeting_id], "completed")
        self._write_result(meeting_id, result)
        return WriteAnswer(outcome="completed")

    def _write_result(self, meeting_id: UUID, result: ProcessingResult) -> None:
        nothing = dict.fromkeys(("stage", "progress", "error_code", "error_message"))
        self.queue.set_meeting(
            meeting_id,
            status=MeetingStatus.COMPLETED,
            completed_at=moment(self.queue.now()),
            duration_s=result.duration_s,
            warnings=result.warnings,
            result={"language": result.language, **result.result},
            **nothing,
        )

    async def fail(self, meeting_id: UUID, token: int, failure: Failure) -> WriteAnswer:
        held = self.queue.hold(meeting_id, token, ENDED)
        if held != "ok":
            return WriteAnswer(outcome=held)
        return WriteAnswer(outcome=self.queue.fail(self.queue.jobs[meeting_id], failure))

    async def release(self, meeting_id: UUID, token: int) -> WriteAnswer:
        queue = self.queue
        held = queue.hold(meeting_id, token, ENDED)
        if held != "ok":
            return WriteAnswer(outcome=held)
        job = queue.jobs[meeting_id]
        queue.end_attempt(token, "released", stage=queue.meetings[meeting_id].value.stage)
        queue.close(job, "pending")
        job.num_attempts -= 1
        queue.back_to_pending(meeting_id)
        return WriteAnswer(outcome="released")

    async def speakers(self, meeting_id: UUID, token: int, models: Sequence[str]) -> KnownSpeakers:
        self._insist_on_holder(meeting_id, token)
        return self.known_speakers(meeting_id, models)

    async def guidance(self, meeting_id: UUID, token: int) -> str | None:
        self._insist_on_holder(meeting_id, token)
        return self.guidance_for_meeting_of(self.queue.meetings[meeting_id].value.user_id)

    async def vocabulary(self, meeting_id: UUID, token: int) -> tuple[str, ...]:
        self._insist_on_holder(meeting_id, token)
        return self._vocabulary.for_meeting_of(self.queue.meetings[meeting_id].value.user_id)

    async def statuses(self, meeting_ids: Sequence[UUID]) -> dict[UUID, MeetingStatus]:
        meetings = self.queue.meetings
        return {asked: meetings[asked].value.status for asked in meeting_ids if asked in meetings}

    def _insist_on_holder(self, meeting_id: UUID, token: int) -> None:
        job = self.queue.jobs.get(meeting_id)
        if job is None or job.token != token:
            reason = self.queue.why_not(meeting_id, token, ())
            raise {"cancelled": MeetingCancelledError, "gone": MeetingGoneError}.get(reason, LeaseLostError)()

    # --- people ------------------------------------------------------------------------------------------------------

    async def cancel(self, meeting_id: UUID) -> WriteAnswer:
        row = self.queue.meetings.get(meeting_id)
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such meeting.")
        if row.value.status is MeetingStatus.CANCELLED:
            return WriteAnswer(outcome="already_done")
        if row.value.status in (MeetingStatus.COMPLETED, MeetingStatus.FAILED):
            return WriteAnswer(outcome="refused", message=f"The meeting is {row.value.status} already.")
        self.queue.cancel(meeting_id)
        return WriteAnswer(outcome="cancelled")

    async def retry(
        self, meeting_id: UUID, *, replace_edits: bool = False, from_stage: Stage | None = None
    ) -> WriteAnswer:
        if from_stage not in (None, *ANEW_FROM):
            sentence = "A meeting can be done again from diarize, from identify or from summarize on."
            return WriteAnswer(outcome="refused", message=sentence)
        answer = self._retry(meeting_id, replace_edits=replace_edits)
        if from_stage is None or answer.outcome not in ("pending", "already_done"):
            return answer
        if answer.outcome == "already_done":
            if self.queue.is_anew_from(meeting_id, from_stage):
                return answer
            self.queue.requeue(meeting_id)
        self.queue.ask_anew_from(meeting_id, from_stage)
        return WriteAnswer(outcome="pending")

    def _retry(self, meeting_id: UUID, *, replace_edits: bool) -> WriteAnswer:
        row = self.queue.meetings.get(meeting_id)
        if row is None:
            return WriteAnswer(outcome="gone", message="There is no such meeting.")
        if row.value.status is MeetingStatus.PENDING:
            return WriteAnswer(outcome="already_done")
        if row.value.status is MeetingStatus.PROCESSING:
            return WriteAnswer(
                outcome="refused", message="A worker is processing the meeting. Cancel it first to start it anew."
            )
        refusal = self.queue.edits_sentence(meeting_id)
        if refusal is not None and not replace_edits:
            return WriteAnswer(outcome="refused", message=refusal)
        for segment in row.segments:
            segment.is_edited = False
        row.release_summary("table")
        self.queue.requeue(meeting_id)
        return WriteAnswer(outcome="pending")

    async def enqueue(self, meeting: NewMeeting) -> UUID:
        queue, meeting_id, channels = self.queue, meeting.id or uuid4(), tidied_channels(meeting.channels)
        if meeting_id not in queue.meetings:
            now = moment(queue.now())
            columns = {"id": meeting_id, "channels": channels, "created_at": now, "updated_at": now}
            queue.meetings[meeting_id] = MeetingRow(Meeting.model_validate(meeting.model_dump() | columns))
            queue.jobs[meeting_id] = Job(next(queue.job_ids), meeting_id, meeting.priority, queue.now())
        return meeting_id

    async def meetings(self, status: MeetingStatus | None = None, *, limit: int = 100) -> tuple[Meeting, ...]:
        rows = [row.value for row in self.queue.meetings.values() if status in (None, row.value.status)]
        return tuple(sorted(rows, key=lambda row: (-row.created_at.timestamp(), row.id))[:limit])

    async def meeting(self, meeting_id: UUID) -> MeetingDetail | None:
        row = self.queue.meetings.get(meeting_id)
        if row is None:
            return None
        return MeetingDetail(
            meeting=row.value,
            segments=tuple(segment.value for segment in row.segments),
            speakers=self.queue.voices.of_meeting(meeting_id),
            summary=row.summary,
        )

    async def words(self, user_id: UUID | None = None) -> tuple[str, ...]:
        return self._vocabulary.of(user_id)

    async def add_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        return self._vocabulary.add(words, user_id)

    async def remove_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        return self._vocabulary.remove(words, user_id)

    async def schema(self) -> str | None:
        return None

    async def status(self) -> FleetStatus:
        workers = sorted(self.queue.workers.values(), key=lambda worker: (worker.name, worker.worker_id))
        return FleetStatus(
            counts=dict(Counter(row.value.status for row in self.queue.meetings.values())),
            oldest_pending_s=self._oldest_pending_s(),
            workers=tuple(self._worker_state(worker) for worker in workers),
        )

    def _worker_state(self, worker: Worker) -> WorkerState:
        silence_s = self.queue.now() - worker.last_seen_at
        return WorkerState(
            worker_id=worker.worker_id,
            name=worker.name,
            hostname=worker.system.hostname,
            version=worker.version,
            alive=silence_s < self.queue.limits.lease_s,
            draining=worker.draining,
            last_seen_s=silence_s,
            gpu=worker.system.gpu,
            driver=worker.system.driver,
            troubles=worker.troubles,
            meetings=tuple(self._work_of(worker)),
        )

    def _work_of(self, worker: Worker) -> list[WorkInProgress]:
        work = []
        for job in sorted(self.queue.jobs.values(), key=lambda job: job.token or 0):
            if job.state == "processing" and job.worker_id == worker.worker_id and job.token is not None:
                meeting = self.queue.meetings[job.meeting_id].value
                running_s = self.queue.now() - self.queue.attempts[job.token].started_at
                work.append(
                    WorkInProgress(
                        meeting_id=meeting.id,
                        title=meeting.title,
                        stage=meeting.stage,
                        progress=meeting.progress,
                        running_s=running_s,
                    )
                )
        return work

    async def close(self) -> None:
        """Nothing to let go of."""
