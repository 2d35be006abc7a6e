"""What people do to summaries in the table editor, and the versions as a test sees them; in every world."""

from __future__ import annotations

from uuid import UUID

from tests.support.queue_values import result
from tests.support.queue_worlds import MemoryWorld, PostgresWorld, QueueWorld
from worker.models import MeetingSummary, ProcessingResult, ResultWarning, Stage, SummaryItem
from worker.testing.memory_tables import PastSummary

DOWN = ResultWarning(code="summary_llm_failed", message="The endpoint is down.", stage=Stage.SUMMARIZE)


def edit_overview(world: QueueWorld, meeting_id: UUID, overview: str) -> None:
    """Raises SupabaseQueryError where that is refused."""
    if isinstance(world, MemoryWorld):
        world.memory.edit_overview(meeting_id, overview)
    else:
        assert isinstance(world, PostgresWorld)
        world.edit("update public.meeting_summaries set overview = %s where meeting_id = %s", overview, meeting_id)


def past_summaries(world: QueueWorld, meeting_id: UUID) -> list[PastSummary]:
    """Oldest first."""
    if isinstance(world, MemoryWorld):
        return world.memory.past_summaries(meeting_id)
    assert isinstance(world, PostgresWorld)
    rows = world.rows(
        "select version, overview, replaced_by from public.meeting_summary_versions where meeting_id = %s"
        " order by version",
        meeting_id,
    )
    return [PastSummary(**row) for row in rows]


def written(overview: str, *, method: str = "llm", warnings: tuple[ResultWarning, ...] = ()) -> MeetingSummary:
    """A summary as a language model might have written it."""
    return MeetingSummary(
        overview=overview,
        decisions=(SummaryItem(text="We buy it.", segments=(0,), start_s=0.0, owner="SPEAKER_00", due="Friday"),),
        method=method,
        model="a model" if method == "llm" else None,
        language="en",
        num_dropped=2,
        warnings=warnings,
    )


def result_with(*texts: str, warnings: tuple[ResultWarning, ...]) -> ProcessingResult:
    return result(*texts).model_copy(update={"warnings": warnings})
