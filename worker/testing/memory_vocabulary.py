"""The vocabulary in memory: what worker/sql/0012_vocabulary.sql does."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category
from uuid import UUID

from worker.exceptions import SupabaseQueryError

MAX_WORDS = 500
MAX_LETTERS = 60


class MemoryVocabulary:
    def __init__(self) -> None:
        self._words: dict[UUID | None, list[str]] = {}

    def of(self, user_id: UUID | None) -> tuple[str, ...]:
        """None: the lab's."""
        return tuple(self._words.get(user_id, ()))

    def for_meeting_of(self, user_id: UUID | None) -> tuple[str, ...]:
        return self.of(None) if user_id is None else (*self.of(user_id), *self.of(None))

    def add(self, words: Sequence[str], user_id: UUID | None) -> tuple[str, ...]:
        known = {word.lower() for word in self.of(user_id)}
        new: dict[str, str] = {}
        for word in map(_tidied, words):
            _check(word)
            if word.lower() not in known:
                new.setdefault(word.lower(), word)
        if new and len(known) + len(new) > MAX_WORDS:
            raise SupabaseQueryError(
                f"A vocabulary has at most {MAX_WORDS} words. Remove some that are no longer needed."
            )
        self._words[user_id] = [*self.of(user_id), *new.values()]
        return tuple(new.values())

    def remove(self, words: Sequence[str], user_id: UUID | None) -> tuple[str, ...]:
        unwanted = {_tidied(word).lower() for word in words}
        removed = tuple(word for word in self.of(user_id) if word.lower() in unwanted)
        self._words[user_id] = [word for word in self.of(user_id) if word not in removed]
        return removed


def _tidied(word: str) -> str:
    return " ".join(word.split())


def _check(word: str) -> None:
    if not 1 <= len(word) <= MAX_LETTERS or any(letter in ",;" or category(letter) == "Cc" for letter in word):
        raise SupabaseQueryError(
            f"A word of the vocabulary has 1 to {MAX_LETTERS} characters, and no comma, semicolon or control character."
        )
