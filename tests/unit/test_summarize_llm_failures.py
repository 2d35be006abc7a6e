"""Whatever an endpoint does, a meeting gets a summary, and its warning says what to do."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_llm import (
    Reply,
    ScriptedLlm,
    breaks_off,
    drips,
    floods,
    hangs,
    hangs_up,
    minutes,
    says,
    sends,
    statement,
    status,
)
from tests.unit.test_summarize_llm import FULL, SEGMENTS
from worker.models import MeetingSummary, Stage
from worker.ports import unheard
from worker.summarize import llm_summarizer
from worker.summarize.extractive import ExtractiveSummarizer
from worker.summarize.llm_failures import CAUSES
from worker.summarize.llm_summarizer import LlmSummarizer

KEY = "sk-very-secret"
EXTRACTIVE = ExtractiveSummarizer().summarize(SEGMENTS, language="en", report=unheard)
UNPROVED = minutes(overview=[statement(0, "nobody ever said such words", "All is well.")])


def ask(url: str, **options: Any) -> MeetingSummary:
    fixed = {"url": url, "model": "m", "key": KEY, "timeout_s": 20.0, "max_retries": 0}
    return LlmSummarizer(**{**fixed, **options}).summarize(SEGMENTS, language="en", report=unheard)


def assert_fallback(summary: MeetingSummary, cause: str) -> None:
    assert summary.model_copy(update={"warnings": ()}) == EXTRACTIVE
    (warning,) = summary.warnings
    assert (warning.code, warning.stage) == ("summary_llm_failed", Stage.SUMMARIZE)
    assert f"[{cause}]" in warning.message
    assert CAUSES[cause] in warning.message
    assert "python -m worker resummarize" in warning.message
    assert not any(word in warning.message for word in (KEY, "127.0.0.1", "greenhouse"))


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        pytest.param(status(401), "unauthorized", id="unauthorized"),
        pytest.param(status(403), "unauthorized", id="forbidden"),
        pytest.param(status(404, '{"error":{"message":"model m not found"}}'), "model_missing", id="model missing"),
        pytest.param(status(429), "rate_limited", id="too many requests"),
        pytest.param(status(429, retry_after="100000"), "rate_limited", id="too many requests, come back tomorrow"),
        pytest.param(status(500), "server_error", id="internal error"),
        pytest.param(status(503, "<html>Busy</html>"), "server_error", id="overloaded"),
        pytest.param(status(400), "rejected", id="rejected whatever is asked"),
        pytest.param(status(400, '{"error":"model \'m\' does not exist"}'), "model_missing", id="model missing, 400"),
        pytest.param(status(418), "rejected", id="another refusal"),
        pytest.param(status(302, location="http://127.0.0.1:1/"), "not_an_api", id="redirect, which is not followed"),
        pytest.param(status(413), "context_too_long", id="too long however short"),
        pytest.param(sends("<html>Welcome</html>", kind="text/html"), "not_an_api", id="a web page"),
        pytest.param(sends('{"error":"no"}'), "not_an_api", id="JSON of another kind"),
        pytest.param(floods, "not_an_api", id="far too many bytes"),
        pytest.param(sends('{"choices":[]}'), "empty", id="no choices"),
        pytest.param(says(None), "empty", id="no content"),
        pytest.param(says("  "), "empty", id="blank content"),
        pytest.param(says('{"overview":[', finish="length"), "cut_short", id="cut off by length"),
        pytest.param(says(None, refusal="I can't help with that."), "refused", id="refusal"),
        pytest.param(says("", finish="content_filter"), "refused", id="content filter"),
        pytest.param(says("I had a lovely day."), "invalid", id="nonsense"),
        pytest.param(says({"overview": 1, "key_points": "x"}), "invalid", id="schema violated twice"),
        pytest.param(says("[" * 100_000), "invalid", id="nested without end"),
        pytest.param(says('{"overview": ' + "9" * 5000 + "}"), "invalid", id="an endless number"),
        pytest.param(says(UNPROVED), "unproved", id="nothing of it was said"),
        pytest.param(says(minutes()), "unproved", id="an empty object of the right shape"),
        pytest.param(hangs_up, "connection_lost", id="hangs up"),
        pytest.param(breaks_off, "connection_lost", id="cut midway"),
    ],
)
def test_a_failing_endpoint_costs_only_its_own_summary(reply: Reply, cause: str) -> None:
    with ScriptedLlm(reply) as llm:
        assert_fallback(ask(llm.url), cause)


@pytest.mark.parametrize("reply", [hangs, drips])
def test_an_endpoint_that_never_comes_to_an_end_is_left(reply: Reply) -> None:
    """Bytes that keep coming are no reason to go on waiting."""
    with ScriptedLlm(reply) as llm:
        assert_fallback(ask(llm.url, timeout_s=0.3), "timeout")


def test_a_whole_meeting_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_summarizer, "MAX_TOTAL_S", 0.3)
    with ScriptedLlm(hangs) as llm:
        assert_fallback(ask(llm.url), "too_slow")


def test_an_endpoint_that_is_switched_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert_fallback(ask(f"http://127.0.0.1:{port}/v1"), "unreachable")


def test_an_endpoint_whose_name_nobody_knows() -> None:
    assert_fallback(ask("http://no-such-host.invalid/v1"), "unreachable")


def test_an_endpoint_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    with ScriptedLlm(says(FULL), certificate_in=tmp_path) as llm:
        assert_fallback(ask(llm.url), "tls")
    assert llm.questions == []


def test_an_endpoint_that_asks_for_patience_gets_it() -> None:
    with ScriptedLlm(status(429, retry_after_ms="20"), status(503, retry_after_ms="20"), says(FULL)) as llm:
        assert ask(llm.url, max_retries=2).method == "llm"


def test_a_failed_part_fails_the_whole_summary() -> None:
    """Minutes of half a meeting would look like those of all of it."""
    with ScriptedLlm(status(413), says(FULL), status(500)) as llm:
        assert_fallback(ask(llm.url), "server_error")


def test_no_failure_leaves_words_of_the_meeting_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedLlm(says("The greenhouse is haunted.")) as llm:
        ask(llm.url)
    ours = [record for record in caplog.records if record.name.startswith("worker")]
    assert [(record.message, record.__dict__["cause"]) for record in ours] == [("summary_llm_failed", "invalid")]
    assert not any(word in repr([r.__dict__ for r in ours]) for word in ("haunted", "thermostat", KEY))


def test_what_nobody_foresaw_costs_only_the_models_summary() -> None:
    """Here a key that no header can carry."""
    with ScriptedLlm(says(FULL)) as llm:
        assert_fallback(ask(llm.url, key="schl\u00fcssel \u6e29"), "unforeseen")
