"""
How fast the bundled diarizer is, and how much memory it needs.

    python -m tests.benchmarks.diarizer_speed [--long]

One minute against the naive recipe of the same two models, both with two cores and in turns; one hour in a fresh
process against the budget of the design. With --long also four hours: several minutes, so not a part of `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.speech_sample import COPIES, RATE_HZ, copied, read_sound, sample_folder, write_wav

NUM_THREADS = 2
HOUR_BUDGET_S = 90.0
FOUR_TO_ONE_BUDGET = 4.5
MEMORY_BUDGET_MB = 1500.0
_COMPARED_S = 60
_REPEATS = 2

# read when torch is imported, which happens below; with OpenMP's default, waiting threads eat each other's time
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")


def run(*, long: bool = False) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one_s, one_mb = _fresh_process(folder, hours=1)
        rows = [
            _against_the_naive_recipe(folder),
            _row("bundled diarizer: one hour (reference: budget)", one_s, HOUR_BUDGET_S, "s"),
            _row(
                "bundled diarizer: peak memory, one hour (reference: budget for four)", one_mb, MEMORY_BUDGET_MB, "MB"
            ),
        ]
        if long:
            four_s, four_mb = _fresh_process(folder, hours=4)
            times = four_s / one_s
            rows.append(
                _row("bundled diarizer: four hours (reference: budget)", times, FOUR_TO_ONE_BUDGET, "hours of 1 h")
            )
            rows.append(_row("bundled diarizer: peak memory, four hours", four_mb, MEMORY_BUDGET_MB, "MB"))
    return rows


def _row(name: str, ours: float, reference: float, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": round(ours, 2),
        "reference": round(reference, 2),
        "ratio": round(reference / ours, 2),
        "unit": unit,
    }


def _conversation(seconds: int) -> npt.NDArray[np.float32]:
    """The two-speaker sample and its copies, one after the other, as often as needed."""
    sample = read_sound(sample_folder() / "sample.wav")
    parts = [sample, *(copied(copy, sample, ())[0] for copy in COPIES)]
    return np.resize(np.concatenate(parts), seconds * RATE_HZ)


def _against_the_naive_recipe(folder: Path) -> dict[str, object]:
    """The better of a few runs each, in turns, so that a load on the machine meets both."""
    import torch

    from tests.benchmarks._naive_diarizer import naive_pipeline
    from worker.engine.diarize_bundled import BundledDiarizer

    samples = _conversation(_COMPARED_S)
    audio = write_wav(folder / "compared.wav", samples)
    diarizer, naive = BundledDiarizer(num_threads=NUM_THREADS), naive_pipeline()
    sound = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ}

    def ours() -> None:
        torch.set_num_threads(1)
        diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=lambda _: None)

    def theirs() -> None:
        torch.set_num_threads(NUM_THREADS)
        naive(sound)

    ours_s, theirs_s = np.array([(_seconds(ours), _seconds(theirs)) for _ in range(_REPEATS)]).min(axis=0).tolist()
    return _row(f"bundled diarizer: {_COMPARED_S} s (reference: naive recipe)", ours_s, theirs_s, "s")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fresh_process(folder: Path, *, hours: int) -> tuple[float, float]:
    """Seconds, models loaded before; and the peak of the resident memory in MB, with everything that was imported."""
    audio = write_wav(folder / "long.wav", _conversation(hours * 3600))
    command = [sys.executable, "-m", "tests.benchmarks.diarizer_speed", "--measure", str(audio)]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return answer["seconds"], answer["peak_mb"]


def _measure(audio: Path) -> dict[str, Any]:
    from worker.engine.diarize_bundled import BundledDiarizer

    diarizer = BundledDiarizer(num_threads=NUM_THREADS)
    seconds = _seconds(lambda: diarizer.diarize(audio, min_speakers=None, max_speakers=None, report=lambda _: None))
    # not ru_maxrss: that begins with the peak of the process which started this one
    status = Path("/proc/self/status").read_text().split()
    return {"seconds": seconds, "peak_mb": int(status[status.index("VmHWM:") + 1]) / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="also four hours")
    parser.add_argument("--measure", type=Path, metavar="WAV", help="one recording, in this process")
    chosen = parser.parse_args()
    answer = _measure(chosen.measure) if chosen.measure else run(long=chosen.long)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
