"""Summaries that people correct, that are written anew, and what they should be like. Holds for every store."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import QueueWorld
from tests.support.summary_rows import DOWN, edit_overview, past_summaries, result_with, written
from worker.exceptions import LeaseLostError, MeetingCancelledError, MeetingGoneError, SupabaseQueryError
from worker.models import Claim, MeetingStatus, MeetingSummary, ResultWarning, Stage


async def summary_of(world: QueueWorld, meeting_id: UUID) -> MeetingSummary:
    summary = (await world.detail(meeting_id)).summary
    assert summary is not None
    return summary


async def done_anew(world: QueueWorld, meeting_id: UUID, *texts: str, replace_edits: bool = False) -> None:
    """Retried, and completed by the worker w2 with these texts."""
    answer = await world.store.retry(meeting_id, replace_edits=replace_edits)
    assert answer.outcome == "pending"
    claim = await world.claim(await world.worker("w2", host="pc-2"))
    await world.store.complete(meeting_id, claim.token, result(*texts))


# --- corrections -------------------------------------------------------------------------------------------------


async def test_a_corrected_summary_is_marked(world: QueueWorld) -> None:
    """And the one before is a version, with who replaced it."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    assert not (await summary_of(world, meeting_id)).is_edited
    edit_overview(world, meeting_id, "as it should be")
    summary = await summary_of(world, meeting_id)
    assert (summary.overview, summary.is_edited) == ("as it should be", True)
    assert past_summaries(world, meeting_id) == [(1, "as it was", "table")]


async def test_writing_the_same_text_again_corrects_nothing(world: QueueWorld) -> None:
    """A dashboard that saves a form nobody touched."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    edit_overview(world, meeting_id, "as it was")
    assert not (await summary_of(world, meeting_id)).is_edited
    assert past_summaries(world, meeting_id) == []


async def test_a_corrected_summary_is_not_replaced_by_a_retry(world: QueueWorld) -> None:
    """Neither by the function nor by hand; both say how it is done all the same."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    edit_overview(world, meeting_id, "as it should be")
    answer = await world.store.retry(meeting_id)
    assert answer.outcome == "refused"
    assert answer.message is not None
    assert answer.message.startswith("The summary of this meeting was corrected by hand and would be replaced.")
    assert answer.message.endswith("use the retry command with --replace-edits.")
    with pytest.raises(SupabaseQueryError, match="The summary of this meeting was corrected by hand"):
        world.edit_status(meeting_id, MeetingStatus.PENDING)
    assert await world.status_of(meeting_id) is MeetingStatus.COMPLETED


async def test_who_corrected_transcript_and_summary_is_told_of_both(world: QueueWorld) -> None:
    """In one sentence."""
    meeting_id = await world.completed(await world.worker(), "one", "two")
    world.edit_text(meeting_id, 1, "to")
    edit_overview(world, meeting_id, "as it should be")
    answer = await world.store.retry(meeting_id)
    assert answer.message is not None
    assert answer.message.startswith("1 passages of this transcript and its summary were corrected by hand")


async def test_a_retry_that_may_replace_corrections_keeps_them_as_a_version(world: QueueWorld) -> None:
    """Nothing that somebody wrote is lost."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    edit_overview(world, meeting_id, "as it should be")
    await done_anew(world, meeting_id, "anew", replace_edits=True)
    summary = await summary_of(world, meeting_id)
    assert (summary.overview, summary.is_edited) == ("anew", False)
    assert past_summaries(world, meeting_id) == [(1, "as it was", "table"), (2, "as it should be", "table")]


async def test_a_retry_keeps_the_summary_before(world: QueueWorld) -> None:
    """By the name of the worker that replaced it."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    await done_anew(world, meeting_id, "anew")
    await done_anew(world, meeting_id, "once more")
    assert (await summary_of(world, meeting_id)).overview == "once more"
    assert past_summaries(world, meeting_id) == [(1, "as it was", "worker:w2"), (2, "anew", "worker:w2")]


async def test_a_correction_while_the_meeting_is_done_again_is_refused(world: QueueWorld) -> None:
    """It would be lost, as one of the transcript."""
    info = await world.worker()
    meeting_id = await world.completed(info, "as it was")
    await world.store.retry(meeting_id)
    for _ in range(2):
        with pytest.raises(SupabaseQueryError, match="a correction made now would be lost"):
            edit_overview(world, meeting_id, "too early")
        await world.try_claim(info)
    assert past_summaries(world, meeting_id) == []


