"""`resummarize` and `guidance` as people use them: real processes, a real database, a scripted endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.crash.test_cli import shell_in
from tests.support.embedded_postgres import temporary_postgres
from tests.support.queue_values import result, worker_info
from tests.support.scripted_llm import ScriptedLlm, honest, status, thinks
from tests.support.shell import Shell
from tests.support.worker_process import url_of
from worker.adapters.migrate_postgres import migrate
from worker.adapters.store_postgres import PostgresStore
from worker.models import NewMeeting

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with temporary_postgres() as dsn:
        migrate(dsn)
        yield shell_in(tmp_path_factory.mktemp("summaries"), url_of(dsn))


async def _completed(dsn: str, *texts: str) -> UUID:
    store = PostgresStore(dsn, application_name="test")
    info = worker_info()
    await store.register(info)
    meeting_id = await store.enqueue(NewMeeting(title="meeting", audio_path="lab/a.wav"))
    claim = (await store.claim(info.worker_id, info.instance_id, uuid4())).claim
    assert claim is not None
    await store.complete(meeting_id, claim.token, result(*texts))
    await store.close()
    return meeting_id


def completed(shell: Shell, *texts: str) -> UUID:
    """A meeting with this transcript."""
    return asyncio.run(_completed(shell.environment["DATABASE_URL"], *texts))


def test_a_language_model_summarizes_what_none_has(shell: Shell) -> None:
    """By the lab's guidance; an endpoint that fails leaves what is there, and the exit code says so."""
    said = "We agreed to buy the laser on Friday."
    meeting_id = completed(shell, said)
    assert shell("guidance", "set", "Name every price.").returncode == 0
    with ScriptedLlm(thinks(honest), status(401)) as llm:
        endpoint = {"SUMMARY_LLM_URL": llm.url, "SUMMARY_LLM_MODEL": "llama"}
        done = shell("resummarize", "--all-extractive", **endpoint)
        assert (done.returncode, done.stdout) == (0, f"{meeting_id}  A new summary, written by llama.\n")
        assert "Name every price." in str(llm.questions[0])
        failed = shell("resummarize", str(meeting_id), **endpoint)
        assert (failed.returncode, failed.stdout.startswith(f"{meeting_id}  The summary stays as it is.")) == (1, True)
        assert "0 summaries are new" in shell("resummarize", "--all-extractive", **endpoint).stderr
    assert said not in done.stderr + failed.stderr
    summary = shell.json("show", str(meeting_id))["summary"]
    assert (summary["method"], summary["key_points"][0]["segments"]) == ("llm", [0])


def test_without_an_endpoint_sentences_are_picked_only_if_asked_for(shell: Shell) -> None:
    """They would be what is there already."""
    meeting_id = completed(shell, "We met.")
    refused = shell("resummarize", str(meeting_id))
    assert (refused.returncode, "SUMMARY_LLM_URL" in refused.stderr) == (78, True)
    done = shell("resummarize", str(meeting_id), "--extractive")
    assert (done.returncode, "picked from the transcript" in done.stdout) == (0, True)
    assert shell("resummarize").returncode == shell("resummarize", str(meeting_id), "--all-extractive").returncode == 2
    missing = shell("resummarize", str(uuid4()), "--extractive")
    assert (missing.returncode, "There is no such meeting." in missing.stdout) == (1, True)


def test_guidance_is_set_shown_and_cleared(shell: Shell, tmp_path: Path) -> None:
    """From a file too, and for one user."""
    user = str(uuid4())
    (tmp_path / "guidance.txt").write_text("For physicists.\nName each réaction.\n")
    assert shell("guidance", "set", "--file", str(tmp_path / "guidance.txt"), "--user", user).returncode == 0
    assert shell("guidance", "show", "--user", user).stdout == "For physicists.\nName each réaction.\n"
    assert shell.json("guidance", "show", "--user", user) == {"guidance": "For physicists.\nName each réaction."}
    too_long = shell("guidance", "set", "x" * 4001, "--user", user)
    assert (too_long.returncode, "1 to 4000 characters" in too_long.stderr) == (1, True)
    assert shell("guidance", "set", " ", "--user", user).returncode == 2
    assert "It is gone." in shell("guidance", "clear", "--user", user).stderr
    empty = shell("guidance", "show", "--user", user)
    assert (empty.returncode, empty.stdout, "guidance set TEXT" in empty.stderr) == (0, "", True)
