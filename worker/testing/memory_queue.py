"""Leases in memory: what the private functions of worker/sql do, rule by rule, under the same names."""

from __future__ import annotations

import itertools
import re
from uuid import UUID

from worker.exceptions import FailureKind, SupabaseQueryError
from worker.models import Failure, MeetingStatus, Stage
from worker.ports import Clock
from worker.testing.memory_tables import Attempt, Job, MeetingRow, QueueLimits, Worker, moment
from worker.testing.memory_voices import MemoryVoices

ENDED = ("completed", *(kind.value for kind in FailureKind), "released")
"""The ends by the holder's own word: a fail or release after one of them is a repeat."""


class MemoryQueue:
    def __init__(self, clock: Clock, limits: QueueLimits) -> None:
        self._clock = clock
        self.limits = limits
        self.meetings: dict[UUID, MeetingRow] = {}
        self.jobs: dict[UUID, Job] = {}
        self.attempts: dict[int, Attempt] = {}
        self.workers: dict[str, Worker] = {}
        self.voices = MemoryVoices()
        self.job_ids = itertools.count(1)
        self._tokens = itertools.count(1)
        self._last_call_at = self.now()
        self._quiet_until = float("-inf")

    def now(self) -> float:
        return self._clock.monotonic()

    def set_meeting(self, meeting_id: UUID, **columns: object) -> None:
        self.meetings[meeting_id].set(updated_at=moment(self.now()), **columns)

    def num_edited(self, meeting_id: UUID) -> int:
        return sum(segment.is_edited for segment in self.meetings[meeting_id].segments)

    # --- the ends of a lease ---------------------------------------------------------------------------------------

    def close(self, job: Job, state: str) -> None:
        """The token is superseded."""
        job.state, job.token, job.lease_expires_at = state, None, None

    def end_attempt(
        self, token: int | None, outcome: str, *, code: str | None = None, stage: str | None = None
    ) -> None:
        if token is not None:
            attempt = self.attempts[token]
            attempt.outcome, attempt.code, attempt.stage, attempt.ended_at = outcome, code, stage, self.now()

    def end_lease(self, job: Job, code: str) -> None:
        """The worker is taken for dead: the attempt counts as a crash, the token stays good."""
        job.num_crashes += 1
        job.lease_expires_at = None
        job.num_infrastructure, job.infrastructure_since = 0, None
        is_poison = job.num_crashes >= self.limits.max_crashes
        job.state = "failed" if is_poison else "pending"
        self.end_attempt(job.token, "reaped", code=code, stage=self.meetings[job.meeting_id].value.stage)
        if is_poison:
            self.fail_as_poison(job.meeting_id)
        else:
            self.back_to_pending(job.meeting_id)

    def back_to_pending(self, meeting_id: UUID, **columns: object) -> None:
        reset: dict[str, object] = {"stage": None, "progress": None, "processed_by": None}
        self.set_meeting(meeting_id, status=MeetingStatus.PENDING, **{**reset, **columns})

    def fail_as_poison(self, meeting_id: UUID) -> None:
        message = "The work on this recording broke off again and again: the process or the whole PC died."
        self.set_meeting(
            meeting_id, status=MeetingStatus.FAILED, progress=None, error_code="poison", error_message=message
        )

    def revive(self, job: Job) -> None:
        """The holder is alive after all: it was no crash."""
        assert job.token is not None
        job.state, job.num_crashes = "processing", job.num_crashes - 1
        job.lease_expires_at = self.now() + self.limits.lease_s
        attempt = self.attempts[job.token]
        attempt.outcome, attempt.code, attempt.ended_at = None, None, None
        self.set_meeting(
            job.meeting_id,
            status=MeetingStatus.PROCESSING,
            error_code=None,
            error_message=None,
            processed_by=job.worker_id,
        )

    def hold(self, meeting_id: UUID, token: int, done: tuple[str, ...]) -> str:
        """`ok` when this token may write, or the answer to give instead."""
        job = self.jobs.get(meeting_id)
        if job is None or job.token != token:
            return self.why_not(meeting_id, token, done)
        if job.state != "processing":
            self.revive(job)
        return "ok"

    def why_not(self, meeting_id: UUID, token: int, done: tuple[str, ...]) -> str:
        job = self.jobs.get(meeting_id)
        if job is None:
            return "gone"
        attempt = self.attempts.get(token)
        outcome = attempt.outcome if attempt is not None and attempt.meeting_id == meeting_id else None
        if outcome in done:
            return "already_done"
        return "cancelled" if "cancelled" in (outcome, job.state) else "lost"

    # --- by hand -----------------------------------------------------------------------------------------------------

    def cancel(self, meeting_id: UUID) -> None:
        job = self.jobs[meeting_id]
        if job.token is not None:
            attempt = self.attempts[job.token]
            if attempt.outcome is None:  # a reaped attempt stays the crash that it was counted as
                self.end_attempt(job.token, "cancelled", stage=self.meetings[meeting_id].value.stage)
        self.close(job, "cancelled")
        self.set_meeting(meeting_id, status=MeetingStatus.CANCELLED, stage=None, progress=None)

    def requeue(self, meeting_id: UUID) -> None:
        old = self.jobs[meeting_id]
        self.jobs[meeting_id] = Job(old.id, meeting_id, old.priority, self.now(), anew_from=old.anew_from)
        nothing = dict.fromkeys(("error_code", "error_message", "started_at", "completed_at"))
        self.back_to_pending(meeting_id, **nothing)

    def is_anew_from(self, meeting_id: UUID, stage: Stage) -> bool:
        """Whether nobody has worked on the meeting since it was asked for from this stage on."""
        tokens = [token for token, past in self.attempts.items() if past.meeting_id == meeting_id]
        return self.jobs[meeting_id].anew_from.get(stage, 0) > max(tokens, default=0)

    def ask_anew_from(self, meeting_id: UUID, stage: Stage) -> None:
        job = self.jobs[meeting_id]
        job.anew_from = job.anew_from | {stage: next(self._tokens)}

    def edit_status(self, meeting_id: UUID, status: MeetingStatus) -> None:
        """As in the table editor."""
        was, wanted = self.meetings[meeting_id].value.status.value, status.value
        if wanted == was:
            return
        if wanted == "cancelled" and was in ("pending", "processing"):
            self.cancel(meeting_id)
        elif wanted == "pending" and was in ("failed", "cancelled", "completed"):
            if (refusal := self.edits_sentence(meeting_id)) is not None:
                raise SupabaseQueryError(refusal)
            self.requeue(meeting_id)
        else:
            raise SupabaseQueryError(f"The status of a meeting cannot be changed from {was} to {wanted} by hand.")

    def edits_sentence(self, meeting_id: UUID) -> str | None:
        """Why a meeting is not transcribed again just so; None when nobody corrected anything."""
        num_edited, is_summary_edited = self.num_edited(meeting_id), self.meetings[meeting_id].is_summary_edited
        if not num_edited and not is_summary_edited:
            return None
        passages = f"{num_edited} passages of this transcript"
        if is_summary_edited:
            what = f"{passages} and its summary were" if num_edited else "The summary of this meeting was"
            what += " corrected by hand and would be replaced."
        else:
            what = f"{passages} were corrected by hand and would be lost."
        return f"{what} To transcribe again all the same, use the retry command with --replace-edits."

    # --- claim -------------------------------------------------------------------------------------------------------

    def see_worker(self, worker_id: str, instance_id: UUID) -> Worker | None:
        worker = self.workers.get(worker_id)
        if worker is None or worker.instance_id != instance_id:
            return None
        worker.last_seen_at = self.now()
        return worker

    def take_pulse(self) -> bool:
        """True when leases may be reaped: not for one lease after the fleet was silent for over two heartbeats."""
        now, silence_s = self.now(), self.now() - self._last_call_at
        is_gap = silence_s > 2 * self.limits.heartbeat_s
        if is_gap:
            self._quiet_until = now + self.limits.lease_s
        if silence_s > self.limits.heartbeat_s / 10:
            self._last_call_at = now
        return not is_gap and now >= self._quiet_until

    def reap(self) -> None:
        for job in self.jobs.values():
            if job.lease_expires_at is not None and job.lease_expires_at + self.limits.grace_s < self.now():
                self.end_lease(job, "lease_expired")

    def pending(self) -> list[Job]:
        jobs = [job for job in self.jobs.values() if job.state == "pending"]
        return sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id))

    def next_claimable(self, latest_run_at: float) -> Job | None:
        for job in self.pending():
            if job.run_at > latest_run_at:
                continue
            if not self._is_path_refused(job.meeting_id):
                return job
            self.close(job, "failed")
            self.set_meeting(
                job.meeting_id,
                status=MeetingStatus.FAILED,
                stage=None,
                error_code="audio_path_refused",
                error_message="The recording does not lie in its owner's folder.",
            )
        return None

    def _is_path_refused(self, meeting_id: UUID) -> bool:
        meeting = self.meetings[meeting_id].value
        if meeting.user_id is None or meeting.audio_path is None:
            return False
        is_odd = re.search(r"(^|/)\.{0,2}(/|$)|[\\%\x00-\x1f\x7f]", meeting.audio_path) is not None
        return is_odd or not meeting.audio_path.startswith(f"{meeting.user_id}/")

    def lease(self, job: Job, worker_id: str, instance_id: UUID, claim_id: UUID) -> None:
        now = self.now()
        job.state, job.token, job.claim_id = "processing", next(self._tokens), claim_id
        job.worker_id, job.instance_id = worker_id, instance_id
        job.lease_expires_at = now + self.limits.lease_s
        job.num_attempts += 1
        self.attempts[job.token] = Attempt(
            job.token, job.meeting_id, job.num_attempts, worker_id, instance_id, started_at=now
        )
        self.set_meeting(
            job.meeting_id,
            status=MeetingStatus.PROCESSING,
            stage=None,
            progress=None,
            processed_by=worker_id,
            error_code=None,
            error_message=None,
            started_at=self.meetings[job.meeting_id].value.started_at or moment(now),
        )

    # --- fail --------------------------------------------------------------------------------------------------------

    def count_failure(self, job: Job, kind: FailureKind) -> bool:
        """Count one ended attempt; true when the job is given up."""
        now = self.now()
        is_infrastructure, is_waiting = kind is FailureKind.INFRASTRUCTURE, kind is FailureKind.WAITING
        job.num_failures += kind in (FailureKind.FAILURE, FailureKind.PERMANENT)
        job.num_crashes += kind is FailureKind.CRASH
        job.num_attempts -= is_infrastructure or is_waiting
        job.num_infrastructure = job.num_infrastructure + 1 if is_infrastructure else 0
        since = job.infrastructure_since
        job.infrastructure_since = (now if since is None else since) if is_infrastructure else None
        if is_waiting and job.waiting_since is None:
            job.waiting_since = now
        return self._is_given_up(job, kind)

    def _is_given_up(self, job: Job, kind: FailureKind) -> bool:
        if kind is FailureKind.FAILURE:
            return job.num_failures >= self.limits.max_failures
        if kind is FailureKind.CRASH:
            return job.num_crashes >= self.limits.max_crashes
        if kind is FailureKind.INFRASTRUCTURE:
            assert job.infrastructure_since is not None
            is_long = self.now() - job.infrastructure_since >= self.limits.infrastructure_give_up_s
            return is_long and job.num_infrastructure >= self.limits.max_failures
        if kind is FailureKind.WAITING:
            assert job.waiting_since is not None
            return self.now() - job.waiting_since >= self.limits.waiting_give_up_s
        return True

    def fail(self, job: Job, failure: Failure) -> str:
        is_given_up = self.count_failure(job, failure.kind)
        self.end_attempt(job.token, failure.kind.value, code=failure.code, stage=failure.stage)
        self.close(job, "failed" if is_given_up else "pending")
        job.run_at = self.now() + min(max(failure.retry_in_s, 0.0), 86400.0)
        error = {"error_code": failure.code, "error_message": failure.message}
        if is_given_up and failure.kind is FailureKind.CRASH:
            self.fail_as_poison(job.meeting_id)
        elif is_given_up:
            stage = failure.stage or self.meetings[job.meeting_id].value.stage
            self.set_meeting(job.meeting_id, status=MeetingStatus.FAILED, stage=stage, progress=None, **error)
        elif failure.kind is FailureKind.WAITING:
            nothing = dict.fromkeys(error)
            self.back_to_pending(job.meeting_id, **{"stage": Stage.WAITING_FOR_AUDIO.value, **nothing})
        else:
            self.back_to_pending(job.meeting_id, **error)
        return "failed" if is_given_up else "retrying"
