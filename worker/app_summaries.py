"""Summaries of completed meetings, written anew on this PC: part of the composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from worker.app_children import build_stages, child_objects, writes_by_model
from worker.config import Settings
from worker.exceptions import ConfigurationError, PCWorkerException
from worker.models import Meeting, MeetingDetail, MeetingStatus, MeetingSummary
from worker.ports import Stages, Store, unheard

MAX_FAILURES_IN_A_ROW = 3
"""Of a whole backlog: an endpoint that is down fails each meeting after minutes, and the rest can wait."""
PAGE_MEETINGS = 100

CORRECTED = "Its summary was corrected by hand. --replace-edits replaces it all the same, and keeps it as a version."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one meeting. `failed`: the language model or the work on this PC; the others may go better."""

    meeting_id: UUID
    sentence: str
    is_done: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Resummarizer:
    """
    Writes summaries of meetings whose transcript is there.

    Attributes:
        by_model: a language model is meant to write: what it cannot write never replaces what one wrote, or a person.
        replace_edits: also where somebody corrected the summary.
    """

    store: Store
    stages: Stages
    by_model: bool
    replace_edits: bool = False

    async def backlog(self) -> AsyncIterator[Outcome]:
        """
        All that no language model has summarized, oldest first. Those that are done leave the backlog, so that the next
        run goes on where this one ended. Ends after MAX_FAILURES_IN_A_ROW.
        """
        num_failed = 0
        async for meeting_id in self._waiting():
            outcome = await self.resummarize(meeting_id)
            yield outcome
            num_failed = num_failed + 1 if outcome.failed else 0
            if num_failed == MAX_FAILURES_IN_A_ROW:
                return

    async def _waiting(self) -> AsyncIterator[UUID]:
        last: UUID | None = None
        while page := await self.store.extractive_meetings(
            after=last, limit=PAGE_MEETINGS, with_edited=self.replace_edits
        ):
            for meeting_id in page:
                yield meeting_id
            last = page[-1]

    async def resummarize(self, meeting_id: UUID) -> Outcome:
        """Raises only what the store raises."""
        found = await self.store.meeting(meeting_id)
        if found is None:
            return Outcome(meeting_id, "There is no such meeting.")
        obstacle = self._obstacle(found)
        if obstacle is not None:
            return Outcome(meeting_id, obstacle)
        try:
            summary = await self._summary(found)
        except PCWorkerException as error:
            return Outcome(meeting_id, f"Nothing was changed: {error}", failed=True)
        if self.by_model and summary.method != "llm":
            return await self._without_model(found, summary)
        answer = await self.store.write_summary(
            meeting_id, summary, replace_edits=self.replace_edits, completed_at=found.meeting.completed_at
        )
        if answer.outcome not in ("done", "already_done"):
            return Outcome(meeting_id, answer.message or f"The database answered {answer.outcome}.")
        return Outcome(meeting_id, _told(summary), is_done=True)

    def _obstacle(self, found: MeetingDetail) -> str | None:
        """Why no minutes are spent on it."""
        if found.meeting.status is not MeetingStatus.COMPLETED:
            return f"The meeting is {found.meeting.status}. Only a completed meeting can be summarized anew."
        if found.summary is not None and found.summary.is_edited and not self.replace_edits:
            return CORRECTED
        if not any(segment.text.strip() for segment in found.segments):
            return "Nobody says anything in it."
        return None

    async def _summary(self, found: MeetingDetail) -> MeetingSummary:
        return await self.stages.summarize(
            found.segments,
            language=_language_of(found.meeting),
            report=unheard,
            names={speaker.label: speaker.name for speaker in found.speakers if speaker.name},
            guidance=await self._guidance(found.meeting.user_id) if self.by_model else None,
        )

    async def _guidance(self, user_id: UUID | None) -> str | None:
        own = await self.store.own_guidance(user_id) if user_id else None
        return own or await self.store.own_guidance()

    async def _without_model(self, found: MeetingDetail, fallback: MeetingSummary) -> Outcome:
        """The sentences picked from the transcript stand only where nothing better does; the warning says why."""
        meeting_id, present = found.meeting.id, found.summary
        why = " ".join(warning.message for warning in fallback.warnings) or "The language model wrote no summary."
        if present is not None and (present.method == "llm" or present.is_edited):
            return Outcome(meeting_id, f"The summary stays as it is. {why}", failed=True)
        await self.store.write_summary(meeting_id, fallback, completed_at=found.meeting.completed_at)
        return Outcome(meeting_id, why, failed=True)


@asynccontextmanager
async def resummarizer(
    settings: Settings, store: Store, *, extractive: bool, replace_edits: bool
) -> AsyncIterator[Resummarizer]:
    """
    With the processes that it needs; no engine is loaded. `extractive`: without the language model of the settings.

    Raises ConfigurationError when there is none.
    """
    if extractive:
        settings = settings.model_copy(update={"summary_llm_url": None})
    elif not writes_by_model(settings):
        raise ConfigurationError(
            "No language model is set, so summaries would be what they are. Set SUMMARY_LLM_URL and SUMMARY_LLM_MODEL,"
            " or pick sentences of the transcript with --extractive."
        )
    stages = build_stages(settings, child_objects(settings))
    try:
        yield Resummarizer(store, stages, by_model=not extractive, replace_edits=replace_edits)
    finally:
        await stages.close()


def _language_of(meeting: Meeting) -> str | None:
    """What was heard; the column is the wish."""
    heard = (meeting.result or {}).get("language")
    return heard if isinstance(heard, str) else meeting.language


def _told(summary: MeetingSummary) -> str:
    by = (
        f"written by {summary.model or 'a language model'}" if summary.method == "llm" else "picked from the transcript"
    )
    return " ".join((f"A new summary, {by}.", *(warning.message for warning in summary.warnings)))
