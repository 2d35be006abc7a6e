"""A summary by a language model at an OpenAI-compatible endpoint; the extractive one where that cannot be had."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from worker.models import MeetingSummary, ResultWarning, Stage, SummaryItem, TranscriptSegment
from worker.ports import Report
from worker.summarize.extractive import ExtractiveSummarizer
from worker.summarize.llm_answer import Answer, Statement
from worker.summarize.llm_budget import Budget
from worker.summarize.llm_checks import MAX_STATEMENTS, item_of, labels_of
from worker.summarize.llm_client import Dialect, LlmClient
from worker.summarize.llm_failures import LlmError
from worker.summarize.llm_minutes import Minutes
from worker.summarize.llm_prompt import Prompt

logger = logging.getLogger(__name__)

METHOD = "llm"
NUM_SPARE_ROUNDS = 2
"""A repair and a halving, beside what the length of the meeting takes."""

MAX_TOTAL_S = 7200.0
ALIVE_EVERY_S = 5.0
NUM_OVERVIEW_POINTS = 3


class LlmSummarizer:
    """
    Implements `ports.Summarizer`. It never fails for the endpoint's sake: then the summary is extractive, and the
    warning `summary_llm_failed` says why.

    Args:
        url: of the endpoint, such as http://gpu-box:11434/v1.
        key: None: none is sent.
        context_tokens: that question and answer together may have.
        timeout_s: of one answer. A whole meeting may take as much for each round of its parts and two more, at most two
            hours.
        language: of summaries; None: the meeting's own.
        max_retries: see LlmClient.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        key: str | None = None,
        context_tokens: int = 8192,
        timeout_s: float = 300.0,
        language: str | None = None,
        max_retries: int = 2,
    ) -> None:
        self._url, self._model, self._key = url, model, key
        self._budget = Budget(context_tokens)
        self._timeout_s = timeout_s
        self._language = language
        self._max_retries = max_retries
        self._dialect = Dialect()
        self._extractive = ExtractiveSummarizer()

    def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        """`language` of the result is the one that was asked for; its `method` says who wrote it."""
        prompt = Prompt(self._budget, self._language or language, names or {}, guidance)
        if not any(segment.text.strip() for segment in segments):
            return self._extractive.summarize(segments, language=language, report=report)
        try:
            return asyncio.run(self._write(segments, prompt, report))
        except LlmError as error:
            cause = error.cause
        except Exception as error:  # noqa: BLE001 - the transcript's own summary can still be written, and has to be
            cause = "unforeseen"
            logger.error("summary_llm_unforeseen", extra={"type": type(error).__qualname__})  # not its text
        logger.warning("summary_llm_failed", extra={"cause": cause})
        summary = self._extractive.summarize(segments, language=language, report=report)
        return summary.model_copy(update={"warnings": (*summary.warnings, _failed(LlmError(cause)))})

    async def _write(self, segments: tuple[TranscriptSegment, ...], prompt: Prompt, report: Report) -> MeetingSummary:
        client = LlmClient(
            url=self._url,
            model=self._model,
            key=self._key,
            timeout_s=self._timeout_s,
            max_retries=self._max_retries,
            dialect=self._dialect,
        )
        async with client, _alive(report) as progress:
            minutes = Minutes(client, prompt, segments, progress)
            try:
                async with asyncio.timeout(min(MAX_TOTAL_S, self._timeout_s * (minutes.num_rounds + NUM_SPARE_ROUNDS))):
                    answer = await minutes.write()
            except TimeoutError:
                raise LlmError("too_slow") from None
            finally:
                self._dialect = client.dialect
        return self._summary(answer, minutes, segments, prompt)

    def _summary(
        self, answer: Answer, minutes: Minutes, segments: tuple[TranscriptSegment, ...], prompt: Prompt
    ) -> MeetingSummary:
        heard = frozenset(segment.speaker_label for segment in segments if segment.speaker_label)
        labels = labels_of({label: name for label, name in prompt.names.items() if label in heard}, heard)

        def items(name: str) -> tuple[SummaryItem, ...]:
            found = [item_of(statement, minutes.spoken, labels) for statement in getattr(answer, name)]
            return tuple(sorted(found[: MAX_STATEMENTS[name]], key=lambda item: item.start_s or 0.0))

        return MeetingSummary(
            overview=overview_of(answer),
            key_points=items("key_points"),
            decisions=items("decisions"),
            action_items=items("action_items"),
            open_questions=items("open_questions"),
            topics=items("topics"),
            method=METHOD,
            model=self._model,
            language=prompt.language,
            num_dropped=minutes.num_dropped,
            warnings=(_dropped(minutes.num_dropped),) if minutes.num_dropped else (),
        )


def overview_of(answer: Answer) -> str:
    """Its sentences in the model's order; of an answer without any the first points of another list."""
    points = next((statements for _, statements in answer.lists() if statements), ())
    chosen: tuple[Statement, ...] = answer.overview[: MAX_STATEMENTS["overview"]] or points[:NUM_OVERVIEW_POINTS]
    return " ".join(_closed(statement.text) for statement in chosen)


def _closed(sentence: str) -> str:
    return sentence if sentence[-1] in ".?!\u2026\u3002\uff1f\uff01\u0964\u061f" else f"{sentence}."


@asynccontextmanager
async def _alive(report: Report) -> AsyncIterator[Report]:
    """Repeats the last progress while an answer is awaited: the process is well, and must not be ended for silence."""
    last = 0.0

    def progress(part: float) -> None:
        nonlocal last
        last = max(last, part)
        report(last)

    async def repeat() -> None:
        while True:
            report(last)
            await asyncio.sleep(ALIVE_EVERY_S)

    task = asyncio.create_task(repeat())
    try:
        yield progress
    finally:
        task.cancel()


def _failed(error: LlmError) -> ResultWarning:
    return ResultWarning(
        code="summary_llm_failed",
        message=f"The language model wrote no summary: {error}. [{error.cause}] This one consists of sentences of the "
        "transcript; `python -m worker resummarize` tries the model again.",
        stage=Stage.SUMMARIZE,
    )


def _dropped(num_dropped: int) -> ResultWarning:
    return ResultWarning(
        code="summary_statements_dropped",
        message=f"The summary leaves out {num_dropped} of the language model's statements, which quote or link to what "
        "was never said.",
        stage=Stage.SUMMARIZE,
    )
