"""
One way to decode, in a process of its own: ready when all is imported and warm, works when told to, says how long.

    python -m tests.benchmarks._decode_process WAY SOURCE TARGET WARM_UP_SOURCE
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path


def ours() -> Callable[[Path, Path], None]:
    from worker.adapters.decode_pyav import PyavDecoder

    decoder = PyavDecoder(max_hours=12, max_bytes=10**11)
    return lambda source, target: void(decoder.decode(source, target, lambda share: None))


def librosa_pipeline() -> Callable[[Path, Path], None]:
    import librosa
    import soundfile

    def decode(source: Path, target: Path) -> None:
        samples, rate_hz = librosa.load(source, sr=16_000, mono=True)
        soundfile.write(target, librosa.util.normalize(samples), rate_hz, subtype="PCM_16")

    return decode


def bare_pyav() -> Callable[[Path, Path], None]:
    import av

    def decode(source: Path, target: Path) -> None:
        with av.open(source) as container:
            for _ in container.decode(audio=0):
                pass

    return decode


def void(_: object) -> None:
    """Nothing more."""


WAYS = {"ours": ours, "librosa": librosa_pipeline, "bare": bare_pyav}


def main(way: str, source: str, target: str, warm_up: str) -> None:
    warnings.simplefilter("ignore")  # librosa reads m4a in a way that it calls deprecated
    decode = WAYS[way]()
    decode(Path(warm_up), Path(target))
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    decode(Path(source), Path(target))
    print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
