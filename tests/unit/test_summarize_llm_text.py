"""Looking up quotations, and how much text fits a question: the parts that need no model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.queue_values import segment
from tests.support.scripted_llm import minutes, statement
from worker.models import TranscriptSegment
from worker.summarize.llm_answer import LISTS, Answer, InvalidAnswerError, answer_schema, read_answer
from worker.summarize.llm_budget import Budget, num_tokens, packed, shortened
from worker.summarize.llm_checks import MAX_STATEMENTS, labels_of, proved
from worker.summarize.llm_prompt import Prompt
from worker.summarize.llm_quotes import Spoken

SPOKEN = Spoken(
    (
        segment(3, "Well, we DON\u2019T need it \u2014 not now."),
        segment(4, "Yes!"),
        segment(5, "\u6211\u4eec\u51b3\u5b9a\u4e70\u65b0\u7684\u6e29\u5ea6\u8ba1\u3002"),
        segment(7, "not now, not ever"),
        segment(9, "Wir nehmen die Stra\u00dfenbahn um f\u00fcnf."),
    )
)


@pytest.mark.parametrize(
    ("quote", "cited", "places"),
    [
        ("we don't need it, not now", {3}, (3,)),
        ("WE DON'T NEED", set(), (3,)),
        ("need it not now yes", {4}, (3, 4)),
        ("not now, not", {3}, (7,)),
        ("Yes", {4}, (4,)),
        ("\u51b3\u5b9a\u4e70\u65b0\u7684", {5}, (5,)),
        ("die Strassenbahn um f\u00fcnf", {9}, (9,)),
        ("we don't need \u2026 die stra\u00dfenbahn um", set(), (3,)),
        ("not now", {7}, None),
        ("need", {3}, None),
        ("eed it not no", {3}, None),
        ("need it right now", {3}, None),
        ("we don't need ... the tram at five", {3}, None),
        ("\u4e70\u65b0", {5}, None),
        ("\u51b3\u5b9a\u5356\u65b0\u7684", {5}, None),
        ("?!", {3}, None),
        ("", {3}, None),
    ],
)
def test_a_quotation_is_found_as_it_was_said_or_not_at_all(
    quote: str, cited: set[int], places: tuple[int, ...] | None
) -> None:
    """Case, punctuation and borders of segments do not count; borders of words do, and two words prove nothing."""
    assert SPOKEN.prove(quote, cited) == places


def test_of_several_places_the_cited_one_counts() -> None:
    said = Spoken(tuple(segment(i, "that is what I mean") for i in range(5)))
    assert said.prove("what I mean", {3}) == (3,)
    assert said.prove("what I mean", {99}) == (0,)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6), st.data())
def test_whatever_was_said_is_found_where_it_was_said(texts: list[str], data: st.DataObject) -> None:
    segments = tuple(segment(i, text) for i, text in enumerate(texts))
    for index, text in enumerate(texts):
        place = Spoken(segments).prove(text, {index})
        assert place is None or index in place


def test_every_list_is_bounded_and_says_the_same_only_once() -> None:
    many = [statement(3, "we don't need it", f"Point {i}.") for i in range(100)]
    answer = Answer.model_validate({**minutes(), **{name: [*many, many[0]] for name in LISTS}})
    kept, num_dropped = proved(answer, SPOKEN)
    assert {name: len(found) for name, found in kept.lists()} == MAX_STATEMENTS
    assert kept.key_points[0].text == "Point 0."
    assert num_dropped == 0


def test_a_first_name_means_the_one_who_has_it() -> None:
    names = {"A": "Ada Lovelace", "B": "Ada Yonath", "C": "Grace Hopper", "D": ""}
    labels = labels_of(names, frozenset("ABCD"))
    assert labels["ada lovelace"] == "A"
    assert labels["grace"] == "C"
    assert labels["d"] == "D"
    assert "ada" not in labels


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"a": {"b": 1}}', "[" * 10_000, '{"overview": [{"text": "x"}]}', "null"]
)
def test_what_is_no_answer_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidAnswerError):
        read_answer(text)


def test_the_problem_names_the_place_and_quotes_nothing() -> None:
    with pytest.raises(InvalidAnswerError) as caught:
        read_answer(json.dumps({**minutes(), "decisions": [{"text": "secret", "segments": ["many"]}]}))
    assert "decisions.0.quote: Field required" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "many" not in str(caught.value)


def test_the_schema_that_endpoints_get_is_the_one_that_answers_are_read_by() -> None:
    schema = answer_schema()
    assert set(schema["properties"]) == set(Answer.model_fields) == set(LISTS)
    item = schema["properties"]["action_items"]["items"]
    assert item["additionalProperties"] is False
    assert set(item["properties"]) == {"segments", "quote", "text", "owner", "due"} == set(item["required"])


# --- budget ------------------------------------------------------------------------------------------------------

TOKENS_OF_OTHERS = [
    # what a vocabulary of 32 000 pieces made for English may need; estimated by hand, not measured
    ("The quick brown fox jumps over the lazy dog.", 10),
    ("Geschwindigkeitsbegrenzungen gelten auch f\u00fcr Stra\u00dfenbahnen.", 20),
    ("2026-11-21 13:50", 16),
    ("\u6211\u4eec\u51b3\u5b9a\u4e70\u65b0\u7684\u6e29\u5ea6\u8ba1\u3002", 20),
    ("\U0001f600\U0001f469\u200d\U0001f52c", 15),
]


@pytest.mark.parametrize(("text", "at_least"), TOKENS_OF_OTHERS)
def test_the_bound_is_above_what_tokenizers_make_of_a_text(text: str, at_least: int) -> None:
    assert at_least <= num_tokens(text) <= len(text.encode())


@given(st.text(st.characters(codec="utf-8")))
def test_the_bound_is_never_above_what_bytes_allow(text: str) -> None:
    assert 0 <= num_tokens(text) <= len(text.encode())


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 50))
def test_a_shortened_text_fits_and_is_its_beginning(text: str, max_tokens: int) -> None:
    short = shortened(text, max_tokens)
    assert text.startswith(short)
    assert num_tokens(short) <= max_tokens
    assert short == text or num_tokens(text) > max_tokens


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_runs_hold_everything_in_order_and_fit(costs: list[int], room: int) -> None:
    runs = packed(range(len(costs)), costs, room)
    assert [item for run in runs for item in run] == list(range(len(costs)))
    assert all(len(run) == 1 or sum(costs[item] for item in run) <= room for run in runs)


@pytest.mark.parametrize("context", [2048, 8192, 131_072])
@pytest.mark.parametrize("language", ["en", None])
def test_questions_with_their_answers_fit_the_context(context: int, language: str | None) -> None:
    """Filled to the brim, with long guidance, and with the second round."""
    budget = Budget(context)
    prompt = Prompt(budget, language, guidance="W\u00fcnsche \u6e29 " * 2000)
    segments: list[TranscriptSegment] = [segment(i, "So we said what we said. " * 8) for i in range(2000)]
    room = prompt.room()
    lines = prompt.transcript_lines(segments, room)
    run = packed(lines, [num_tokens(line) + 1 for line in lines], room)[0]
    question = prompt.about_transcript(run)
    again = prompt.again(question, "No. " * 9000, "overview: " * 900)
    assert room > context // 8
    assert sum(num_tokens(message["content"]) for message in question) + budget.answer <= context
    assert sum(num_tokens(message["content"]) for message in again) + budget.answer <= context
