"""
One meeting's minutes, written by a language model: in one question if it fits, else part by part and then as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from worker.models import TranscriptSegment
from worker.ports import Report
from worker.summarize.llm_answer import LISTS, Answer, InvalidAnswerError, read_answer
from worker.summarize.llm_budget import num_tokens, packed
from worker.summarize.llm_checks import proved
from worker.summarize.llm_client import MAX_CONCURRENT, LlmClient
from worker.summarize.llm_failures import LlmError, TooLongError
from worker.summarize.llm_prompt import Message, Prompt
from worker.summarize.llm_quotes import Spoken

MAX_HALVINGS = 3
MAX_MERGES = 4
"""Rounds in which statements are put together; each leaves a fraction of them."""

Make = Callable[[Sequence[str]], list[Message]]


class Minutes:
    """
    The questions and answers of one meeting. Every answer is checked against what was said before it goes on.

    Attributes:
        num_dropped: statements that could not be proved, of all answers.
    """

    def __init__(
        self, client: LlmClient, prompt: Prompt, segments: Sequence[TranscriptSegment], report: Report
    ) -> None:
        self._client = client
        self._prompt = prompt
        self._report = report
        self._room = max(1, prompt.room())
        self._lines = prompt.transcript_lines(segments, self._room)
        self._num_runs = len(self._runs(self._lines))
        self._num_answers = 0
        self.spoken = Spoken(segments)
        self.num_dropped = 0

    @property
    def num_rounds(self) -> int:
        """How many answers' time it takes: those that run at once counted once, and the merge."""
        return -(-self._num_runs // MAX_CONCURRENT) + (1 if self._num_runs > 1 else 0)

    async def write(self) -> Answer:
        """Raises LlmError. An answer of which nothing can be proved is an error too."""
        parts = await self._answers(self._prompt.about_transcript, self._lines)
        whole = await self._merged(parts)
        if whole.is_empty():
            raise LlmError("unproved")
        return whole

    async def _merged(self, parts: Sequence[Answer]) -> Answer:
        """One answer of several, in as many rounds as it takes; as they are where the model cannot shorten them."""
        parts = [part for part in parts if not part.is_empty()]
        for _ in range(MAX_MERGES):
            if len(parts) < 2:
                break
            lines = self._prompt.statement_lines(parts)
            merged = [part for part in await self._answers(self._prompt.about_statements, lines) if not part.is_empty()]
            if not merged or len(self._prompt.statement_lines(merged)) >= len(lines):
                break
            parts = merged
        return parts[0] if len(parts) == 1 else joined(parts)

    async def _answers(self, make: Make, lines: Sequence[str]) -> list[Answer]:
        return await _all([self._answer(make, run, MAX_HALVINGS) for run in self._runs(lines)])

    async def _answer(self, make: Make, run: Sequence[str], num_halvings: int) -> Answer:
        """What the model makes of these lines, or of both their halves where the endpoint finds them too long."""
        try:
            return await self._asked(make(run))
        except TooLongError:
            if num_halvings == 0 or len(run) < 2:
                raise
        middle = len(run) // 2
        halves = [self._answer(make, half, num_halvings - 1) for half in (run[:middle], run[middle:])]
        return await self._merged(await _all(halves))

    async def _asked(self, question: list[Message]) -> Answer:
        """One question, and one more when the answer is not what was asked for."""
        max_tokens = self._prompt.budget.answer
        text = await self._client.ask(question, max_tokens)
        try:
            answer = read_answer(text)
        except InvalidAnswerError as problem:
            again = self._prompt.again(question, text, str(problem))
            try:
                answer = read_answer(await self._client.ask(again, max_tokens))
            except InvalidAnswerError:
                raise LlmError("invalid") from None
        answer, num_dropped = proved(answer, self.spoken)
        self.num_dropped += num_dropped
        self._num_answers += 1
        self._report(min(0.99, self._num_answers / (self._num_runs + 1)))
        return answer

    def _runs(self, lines: Sequence[str]) -> list[list[str]]:
        return packed(lines, [num_tokens(line) + 1 for line in lines], self._room)


def joined(answers: Sequence[Answer]) -> Answer:
    """All their statements, one after the other."""
    return Answer(**{name: tuple(item for answer in answers for item in getattr(answer, name)) for name in LISTS})


async def _all(work: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Side by side; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
