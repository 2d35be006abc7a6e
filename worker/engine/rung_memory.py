"""
Which plans a GPU's memory did not suffice for, kept in a file: the next meeting of such a length begins below.

Forgotten after a week, with another driver, and when clearly more memory is free than was then: a passing squeeze must
not pin a PC to a small model for ever. A file that is damaged or cannot be written is as good as none: the ladder is
then climbed down anew.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from worker.models import EnginePlan
from worker.models.recording import Value

FILE = "plans-that-failed.json"

KEPT_S = 7 * 86400.0
FREED_BYTES = 1_000_000_000
"""So much more than was free then is a new situation."""

DEATHS = 2
"""A process that dies natively so often with one plan is taken as out of memory; once may be the recording's fault."""

_BANDS_S = ((15 * 60, "15 min"), (3600, "1 h"), (3 * 3600, "3 h"))


class FailedRung(Value):
    """A plan that did not fit, and when; `num_deaths` counts those that only ended a process, until they are DEATHS."""

    rung: str
    driver: str
    free_bytes: int
    at_s: float
    num_deaths: int = 0


class TriedRung(FailedRung):
    """What a process is at; `place` is where it is kept if it fails."""

    place: str


class _Kept(BaseModel):
    """The file's content."""

    failed: dict[str, FailedRung] = Field(default={}, description="by device and length band")
    dying: dict[str, FailedRung] = Field(default={}, description="those with too few deaths yet")
    tried: dict[str, TriedRung] = Field(default={}, description="by process id")

    def forgive(self) -> None:
        tried = self.tried.pop(str(os.getpid()), None)
        if tried and tried.place in self.dying and self.dying[tried.place].rung == tried.rung:
            del self.dying[tried.place]

    def blame(self) -> None:
        tried = self.tried.pop(str(os.getpid()), None)
        if tried:
            self.failed[tried.place] = _without_place(tried)

    def count_death(self, pid: int) -> None:
        tried = self.tried.pop(str(pid), None)
        if tried is None:
            return
        before = self.dying.pop(tried.place, None)
        num_deaths = 1 + (before.num_deaths if before and before.rung == tried.rung else 0)
        if num_deaths >= DEATHS:
            self.failed[tried.place] = _without_place(tried)
        else:
            self.dying[tried.place] = _without_place(tried, num_deaths)

    def drop_older_than(self, limit_s: float) -> None:
        """What was left behind by processes that nobody saw end."""
        self.tried = {pid: tried for pid, tried in self.tried.items() if tried.at_s > limit_s}


def rung_of(plan: EnginePlan) -> str:
    return f"{plan.model} {plan.device} {plan.compute_type} {plan.batch_size}"


def band_of(audio_s: float) -> str:
    """Recordings of about one length take about the same memory."""
    return next((name for limit_s, name in _BANDS_S if audio_s < limit_s), "longer")


class RungMemory:
    """
    Shared by all engine processes of a PC and their supervisors. Never raises.

    Args:
        folder: MODEL_CACHE_DIR.
        now: seconds since 1970.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = folder / FILE, now

    def failed_rung(self, device: str, audio_s: float, *, driver: str, free_bytes: int) -> str | None:
        """What lately did not fit on this GPU, for recordings of about this length."""
        found = self._read().failed.get(_place(device, audio_s))
        if found is None or found.driver != driver or free_bytes > found.free_bytes + FREED_BYTES:
            return None
        return found.rung if 0 <= self._now() - found.at_s < KEPT_S else None

    def trying(self, plan: EnginePlan, device: str, audio_s: float, *, driver: str, free_bytes: int) -> None:
        """This process begins with it; if it dies natively, its supervisor says so with `died`."""
        tried = TriedRung(
            rung=rung_of(plan),
            driver=driver,
            free_bytes=free_bytes,
            at_s=self._now(),
            place=_place(device, audio_s),
        )
        self._change(lambda kept: kept.tried.update({str(os.getpid()): tried}))

    def worked(self) -> None:
        """What this process tried was enough."""
        self._change(_Kept.forgive)

    def failed(self) -> None:
        """What this process tried was not."""
        self._change(_Kept.blame)

    def died(self, pid: int) -> None:
        """A process ended by itself; with the same plan a second time, the plan is to blame."""
        self._change(lambda kept: kept.count_death(pid))

    def ended(self, pid: int) -> None:
        """A process was ended on purpose: nobody's fault."""
        self._change(lambda kept: kept.tried.pop(str(pid), None))

    def _read(self) -> _Kept:
        try:
            return _Kept.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return _Kept()

    def _change(self, change: Callable[[_Kept], object]) -> None:
        """Written completely or not at all, by one process at a time; on a full or read-only disk not at all."""
        with suppress(OSError), _locked(self._path.with_suffix(".lock")):
            kept = self._read()
            before = kept.model_dump_json()
            change(kept)
            kept.drop_older_than(self._now() - KEPT_S)
            after = kept.model_dump_json()
            if after != before:
                _write(self._path, after)


def _place(device: str, audio_s: float) -> str:
    return f"{device} {band_of(audio_s)}"


def _without_place(tried: TriedRung, num_deaths: int = 0) -> FailedRung:
    return FailedRung(**tried.model_dump(exclude={"place", "num_deaths"}), num_deaths=num_deaths)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
