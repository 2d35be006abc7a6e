"""How arguments and errors travel between a child and the supervisor."""

from __future__ import annotations

import errno
import json
import math
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from worker.adapters.child_channel import MAX_FRAME_BYTES, Answer, AnswerKind, FrameError, encode_frame
from worker.adapters.child_life import in_words
from worker.adapters.child_process import revived
from worker.adapters.child_server import Channel, Reporter, coerce, report_of, report_of_loading
from worker.exceptions import PCWorkerException, all_errors
from worker.models import Word

WORD = Word(text="a secret", start_s=0.0, end_s=1.0)


def method(path: Path, words: tuple[Word, ...], language: str | None, anything: Any, plain) -> None:  # type: ignore[no-untyped-def]
    """What the arguments of a stage look like."""


def test_arguments_become_what_the_annotations_say() -> None:
    arguments = {"path": "/a b", "words": [WORD.model_dump()], "language": None, "anything": [1], "plain": "x"}
    assert coerce(method, arguments) == {
        "path": Path("/a b"),
        "words": (WORD,),
        "language": None,
        "anything": [1],
        "plain": "x",
    }


@pytest.mark.parametrize("error", list(all_errors()), ids=lambda error: error.code)
def test_each_of_our_errors_comes_back_as_itself(error: type[PCWorkerException]) -> None:
    report = report_of(error("A sentence.", path=Path("/tmp/x"), code=3))
    back = revived(report.model_validate_json(report.model_dump_json()), "engine")
    assert type(back) is error
    assert str(back) == "A sentence."
    assert back.details == {"path": "/tmp/x", "code": 3, "child": "engine"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("report", [report_of, report_of_loading])
def test_a_full_disk_is_called_so(number: int, report: Any) -> None:
    answer = report(OSError(number, "No space left"))
    assert (answer.code, answer.replace_child) == ("disk_full", False)


def test_an_engine_can_ask_to_be_replaced() -> None:
    """After a sticky CUDA error every later call in the same process fails."""
    report = report_of(PCWorkerException(replace_child=True))
    assert report.replace_child
    assert report.details == {}


def test_a_report_never_quotes_what_was_said() -> None:
    """A pydantic error would show the value it refused."""
    with pytest.raises(ValueError, match="secret") as caught:
        coerce(method, {"language": {"text": "a secret"}})
    assert "secret" not in report_of(caught.value).model_dump_json()


def test_stacks_name_no_path_of_the_pc() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any error from our own code will do
        coerce(method, {"words": 1})
    stack = json.dumps(report_of(caught.value).details["stack"])
    assert "adapters/child_server.py" in stack
    assert str(Path(__file__).parents[2]) not in stack


def test_a_message_longer_than_a_frame_is_refused() -> None:
    with pytest.raises(FrameError):
        encode_frame(Answer(id=1, kind=AnswerKind.RESULT, value="x" * MAX_FRAME_BYTES))


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (-signal.SIGSEGV, "was ended by signal 11 (segmentation fault)"),
        (-signal.SIGKILL, "was killed (signal 9); the PC was probably out of memory"),
        (-signal.SIGRTMIN, "was ended by signal 34 (real-time signal 0)"),
        (70, "ended by itself with exit status 70"),
    ],
)
def test_an_end_is_told_in_words(returncode: int, words: str) -> None:
    assert in_words(returncode) == words


def test_progress_is_throttled_clamped_and_never_fails() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs)
        channel.begin(1)
        report = Reporter(channel, 1)
        for progress in (math.nan, math.inf, 1.5, *[0.5] * 100):
            report(progress)
        frames = ours.recv(2**16)
    assert frames.count(b'"progress"') < 10
    assert b'"value":1.0' in frames


def test_late_news_of_an_ended_call_are_dropped() -> None:
    """A thread of the engine that still reports must not be taken for an answer to the next call."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs)
        channel.begin(1)
        straggler = Reporter(channel, 1)
        channel.send(Answer(id=1, kind=AnswerKind.RESULT), last=True)
        channel.begin(2)
        straggler(0.5)
        assert ours.recv(2**16).count(b'"id"') == 1
