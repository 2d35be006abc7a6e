"""
A process that commits the result of a ten-hour meeting, and weighs itself while it does.

    python -m tests.support.large_result URL KEY TOKEN MEETING_ID LEASE_TOKEN

prints one JSON object: outcome, body_bytes, seconds, result_bytes (the values alone), peak_bytes (above them).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from uuid import UUID

from worker.adapters import store_wire
from worker.adapters.store_supabase import SupabaseStore
from worker.models import MeetingSpeaker, ProcessingResult, TranscriptSegment, Word

NUM_SEGMENTS = 14_000
WORDS_PER_SEGMENT = 50
"""Over 25 MB as JSON. Ten hours of fast speech have a fifth of these words: a bound, not the habit."""


def large_result(num_segments: int = NUM_SEGMENTS) -> ProcessingResult:
    """Each value an object of its own, as an engine would make them."""
    return ProcessingResult(
        segments=tuple(_segment(index) for index in range(num_segments)),
        speakers=(MeetingSpeaker(label="SPEAKER_00", speech_s=36_000.0),),
        summary=None,
        language="en",
        duration_s=36_000.0,
        result={},
    )


def _segment(index: int) -> TranscriptSegment:
    length_s = 36_000.0 / NUM_SEGMENTS
    start_s = index * length_s
    words = tuple(_word(index, place, start_s, length_s) for place in range(WORDS_PER_SEGMENT))
    return TranscriptSegment(
        index=index,
        start_s=start_s,
        end_s=start_s + length_s,
        speaker_label="SPEAKER_00",
        text=" ".join(word.text for word in words),
        confidence=0.5,
        words=words,
    )


def _word(index: int, place: int, start_s: float, length_s: float) -> Word:
    at_s = round(start_s + place * length_s / WORDS_PER_SEGMENT, 3)
    return Word(text=f"w{index % 97}", start_s=at_s, end_s=round(at_s + 0.04, 3), confidence=place / WORDS_PER_SEGMENT)


def memory_bytes(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since it was reset) of this process. Source: proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def commit(url: str, key: str, token: str, meeting_id: UUID, lease_token: int) -> dict[str, object]:
    store = SupabaseStore(url, key, worker_token=token)
    await store.status()
    before = memory_bytes("VmRSS")
    done = large_result()
    gc.collect()
    held = memory_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    began = time.monotonic()
    answer = await store.complete(meeting_id, lease_token, done)
    seconds, peak = time.monotonic() - began, memory_bytes("VmHWM")
    await store.close()
    return {
        "outcome": answer.outcome,
        "seconds": round(seconds, 2),
        "result_bytes": held - before,
        "peak_bytes": peak - held,
        "body_bytes": len(json.dumps(store_wire.result_payload(done), separators=(",", ":"))),
    }


if __name__ == "__main__":
    url, key, token, meeting_id, lease_token = sys.argv[1:]
    print(json.dumps(asyncio.run(commit(url, key, token, UUID(meeting_id), int(lease_token)))))
