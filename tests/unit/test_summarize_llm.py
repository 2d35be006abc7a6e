"""A language model's summary: what is asked, what is made of the answer, and how long meetings are put together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.queue_values import segment
from tests.support.scripted_llm import (
    Reply,
    ScriptedLlm,
    data_lines,
    honest,
    minutes,
    says,
    statement,
    status,
    thinks,
)
from worker.models import MeetingSummary, SummaryItem, TranscriptSegment
from worker.ports import unheard
from worker.summarize.llm_summarizer import LlmSummarizer

SEGMENTS = (
    segment(0, "Good morning, the greenhouse sensors failed twice last week.", "SPEAKER_00"),
    segment(1, "So the old thermostat is the weak point.", "SPEAKER_01"),
    segment(2, "We agreed to buy a new thermostat for the greenhouse.", "SPEAKER_00"),
    segment(3, "I'll order the thermostat by Friday, and Grace pays.", "SPEAKER_01"),
    segment(4, "Who waters the seedlings in August?", "SPEAKER_00"),
)
NAMES = {"SPEAKER_00": "Ada Lovelace", "SPEAKER_01": "Charles Babbage"}
FULL = minutes(
    overview=[statement(0, "the greenhouse sensors failed twice", "The greenhouse gets a new thermostat")],
    key_points=[statement(1, "the old thermostat is the weak point", "The thermostat is at fault.")],
    decisions=[statement(2, "agreed to buy a new thermostat", "A thermostat is bought.")],
    action_items=[statement(3, "I'll order the thermostat", "Order it.", owner="Charles Babbage", due="by Friday")],
    open_questions=[statement(4, "Who waters the seedlings", "Who waters in August?")],
    topics=[
        statement(0, "the greenhouse sensors failed", "Sensors"),
        statement(4, "waters the seedlings in", "August"),
    ],
)


def summary_by(*script: Reply, segments: tuple[TranscriptSegment, ...] = SEGMENTS, **options: Any) -> MeetingSummary:
    with ScriptedLlm(*script) as llm:
        return summarized(llm, segments, **options)


def summarized(llm: ScriptedLlm, segments: tuple[TranscriptSegment, ...] = SEGMENTS, **options: Any) -> MeetingSummary:
    wishes = {"language": "en", "names": NAMES, "guidance": None}
    asked = {name: options.pop(name, value) for name, value in wishes.items()}
    fixed = {"url": llm.url, "model": "m", "timeout_s": 20.0, "max_retries": 0}
    summarizer = LlmSummarizer(language=options.pop("summary_language", None), **{**fixed, **options})
    return summarizer.summarize(segments, report=unheard, **asked)


def test_every_part_of_the_minutes_arrives_with_its_segments_and_times() -> None:
    summary = summary_by(says(FULL))
    assert (summary.method, summary.model, summary.language) == ("llm", "m", "en")
    assert summary.overview == "The greenhouse gets a new thermostat."
    assert summary.decisions == (
        SummaryItem(text="A thermostat is bought.", segments=(2,), start_s=SEGMENTS[2].start_s),
    )
    assert [topic.start_s for topic in summary.topics] == [SEGMENTS[0].start_s, SEGMENTS[4].start_s]
    assert summary.open_questions[0].segments == (4,)
    assert (summary.num_dropped, summary.warnings) == (0, ())


@pytest.mark.parametrize(
    ("owner", "becomes"),
    [
        ("Charles Babbage", "SPEAKER_01"),
        ("charles", "SPEAKER_01"),
        ("SPEAKER_00", "SPEAKER_00"),
        ("Grace", "Grace"),
        ("Mallory", None),
        (None, None),
    ],
)
def test_an_owner_is_who_took_part_or_was_mentioned(owner: str | None, becomes: str | None) -> None:
    """Mallory was neither: the task stands, without an owner."""
    task = statement(3, "I'll order the thermostat", "Order it.", owner=owner, due="by Christmas")
    (item,) = summary_by(says({**FULL, "action_items": [task]})).action_items
    assert (item.owner, item.due) == (becomes, None)


def test_what_was_never_said_is_dropped_and_counted() -> None:
    lies = [statement(1, "we fire the gardener tomorrow", "The gardener is fired."), *FULL["decisions"]]
    summary = summary_by(says({**FULL, "decisions": lies}))
    assert [item.text for item in summary.decisions] == ["A thermostat is bought."]
    assert summary.num_dropped == 1
    assert [warning.code for warning in summary.warnings] == ["summary_statements_dropped"]


def test_a_wrong_citation_is_put_right_by_the_quotation() -> None:
    wrong = {**statement(0, "agreed to buy a new thermostat", "Bought."), "segments": [77, 0]}
    (item,) = summary_by(says({**FULL, "decisions": [wrong]})).decisions
    assert (item.segments, item.start_s) == ((0, 2), SEGMENTS[2].start_s)


def test_the_question_says_what_the_language_and_the_wishes_are() -> None:
    with ScriptedLlm(says(FULL)) as llm:
        summarized(llm, guidance="Name costs first.")
    rules = llm.questions[0]["messages"][0]["content"]
    assert "Name costs first." in rules
    assert "the code en" in rules
    assert data_lines(llm.questions[0])[0] == {"i": 0, "who": "Ada Lovelace", "text": SEGMENTS[0].text}
    assert llm.questions[0]["temperature"] == 0.0


@pytest.mark.parametrize(
    ("setting", "of_meeting", "becomes"), [("de", "en", "de"), (None, "fr", "fr"), (None, None, None)]
)
def test_the_language_is_the_one_of_the_setting_else_the_meetings(
    setting: str | None, of_meeting: str | None, becomes: str | None
) -> None:
    with ScriptedLlm(says(FULL)) as llm:
        summary = summarized(llm, language=of_meeting, summary_language=setting)
    wanted = f"the code {becomes}" if becomes else "the language of the meeting"
    assert wanted in llm.questions[0]["messages"][0]["content"]
    assert summary.language == becomes


@pytest.mark.parametrize(
    ("complaint", "changed"),
    [
        ("response_format json_schema is not supported", {"response_format": {"type": "json_object"}}),
        ("unsupported value: temperature", {"temperature": None}),
        ("use max_completion_tokens instead of max_tokens", {"max_completion_tokens": 2048, "max_tokens": None}),
    ],
)
def test_what_an_endpoint_does_not_take_is_left_out_and_remembered(complaint: str, changed: dict[str, Any]) -> None:
    """The second meeting asks right away as the first one learned."""
    refuses = status(400, json.dumps({"error": {"message": complaint}}))
    with ScriptedLlm(refuses, says(FULL)) as llm:
        summarizer = LlmSummarizer(url=llm.url, model="m")
        for _ in range(2):
            summary = summarizer.summarize(SEGMENTS, language="en", report=unheard)
            assert summary.method == "llm"
    assert len(llm.questions) == 3
    for question in llm.questions[1:]:
        assert {name: question.get(name) for name in changed} == changed


def test_an_endpoint_that_takes_no_response_format_at_all_is_asked_without() -> None:
    refuses = status(400, '{"error":{"message":"unknown field response_format"}}')
    with ScriptedLlm(refuses, refuses, says(FULL)) as llm:
        assert summarized(llm).method == "llm"
    assert "response_format" not in llm.questions[2]


@pytest.mark.parametrize(
    "written",
    [
        '<think>They bought {things}: {"overview": []}</think>' + json.dumps(FULL),
        "so they bought it</think>\n```json\n" + json.dumps(FULL, indent=1) + "\n```\nI hope this helps {you}!",
        json.dumps({**FULL, "extra": 1, "action_items": None}),
    ],
)
def test_an_answer_is_found_among_thoughts_and_fences(written: str) -> None:
    summary = summary_by(says(written))
    assert summary.method == "llm"
    assert summary.decisions


def test_a_wrong_answer_is_repaired_once_and_the_question_quotes_the_mistake() -> None:
    with ScriptedLlm(says({"overview": "We met."}), says(FULL)) as llm:
        assert summarized(llm).method == "llm"
    first, second = (question["messages"] for question in llm.questions)
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]
    assert "overview: " in second[-1]["content"]


def test_no_variable_and_no_fact_of_this_pc_goes_to_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "OPENAI_API_KEY": "sk-other",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_ORG_ID": "org-other",
        "OPENAI_PROJECT_ID": "project-other",
        "OPENAI_CUSTOM_HEADERS": "x-other: other",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with ScriptedLlm(says(FULL)) as llm:
        assert summarized(llm).method == "llm"
        assert summarized(llm, key="sk-ours").method == "llm"
    without, with_key = llm.headers
    assert "authorization" not in without
    assert with_key["authorization"] == "Bearer sk-ours"
    assert "other" not in repr(llm.headers)
    assert {name for name in without if name.startswith("x-")} <= {"x-stainless-raw-response"}
    assert without["user-agent"] == "pc-worker"


def test_a_meeting_without_words_asks_nobody() -> None:
    with ScriptedLlm(says(FULL)) as llm:
        summary = summarized(llm, segments=())
    assert (summary.method, llm.questions) == ("extractive", [])


# --- long meetings -----------------------------------------------------------------------------------------------

LONG = tuple(
    segment(i, f"Point number {i} is about greenhouse {i} and its many flowers and sensors.") for i in range(120)
)


def test_a_long_meeting_is_asked_in_parts_that_fit_and_put_together() -> None:
    with ScriptedLlm(thinks(honest)) as llm:
        summary = summarized(llm, LONG, context_tokens=2048)
    lines = [data_lines(question) for question in llm.questions]
    parts = [[line["i"] for line in part] for part in lines if "i" in part[0]]
    assert len(parts) > 3
    assert sorted(i for part in parts for i in part) == list(range(120))
    assert all("list" in line for line in lines[-1])
    assert summary.key_points == (SummaryItem(text="Part 0 begins.", segments=(0,), start_s=LONG[0].start_s),)


def test_a_part_that_the_endpoint_finds_too_long_is_halved() -> None:
    too_long = status(400, '{"error":{"message":"This model has a maximum context length of 2048 tokens"}}')
    with ScriptedLlm(too_long, thinks(honest)) as llm:
        summary = summarized(llm)
    assert summary.method == "llm"
    whole, *halves, merged = [len(data_lines(question)) for question in llm.questions]
    assert (whole, sorted(halves), merged) == (5, [2, 3], 4)


def test_an_answer_that_was_cut_off_is_asked_for_in_halves() -> None:
    with ScriptedLlm(says('{"overview": [', finish="length"), thinks(honest)) as llm:
        assert summarized(llm).method == "llm"
    assert len(llm.questions) == 4


def test_one_endless_segment_is_cut_into_lines_of_the_same_number() -> None:
    endless = segment(7, " ".join(f"word{i}" for i in range(700)))
    with ScriptedLlm(thinks(honest)) as llm:
        summary = summarized(llm, (endless,), context_tokens=2048)
    assert summary.key_points[0].segments == (7,)
    said = [line["text"] for question in llm.questions for line in data_lines(question) if "i" in line]
    assert sorted(" ".join(said).split()) == sorted(endless.text.split())