async def test_a_deleted_meeting_takes_its_versions_along(world: QueueWorld) -> None:
    """And keeps none of itself while it goes."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    edit_overview(world, meeting_id, "as it should be")
    world.delete_meeting(meeting_id)
    assert await world.store.meeting(meeting_id) is None


# --- written anew ------------------------------------------------------------------------------------------------


async def test_a_completed_meeting_gets_a_new_summary(world: QueueWorld) -> None:
    """As it was sent, but for its warnings; the transcript stays, the one before is a version."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    sent = written("a better one")
    assert (await world.store.write_summary(meeting_id, sent)).outcome == "done"
    detail = await world.detail(meeting_id)
    assert detail.summary == sent
    assert [part.text for part in detail.segments] == ["as it was"]
    assert detail.meeting.status is MeetingStatus.COMPLETED
    assert past_summaries(world, meeting_id) == [(1, "as it was", "resummarize")]


async def test_the_same_summary_again_changes_nothing(world: QueueWorld) -> None:
    """A call that is repeated, because its answer got lost, makes no version."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    await world.store.write_summary(meeting_id, written("a better one"))
    assert (await world.store.write_summary(meeting_id, written("a better one"))).outcome == "already_done"
    assert len(past_summaries(world, meeting_id)) == 1


async def test_a_meeting_without_a_summary_gets_one(world: QueueWorld) -> None:
    """The stage had failed; its warning goes."""
    info = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(info)
    failed = ResultWarning(code="summarize_failed", message="Retry.", stage=Stage.SUMMARIZE)
    sent = result_with("hello", warnings=(failed,)).model_copy(update={"summary": None})
    await world.store.complete(meeting_id, claim.token, sent)
    assert (await world.store.write_summary(meeting_id, written("at last"))).outcome == "done"
    detail = await world.detail(meeting_id)
    assert (detail.summary, detail.meeting.warnings) == (written("at last"), ())
    assert past_summaries(world, meeting_id) == []


async def test_warnings_follow_the_summary(world: QueueWorld) -> None:
    """Those of the earlier one go, those of this one come; all others stay where they are."""
    info = await world.worker()
    meeting_id = await world.enqueue()
    claim = await world.claim(info)
    quiet = ResultWarning(code="audio_quiet", message="It is quiet.", stage=Stage.DECODE)
    odd = ResultWarning(code="sentences_few", message="There are few.", stage=Stage.SUMMARIZE)
    await world.store.complete(meeting_id, claim.token, result_with("hello", warnings=(DOWN, quiet, odd)))
    await world.store.write_summary(meeting_id, written("better"))
    assert (await world.detail(meeting_id)).meeting.warnings == (quiet,)
    await world.store.write_summary(meeting_id, written("worse", method="extractive", warnings=(DOWN,)))
    assert (await world.detail(meeting_id)).meeting.warnings == (quiet, DOWN)
    await world.store.write_summary(meeting_id, written("worse", method="extractive"))
    assert (await world.detail(meeting_id)).meeting.warnings == (quiet,)


async def test_a_corrected_summary_is_not_written_anew(world: QueueWorld) -> None:
    """Unless one says so; then it is a version."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    edit_overview(world, meeting_id, "as it should be")
    answer = await world.store.write_summary(meeting_id, written("a better one"))
    assert answer.outcome == "refused"
    assert answer.message is not None
    assert "resummarize with --replace-edits" in answer.message
    assert (await summary_of(world, meeting_id)).overview == "as it should be"
    answer = await world.store.write_summary(meeting_id, written("a better one"), replace_edits=True)
    assert answer.outcome == "done"
    assert await summary_of(world, meeting_id) == written("a better one")
    assert past_summaries(world, meeting_id)[-1] == (2, "as it should be", "resummarize")


async def test_only_a_completed_meeting_is_summarized_anew(world: QueueWorld) -> None:
    """Any other has no transcript, or gets a new one."""
    info = await world.worker()
    meeting_id = await world.completed(info)
    await world.store.retry(meeting_id)
    for status in ("pending", "processing"):
        answer = await world.store.write_summary(meeting_id, written("x"), replace_edits=True)
        assert answer.message == f"The meeting is {status}. Only a completed meeting can be summarized anew."
        await world.try_claim(info)
    await world.store.cancel(meeting_id)
    assert (await world.store.write_summary(meeting_id, written("x"))).outcome == "refused"
    assert (await world.store.write_summary(uuid4(), written("x"))).outcome == "gone"


