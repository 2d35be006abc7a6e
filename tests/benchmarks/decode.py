"""
One hour of mp3, m4a and wav (44.1 kHz, stereo) to 16 kHz mono, against the plain librosa pipeline and bare decoding.

Each way runs in a process of its own, in turns, and the medians are compared. Memory is the proportional set size of
the process and its children, above what it was before the recording was opened. Needs 5 GB in `folder` for a while.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import av
import numpy as np
import psutil
import soundfile
import soxr

from tests.support import audio_files
from tests.support.speech_sample import sample_folder

FORMATS = ("mp3", "m4a", "wav")
RATE_HZ = 44_100
HOUR_S = 3600
LOOP_S = 600
NUM_ROUNDS = 3
ROOT = Path(__file__).parents[2]
SAMPLING_S = 0.02


def run(folder: Path | None = None) -> list[dict[str, object]]:
    """Rows of the benchmark table; speed is hours of sound per hour of work."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="decode-") as name:
        place = Path(name)
        (place / "ffmpeg").symlink_to(static_ffmpeg())
        rows: list[dict[str, object]] = []
        for extension in FORMATS:
            loop = record(place, extension)
            rows += compare(place, extension, loop)
        return rows


def compare(place: Path, extension: str, loop: Path) -> list[dict[str, object]]:
    hour = repeated(loop, place / f"1h.{extension}", HOUR_S // LOOP_S)
    rounds = [{way: seconds(way, hour, loop) for way in ("ours", "librosa", "bare")} for _ in range(NUM_ROUNDS)]
    speed = {way: HOUR_S / median(one[way] for one in rounds) for way in rounds[0]}
    peak_mb = {way: peak_memory_mb(way, hour, loop) for way in ("ours", "librosa")}
    hour.unlink()
    four_hours = repeated(loop, place / f"4h.{extension}", 4 * HOUR_S // LOOP_S)
    long_peak_mb = peak_memory_mb("ours", four_hours, loop)
    four_hours.unlink()
    what = f"decode 1 h {extension}"
    return [
        row(f"{what} (reference: librosa)", speed["ours"], speed["librosa"], "x real time"),
        row(f"{what} (reference: bare PyAV)", speed["ours"], speed["bare"], "x real time"),
        row(f"{what}, memory above idle (reference: librosa)", peak_mb["ours"], peak_mb["librosa"], "MB"),
        row(f"decode 4 h {extension}, memory above idle (reference: 1 h)", long_peak_mb, peak_mb["ours"], "MB"),
    ]


def row(name: str, ours: float, reference: float, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": round(ours, 1),
        "reference": round(reference, 1),
        "ratio": round(ours / reference, 2),
        "unit": unit,
    }


# --- the recordings ----------------------------------------------------------------------------------------------


def record(place: Path, extension: str) -> Path:
    """Ten minutes: the telephone sample over and over, in two channels that differ, with noise."""
    sample, rate_hz = soundfile.read(sample_folder() / "sample.wav")
    voice = np.resize(soxr.resample(sample, rate_hz, RATE_HZ), LOOP_S * RATE_HZ)
    noise = np.random.default_rng(0).normal(0, 0.003, (len(voice), 2))
    samples = np.stack((0.7 * voice, 0.5 * np.roll(voice, 200)), axis=1) + noise
    path = place / f"loop.{extension}"
    if extension == "wav":
        return audio_files.write_sound(path, samples)
    return audio_files.encode(path, samples, options={"reservoir": "0"} if extension == "mp3" else {})


def repeated(loop: Path, path: Path, times: int) -> Path:
    """Its packets over and over, which is exact as long as none refers to an earlier one (mp3: no bit reservoir)."""
    with av.open(path, "w", format={".m4a": "mp4"}.get(path.suffix)) as container:
        track = None
        offset = 0
        for _ in range(times):
            with av.open(loop) as source:
                track = track or container.add_stream_from_template(source.streams.audio[0])
                packets = [packet for packet in source.demux(audio=0) if packet.pts is not None]
                begin, end = packets[0].pts or 0, (packets[-1].pts or 0) + (packets[0].duration or 0)
                for packet in packets:
                    packet.stream, packet.pts = track, (packet.pts or 0) + offset
                    packet.dts = packet.pts
                    container.mux(packet)
            offset += end - begin
    return path


def static_ffmpeg() -> Path:
    """Without an ffmpeg on the PATH librosa cannot read m4a at all."""
    import imageio_ffmpeg  # type: ignore[import-untyped]  # ships no types

    return Path(imageio_ffmpeg.get_ffmpeg_exe())


# --- measuring ---------------------------------------------------------------------------------------------------


def seconds(way: str, source: Path, warm_up: Path) -> float:
    with ready(way, source, warm_up) as process:
        return work(process)


def peak_memory_mb(way: str, source: Path, warm_up: Path) -> float:
    """Above the idle process. A run of its own: looking at memory fifty times a second costs time."""
    with ready(way, source, warm_up) as process, watched(process.pid) as peaks:
        work(process)
    return max(peaks) - peaks[0]


@contextmanager
def ready(way: str, source: Path, warm_up: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything and waits."""
    target = source.parent / "target.wav"
    command = [sys.executable, "-m", "tests.benchmarks._decode_process", way, str(source), str(target), str(warm_up)]
    environment = {**os.environ, "PATH": f"{source.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"{way} failed before it began"
        yield process
    target.unlink(missing_ok=True)


def work(process: subprocess.Popen[str]) -> float:
    """The seconds that the process says it took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """Memory of the process and its children in MB: once before the work begins, then as it goes."""
    parent = psutil.Process(pid)
    peaks = [pss_mb(parent)]
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(SAMPLING_S):
            peaks.append(sum(pss_mb(process) for process in (parent, *parent.children())))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stopped.set()
        thread.join()


def pss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.Error:
        return 0.0  # it has just ended


if __name__ == "__main__":
    for line in run(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        print(line)
