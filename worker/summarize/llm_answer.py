"""
What a language model is asked to answer, and how its answer is read.

The same shape is used for a part of a meeting and for the whole. Models wrap JSON in thoughts and code fences; both are
taken off. What is left must be the object, or the model is told what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from worker.models import Value

LISTS = ("overview", "key_points", "decisions", "action_items", "open_questions", "topics")

MAX_PROBLEMS = 5
MAX_OBJECTS_TRIED = 20
"""Braces in prose before the object; more of them is no answer."""

_THOUGHTS = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
"""Chat templates may put the opening tag into the prompt, so that only the closing one is in the answer."""


class InvalidAnswerError(Exception):
    """It is not what was asked for. `str()` says why, in words that quote nothing of it."""


def _nothing_for_null(value: object) -> object:
    return () if value is None else value


class Statement(Value):
    """One thing that was said, and what proves it. Only action items have an owner and a date."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    segments: Annotated[tuple[int, ...], BeforeValidator(_nothing_for_null)] = ()
    quote: str
    text: str = Field(min_length=1)
    owner: str | None = None
    due: str | None = None


Statements = Annotated[tuple[Statement, ...], BeforeValidator(_nothing_for_null)]


class Answer(Value):
    model_config = ConfigDict(frozen=True, extra="ignore")

    overview: Statements
    key_points: Statements
    decisions: Statements = ()
    action_items: Statements = ()
    open_questions: Statements = ()
    topics: Statements = ()

    def lists(self) -> Iterator[tuple[str, tuple[Statement, ...]]]:
        return ((name, getattr(self, name)) for name in LISTS)

    def is_empty(self) -> bool:
        return not any(statements for _, statements in self.lists())


def read_answer(text: str) -> Answer:
    """Raises InvalidAnswerError."""
    found = _object_in(_THOUGHTS.sub("", text))
    if found is None:
        raise InvalidAnswerError("There is no JSON object in it.")
    try:
        return Answer.model_validate(found)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)[:MAX_PROBLEMS]
        lines = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in problems)
        raise InvalidAnswerError("; ".join(lines)) from None


def _object_in(text: str) -> dict[str, Any] | None:
    """The first JSON object that has one of our lists, whatever stands around it."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(MAX_OBJECTS_TRIED):
        if at < 0:
            break
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(found, dict) and not found.keys().isdisjoint(LISTS):
                return found
        at = text.find("{", end)
    return None


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),  # strict mode wants all of them, and no others
        "additionalProperties": False,
    }


def _list_of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(properties)}


def answer_schema() -> dict[str, Any]:
    """JSON schema of `Answer`, for endpoints that hold the model to one. Evidence comes before the claim."""
    claim = {
        "segments": {"type": "array", "items": {"type": "integer"}},
        "quote": {"type": "string"},
        "text": {"type": "string"},
    }
    task = {**claim, "owner": {"type": ["string", "null"]}, "due": {"type": ["string", "null"]}}
    return _object({name: _list_of(task if name == "action_items" else claim) for name in LISTS})