async def test_a_summary_of_an_earlier_result_is_refused(world: QueueWorld) -> None:
    """Its indexes would point at other words."""
    meeting_id = await world.completed(await world.worker(), "as it was")
    completed_at = (await world.detail(meeting_id)).meeting.completed_at
    world.advance(0.25)
    await done_anew(world, meeting_id, "anew")
    answer = await world.store.write_summary(meeting_id, written("late"), completed_at=completed_at)
    assert (answer.outcome, "transcribed again meanwhile" in str(answer.message)) == ("refused", True)
    completed_at = (await world.detail(meeting_id)).meeting.completed_at
    assert (await world.store.write_summary(meeting_id, written("new"), completed_at=completed_at)).outcome == "done"


async def test_the_backlog_is_what_no_language_model_has_summarized(world: QueueWorld) -> None:
    """Completed, with words, oldest first, page by page; corrected ones only if asked for."""
    info = await world.worker()
    ids = []
    for title in ("one", "two", "three", "four"):
        ids.append(await world.completed(info, title))
        world.advance(1)
    silent = await world.enqueue()
    claim = await world.claim(info)
    await world.store.complete(silent, claim.token, result(voices=()))
    await world.enqueue("waits")
    await world.store.write_summary(ids[1], written("by a model"))
    edit_overview(world, ids[2], "by hand")
    listed = world.store.extractive_meetings
    assert set(await listed()) == {ids[0], ids[3]}
    everything = await listed(with_edited=True)
    assert set(everything) == {ids[0], ids[2], ids[3]}
    pages = [await listed(limit=2, with_edited=True), await listed(after=everything[1], limit=2, with_edited=True)]
    assert tuple(meeting for page in pages for meeting in page) == everything
    assert await listed(after=everything[2], with_edited=True) == ()


# --- guidance ----------------------------------------------------------------------------------------------------


async def claimed(world: QueueWorld, owner: UUID | None = None) -> Claim:
    folder = "lab" if owner is None else str(owner)
    await world.enqueue(user_id=owner, audio_path=f"{folder}/a.wav")
    return await world.claim(await world.worker())


async def guidance_for(world: QueueWorld, claim: Claim) -> str | None:
    return await world.store.guidance(claim.meeting.id, claim.token)


async def test_a_meeting_gets_its_owners_guidance_or_the_labs(world: QueueWorld) -> None:
    """Never both, and nobody else's."""
    claim = await claimed(world, owner := uuid4())
    other = uuid4()
    await world.enqueue(user_id=other, audio_path=f"{other}/a.wav", priority=-1)
    assert await guidance_for(world, claim) is None
    await world.store.set_guidance("the other's", other)
    assert await guidance_for(world, claim) is None
    assert (await world.store.set_guidance("the lab's")).outcome == "done"
    assert await guidance_for(world, claim) == "the lab's"
    await world.store.set_guidance("my own", owner)
    assert await guidance_for(world, claim) == "my own"
    await world.store.set_guidance(None, owner)
    assert await guidance_for(world, claim) == "the lab's"


async def test_a_meeting_of_the_lab_gets_the_labs_guidance(world: QueueWorld) -> None:
    """What a user wants is for his or her own meetings."""
    owner = uuid4()
    await world.enqueue(user_id=owner, audio_path=f"{owner}/a.wav", priority=-1)
    await world.store.set_guidance("my own", owner)
    assert await guidance_for(world, await claimed(world)) is None


async def test_guidance_is_told_to_who_works_on_the_meeting(world: QueueWorld) -> None:
    """The token proves it."""
    claim = await claimed(world)
    with pytest.raises(LeaseLostError):
        await world.store.guidance(claim.meeting.id, claim.token + 1)
    with pytest.raises(MeetingGoneError):
        await world.store.guidance(uuid4(), claim.token)
    await world.store.cancel(claim.meeting.id)
    with pytest.raises(MeetingCancelledError):
        await guidance_for(world, claim)


async def test_guidance_is_set_shown_and_taken_away(world: QueueWorld) -> None:
    """Tidied; the same again is said to be there already."""
    store = world.store
    assert await store.own_guidance() is None
    assert (await store.set_guidance("  Short,\r\nfor \x07physicists. \n")).outcome == "done"
    assert await store.own_guidance() == "Short,\nfor physicists."
    assert (await store.set_guidance("Short,\nfor physicists.")).outcome == "already_done"
    assert (await store.set_guidance(" \n ")).outcome == "done"
    assert await store.own_guidance() is None
    assert (await store.set_guidance(None)).outcome == "already_done"


async def test_guidance_has_an_end(world: QueueWorld) -> None:
    """It goes into every prompt."""
    assert (await world.store.set_guidance("x" * 4000)).outcome == "done"
    answer = await world.store.set_guidance("x" * 4001)
    assert (answer.outcome, answer.message) == ("refused", "Guidance for summaries has 1 to 4000 characters.")
    assert await world.store.own_guidance() == "x" * 4000
