"""A recording's samples, read from the file where they are needed: an hour of them would be 230 MB, copies apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.engine.recording import open_recording, read_at


class Samples:
    """
    Looks like a float32 array in [-1, 1] of shape (num_samples,) at 16 000 Hz, as far as taking slices goes.

    Several threads may read at once. Raises AudioPreprocessingError when the file cannot be read.
    """

    def __init__(self, audio: Path) -> None:
        self._audio = audio
        with open_recording(audio) as sound:
            self.shape = (int(sound.frames),)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Any:
        """A new array of its own; a step is not supported."""
        start, stop, _ = part.indices(len(self))
        with open_recording(self._audio) as sound:  # a file of its own for each: threads would move each other's place
            return read_at(sound, start, stop)
