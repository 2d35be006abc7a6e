"""
What a signed-in user, and nobody in particular, may and may not do over a project's address: one line each.

`refused`: no right to. `nothing`: no such row as far as the caller can see. `gone`: as if there were no such meeting.
`rejected`: a rule forbids it, in a sentence. `unknown`: PostgREST shows no such thing. Only `writes` changes rows.
"""

from __future__ import annotations

import pytest

from tests.support.access_probe import (
    A_DONE,
    A_PENDING,
    A_RUNNING,
    A_VOICE,
    B_DONE,
    B_PENDING,
    B_RUNNING,
    B_VOICE,
    LAB_DONE,
    LAB_PENDING,
    LAB_RUNNING,
    LAB_VOICE,
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
OWN_PATH = f"{A}/m9/audio.wav"
A_LIST = [{"title": "mine", "user_id": str(A)}, {"title": "yours", "user_id": str(B)}]

PROBES: list[tuple[str, Act, str]] = [
    # --- nobody in particular
    ("anon", get("meetings"), "refused"),
    ("anon", get("meetings?select=id"), "refused"),
    ("anon", get("meetings", prefer="count=exact"), "refused"),
    ("anon", get(SEGMENTS), "refused"),
    ("anon", get("speakers"), "refused"),
    ("anon", get(VOICES), "refused"),
    ("anon", get("speaker_embeddings"), "refused"),
    ("anon", get(SUMMARIES), "refused"),
    ("anon", get("jobs", profile="pc_worker"), "unknown"),
    ("anon", insert(title="x"), "refused"),
    ("anon", insert(title="x", user_id=A), "refused"),
    ("anon", patch(f"meetings?id=eq.{A_PENDING}", title="x"), "refused"),
    ("anon", patch(f"speakers?id=eq.{A_VOICE}", name="x"), "refused"),
    ("anon", delete(f"meetings?id=eq.{A_DONE}"), "refused"),
    ("anon", rpc("meeting_cancel_v1", p_meeting_id=A_PENDING), "refused"),
    ("anon", rpc("meeting_cancel_v1", p_meeting_id=LAB_PENDING), "refused"),
    ("anon", rpc("meeting_retry_v1", p_meeting_id=A_DONE, p_replace_edits=True), "refused"),
    ("anon", rpc("meeting_retry_v2", p_meeting_id=A_DONE, p_from="diarize"), "refused"),
    ("anon", rpc("worker_status_v1"), "refused"),
    ("anon", rpc("worker_schema_v1", p_known=[]), "refused"),
    ("anon", rpc("worker_claim_v1", p_worker_id="w1", p_instance_id=MISSING, p_claim_id=A, p_min_wait_s=0), "refused"),
    ("publishable", get("meetings"), "refused"),
    ("publishable", rpc("worker_status_v1"), "refused"),
    # --- tokens that prove nothing
    ("forged A", get("meetings"), "unauthenticated"),
    ("expired A", get("meetings"), "unauthenticated"),
    ("nameless", get("meetings"), "nothing"),
    ("nameless", get("speakers?select=id,name"), "nothing"),
    ("nameless", insert(title="x"), "refused"),
    ("nameless", insert(title="x", audio_path="lab/m1/audio.wav"), "refused"),
    ("nameless", patch("meetings?id=not.is.null", title="x"), "nothing"),
    ("nameless", rpc("meeting_cancel_v1", p_meeting_id=LAB_PENDING), "gone"),
    ("nameless", rpc("meeting_cancel_v1", p_meeting_id=A_PENDING), "gone"),
    # --- a user reads
    ("A", get("meetings"), "reads"),
    ("A", get(f"meetings?id=eq.{B_DONE}"), "nothing"),
    ("A", get(f"meetings?id=eq.{LAB_DONE}"), "nothing"),
    ("A", get(f"meetings?user_id=neq.{A}"), "nothing"),
    ("A", get(f"meetings?or=(user_id.is.null,user_id.eq.{B})"), "nothing"),
    ("A", get(SEGMENTS), "reads"),
    ("A", get(f"{SEGMENTS}?meeting_id=eq.{B_DONE}"), "nothing"),
    ("A", get(f"{SEGMENTS}?meeting_id=eq.{LAB_DONE}"), "nothing"),
    ("A", get(f"{SEGMENTS}?text=like.*said*&meeting_id=neq.{A_DONE}"), "nothing"),
    ("A", get(VOICES), "reads"),
    ("A", get(f"{VOICES}?meeting_id=neq.{A_DONE}"), "nothing"),
    ("A", get(SUMMARIES), "reads"),
    ("A", get(f"{SUMMARIES}?meeting_id=neq.{A_DONE}"), "nothing"),
    ("A", get("speakers?select=id,user_id,name,meeting_ids,keeps_voice,created_at,updated_at"), "reads"),
    ("A", get("speakers"), "refused"),
    ("A", get("speakers?select=embedding"), "refused"),
    ("A", get("speakers?select=id&order=embedding"), "refused"),
    ("A", get("speakers?select=id&embedding=not.is.null"), "refused"),
    ("A", get(f"speakers?select=id&id=in.({B_VOICE},{LAB_VOICE})"), "nothing"),
    ("A", get(f"speakers?select=id&meeting_ids=cs.{{{B_DONE}}}"), "nothing"),
    ("A", get("speaker_embeddings"), "refused"),
    ("A", get(f"speaker_embeddings?select=id&meeting_id=eq.{A_DONE}"), "refused"),
    ("A", get("speaker_embeddings?select=id&order=embedding"), "refused"),
    ("A", get("speaker_embeddings?select=count()"), "unknown"),
    # --- a user reads through something else
    ("A", get(f"meetings?select=*,{SEGMENTS}(*),{SUMMARIES}(*)"), "reads"),
    ("A", get(f"meetings?select=*,{SEGMENTS}(*)&id=eq.{B_DONE}"), "nothing"),
    ("A", get(f"{SEGMENTS}?select=*,meetings(*),speakers(id,name)"), "reads"),
    ("A", get(f"{SEGMENTS}?select=id,meetings!inner(user_id)&meetings.user_id=eq.{B}"), "nothing"),
    ("A", get(f"{VOICES}?select=*,speakers!meeting_speakers_speaker_id_fkey(id)&speaker_id=eq.{B_VOICE}"), "nothing"),
    ("A", get("speakers?select=*,speaker_embeddings(*)"), "refused"),
    ("A", get("meetings?select=id,speaker_embeddings(embedding)"), "refused"),
    ("A", get("speakers?select=id,speaker_embeddings!inner(id)&speaker_embeddings.model=eq.ge2e"), "refused"),
    ("A", get(f"{SEGMENTS}?select=id&order=meetings(user_id)"), "unknown"),
    ("A", get("meetings?select=id,users(*)"), "unknown"),
    ("A", get("users", profile="auth"), "unknown"),
    ("A", get("objects", profile="storage"), "unknown"),
    ("A", get("jobs"), "unknown"),
    ("A", get("jobs", profile="pc_worker"), "unknown"),
    ("A", get("settings", profile="pc_worker"), "unknown"),
    ("A", get("workers", profile="pc_worker"), "unknown"),
    # --- a user adds a meeting
    ("A", insert(title="mine", audio_path=OWN_PATH), "writes"),
    ("A", insert(id=A, user_id=A, audio_path=OWN_PATH, priority=-5, status="pending", language="sv"), "writes"),
    ("A", insert(min_speakers=1, max_speakers=3, prompt="p", hotwords="h", audio_path=OWN_PATH), "writes"),
    ("A", insert(audio_url="https://example.org/a.mp3"), "writes"),
    ("A", insert(title="uploaded afterwards"), "writes"),
    ("A", insert(user_id=B, audio_path=OWN_PATH), "refused"),
    ("A", insert(user_id=B, audio_path=f"{B}/m1/audio.wav"), "refused"),
    ("A", insert(user_id=None, audio_path="lab/m1/audio.wav"), "refused"),
    ("A", insert(user_id=None), "refused"),
    ("A", post("meetings", A_LIST), "refused"),
    ("A", insert(priority=1), "refused"),
    ("A", insert(status="processing"), "rejected"),
    ("A", insert(status="completed"), "rejected"),
    ("A", insert(status="cancelled"), "rejected"),
    ("A", insert(audio_path=f"{B}/m1/audio.wav"), "refused"),
    ("A", insert(audio_path="lab/m1/audio.wav"), "refused"),
    ("A", insert(audio_path="audio.wav"), "refused"),
    ("A", insert(audio_path=""), "refused"),
    ("A", insert(audio_path=f"{A}"), "refused"),
    ("A", insert(audio_path=f"{A}/"), "refused"),
    ("A", insert(audio_path=f"/{A}/a.wav"), "refused"),
    ("A", insert(audio_path=f"{A}//a.wav"), "refused"),
    ("A", insert(audio_path=f"{A}x/a.wav"), "refused"),
    ("A", insert(audio_path=f"{str(A).upper()}/a.wav"), "refused"),
    ("A", insert(audio_path=f"{A}/../{B}/m1/audio.wav"), "refused"),
    ("A", insert(audio_path=f"{A}/./a.wav"), "refused"),
    ("A", insert(audio_path=f"{A}/%2e%2e/{B}/m1/audio.wav"), "refused"),
    ("A", insert(audio_path=f"{A}%2f..%2f{B}/m1/audio.wav"), "refused"),
    ("A", insert(audio_path=f"{A}/..\\{B}\\m1\\audio.wav"), "refused"),
    ("A", insert(audio_path=f"{A}/a.wav\n"), "refused"),
    ("A", insert(audio_url="http://example.org/a.mp3"), "refused"),
    ("A", insert(audio_url="file:///etc/passwd"), "refused"),
    ("A", insert(audio_url=" https://example.org/a.mp3"), "refused"),
    ("A", insert(audio_url=""), "refused"),
    ("A", insert(audio_path=OWN_PATH, audio_url="ftp://example.org/a.mp3"), "refused"),
    ("A", insert(prompt="x" * 70_000), "refused"),
    ("A", insert(title="x" * 40_000, hotwords="x" * 40_000), "refused"),
    ("A", insert(stage="asr"), "refused"),
    ("A", insert(progress=1), "refused"),
    ("A", insert(error_code="poison"), "refused"),
    ("A", insert(error_message="x"), "refused"),
    ("A", insert(warnings=[]), "refused"),
    ("A", insert(processed_by="w1"), "refused"),
    ("A", insert(duration_s=1), "refused"),
    ("A", insert(result={}), "refused"),
    ("A", insert(created_at="2000-01-01"), "refused"),
    ("A", insert(started_at="2000-01-01"), "refused"),
    ("A", insert(completed_at="2000-01-01"), "refused"),
    ("A", insert(updated_at="2000-01-01"), "refused"),
    ("A", insert(id=B_PENDING, title="x"), "taken"),
    # --- a user adds what is there already
    ("A", upsert("meetings?on_conflict=id", id=A_PENDING, title="x"), "refused"),
    ("A", upsert("meetings?on_conflict=id", id=A_PENDING, audio_path=f"{B}/m1/audio.wav"), "refused"),
    ("A", upsert("meetings?on_conflict=id", id=A_PENDING, audio_path=OWN_PATH), "refused"),
    ("A", upsert("meetings?on_conflict=id", id=A_PENDING, priority=0), "refused"),
    ("A", upsert("meetings?on_conflict=id", id=B_PENDING, title="x"), "refused"),
    ("A", upsert("meetings?on_conflict=id", id=B_PENDING, user_id=A), "refused"),
    ("A", upsert("meetings?on_conflict=id&columns=id,title", id=B_PENDING, title="x"), "refused"),
    ("A", Act("PUT", f"meetings?id=eq.{B_PENDING}", {"id": str(B_PENDING), "title": "x"}), "refused"),
    ("A", Act("PUT", f"meetings?id=eq.{A_PENDING}", {"id": str(A_PENDING), "title": "x"}), "refused"),
    ("A", post("meetings", {"id": str(B_PENDING), "title": "x"}, prefer="resolution=ignore-duplicates"), "nothing"),
    ("A", upsert("speakers?on_conflict=id", id=B_VOICE, name="x"), "refused"),
    ("A", upsert("speakers?on_conflict=id", id=A_VOICE, embedding=[0]), "refused"),
    # --- a user changes a meeting
    ("A", patch(f"meetings?id=eq.{A_DONE}", title="better"), "writes"),
    ("A", patch("meetings?id=not.is.null", title="all that I see"), "writes"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", status="cancelled"), "writes"),
    ("A", patch(f"meetings?id=eq.{A_RUNNING}", status="cancelled"), "writes"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", status="pending"), "writes"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", title="better", status="cancelled"), "writes"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", status="completed"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", status="processing"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_RUNNING}", status="completed"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_RUNNING}", status="failed"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_RUNNING}", status="pending"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", status="cancelled"), "rejected"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", status="x"), "rejected"),
    ("A", patch("meetings?id=not.is.null", status="cancelled"), "rejected"),  # one of them is completed
    ("A", patch(f"meetings?id=eq.{B_PENDING}", title="x"), "nothing"),
    ("A", patch(f"meetings?id=eq.{B_PENDING}", status="cancelled"), "nothing"),
    ("A", patch(f"meetings?id=eq.{B_RUNNING}", status="cancelled"), "nothing"),
    ("A", patch(f"meetings?id=eq.{B_DONE}", status="pending"), "nothing"),
    ("A", patch(f"meetings?id=eq.{LAB_PENDING}", status="cancelled"), "nothing"),
    ("A", patch(f"meetings?user_id=eq.{B}", title="x"), "nothing"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", title="x" * 70_000), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", user_id=B), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", user_id=None), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", user_id=A), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", priority=9), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", title="x", priority=9), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", status="pending", audio_path=f"{B}/m1/audio.wav"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", audio_path=OWN_PATH), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", audio_url="https://example.org/a.mp3"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", id=A), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", language="en"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", prompt="x"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_PENDING}", max_speakers=2), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", result={}), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", error_code="x"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", warnings=[]), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", processed_by="x"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", completed_at=None), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}", created_at="2000-01-01"), "refused"),
    ("A", patch(f"meetings?id=eq.{A_DONE}&select=*,speaker_embeddings(*)", title="x"), "refused"),
    # --- a user changes results
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", name="Ada"), "writes"),
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", name=None), "writes"),
    ("A", patch("speakers?id=not.is.null&select=id", name="all that I see"), "writes"),
    ("A", patch(f"speakers?id=eq.{B_VOICE}&select=id", name="x"), "nothing"),
    ("A", patch(f"speakers?id=eq.{LAB_VOICE}&select=id", name="x"), "nothing"),
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", name="x" * 2000), "rejected"),
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", user_id=B), "refused"),
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", embedding=[0]), "refused"),
    ("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", meeting_ids=[]), "refused"),
    ("A", post("speakers", {"name": "x", "user_id": str(A)}), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", speaker_id=B_VOICE), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", edited_at=None), "refused"),
    ("A", post(SEGMENTS, {"meeting_id": str(A_DONE), "segment_index": 1, "start_s": 0, "end_s": 1}), "refused"),
    ("A", patch(f"{VOICES}?meeting_id=eq.{A_DONE}", speaker_id=B_VOICE), "refused"),
    ("A", post(VOICES, {"meeting_id": str(A_DONE), "label": "x", "speaker_id": str(B_VOICE)}), "refused"),
    ("A", post(SUMMARIES, {"meeting_id": str(A_PENDING), "overview": "x", "method": "x"}), "refused"),
    ("A", patch("speaker_embeddings?id=not.is.null", embedding=[0]), "refused"),
    ("A", post("speaker_embeddings", {"speaker_id": str(A_VOICE), "meeting_id": str(A_DONE)}), "refused"),
    # --- a user's vocabulary
    ("A", get("vocabulary"), "reads"),
    ("A", get("vocabulary?user_id=is.null"), "reads"),
    ("A", get(f"vocabulary?user_id=eq.{B}"), "nothing"),
    ("A", post("vocabulary", {"word": "gluon"}), "writes"),
    ("A", post("vocabulary", [{"user_id": str(A), "word": word} for word in ("gluon", " field  theory ")]), "writes"),
    ("A", post("vocabulary", {"word": "OF A"}), "taken"),
    ("A", post("vocabulary", {"word": "of the lab"}), "writes"),
    ("A", post("vocabulary", {"word": ""}), "rejected"),
    ("A", post("vocabulary", {"word": "x" * 61}), "rejected"),
    ("A", post("vocabulary", {"word": "one, two"}), "rejected"),
    ("A", post("vocabulary", [{"word": f"word {n}"} for n in range(500)]), "rejected"),
    ("A", post("vocabulary", {"user_id": str(B), "word": "gluon"}), "refused"),
    ("A", post("vocabulary", {"user_id": None, "word": "gluon"}), "refused"),
    ("A", post("vocabulary", {"word": "gluon", "created_at": "2000-01-01"}), "refused"),
    ("A", patch(f"vocabulary?user_id=eq.{A}", word="better"), "writes"),
    ("A", patch(f"vocabulary?user_id=eq.{A}", word="x" * 61), "rejected"),
    ("A", patch(f"vocabulary?user_id=eq.{A}", user_id=None), "refused"),
    ("A", patch(f"vocabulary?user_id=eq.{B}", word="x"), "nothing"),
    ("A", patch("vocabulary?user_id=is.null", word="x"), "nothing"),
    ("A", delete(f"vocabulary?user_id=eq.{A}"), "writes"),
    ("A", delete("vocabulary?id=not.is.null"), "writes"),
    ("A", delete(f"vocabulary?user_id=eq.{B}"), "nothing"),
    ("A", delete("vocabulary?user_id=is.null"), "nothing"),
    ("A", rpc("vocabulary_list_v1", p_user_id=B), "refused"),
    ("A", rpc("vocabulary_add_v1", p_words=["x"]), "refused"),
    ("A", rpc("vocabulary_remove_v1", p_words=["of A"], p_user_id=A), "refused"),
    ("A", rpc("worker_vocabulary_v1", p_meeting_id=A_RUNNING, p_token=1001), "refused"),
    ("A", rpc("worker_statuses_v1", p_meeting_ids=[str(B_DONE)]), "refused"),
    ("anon", get("vocabulary"), "refused"),
    ("anon", post("vocabulary", {"word": "x"}), "refused"),
    ("nameless", get("vocabulary"), "nothing"),
    ("nameless", post("vocabulary", {"word": "x"}), "refused"),
    # --- a user deletes
    ("A", delete(f"meetings?id=eq.{A_PENDING}"), "refused"),
    ("A", delete(f"meetings?id=eq.{B_PENDING}"), "refused"),
    ("A", delete("meetings?id=not.is.null"), "refused"),
    ("A", delete(f"speakers?id=eq.{A_VOICE}"), "refused"),
    ("A", delete(f"{SEGMENTS}?meeting_id=eq.{A_DONE}"), "refused"),
    ("A", delete(f"{VOICES}?meeting_id=eq.{A_DONE}"), "refused"),
    ("A", delete(f"{SUMMARIES}?meeting_id=eq.{A_DONE}"), "refused"),
    ("A", delete("speaker_embeddings?id=not.is.null"), "refused"),
    # --- a user calls functions
    ("A", rpc("meeting_cancel_v1", p_meeting_id=A_PENDING), "writes"),
    ("A", rpc("meeting_cancel_v1", p_meeting_id=A_RUNNING), "writes"),
    ("A", rpc("meeting_cancel_v1", p_meeting_id=A_DONE), "reads"),  # says that it is completed already
    ("A", rpc("meeting_cancel_v1", p_meeting_id=B_PENDING), "gone"),
    ("A", rpc("meeting_cancel_v1", p_meeting_id=B_RUNNING), "gone"),
    ("A", rpc("meeting_cancel_v1", p_meeting_id=LAB_PENDING), "gone"),
    ("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE, p_replace_edits=False), "writes"),
    ("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE), "writes"),
    ("A", rpc("meeting_retry_v1", p_meeting_id=B_DONE, p_replace_edits=True), "gone"),
    ("A", rpc("meeting_retry_v1", p_meeting_id=B_PENDING, p_replace_edits=True), "gone"),
    ("A", rpc("meeting_retry_v1", p_meeting_id=LAB_DONE), "gone"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=A_DONE), "writes"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=A_DONE, p_from="diarize"), "writes"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=A_PENDING, p_from="diarize"), "writes"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=A_DONE, p_from="transcribe"), "reads"),  # says from which it may be
    ("A", rpc("meeting_retry_v2", p_meeting_id=B_DONE, p_replace_edits=True, p_from="diarize"), "gone"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=B_PENDING, p_from="diarize"), "gone"),
    ("A", rpc("meeting_retry_v2", p_meeting_id=LAB_DONE, p_from="summarize"), "gone"),
    ("A", rpc("worker_register_v1", p_worker_id="x", p_instance_id=A, p_worker={}), "refused"),
    ("A", rpc("worker_claim_v1", p_worker_id="w1", p_instance_id=A, p_claim_id=A, p_min_wait_s=0), "refused"),
    ("A", rpc("worker_heartbeat_v1", p_worker_id="w1", p_instance_id=A, p_beats=[]), "refused"),
    ("A", rpc("worker_heartbeat_v2", p_worker_id="w1", p_instance_id=A, p_beats=[], p_troubles=[]), "refused"),
    ("A", rpc("worker_complete_v1", p_meeting_id=A_RUNNING, p_token=1001, p_result={}), "refused"),
    ("A", rpc("worker_fail_v1", p_meeting_id=B_RUNNING, p_token=1002, p_failure={"kind": "crash"}), "refused"),
    ("A", rpc("worker_release_v1", p_meeting_id=B_RUNNING, p_token=1002), "refused"),
    ("A", rpc("worker_speakers_v1", p_meeting_id=A_RUNNING, p_token=1001), "refused"),
    ("A", rpc("worker_speakers_v2", p_meeting_id=A_RUNNING, p_token=1001, p_models=["ge2e"]), "refused"),
    ("A", rpc("worker_complete_v2", p_meeting_id=A_RUNNING, p_token=1001, p_result={}), "refused"),
    ("A", rpc("worker_drain_v1", p_worker_id="w1", p_draining=True), "refused"),
    ("A", rpc("worker_status_v1"), "refused"),
    ("A", rpc("worker_status_v2"), "refused"),
    ("A", get("rpc/worker_status_v1"), "refused"),
    ("A", rpc("worker_schema_v1", p_known=[]), "refused"),
    ("A", rpc("cancel_job", p_meeting_id=B_PENDING), "unknown"),
    ("A", rpc("cancel_job", profile="pc_worker", p_meeting_id=B_PENDING), "unknown"),
    ("A", rpc("open_to", profile="pc_worker", p_role="anon", p_rights="select on public.meetings"), "unknown"),
    ("A", rpc("is_path_refused", p_user_id=A, p_audio_path="x"), "unknown"),
    ("A", rpc("is_path_refused", profile="pc_worker", p_user_id=A, p_audio_path="x"), "unknown"),
    ("A", rpc("set_config", setting_name="role", new_value="service_role", is_local=True), "unknown"),
]


