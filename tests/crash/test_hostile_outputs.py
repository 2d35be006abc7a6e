"""
Engines that answer nonsense: the meeting is completed with what is left of it, or fails with a code that says who is to
blame. It is never retried for ever, and the next meeting is done as if nothing had been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from tests.crash.conftest import Lab
from worker.models import MeetingDetail, MeetingStatus

pytestmark = pytest.mark.crash

Script = dict[str, Mapping[str, Any]]


def word(text: str, start_s: float = 0.0, end_s: float = 0.4, confidence: float | None = 0.9) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s, "confidence": confidence}


def words(*values: dict[str, Any]) -> Script:
    return {"transcribe": {"words": [*values, word("end", 0.5, 0.9)]}}


def turns(*values: tuple[float, float, str]) -> Script:
    return {"diarize": {"turns": [{"start_s": s, "end_s": e, "label": label} for s, e, label in values]}}


def voices(*vectors: list[float]) -> Script:
    described = [
        {"label": f"SPEAKER_0{i}", "model": "m\0", "dim": 2, "vector": vector, "speech_s": 5.0}
        for i, vector in enumerate(vectors)
    ]
    return {"diarize": {"voices": described}}


NOT_A_NUMBER = {
    "times that are no numbers": words(word("a", math.nan, math.nan)),
    "words without an end": words(word("a", 0.0, math.inf)),
    "words without a beginning": words(word("a", -math.inf, 0.2)),
}
"""Who is to blame is the engine; another one may do better, so that these are tried again before they fail."""

NO_VOICES = {
    "turns that are no numbers": turns((math.nan, 2.0, "a"), (2.0, math.inf, "b")),
    "voices that are no numbers": voices([math.nan, math.inf], [0.0, 0.0]),
}
"""The transcript is there; who spoke is not."""

COMPLETED: dict[str, Script] = {
    "NUL in a word": words(word("a\0b")),
    "control characters in a word": words(word("\x1b[2J\x07\r\n\u202e")),
    "before the beginning": words(word("a", -5.0, -3.0)),
    "backwards": words(word("a", 3.0, 1.0)),
    "after the end of time": words(word("a", 1e300, 1.1e300)),
    "confidences beyond all bounds": words(word("a", confidence=7.5), word("b", confidence=-3.0)),
    "a confidence that is no number": words(word("a", confidence=math.nan)),
    "words without letters": words(word(""), word(" ")),
    "all at once": words(*[word(f"w{number}") for number in range(500)]),
    "a long word": words(word("x" * 200_000)),
    "a language with a quote": {"transcribe": {"language": "\0en'; drop table meetings; --"}},
    "labels of odd characters": turns((0.0, 2.0, "a\0b"), (2.0, 4.0, "")),
    "turns that end before they begin": turns((3.0, 2.0, "a"), (-2.0, 1.0, "b")),
    "voices of nobody": {
        "diarize": {"voices": [{"label": "X", "model": "m", "dim": 1, "vector": [1.0], "speech_s": 9}]}
    },
    "silence": {"transcribe": {"words": []}, "diarize": {"turns": []}},
}

ALL: dict[str, Script] = {**NOT_A_NUMBER, **NO_VOICES, **COMPLETED}


def text_of(found: MeetingDetail) -> str:
    return " ".join(segment.text for segment in found.segments)


async def test_nonsense_from_an_engine_completes_or_fails_and_the_next_meeting_is_done(lab: Lab) -> None:
    lab.execute("update pc_worker.settings set max_failures = 1")
    ids = {name: await lab.enqueue(name, **script) for name, script in ALL.items()}
    last = await lab.enqueue("an ordinary one")
    worker = lab.worker("w1", once=True)
    assert worker.wait() == 0, worker.errors
    found = {name: await lab.found(meeting_id) for name, meeting_id in ids.items()}
    for name in NOT_A_NUMBER:
        assert (found[name].meeting.status, found[name].meeting.error_code) == ("failed", "engine_failed"), name
    for name in (*NO_VOICES, *COMPLETED):
        assert found[name].meeting.status is MeetingStatus.COMPLETED, (name, found[name].meeting.error_code)
    for name in NO_VOICES:
        assert [warning.code for warning in found[name].meeting.warnings] == ["diarize_failed"]
    assert text_of(found["NUL in a word"]) == "ab end"
    assert found["silence"].meeting.warnings[0].code == "no_speech"
    assert all("\0" not in json.dumps(one.model_dump(mode="json")) for one in found.values())
    assert (await lab.found(last)).meeting.status is MeetingStatus.COMPLETED
    lab.assert_sound()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_more_words_than_anybody_says_in_a_day(lab: Lab) -> None:
    """A hundred thousand words are ten hours of talk; a million fit no message, and the engine is to blame."""
    lab.execute("update pc_worker.settings set max_failures = 1")
    many = await lab.enqueue("many", **words(*[word(f"w{n}", n * 0.3, n * 0.3 + 0.2) for n in range(100_000)]))
    endless = [word("hallucination", n * 0.3, n * 0.3 + 0.2) for n in range(1_000_000)]
    too_many = await lab.enqueue("too many", **words(*endless))
    worker = lab.worker("w1", once=True)
    assert worker.wait(patience_s=300) == 0, worker.errors
    assert await lab.status(many) is MeetingStatus.COMPLETED
    assert (await lab.found(too_many)).meeting.error_code == "engine_failed"
