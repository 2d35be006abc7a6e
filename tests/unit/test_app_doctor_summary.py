"""What the doctor says about the endpoint that writes summaries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripted_llm import Reply, ScriptedLlm, has, sends, status
from tests.support.settings import settings_in
from worker.app_doctor_check import State
from worker.app_doctor_summary import summary_check


@pytest.mark.parametrize(
    ("reply", "state", "says"),
    [
        (has("qwen", "llama"), State.OK, "what is said in meetings is sent there"),
        (has("qwen"), State.WARNING, "it lists qwen. Correct SUMMARY_LLM_MODEL"),
        (has(), State.WARNING, "it lists none"),
        (status(404), State.OK, "does not say whether it has llama"),
        (status(401), State.WARNING, "check SUMMARY_LLM_KEY"),
        (status(500), State.WARNING, "Meanwhile summaries are extractive"),
        (sends("<html></html>", kind="text/html"), State.WARNING, "usually ends with /v1"),
    ],
)
async def test_the_line_says_what_to_do(tmp_path: Path, reply: Reply, state: State, says: str) -> None:
    with ScriptedLlm(reply) as llm:
        settings = settings_in(tmp_path, SUMMARY_LLM_URL=llm.url, SUMMARY_LLM_MODEL="llama", SUMMARY_LLM_KEY="sk-x")
        check = await summary_check(settings)
    assert check is not None
    assert (check.name, check.state) == ("summary", state)
    assert says in check.sentence
    assert "sk-x" not in check.sentence
    assert llm.paths == ["/v1/models"]


async def test_an_endpoint_that_is_off_is_a_warning(tmp_path: Path) -> None:
    with ScriptedLlm(has()) as llm:
        pass
    check = await summary_check(settings_in(tmp_path, SUMMARY_LLM_URL=llm.url, SUMMARY_LLM_MODEL="llama"))
    assert check is not None
    assert check.state is State.WARNING
    assert "cannot be reached" in check.sentence


async def test_without_an_endpoint_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert await summary_check(settings_in(tmp_path)) is None
