"""The child process that decodes, with its real decoder and the environment that a worker gives it."""

from __future__ import annotations

from pathlib import Path

from tests.support.children import DEADLINE_S
from tests.support.settings import settings_in
from worker.adapters.child_process import ChildProcess
from worker.app_children import child_environment, child_objects


def prep_child(folder: Path, *, max_hours: float) -> ChildProcess:
    """`folder` is for what the settings name; nothing is made there."""
    settings = settings_in(folder, MAX_AUDIO_HOURS=str(max_hours))
    return ChildProcess(
        name="prep",
        objects={"decoder": child_objects(settings).decoder},
        environment=child_environment(settings),
        stall_s=3 * DEADLINE_S,
    )
