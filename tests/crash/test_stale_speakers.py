"""People change while a result is on its way, and the worker is killed in between: nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.conftest import Lab
from worker.models import MeetingStatus
from worker.voiceprints import THRESHOLDS

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ALWAYS_LATE = """
alter function public.worker_complete_v2(uuid, bigint, jsonb) rename to worker_complete_in_time;
create function public.worker_complete_v2(p_meeting_id uuid, p_token bigint, p_result jsonb) returns jsonb
language plpgsql as $$
begin
  perform pc_worker.new_people_version(null);
  return public.worker_complete_in_time(p_meeting_id, p_token, p_result);
end $$
"""
"""Somebody else always gets through first."""

IN_TIME_AGAIN = """
drop function public.worker_complete_v2(uuid, bigint, jsonb);
alter function public.worker_complete_in_time(uuid, bigint, jsonb) rename to worker_complete_v2
"""


def one_voice() -> dict[str, Any]:
    described = {"label": "A", "model": next(iter(THRESHOLDS)), "dim": 2, "vector": [0.6, 0.8], "speech_s": 20.0}
    return {"turns": [{"label": "A", "start_s": 0.0, "end_s": 4.0}], "voices": [described]}


async def test_a_kill_between_a_stale_answer_and_the_next_result_loses_nothing(lab: Lab) -> None:
    known = await lab.enqueue(diarize=one_voice())
    assert lab.worker("w1", once=True).wait() == 0
    meeting_id = await lab.enqueue(diarize=one_voice())
    lab.execute(ALWAYS_LATE)
    worker = lab.worker("w1")
    worker.wait_for("SpeakersChanged", num_rounds=2)
    worker.kill()
    assert await lab.status(meeting_id) is MeetingStatus.PROCESSING

    lab.execute(IN_TIME_AGAIN)
    again = lab.worker("w1", once=True)
    assert again.wait() == 0, again.errors
    assert not any(event["event"].startswith("Stage") for event in again.seen), "nothing is computed again"
    assert "ResultReplayed" in [event["event"] for event in again.seen]
    speakers = [(await lab.found(each)).speakers[0].speaker_id for each in (known, meeting_id)]
    assert speakers[0] == speakers[1]
    assert lab.leftovers == []
