"""Prompt and hotwords of a meeting, cut to what Whisper can keep. Longer ones make it fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.models import ResultWarning, Stage

MAX_HINT_TOKENS = 223
"""Of Whisper's 448 tokens it keeps at most so many for what came before; the rest is for what it writes."""

HINTS_SHORTENED = ResultWarning(
    code="hints_shortened",
    message="Prompt and hotwords are longer than Whisper can keep (about 150 words together); the rest was left aside.",
    stage=Stage.TRANSCRIBE,
)


@dataclass(frozen=True, slots=True)
class Hints:
    """`prompt` is text that could have come before, `hotwords` are names and terms; None where there are none."""

    prompt: str | None = None
    hotwords: str | None = None
    is_cut: bool = False


def fitting(tokenizer: Any, prompt: str | None, hotwords: str | None) -> Hints:
    """
    Both hints within MAX_HINT_TOKENS: the hotwords' beginning and the prompt's end.

    Args:
        tokenizer: of the `tokenizers` library, as the Whisper model has it.
    """
    kept_hotwords, room = _cut(tokenizer, hotwords, MAX_HINT_TOKENS, from_end=False)
    kept_prompt, _ = _cut(tokenizer, prompt, room, from_end=True)
    is_cut = _words(kept_hotwords) != _words(hotwords) or _words(kept_prompt) != _words(prompt)
    return Hints(kept_prompt, kept_hotwords, is_cut)


def _words(hint: str | None) -> list[str]:
    return (hint or "").split()


def _cut(tokenizer: Any, hint: str | None, room: int, *, from_end: bool) -> tuple[str | None, int]:
    """As many whole words as fit into `room` tokens, and how much room is left."""
    words = _words(hint)
    while words:
        num_tokens = len(tokenizer.encode(" " + " ".join(words), add_special_tokens=False).ids)
        if num_tokens <= room:
            return " ".join(words), room - num_tokens
        fewer = min(len(words) - 1, len(words) * room // num_tokens)
        words = words[len(words) - fewer :] if from_end else words[:fewer]
    return None, room
