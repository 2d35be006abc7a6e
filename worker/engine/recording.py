"""The prepared recording (WAV, 16 000 Hz, mono, PCM-16), read in blocks so that its length costs no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.exceptions import AudioPreprocessingError

if TYPE_CHECKING:
    import soundfile

RATE_HZ = 16_000


@contextmanager
def open_recording(audio: Path) -> Iterator[soundfile.SoundFile]:
    """
    Open what the Decoder wrote; errors while reading it become ours.

    Raises AudioPreprocessingError: the file is gone, cannot be read, or is not 16 000 Hz mono.
    """
    import soundfile

    try:
        with soundfile.SoundFile(audio) as sound:
            if (sound.samplerate, sound.channels) != (RATE_HZ, 1):
                raise AudioPreprocessingError(reason=f"{sound.samplerate} Hz, {sound.channels} channels")
            yield sound
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioPreprocessingError(reason=str(error)) from error


def read_at(sound: soundfile.SoundFile, start: int, stop: int, dtype: str = "float32") -> Any:
    """Samples start to stop (clipped to the recording), shape (num_samples,)."""
    start = min(max(0, start), sound.frames)
    sound.seek(start)
    return sound.read(max(0, min(stop, sound.frames) - start), dtype=dtype)
