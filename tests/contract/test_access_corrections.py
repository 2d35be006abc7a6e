"""What a signed-in user may correct in results, and say about summaries. Words as in test_access_probes."""

from __future__ import annotations

import pytest

from tests.support.access_probe import (
    A_DONE,
    A_PENDING,
    A_RUNNING,
    B_DONE,
    B_VOICE,
    LAB_DONE,
    A,
    Act,
    B,
    ProbedProject,
    delete,
    get,
    patch,
    post,
    rpc,
    upsert,
)

SEGMENTS, SUMMARIES = "transcript_segments", "meeting_summaries"
VERSIONS, GUIDANCE = "meeting_summary_versions", "summary_guidance"
SUMMARY = {"overview": "x", "method": "llm", "key_points": [], "decisions": [], "action_items": []}
POINT = {"text": "decided", "segments": [0, 1], "start_s": 1.5, "owner": "Ada", "due": None}

PROBES: list[tuple[str, Act, str]] = [
    # --- a transcript
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", text="what was really said"), "writes"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", speaker_label=None), "writes"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", speaker_label="SPEAKER_07"), "refused"),  # no voice of it
    ("A", patch(f"{SEGMENTS}?id=not.is.null", text="all that I see"), "writes"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", text="x" * 70_000), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{B_DONE}", text="x"), "nothing"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{LAB_DONE}", text="x"), "nothing"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", meeting_id=B_DONE), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", text="x", speaker_id=B_VOICE), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", start_s=7), "refused"),
    ("A", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", words=[]), "refused"),
    ("anon", patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", text="x"), "refused"),
    ("nameless", patch(f"{SEGMENTS}?id=not.is.null", text="x"), "nothing"),
    # --- a summary
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", overview="better"), "writes"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", decisions=[POINT], topics=[{"text": "x"}]), "writes"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", decisions={"text": "x"}), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=["x"]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"segments": [0]}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x", "segments": ["0"]}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x", "segments": [-1]}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x", "segments": [0.5]}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x", "start_s": "0"}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x", "colour": "red"}]), "rejected"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", overview="x" * 70_000), "refused"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", topics=[{"text": "x" * 270_000}]), "refused"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{B_DONE}", overview="x"), "nothing"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{LAB_DONE}", overview="x"), "nothing"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", meeting_id=B_DONE), "refused"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", method="llm"), "refused"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", edited_at=None), "refused"),
    ("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", version=7), "refused"),
    ("A", upsert(f"{SUMMARIES}?on_conflict=meeting_id", meeting_id=A_DONE, overview="x"), "refused"),
    ("anon", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", overview="x"), "refused"),
    ("nameless", patch(f"{SUMMARIES}?meeting_id=not.is.null", overview="x"), "nothing"),
    ("A", rpc("meeting_summarize_v1", p_meeting_id=A_DONE, p_summary=SUMMARY), "refused"),
    ("A", rpc("summary_backlog_v1", p_limit=5), "refused"),
    # --- what a summary was
    ("A", get(VERSIONS), "reads"),
    ("A", get(f"{VERSIONS}?meeting_id=neq.{A_DONE}"), "nothing"),
    ("A", get(f"meetings?select=id,{VERSIONS}(*)&id=eq.{A_DONE}"), "reads"),
    ("A", patch(f"{VERSIONS}?meeting_id=eq.{A_DONE}", overview="x"), "refused"),
    ("A", delete(f"{VERSIONS}?meeting_id=eq.{A_DONE}"), "refused"),
    ("A", post(VERSIONS, {"meeting_id": str(A_DONE), "version": 9}), "refused"),
    ("anon", get(VERSIONS), "refused"),
    ("nameless", get(VERSIONS), "nothing"),
    # --- what summaries should be like
    ("A", get(GUIDANCE), "reads"),
    ("A", get(f"{GUIDANCE}?user_id=is.null"), "reads"),
    ("A", get(f"{GUIDANCE}?user_id=eq.{B}"), "nothing"),
    ("A", patch(f"{GUIDANCE}?user_id=eq.{A}", text="at length"), "writes"),
    ("A", upsert(f"{GUIDANCE}?on_conflict=user_id", text="at length"), "writes"),
    ("A", patch(f"{GUIDANCE}?user_id=eq.{A}", text=" \n "), "rejected"),
    ("A", patch(f"{GUIDANCE}?user_id=eq.{A}", text="x" * 4001), "rejected"),
    ("A", post(GUIDANCE, {"text": "once more"}), "taken"),
    ("A", post(GUIDANCE, {"user_id": str(B), "text": "x"}), "refused"),
    ("A", post(GUIDANCE, {"user_id": None, "text": "x"}), "refused"),
    ("A", patch(f"{GUIDANCE}?user_id=eq.{A}", user_id=None), "refused"),
    ("A", patch(f"{GUIDANCE}?user_id=eq.{B}", text="x"), "nothing"),
    ("A", patch(f"{GUIDANCE}?user_id=is.null", text="x"), "nothing"),
    ("A", delete(f"{GUIDANCE}?user_id=eq.{A}"), "writes"),
    ("A", delete(f"{GUIDANCE}?user_id=eq.{B}"), "nothing"),
    ("A", delete(f"{GUIDANCE}?user_id=is.null"), "nothing"),
    ("A", rpc("guidance_get_v1", p_user_id=B), "refused"),
    ("A", rpc("guidance_set_v1", p_text="x", p_user_id=B), "refused"),
    ("A", rpc("worker_guidance_v1", p_meeting_id=A_RUNNING, p_token=1001), "refused"),
    ("anon", get(GUIDANCE), "refused"),
    ("nameless", get(GUIDANCE), "nothing"),
    ("nameless", post(GUIDANCE, {"text": "x"}), "refused"),
]


