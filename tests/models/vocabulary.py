"""
The closed vocabulary of the small Whisper: words of meetings, one token each.

Order matters twice: a token's id is its place, and CTranslate2 tells languages and tasks by the distance between
Whisper's special tokens.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


NAMES = _words("Alice Bob Carol David Emma Frank Grace Henry")
NUMBERS = _words(
    "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty hundred thousand"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday")
NOUNS = _words(
    "budget deadline report project meeting release design customer contract server team office invoice schedule "
    "feature plan question decision"
)
VERBS = _words("approve send move finish review discuss cancel start prepare check update need")
OTHERS = _words(
    "the a will should must can not and for with to by on is about before after next week today tomorrow new first "
    "percent dollars agree we you I please yes no okay thanks"
)
WORDS = (*NAMES, *DAYS, *NUMBERS, *NOUNS, *VERBS, *OTHERS)
STARTERS = _words("We The You Please Yes No Okay Thanks Can Should")
"""Words that also stand at the beginning of a sentence, and are other tokens there."""

TOKENS = (".", *(f" {word}" for word in WORDS), *(f" {word}" for word in STARTERS))
"""What the model writes. The full stop comes first: other modules rely on its id being 0."""

FULL_STOP = 0
UNKNOWN = "<unk>"
MULTILINGUAL_MARK = ""
"""CTranslate2 4.8 takes a model for multilingual if the empty string is in its vocabulary."""

END = "<|endoftext|>"
START = "<|startoftranscript|>"
ENGLISH = "<|en|>"
TRANSCRIBE = "<|transcribe|>"
NO_TIMESTAMPS = "<|notimestamps|>"
NUM_TIMESTAMPS = 1501
"""0.00 s to 30.00 s; the converter appends them."""


@cache
def language_tokens() -> tuple[str, ...]:
    codes: Any = import_module("faster_whisper.tokenizer")._LANGUAGE_CODES  # it ships no type information
    return tuple(f"<|{code}|>" for code in codes)


@cache
def special_tokens() -> tuple[str, ...]:
    """In Whisper's order: CTranslate2 counts the languages as nospeech - startoftranscript - 5."""
    return (
        END,
        START,
        *language_tokens(),
        "<|translate|>",
        TRANSCRIBE,
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        NO_TIMESTAMPS,
    )


@cache
def token_ids() -> dict[str, int]:
    """Every token but the timestamps -> its id."""
    tokens = (*TOKENS, UNKNOWN, MULTILINGUAL_MARK, *special_tokens())
    return {token: number for number, token in enumerate(tokens)}


@cache
def sounds() -> dict[str, int]:
    """Lower-case word -> class of its sound, from 1; class 0 is silence. `we` and `We` sound alike."""
    spoken = sorted({word.lower() for word in WORDS})
    return {word: number for number, word in enumerate(spoken, start=1)}
