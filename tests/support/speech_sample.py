"""The two-speaker telephone conversation inside the pyannote.audio wheel, with its references, and copies of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from worker.models import SpeakerTurn

RATE_HZ = 16_000


def sample_folder() -> Path:
    """Found without importing pyannote.audio, which takes seconds."""
    spec = find_spec("pyannote")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(f for place in spec.submodule_search_locations if (f := Path(place) / "audio" / "sample").is_dir())


@dataclass(frozen=True)
class Copy:
    """Moved by `shift_s` (cut at the front when negative), played `speed` times as fast, `gain` times as loud."""

    name: str
    shift_s: float = 0.0
    speed: float = 1.0
    gain: float = 1.0


COPIES = (
    Copy("shifted 0.25 s", shift_s=0.25),
    Copy("shifted 0.7 s", shift_s=0.7),
    Copy("cut by 0.4 s", shift_s=-0.4),
    Copy("5 % faster", speed=1.05),
    Copy("5 % slower", speed=0.95),
    Copy("12 dB louder, clipped", gain=4.0),
)


def read_sound(path: Path) -> npt.NDArray[np.float32]:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == RATE_HZ
    mono: npt.NDArray[np.float32] = samples if samples.ndim == 1 else samples.mean(axis=1)
    return mono


def read_turns(rttm: Path) -> tuple[SpeakerTurn, ...]:
    rows = [line.split() for line in rttm.read_text().splitlines()]
    return tuple(
        SpeakerTurn(start_s=float(r[3]), end_s=float(r[3]) + float(r[4]), label=r[7]) for r in rows if r[0] == "SPEAKER"
    )


def write_wav(path: Path, samples: npt.NDArray[np.float32]) -> Path:
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    return path


def write_rttm(path: Path, turns: tuple[SpeakerTurn, ...]) -> Path:
    rows = [
        f"SPEAKER {path.stem} 1 {t.start_s:.3f} {t.end_s - t.start_s:.3f} <NA> <NA> {t.label} <NA> <NA>" for t in turns
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def copied(
    copy: Copy, samples: npt.NDArray[np.float32], turns: tuple[SpeakerTurn, ...]
) -> tuple[npt.NDArray[np.float32], tuple[SpeakerTurn, ...]]:
    """The same conversation, changed, with the reference changed alike."""
    if copy.speed != 1.0:
        samples = soxr.resample(samples, RATE_HZ * copy.speed, RATE_HZ).astype(np.float32)
    shift = round(copy.shift_s * RATE_HZ)
    samples = np.pad(samples, (shift, 0)) if shift > 0 else samples[-shift:]
    moved = [
        SpeakerTurn(
            start_s=max(0.0, t.start_s / copy.speed + copy.shift_s),
            end_s=min(len(samples) / RATE_HZ, t.end_s / copy.speed + copy.shift_s),
            label=t.label,
        )
        for t in turns
    ]
    return np.clip(samples * copy.gain, -1, 1).astype(np.float32), tuple(t for t in moved if t.end_s > t.start_s)
