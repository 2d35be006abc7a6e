"""What keeps this worker from its work right now: told once when it begins, once when it ends."""

from __future__ import annotations

from worker import events
from worker.models import Trouble
from worker.ports import Observer


class Troubles:
    """
    The troubles that have begun and not ended, by their code. Who shows them (STATUS, the fleet table, /health, a
    webhook) listens to the observer or reads `current`.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._by_code: dict[str, Trouble] = {}

    def begin(self, trouble: Trouble) -> None:
        """Repeating a trouble that goes on tells nothing; `current` has its newest sentence."""
        is_new = trouble.code not in self._by_code
        self._by_code[trouble.code] = trouble
        if is_new:
            self._observe(events.TroubleBegan(trouble))

    def end(self, code: str) -> None:
        """Nothing happens when there is no such trouble."""
        if self._by_code.pop(code, None) is not None:
            self._observe(events.TroubleEnded(code))

    def current(self) -> tuple[Trouble, ...]:
        """The oldest first."""
        return tuple(self._by_code.values())
