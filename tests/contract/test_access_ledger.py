"""What a signed-in user may and may not do with the ledger over a project's address, as test_access_probes.py."""

from __future__ import annotations

import pytest

from tests.support.access_probe import (
    A_DONE,
    A_VOICE,
    B_DONE,
    B_VOICE,
    LAB_VOICE,
    A,
    Act,
    B,
    ProbedProject,
    delete,
    get,
    patch,
    post,
    rpc,
)

LABEL = "SPEAKER_00"
A_NAMED, B_NAMED, LAB_NAMED = 1, 2, 3
"""The decisions that named them."""

PROBES: list[tuple[str, Act, str]] = [
    # --- the table
    ("anon", get("speaker_decisions"), "refused"),
    ("nameless", get("speaker_decisions"), "nothing"),
    ("worker", get("speaker_decisions"), "refused"),
    ("A", get("speaker_decisions"), "reads"),
    ("A", get(f"speaker_decisions?user_id=neq.{A}"), "nothing"),
    ("A", get("speaker_decisions?user_id=is.null"), "nothing"),
    ("A", post("speaker_decisions", {"user_id": str(A), "kind": "named", "decided_by": "x"}), "refused"),
    ("A", patch("speaker_decisions?id=not.is.null", name="x"), "refused"),
    ("A", delete("speaker_decisions?id=not.is.null"), "refused"),
    ("service", patch("speaker_decisions?id=not.is.null", name="x"), "refused"),
    # --- lists: somebody else's are empty
    ("anon", rpc("speaker_list_v1"), "refused"),
    ("worker", rpc("speaker_list_v1"), "refused"),
    ("A", rpc("speaker_list_v1"), "reads"),
    ("A", rpc("speaker_list_v1", p_user_id=B), "reads"),
    ("A", rpc("speaker_decisions_v1"), "reads"),
    ("A", rpc("speaker_decisions_v1", p_user_id=B, p_limit=5), "reads"),
    # --- decisions about speakers
    ("anon", rpc("speaker_name_v1", p_speaker_id=A_VOICE, p_name="x"), "refused"),
    ("worker", rpc("speaker_name_v1", p_speaker_id=A_VOICE, p_name="x"), "refused"),
    ("nameless", rpc("speaker_name_v1", p_speaker_id=LAB_VOICE, p_name="x"), "gone"),
    ("A", rpc("speaker_name_v1", p_speaker_id=A_VOICE, p_name="Ada"), "writes"),
    ("A", rpc("speaker_name_v1", p_speaker_id=A_VOICE, p_name="x" * 2000), "reads"),  # refused in a sentence
    ("A", rpc("speaker_name_v1", p_speaker_id=B_VOICE, p_name="x"), "gone"),
    ("A", rpc("speaker_name_v1", p_speaker_id=LAB_VOICE, p_name="x"), "gone"),
    ("A", rpc("speaker_merge_v1", p_speaker_id=A_VOICE, p_into_id=B_VOICE), "gone"),
    ("A", rpc("speaker_merge_v1", p_speaker_id=B_VOICE, p_into_id=A_VOICE), "gone"),
    ("A", rpc("speaker_merge_v1", p_speaker_id=LAB_VOICE, p_into_id=B_VOICE), "gone"),
    ("service", rpc("speaker_merge_v1", p_speaker_id=A_VOICE, p_into_id=B_VOICE), "gone"),  # of two owners
    ("A", rpc("speaker_keep_voice_v1", p_speaker_id=A_VOICE, p_kept=False), "writes"),
    ("A", rpc("speaker_keep_voice_v1", p_speaker_id=B_VOICE, p_kept=False), "gone"),
    ("A", rpc("speaker_forget_v1", p_speaker_id=A_VOICE), "writes"),
    ("A", rpc("speaker_forget_v1", p_speaker_id=LAB_VOICE), "gone"),
    # --- decisions about voices
    ("A", rpc("speaker_split_v1", p_meeting_id=A_DONE, p_label=LABEL), "reads"),  # alone already
    ("A", rpc("speaker_split_v1", p_meeting_id=B_DONE, p_label=LABEL), "gone"),
    ("A", rpc("speaker_confirm_v1", p_meeting_id=A_DONE, p_label=LABEL, p_speaker_id=A_VOICE), "writes"),
    ("A", rpc("speaker_confirm_v1", p_meeting_id=A_DONE, p_label=LABEL, p_speaker_id=B_VOICE), "gone"),
    ("A", rpc("speaker_confirm_v1", p_meeting_id=B_DONE, p_label=LABEL, p_speaker_id=A_VOICE), "gone"),
    ("A", rpc("speaker_reject_v1", p_meeting_id=B_DONE, p_label=LABEL), "gone"),
    # --- undo
    ("A", rpc("speaker_undo_v1", p_decision_id=A_NAMED), "writes"),
    ("A", rpc("speaker_undo_v1", p_decision_id=B_NAMED), "gone"),
    ("A", rpc("speaker_undo_v1", p_decision_id=LAB_NAMED), "gone"),
    ("A", rpc("speaker_undo_v1", p_decision_id=99), "gone"),
    ("nameless", rpc("speaker_undo_v1", p_decision_id=LAB_NAMED), "gone"),
]


@pytest.mark.parametrize(("who", "act", "expected"), PROBES, ids=lambda value: str(value)[:90])
def test_everyone_decides_about_their_own_speakers_only(
    project: ProbedProject, who: str, act: Act, expected: str
) -> None:
    """Who is denied changes nothing at all; what user A changes or is shown is A's."""
    answer, changed = project.probe(who, act, expected)
    assert [row for row in changed if str(A) not in row[1] and "a0000000-" not in row[1]] == []
    if who == "A":
        assert not any(name in answer.text for name in (str(B), "b0000000-", "c0000000-"))


@pytest.mark.parametrize("signed_in", ["A", "service"])
def test_who_decided_is_on_the_record(project: ProbedProject, signed_in: str) -> None:
    """A user by id; everybody else with the rights for it is the lab."""
    project.stand_anew()
    project.send(signed_in, rpc("speaker_name_v1", p_speaker_id=A_VOICE, p_name="Ada"))
    newest = project.send("A", rpc("speaker_decisions_v1", p_limit=1)).json()["decisions"][0]
    assert (newest["name"], newest["decided_by"]) == ("Ada", f"user:{A}" if signed_in == "A" else "lab")


def test_a_name_in_the_table_is_a_decision_of_the_users(project: ProbedProject) -> None:
    """As a dashboard writes it that knows nothing of the ledger."""
    project.stand_anew()
    project.send("A", patch(f"speakers?id=eq.{A_VOICE}&select=id", name="  Ada "))
    newest = project.send("A", rpc("speaker_decisions_v1", p_limit=1)).json()["decisions"][0]
    assert (newest["kind"], newest["name"], newest["decided_by"]) == ("named", "Ada", f"user:{A}")