@pytest.mark.parametrize(("who", "act", "expected"), PROBES, ids=lambda value: str(value)[:90])
def test_everyone_corrects_what_is_theirs_and_nothing_else(
    project: ProbedProject, who: str, act: Act, expected: str
) -> None:
    """Who is denied changes nothing at all; what user A changes or is shown is A's."""
    answer, changed = project.probe(who, act, expected)
    assert [row for row in changed if str(A) not in row[1] and str(A_DONE) not in row[1]] == []
    others = [str(B), "b0000000-", "c0000000-"]
    assert not answer.is_success or not any(name in answer.text for name in others)


def test_a_correction_is_signed_with_the_users_id(project: ProbedProject) -> None:
    """The version before says who replaced it; the row says that it was edited, and a retry asks first."""
    project.stand_anew()
    (row,) = project.send("A", patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", overview="better")).json()
    assert (row["overview"], row["version"], row["edited_at"] is not None) == ("better", 2, True)
    (kept,) = project.send("A", get(f"{VERSIONS}?version=eq.1")).json()
    assert (kept["overview"], kept["replaced_by"]) == ("in short", f"user:{A}")
    answer = project.send("A", rpc("meeting_retry_v1", p_meeting_id=A_DONE)).json()
    assert (answer["outcome"], "--replace-edits" in answer["message"]) == ("refused", True)


def test_a_passage_is_given_only_to_a_voice_of_its_meeting(project: ProbedProject) -> None:
    """Not to one of another meeting, even of one's own."""
    project.stand_anew()
    voice = "insert into public.meeting_speakers (meeting_id, label) values (%s, 'SPEAKER_07')"
    to_it = patch(f"{SEGMENTS}?meeting_id=eq.{A_DONE}", speaker_label="SPEAKER_07")
    project.admin.execute(voice, [A_PENDING])
    assert project.send("A", to_it).status_code == 403
    project.admin.execute(voice, [A_DONE])
    assert project.send("A", to_it).status_code == 200


def test_a_correction_while_the_meeting_is_done_again_is_refused(project: ProbedProject) -> None:
    """In the same sentence for summary and transcript."""
    project.stand_anew()
    assert project.send("A", patch(f"meetings?id=eq.{A_DONE}", status="pending")).is_success
    acts = [
        patch(f"{SUMMARIES}?meeting_id=eq.{A_DONE}", overview="x"),
        patch(f"{SEGMENTS}?segment_index=eq.0", text="x"),
    ]
    answers = [project.send("A", act).json() for act in acts]
    assert {answer["message"] for answer in answers} == {
        "This meeting is being transcribed again, so a correction made now would be lost."
    }


def test_a_wide_policy_of_the_project_opens_nobody_elses_results(project: ProbedProject) -> None:
    """`for all using (true)` is what many projects begin with."""
    for table in (SEGMENTS, SUMMARIES, GUIDANCE):
        project.admin.execute(f"create policy wide on public.{table} for all to public using (true)".encode())
    project.stand_anew()
    before = project.rows()
    acts = [
        patch(f"{SEGMENTS}?meeting_id=eq.{B_DONE}", text="x"),
        patch(f"{SUMMARIES}?meeting_id=eq.{B_DONE}", overview="x"),
        patch(f"{GUIDANCE}?user_id=eq.{B}", text="x"),
        delete(f"{GUIDANCE}?user_id=is.null"),
        patch(f"meetings?id=eq.{A_PENDING}&select=id", status="completed"),
    ]
    for act in acts:
        project.send("A", act)
    for table in (SEGMENTS, SUMMARIES, GUIDANCE):
        project.admin.execute(f"drop policy wide on public.{table}".encode())
    assert project.rows() == before
