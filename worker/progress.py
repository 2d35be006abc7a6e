"""Progress bars: one line per stage of each meeting, from events; one for a copy. They draw only while live."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from worker import events
from worker.models import Stage
from worker.ports import Report


class ProgressBars:
    """An Observer; on a console that is no terminal it writes one line per finished stage instead."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _bars(console)
        self._tasks: dict[tuple[UUID, Stage], TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, event: object) -> None:
        match event:
            case events.StageStarted(meeting_id, stage):
                self._tasks[meeting_id, stage] = self._bars.add_task(stage, total=1.0)
            case events.StageProgressed(meeting_id, stage, progress):
                if (meeting_id, stage) in self._tasks:
                    self._bars.update(self._tasks[meeting_id, stage], completed=progress)
            case events.StageFinished(meeting_id, stage, seconds, reused):
                self._finish(meeting_id, stage, seconds, reused)
            case events.MeetingFailed(_, outcome, code, stage):
                self._console.print(f"{stage or 'start'}: {code} ({outcome})", style="red")
            case events.StoreUnavailable(call, code, pause_s, _):
                self._console.print(f"{call}: {code}, again in {pause_s:.0f} s", style="yellow")
            case _:
                pass

    def _finish(self, meeting_id: UUID, stage: Stage, seconds: float, reused: bool) -> None:
        if (meeting_id, stage) in self._tasks:
            self._bars.update(self._tasks.pop((meeting_id, stage)), completed=1.0)
        if not self._console.is_terminal:
            self._console.print(f"{stage:<12} {'kept from before' if reused else f'{seconds:.1f} s'}")


class CopyBar:
    """A Report that draws how far a copy is; nothing on a console that is no terminal."""

    def __init__(self, console: Console, name: str) -> None:
        self._bars = _bars(console)
        self._task = self._bars.add_task(escape(name), total=1.0)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, progress: float) -> None:
        self._bars.update(self._task, completed=progress)


class NamedBars:
    """A bar for each thing, below each other: called with its name, it answers with the Report that moves the bar."""

    def __init__(self, console: Console) -> None:
        self._bars = _bars(console)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, name: str) -> Report:
        task = self._bars.add_task(escape(name), total=1.0)
        return lambda progress: self._bars.update(task, completed=progress)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
