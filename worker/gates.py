"""The gates before a claim, and the trouble of the one that is closed."""

from __future__ import annotations

from collections.abc import Sequence

from worker.models import Trouble
from worker.ports import Gate
from worker.troubles import Troubles


class Gates:
    """Asks them in their order. What a gate has not told by itself is begun and ended here."""

    def __init__(self, gates: Sequence[Gate], troubles: Troubles) -> None:
        self._gates, self._troubles = tuple(gates), troubles
        self._told: str | None = None

    def trouble(self) -> Trouble | None:
        """Why no meeting may be claimed now: the first closed gate's word; None when all are open."""
        found = next((trouble for gate in self._gates if (trouble := gate.trouble()) is not None), None)
        if self._told is not None and (found is None or found.code != self._told):
            self._troubles.end(self._told)
            self._told = None
        if found is not None and found.code not in {known.code for known in self._troubles.current()}:
            self._told = found.code
        if found is not None and found.code == self._told:
            self._troubles.begin(found)
        return found
