"""
A finished result on its way into the database.

Two PCs may finish two meetings with the same new voice at once. The second result was matched against people as they
were before the first; the database then answers `stale_speakers` with those of now, and the voices are matched again.
Each time somebody else has got through, so that the fleet goes on whatever this result has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from worker import events
from worker.job_folder import JobFolder, KeptResult
from worker.models import ProcessingResult, WriteAnswer
from worker.ports import Observer
from worker.retry import backoff_s
from worker.voiceprints import identify_again

SETTLED = frozenset({"completed", "already_done", "lost", "cancelled", "gone"})
"""The answers to a result after which nothing is left to do."""

ROUNDS_AT_ONCE = 3
"""After so many others came first, two workers that get in each other's way keep apart by chance."""

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


async def hand_over(
    folder: JobFolder,
    kept: KeptResult,
    *,
    complete: Callable[[ProcessingResult], Awaitable[WriteAnswer | None]],
    left_within: Callable[[float], Awaitable[bool]],
    observe: Observer,
    random: Random,
) -> WriteAnswer | None:
    """
    Send a result that is on disk, matched again as often as the people it was matched against have changed. What is
    sent is on disk before, so that a kill between two rounds loses nothing.

    Args:
        complete: one call that gets through; None when nobody wants the result any more or the worker must leave.
        left_within: sleeps; True as soon as the worker must leave.

    Returns the last answer: one of `SETTLED`, or one that is not understood.
    """
    num_rounds = 0
    while True:
        answer = await complete(kept.result)
        if answer is None or answer.outcome != "stale_speakers" or answer.known is None:
            return answer
        again = await asyncio.to_thread(identify_again, kept.result, answer.known)
        if again.speakers_version == kept.result.speakers_version and again.speakers == kept.result.speakers:
            return answer  # the database would say the same for ever
        kept = kept.model_copy(update={"result": again})
        await asyncio.to_thread(folder.save_result, kept)
        num_rounds += 1
        observe(events.SpeakersChanged(kept.meeting_id, num_rounds))
        if num_rounds > ROUNDS_AT_ONCE:
            pause_s = backoff_s(num_rounds - ROUNDS_AT_ONCE, random, first_s=FIRST_PAUSE_S, most_s=LONGEST_PAUSE_S)
            if await left_within(pause_s):
                return None


def without_voices(kept: KeptResult) -> KeptResult:
    """The same result with nothing of what its voices sound like, and nobody recognised by it."""
    speakers = tuple(
        voice.model_copy(update={"embeddings": (), "match": None, "speaker_id": None, "suggested_id": None})
        for voice in kept.result.speakers
    )
    result = kept.result.model_copy(update={"speakers": speakers, "speakers_version": None})
    return kept.model_copy(update={"result": result})
