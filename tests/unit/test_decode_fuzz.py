"""
The decoder against hostile files, in a child process as a worker has it.

Whatever comes in, a result or an error of ours comes out, in bounded time and memory; no file is left, no process dies.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support import hostile_audio
from tests.support.children import DEADLINE_S, scripted_child
from tests.support.prep_child import prep_child
from worker.adapters.stages_children import ChildStages
from worker.exceptions import AudioProcessingError, PCWorkerException
from worker.models import AudioMetadata, Stage
from worker.ports import channel_paths, unheard

MAX_RSS_BYTES = 600 * 2**20
"""A prep child at rest has 70 MiB."""

MAX_HOURS = 0.1


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return hostile_audio.originals(tmp_path_factory.mktemp("originals"))


class Tally:
    """How the cases ended."""

    def __init__(self, folder: Path, stages: ChildStages) -> None:
        self._folder, self._stages = folder, stages
        self.codes = Counter[str]()
        self.kinds = Counter[str]()
        self.max_rss_bytes = 0
        self.crashes: list[str] = []

    async def decode(self, data: bytes, index: int) -> None:
        """One file; what came out is checked and removed."""
        source, target = self._folder / f"{index}.bin", self._folder / "decoded.wav"
        source.write_bytes(data)
        channels = (None, "separate", "mixed")[index % 3]
        try:
            metadata = await self._stages.decode(source, target, unheard, channels=channels)
        except PCWorkerException as error:
            self._failed(error, index)
        else:
            assert_valid(target, metadata)
            self.codes["result"] += 1
            self.kinds[f"{metadata.container}/{metadata.codec}"] += 1
            for path in (target, *channel_paths(target)):
                path.unlink(missing_ok=True)
        assert list(self._folder.iterdir()) == [source], f"case {index} left something behind"
        source.unlink()
        self.max_rss_bytes = max(self.max_rss_bytes, self._stages.usage(Stage.DECODE).peak_rss_bytes or 0)

    def _failed(self, error: PCWorkerException, index: int) -> None:
        self.codes[error.code] += 1
        if isinstance(error, AudioProcessingError):
            assert str(self._folder) not in str(error)
            assert "CANARY" not in str(error)
        else:
            self.crashes.append(f"{index}: {error.code} {error.details}")

    def __str__(self) -> str:
        return f"{self.codes.total()} cases, {self.max_rss_bytes >> 20} MiB: {dict(self.codes)}; {dict(self.kinds)}"


def assert_valid(target: Path, metadata: AudioMetadata) -> None:
    samples, rate_hz = soundfile.read(target, dtype="int16")
    assert (rate_hz, samples.ndim) == (16_000, 1)
    assert len(samples) / 16_000 == pytest.approx(metadata.duration_s)
    assert np.abs(samples.astype(int)).max() >= 32767
    numbers = (metadata.loudness_dbfs or 0.0, metadata.peak_dbfs or 0.0, metadata.gap_s, metadata.clipped_share)
    assert all(math.isfinite(number) for number in (*numbers, metadata.start_offset_s))
    assert all(path.is_file() for path in channel_paths(target)) or not metadata.channels_apart


async def fuzz(folder: Path, originals: dict[str, bytes], *, num_cases: int, seed: int) -> Tally:
    folder = folder / "work"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    others = list(hostile_audio.other_things("/etc/hostname", "http://127.0.0.1:9/CANARY.wav"))
    async with prep_child(folder.parent, max_hours=MAX_HOURS) as prep:
        stages = ChildStages(
            prep=prep, engines=[scripted_child("transcriber")], settings={}, stall_s={Stage.DECODE: 3 * DEADLINE_S}
        )
        tally = Tally(folder, stages)
        for index in range(num_cases):
            await tally.decode(hostile_audio.hostile(originals, others, rng, index), index)
    print(f"\n{tally}", *tally.crashes, sep="\n")
    assert tally.codes.total() == num_cases
    assert tally.max_rss_bytes < MAX_RSS_BYTES
    return tally


@pytest.mark.proves("audio missing, empty, truncated, wrong checksum, not audio, too long or too big")
async def test_two_hundred_hostile_files_give_a_result_or_a_typed_error_and_the_child_lives(
    tmp_path: Path, originals: dict[str, bytes]
) -> None:
    tally = await fuzz(tmp_path, originals, num_cases=200, seed=20)
    assert tally.crashes == []
    assert len(tally.codes) > 5
    assert len(tally.kinds) > 15


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_thousand_hostile_files_twice(tmp_path: Path, originals: dict[str, bytes], seed: int) -> None:
    """Case 314 of seed 2 is the AAC stream that changes to 55 channels, of which the decoder's process died once."""
    tally = await fuzz(tmp_path, originals, num_cases=1000, seed=seed)
    assert tally.crashes == []
