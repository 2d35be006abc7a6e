"""
Recordings of every kind, made when a test needs them: they are not kept in the repository.

`samples` are float64 in [-1, 1], shape (num_samples, num_channels). All is seeded: a file is the same every time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.container import OutputContainer

Samples = npt.NDArray[np.float64]

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

CODECS = {
    "mp3": ("libmp3lame", 44_100),
    "m4a": ("aac", 44_100),
    "aac": ("aac", 44_100),
    "webm": ("libopus", 48_000),
    "ogg": ("libopus", 48_000),
    "opus": ("libopus", 48_000),
    "flac": ("flac", 44_100),
    "mkv": ("aac", 44_100),
    "mp4": ("aac", 44_100),
}
"""File extension -> encoder and rate."""


def speech(duration_s: float, *, rate_hz: int = 44_100, num_channels: int = 1, seed: int = 0) -> Samples:
    """Something with the shape of speech: syllables of a few harmonics between pauses, over a little noise."""
    rng = np.random.default_rng(seed)
    num_samples = round(duration_s * rate_hz)
    time_s = np.arange(num_samples) / rate_hz
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time_s) + 0.3 * np.sin(2 * np.pi * 0.4 * time_s), 0, 1)
    gains = 0.2 * 0.9 ** np.arange(num_channels)
    noise = rng.normal(0, 0.002, (num_samples, num_channels))
    return np.outer(voice * syllables, gains) + noise


def write_sound(path: Path, samples: Samples, *, rate_hz: int = 44_100, subtype: str = "PCM_16") -> Path:
    """What libsndfile writes: wav, flac, aiff ... by the extension."""
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def encode(
    path: Path,
    samples: Samples,
    *,
    rate_hz: int | None = None,
    codec: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Path:
    """
    What FFmpeg writes, with the usual encoder for the extension.

    `rate_hz` is that of the samples; `options` go to the encoder and the muxer.
    """
    usual_codec, usual_rate_hz = CODECS[path.suffix.removeprefix(".")]
    container_format = {".aac": "adts", ".m4a": "mp4"}.get(path.suffix)
    chosen = dict(options or {})
    with av.open(path, "w", format=container_format, container_options=chosen) as container:
        track = sound_track(container, codec or usual_codec, rate_hz or usual_rate_hz, samples.shape[1])
        track.options = chosen
        mux_sound(container, track, samples)
    return path


def sound_track(container: OutputContainer, codec: str, rate_hz: int, num_channels: int) -> Any:
    track: Any = container.add_stream(codec, rate=rate_hz, layout=LAYOUTS[num_channels])
    if not codec.startswith(("flac", "pcm")):
        track.bit_rate = 64_000 * num_channels
    return track


def mux_sound(container: OutputContainer, track: Any, samples: Samples, *, begin_s: float = 0.0) -> None:
    """Encoded and muxed to its end."""
    context = track.codec_context
    packed = np.ascontiguousarray(samples, dtype=np.float32).reshape(1, -1)  # planar would fail from 8 channels on
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=context.layout.name)
    frame.sample_rate, frame.time_base = context.sample_rate, Fraction(1, context.sample_rate)
    frame.pts = round(begin_s * context.sample_rate)
    resampler = av.AudioResampler(
        context.format.name, context.layout.name, context.sample_rate, frame_size=context.frame_size or 1024
    )
    for ready in (*resampler.resample(frame), *resampler.resample(None), None):
        for packet in track.encode(ready):
            container.mux(packet)


def video(path: Path, samples: Samples | None = None, *, duration_s: float = 1.0, sound_begins_s: float = 0.0) -> Path:
    """A grey picture of 64 x 64, with or without sound (AAC, 44 100 Hz)."""
    with av.open(path, "w") as container:
        picture: Any = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        track = None if samples is None else sound_track(container, "aac", 44_100, samples.shape[1])
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
        for index in range(round(duration_s * 10)):
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if samples is not None:
            mux_sound(container, track, samples, begin_s=sound_begins_s)
    return path


def two_tracks(path: Path, first: Samples, second: Samples) -> Path:
    with av.open(path, "w") as container:
        tracks = [sound_track(container, "aac", 44_100, samples.shape[1]) for samples in (first, second)]
        for track, samples in zip(tracks, (first, second), strict=True):
            mux_sound(container, track, samples)
    return path


def index_in_front(path: Path) -> Path:
    """A copy of an m4a whose index comes first, as streaming services write it."""
    front = path.with_name(f"front-{path.name}")
    with av.open(path) as source, av.open(front, "w", format="mp4", options={"movflags": "faststart"}) as container:
        track = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                container.mux(packet)
    return front


def wav_header(*, rate_hz: int, num_channels: int, num_data_bytes: int, bits: int = 16) -> bytes:
    """44 bytes that state whatever they are told to, however absurd."""
    block = num_channels * bits // 8
    form = struct.pack(
        "<IHHIIHH", 16, 1, num_channels, rate_hz, min(rate_hz * block, 2**32 - 1), min(block, 2**16 - 1), bits
    )
    riff_bytes = min(36 + num_data_bytes, 2**32 - 1)
    return b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVEfmt " + form + b"data" + struct.pack("<I", num_data_bytes)


def pcm16(samples: Samples) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def cut_short(path: Path, share: float) -> Path:
    """Keeps the first `share` of the bytes, as an upload does that broke off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, a stretch zeroed, a stretch lost or doubled, the end missing: one to four of these."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        begin = int(rng.integers(0, len(changed)))
        end = begin + int(rng.integers(1, 2 + len(changed) // 8))
        match rng.integers(0, 5):
            case 0:
                for index in rng.integers(0, len(changed), rng.integers(1, 40)):
                    changed[index] = int(rng.integers(0, 256))
            case 1:
                changed[begin:end] = bytes(len(changed[begin:end]))
            case 2:
                del changed[begin:end]
            case 3:
                changed[begin:begin] = changed[begin:end]
            case _:
                del changed[max(begin, 64) :]
        if len(changed) < 2:
            break
    return bytes(changed)
