"""
What a lab PC's role and the service key may and may not do over a project's address: one line each.

The words are those of test_access_probes.py.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.support.access_probe import (
    A_DONE,
    A_PENDING,
    A_RUNNING,
    A_VOICE,
    B_DONE,
    B_PENDING,
    LAB_DONE,
    LAB_PENDING,
    MISSING,
    A,
    Act,
    B,
    ProbedProject,
    delete,
    get,
    insert,
    patch,
    post,
    rpc,
    upsert,
)

SEGMENTS, VOICES, SUMMARIES = "transcript_segments", "meeting_speakers", "meeting_summaries"
WORKER: dict[str, Any] = {
    "name": "PC 2",
    "version": "0",
    "system": {"hostname": "pc-2", "machine_id": "m2"},
    "schema": [],
}
INSTANCE = UUID(int=7)

WORKER_CALLS: list[tuple[Act, str]] = [
    (rpc("worker_register_v1", p_worker_id="w2", p_instance_id=INSTANCE, p_worker=WORKER), "reads"),  # schema differs
    (rpc("worker_claim_v1", p_worker_id="w2", p_instance_id=INSTANCE, p_claim_id=A, p_min_wait_s=0), "reads"),
    (rpc("worker_heartbeat_v1", p_worker_id="w2", p_instance_id=INSTANCE, p_beats=[]), "reads"),
    (rpc("worker_heartbeat_v2", p_worker_id="w2", p_instance_id=INSTANCE, p_beats=[], p_troubles=[]), "reads"),
    (rpc("worker_complete_v1", p_meeting_id=MISSING, p_token=1, p_result={}), "gone"),
    (rpc("worker_complete_v2", p_meeting_id=MISSING, p_token=1, p_result={}), "gone"),
    (rpc("worker_fail_v1", p_meeting_id=A_RUNNING, p_token=1001, p_failure={"kind": "crash"}), "writes"),
    (rpc("worker_release_v1", p_meeting_id=A_RUNNING, p_token=1001), "writes"),
    (rpc("worker_speakers_v1", p_meeting_id=A_RUNNING, p_token=1001), "reads"),
    (rpc("worker_speakers_v2", p_meeting_id=A_RUNNING, p_token=1001, p_models=["ge2e"]), "reads"),
    (rpc("worker_vocabulary_v1", p_meeting_id=A_RUNNING, p_token=1001), "reads"),
    (rpc("worker_guidance_v1", p_meeting_id=A_RUNNING, p_token=1001), "reads"),
    (rpc("worker_statuses_v1", p_meeting_ids=[str(A_RUNNING)]), "reads"),
    (rpc("worker_drain_v1", p_worker_id="w1", p_draining=True), "writes"),
    (rpc("worker_status_v1"), "reads"),
    (rpc("worker_status_v2"), "reads"),
    (rpc("worker_schema_v1", p_known=[]), "reads"),
]
"""Every function of a worker; a worker and the service key may call them all."""

PROBES: list[tuple[str, Act, str]] = [
    *(("worker", act, expected) for act, expected in WORKER_CALLS),
    ("worker", get("meetings"), "refused"),
    ("worker", get(f"meetings?select=audio_path&id=eq.{A_RUNNING}"), "refused"),
    ("worker", get(SEGMENTS), "refused"),
    ("worker", get("speakers"), "refused"),
    ("worker", get(VOICES), "refused"),
    ("worker", get("speaker_embeddings"), "refused"),
    ("worker", get(SUMMARIES), "refused"),
    ("worker", get("vocabulary"), "refused"),
    ("worker", post("vocabulary", {"word": "x"}), "refused"),
    ("worker", delete("vocabulary?id=not.is.null"), "refused"),
    ("worker", rpc("vocabulary_list_v1"), "refused"),
    ("worker", rpc("vocabulary_add_v1", p_words=["x"]), "refused"),
    ("worker", get("summary_guidance"), "refused"),
    ("worker", get("meeting_summary_versions"), "refused"),
    ("worker", rpc("guidance_get_v1"), "refused"),
    ("worker", rpc("guidance_set_v1", p_text="x"), "refused"),
    ("worker", rpc("summary_backlog_v1", p_limit=1), "refused"),
    ("worker", rpc("meeting_summarize_v1", p_meeting_id=A_DONE, p_summary={}), "refused"),
    ("worker", get("jobs", profile="pc_worker"), "unknown"),
    ("worker", get("workers", profile="pc_worker"), "unknown"),
    ("worker", get("migrations", profile="pc_worker"), "unknown"),
    ("worker", get("objects", profile="storage"), "unknown"),
    ("worker", insert(title="x", audio_path="lab/m1/audio.wav"), "refused"),
    ("worker", upsert("meetings?on_conflict=id", id=A_PENDING, priority=9), "refused"),
    ("worker", patch(f"meetings?id=eq.{A_RUNNING}", status="completed"), "refused"),
    ("worker", patch(f"meetings?id=eq.{A_RUNNING}", title="x"), "refused"),
    ("worker", patch(f"speakers?id=eq.{A_VOICE}", name="x"), "refused"),
    ("worker", post(SEGMENTS, {"meeting_id": str(A_DONE), "segment_index": 1}), "refused"),
    ("worker", delete(f"meetings?id=eq.{A_DONE}"), "refused"),
    ("worker", delete(f"{SEGMENTS}?meeting_id=eq.{A_DONE}"), "refused"),
    ("worker", rpc("meeting_cancel_v1", p_meeting_id=A_PENDING), "refused"),
    ("worker", rpc("meeting_cancel_v1", p_meeting_id=LAB_PENDING), "refused"),
    ("worker", rpc("meeting_retry_v1", p_meeting_id=LAB_DONE, p_replace_edits=True), "refused"),
    ("worker", rpc("meeting_retry_v2", p_meeting_id=LAB_DONE, p_from="diarize"), "refused"),
    ("worker", rpc("cancel_job", profile="pc_worker", p_meeting_id=A_PENDING), "unknown"),
    ("worker", rpc("open_to", profile="pc_worker", p_role="anon", p_rights="select on public.meetings"), "unknown"),
    # --- the service key
    *(("service", act, expected) for act, expected in WORKER_CALLS),
    ("service", get(f"meetings?id=eq.{B_DONE}"), "reads"),
    ("service", get(f"{SEGMENTS}?meeting_id=eq.{LAB_DONE}"), "reads"),
    ("service", get("speakers"), "reads"),
    ("service", get(VOICES), "reads"),
    ("service", get("speaker_embeddings"), "reads"),
    ("service", get(SUMMARIES), "reads"),
    ("service", get(f"vocabulary?user_id=eq.{B}"), "reads"),
    ("service", post("vocabulary", {"word": "for everybody"}), "writes"),
    ("service", rpc("vocabulary_list_v1", p_user_id=B), "reads"),
    ("service", rpc("vocabulary_add_v1", p_words=["x"]), "writes"),
    ("service", rpc("vocabulary_remove_v1", p_words=["of B"], p_user_id=B), "writes"),
    ("service", insert(title="the lab's", audio_path="lab/m1/audio.wav", priority=5), "writes"),
    ("service", insert(user_id=B, audio_path=f"{B}/m9/audio.wav", priority=5), "writes"),
    ("service", insert(user_id=UUID(int=5), title="of nobody"), "rejected"),
    ("service", patch(f"meetings?id=eq.{B_PENDING}", priority=9), "writes"),
    ("service", patch(f"{SEGMENTS}?meeting_id=eq.{B_DONE}", text="corrected"), "writes"),
    ("service", patch(f"{SUMMARIES}?meeting_id=eq.{B_DONE}", overview="corrected"), "writes"),
    ("service", get("meeting_summary_versions"), "reads"),
    ("service", delete(f"meeting_summary_versions?meeting_id=eq.{B_DONE}"), "refused"),
    ("service", rpc("guidance_get_v1", p_user_id=B), "reads"),
    ("service", rpc("guidance_set_v1", p_text="at length", p_user_id=B), "writes"),
    ("service", rpc("guidance_set_v1", p_text=""), "writes"),
    ("service", rpc("summary_backlog_v1", p_limit=5), "reads"),
    ("service", delete(f"meetings?id=eq.{B_DONE}"), "writes"),
    ("service", delete(f"speakers?id=eq.{A_VOICE}"), "writes"),
    ("service", rpc("meeting_cancel_v1", p_meeting_id=B_PENDING), "writes"),
    ("service", rpc("meeting_cancel_v1", p_meeting_id=LAB_PENDING), "writes"),
    ("service", rpc("meeting_retry_v1", p_meeting_id=B_DONE, p_replace_edits=False), "writes"),
    ("service", rpc("meeting_retry_v2", p_meeting_id=B_DONE, p_from="diarize"), "writes"),
    ("service", get("jobs", profile="pc_worker"), "unknown"),
    ("service", rpc("cancel_job", p_meeting_id=A_PENDING), "unknown"),
    ("secret", get(f"meetings?id=eq.{B_DONE}"), "reads"),
    ("secret", rpc("worker_status_v1"), "reads"),
    ("secret", rpc("meeting_cancel_v1", p_meeting_id=B_PENDING), "writes"),
]


@pytest.mark.parametrize(("who", "act", "expected"), PROBES, ids=lambda value: str(value)[:90])
def test_a_machine_gets_what_it_needs_and_nothing_else(
    project: ProbedProject, who: str, act: Act, expected: str
) -> None:
    """The worker's role goes through its functions alone; the service key also reads and writes the tables."""
    project.probe(who, act, expected, ignoring="pc_worker.pulse")


def test_the_worker_may_call_every_function_of_a_worker(project: ProbedProject) -> None:
    """The probes above leave none out."""
    named = {act.path.removeprefix("rpc/") for act, _ in WORKER_CALLS}
    found = project.admin.execute(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'worker%'"
    ).fetchall()
    assert named == {name for (name,) in found}
