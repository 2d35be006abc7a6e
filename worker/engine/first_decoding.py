"""The text of a whole recording through whisperx, many passages at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker.engine.heard_speech import HeardSpeech
from worker.engine.hints import Hints
from worker.engine.passage_doubts import assessed
from worker.engine.whisper_model import LoadedWhisper
from worker.models import Passage
from worker.ports import Report


def decoded(
    loaded: LoadedWhisper,
    samples: Any,
    heard: HeardSpeech,
    *,
    language: str,
    hints: Hints,
    batch_size: int,
    report: Report,
) -> tuple[Passage, ...]:
    """
    The passages in time order, each with what speaks against it; those without any text are left out.

    Args:
        samples: float32 in [-1, 1], shape (num_samples,), 16 000 Hz; slices are taken.
        language: Whisper's code.
        batch_size: at least 2; 0, 1 and None take another path in whisperx.
    """
    with _prepared(loaded, heard, hints):
        answer = loaded.pipeline.transcribe(
            samples,
            batch_size=batch_size,
            language=language,
            progress_callback=lambda percent: report(min(1.0, percent / 100)),
        )
    passages = (_assessed(segment, heard) for segment in answer["segments"])
    return tuple(passage for passage in passages if passage.text)


def _assessed(segment: dict[str, Any], heard: HeardSpeech) -> Passage:
    start_s, end_s = float(segment["start"]), float(segment["end"])
    return assessed(
        start_s=start_s,
        end_s=end_s,
        text=str(segment["text"]),
        avg_logprob=float(segment["avg_logprob"]),
        speech_s=heard.between(start_s, end_s),
    )


@contextmanager
def _prepared(loaded: LoadedWhisper, heard: HeardSpeech, hints: Hints) -> Iterator[None]:
    """The pipeline for one meeting; nothing of it outlives the meeting, however that ends."""
    pipeline = loaded.pipeline
    try:
        pipeline.tokenizer = None  # whisperx keeps the last meeting's language after an error
        pipeline.options = dataclasses.replace(loaded.options, initial_prompt=hints.prompt, hotwords=hints.hotwords)
        pipeline.vad_model = heard.for_whisperx()
        yield
    finally:
        pipeline.tokenizer = None
        pipeline.options = loaded.options
        pipeline.vad_model = None
