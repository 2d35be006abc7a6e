"""Events as log lines. No transcript text, no title: a log is read by more people than a meeting."""

from __future__ import annotations

import logging
import re
from uuid import UUID

from worker import events
from worker.models import Stage
from worker.observe.logs import bind_to_task

logger = logging.getLogger("worker")

_TRACE_LINE = re.compile(r'Fatal Python error: |Current thread |Thread 0x|  File "[^"]+", line \d+ in ')


class EventLog:
    """An Observer. The names in the log are the event classes' names in snake case and are never changed."""

    def __init__(self) -> None:
        self._tenths: dict[tuple[UUID, Stage], int] = {}

    def __call__(self, event: object) -> None:
        match event:
            case events.MeetingClaimed(meeting_id, token, attempt):
                self._tenths = {key: tenth for key, tenth in self._tenths.items() if key[0] != meeting_id}
                bind_to_task(meeting_id=str(meeting_id), stage=None)
                self._info("meeting_claimed", token=token, attempt=attempt)
            case events.StageStarted(_, stage):
                bind_to_task(stage=stage.value)
                self._info("stage_started")
            case events.StageProgressed(meeting_id, stage, progress):
                self._progressed(meeting_id, stage, progress)
            case events.StageFinished(meeting_id, stage, seconds, reused):
                self._tenths.pop((meeting_id, stage), None)
                bind_to_task(stage=stage.value)
                self._info("stage_finished", seconds=round(seconds, 3), reused=reused)
            case events.StageDegraded(_, _, code, error):
                self._warning("stage_degraded", error, code=code)
            case events.SpeakersIdentified(_, identified, suggested, unknown):
                self._info("speakers_identified", identified=identified, suggested=suggested, unknown=unknown)
            case events.SpeakersChanged(_, rounds):
                self._info("speakers_changed", rounds=rounds)
            case events.MeetingCompleted(_, outcome, seconds, audio_s):
                self._info("meeting_completed", outcome=outcome, seconds=round(seconds, 3), audio_s=round(audio_s, 3))
            case events.MeetingFailed(_, outcome, code, _, error):
                self._error("meeting_failed", error, outcome=outcome, code=code)
            case events.MeetingReleased(_, outcome):
                self._info("meeting_released", outcome=outcome)
            case events.MeetingDropped(_, outcome):
                self._info("meeting_dropped", outcome=outcome)
            case _:
                self._of_worker(event)

    def _progressed(self, meeting_id: UUID, stage: Stage, progress: float) -> None:
        """Every tenth: a line for each report would fill the log in a day."""
        tenth = int(progress * 10)
        if tenth > self._tenths.get((meeting_id, stage), 0):
            self._tenths[meeting_id, stage] = tenth
            logger.debug("stage_progressed", extra={"fields": {"progress": round(progress, 3)}})

    def _of_worker(self, event: object) -> None:
        match event:
            case events.WorkerStarted(worker_id, num_replayed, num_taken_over):
                self._info("worker_started", worker=worker_id, replayed=num_replayed, taken_over=num_taken_over)
            case events.WorkerStopped(worker_id, num_completed):
                self._info("worker_stopped", worker=worker_id, completed=num_completed)
            case events.DrainStarted(num_running, grace_s):
                self._info("drain_started", running=num_running, grace_s=grace_s)
            case events.StoreUnavailable(call, code, retry_in_s, message):
                fields = {"call": call, "code": code, "retry_in_s": round(retry_in_s, 1), "reason": message}
                logger.warning("store_unavailable", extra={"fields": fields})
            case events.StoreRecovered(call):
                self._info("store_recovered", call=call)
            case events.KeyExpiring(variable, expires_on, days_left):
                level = logging.WARNING if days_left > 0 else logging.ERROR
                fields = {"variable": variable, "expires_on": expires_on, "days_left": days_left}
                logger.log(level, "key_expiring", extra={"fields": fields})
            case events.TroubleBegan(trouble):
                fields = {"code": trouble.code, "reason": trouble.sentence}
                logger.warning("trouble_began", extra={"fields": fields})
            case events.TroubleEnded(code):
                self._info("trouble_ended", code=code)
            case events.ResultReplayed(meeting_id, outcome):
                self._info("result_replayed", meeting_id=str(meeting_id), outcome=outcome)
            case events.FoldersSwept(reason, num_folders, size_bytes):
                self._info("folders_swept", reason=reason, folders=num_folders, size_bytes=size_bytes)
            case events.FolderNotRemoved(name, error):
                self._warning("folder_not_removed", error, folder=name)
            case events.SweepFailed(error):
                self._warning("sweep_failed", error)
            case _:
                logger.debug("%s", type(event).__name__)

    def _info(self, name: str, **fields: object) -> None:
        logger.info(name, extra={"fields": fields})

    def _warning(self, name: str, error: BaseException, **fields: object) -> None:
        logger.warning(name, exc_info=error, extra={"fields": fields | _details(error)})

    def _error(self, name: str, error: BaseException, **fields: object) -> None:
        logger.error(name, exc_info=error, extra={"fields": fields | _details(error)})


def _details(error: BaseException) -> dict[str, object]:
    """
    What an administrator may see of the error's details. Of a dead child's last output only the lines of
    faulthandler(3): libraries may have printed words of the meeting among the rest.
    """
    details = dict(getattr(error, "details", {}))
    tail = str(details.pop("output_tail", ""))
    trace = [line.strip() for line in tail.splitlines() if _TRACE_LINE.match(line)]
    return {**details, "native_trace": " < ".join(trace)} if trace else details