@pytest.mark.parametrize(("who", "act", "expected"), PROBES, ids=lambda value: str(value)[:90])
def test_everyone_gets_what_is_theirs_and_nothing_else(
    project: ProbedProject, who: str, act: Act, expected: str
) -> None:
    """Who is denied changes nothing at all; what user A changes or is shown is A's."""
    answer, changed = project.probe(who, act, expected)
    own = [str(one) for one in (A, A_VOICE, A_DONE, A_PENDING, A_RUNNING, *project.meetings_of(A))]
    assert [row for row in changed if not any(name in row[1] for name in own)] == []
    others = [str(B), "b0000000-", "c0000000-"]
    assert not answer.is_success or not any(name in answer.text for name in others)


@pytest.mark.parametrize("function", ["meeting_cancel_v1", "meeting_retry_v1", "meeting_retry_v2"])
def test_somebody_elses_meeting_is_answered_like_a_missing_one(project: ProbedProject, function: str) -> None:
    """So that nobody learns which ids exist."""
    project.stand_anew()
    ids = (MISSING, B_PENDING, B_RUNNING, B_DONE, LAB_PENDING, LAB_RUNNING, LAB_DONE)
    answers = [project.send("A", rpc(function, p_meeting_id=meeting_id)) for meeting_id in ids]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}


def test_counting_counts_only_own_rows(project: ProbedProject) -> None:
    """Not even how many others there are."""
    project.stand_anew()
    queries = (("meetings", 3), (SEGMENTS, 1), (VOICES, 1), (SUMMARIES, 1), ("speakers?select=id", 1))
    for table, num_own in queries:
        for method in ("GET", "HEAD"):
            answer = project.send("A", Act(method, table, prefer="count=exact"))
            assert answer.headers["Content-Range"].split("/")[1] == str(num_own), table


def test_a_meeting_that_a_user_adds_without_saying_whose_is_the_users(project: ProbedProject) -> None:
    """A dashboard need not send user_id; and what it may not set has its beginner's value."""
    project.stand_anew()
    (row,) = project.send("A", insert(title="mine", audio_path=OWN_PATH)).json()
    assert (row["user_id"], row["status"], row["priority"]) == (str(A), "pending", 0)
    assert (row["result"], row["processed_by"], row["error_code"], row["warnings"]) == (None, None, None, [])
