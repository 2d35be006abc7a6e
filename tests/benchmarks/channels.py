"""
How well recordings with one person per channel are told from all others: what decode_apart.py says of many.

    python -m tests.benchmarks.channels FOLDER [--seed 0] [--recordings 20]

FOLDER holds a folder of recordings per person, four people at least (any format that soundfile reads, 16 kHz). Of each
kind (`_stereo_recordings.py`) as many are assembled, a minute or two long, and measured as a decoder does; the seeds
from `--seed` on decide who says what, when, and where. About a third of a second each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile

from tests.benchmarks._stereo_recordings import ONE_EACH, TOGETHER, Kind, People, Sound, Studio, Tracks
from tests.benchmarks._voice_channels import RATE_HZ
from worker.adapters.decode_apart import Judgement, judge
from worker.adapters.decode_levels import LevelMeter, levels_of

_SUFFIXES = (".flac", ".wav", ".ogg", ".opus")
_SHARES = ("dominated_share", "equal_share", "common_share", "third_share", "num_exchanges", "echo")


def read_people(folder: Path) -> People:
    people = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    assert len(people) >= 4, "four folders of recordings are needed"
    return [[_sound(path) for path in sorted(person.iterdir()) if path.suffix in _SUFFIXES] for person in people]


def _sound(path: Path) -> Sound:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate_hz == RATE_HZ, f"{path.name} has not {RATE_HZ} samples a second"
    return np.asarray(samples.mean(axis=1), np.float32)


def judgements(people: People, name: str, kind: Kind, seeds: range) -> list[Judgement]:
    """A seed gives the same recording of a kind whatever other kinds there are."""
    return [judged(kind(Studio(people, np.random.default_rng((seed, crc32(name.encode())))))) for seed in seeds]


def judged(recording: Tracks) -> Judgement:
    """As a file of 16 bits would be."""
    steps = np.rint(recording / max(1.0, float(np.abs(recording).max())) * 32767)
    meter = LevelMeter()
    meter.add(RATE_HZ, list((steps / 32768).astype(np.float32).T))
    return judge(levels_of(meter.codes()))


def row(name: str, found: list[Judgement]) -> str:
    """How many are called apart, and the 10th and the 90th percentile of what speaks for and against it."""
    assert set(_SHARES) <= {field.name for field in fields(Judgement)}
    cells = []
    for share in _SHARES:
        low, high = np.percentile([float(getattr(one, share)) for one in found], (10, 90))
        digits = {"num_exchanges": 0, "third_share": 3}.get(share, 2)
        cells.append(f"{low:.{digits}f} to {high:.{digits}f}")
    return f"| {name} | {sum(one.are_apart for one in found)} of {len(found)} | {' | '.join(cells)} |"


def rows(people: People, kinds: dict[str, Kind], seeds: range) -> Iterator[str]:
    all_found: list[Judgement] = []
    for name, kind in kinds.items():
        found = judgements(people, name, kind, seeds)
        all_found += found
        yield row(name, found)
    yield f"| **together** | **{sum(one.are_apart for one in all_found)} of {len(all_found)}** |" + " |" * len(_SHARES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=20, help="of each kind")
    arguments = parser.parse_args()
    people, seeds = read_people(arguments.folder), range(arguments.seed, arguments.seed + arguments.recordings)
    for title, kinds in (("one person per channel", ONE_EACH), ("anything else", TOGETHER)):
        print(
            f"| {title} | called apart | dominated | equal | common | third | exchanges | echo |",
            "|---" * 8 + "|",
            sep="\n",
        )
        for line in rows(people, dict(kinds), seeds):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
