"""Small files that ask for gigabytes or for days."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.support import audio_files

ESDS = bytes.fromhex("0000000003808080250002000480808017401500000000017700000177000580808005119056e500068080800102")
"""An MPEG-4 elementary stream descriptor: AAC-LC, 48 000 Hz, stereo."""

PACKETS_89_MILLION = 88_000_000
"""24 bytes each: the most that FFmpeg takes in one piece (2 GiB)."""


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def full_box(name: bytes, *parts: bytes) -> bytes:
    return box(name, bytes(4), *parts)


def mp4(*tracks: bytes) -> bytes:
    movie = full_box(b"mvhd", struct.pack(">IIII", 0, 0, 1000, 2**31 - 1), bytes(80))
    head = box(b"ftyp", b"M4A \0\0\0\0M4A mp42isom\0\0\0\0")
    return head + box(b"mdat", bytes(4096)) + box(b"moov", movie, *tracks)


def sound_track(
    *,
    num_packets: int,
    durations: Sequence[tuple[int, int]],
    offsets: Sequence[tuple[int, int]] = (),
    edits: bytes = b"",
) -> bytes:
    """A `trak` whose packets of one byte each lie in one chunk."""
    entry = box(b"mp4a", b"\0" * 6 + b"\0\1" + bytes(8), struct.pack(">HHHHI", 1, 16, 0, 0, 44_100 << 16), full(ESDS))
    tables = [
        full_box(b"stsd", struct.pack(">I", 1), entry),
        full_box(b"stts", struct.pack(">I", len(durations)), *(struct.pack(">II", *pair) for pair in durations)),
        full_box(b"stsc", struct.pack(">IIII", 1, 1, num_packets, 1)),
        full_box(b"stsz", struct.pack(">II", 1, num_packets)),
        full_box(b"stco", struct.pack(">II", 1, 48)),
    ]
    if offsets:
        tables.append(full_box(b"ctts", struct.pack(">I", len(offsets)), *(struct.pack(">Ii", *o) for o in offsets)))
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, 44_100, 2**31 - 1, 0, 0)),
        full_box(b"hdlr", b"\0\0\0\0soun" + bytes(13)),
        box(b"minf", full_box(b"smhd", bytes(4)), box(b"stbl", *tables)),
    )
    header = box(b"tkhd", b"\0\0\0\3", struct.pack(">IIIII", 0, 0, 1, 0, 2**31 - 1), bytes(60))
    return box(b"trak", header, edits, media)


def full(descriptor: bytes) -> bytes:
    return box(b"esds", descriptor)


def index_bomb() -> bytes:
    """An index of 89 million packets, stated in one line each of `stsz`, `stts` and `stsc`: 4.6 kB."""
    return mp4(sound_track(num_packets=PACKETS_89_MILLION, durations=[(PACKETS_89_MILLION, 1024)]))


def edited_index_bomb() -> bytes:
    """The same with time offsets and an edit list, for which all of it is copied."""
    half = PACKETS_89_MILLION // 2
    edits = box(b"edts", full_box(b"elst", struct.pack(">IIiHHIiHH", 2, 10**9, 1000, 1, 0, 10**6, 0, 1, 0)))
    offsets, durations = [(half, 1), (half, 5)], [(half, 1024), (half, 1023)]
    return mp4(sound_track(num_packets=half * 2, durations=durations, offsets=offsets, edits=edits))


def thousands_of_tracks() -> bytes:
    return mp4(*[sound_track(num_packets=50, durations=[(50, 1024)])] * 5000)


def deep_boxes() -> bytes:
    """Boxes within boxes, 20 000 deep."""
    nested = b""
    for _ in range(20_000):
        nested = struct.pack(">I", 8 + len(nested)) + b"udta" + nested
    return mp4(nested, sound_track(num_packets=50, durations=[(50, 1024)]))


def huge_alac(samples_per_packet: int = 4096 * 4096) -> bytes:
    """Packets that say they hold 16 million samples of eight channels each."""
    cookie = struct.pack(">IIBBBBBBHIII", 0, samples_per_packet, 0, 32, 40, 10, 14, 8, 255, 2**24, 10**6, 44_100)
    entry = box(
        b"alac", b"\0" * 6 + b"\0\1" + bytes(8), struct.pack(">HHHHI", 8, 32, 0, 0, 44_100 << 16), box(b"alac", cookie)
    )
    track = sound_track(num_packets=40, durations=[(40, 2**30)])
    begin = track.index(b"stsd") - 4
    end = track.index(b"stts") - 4
    described = full_box(b"stsd", struct.pack(">I", 1), entry)
    resized = bytearray(track[:begin] + described + track[end:])
    for name in (b"trak", b"mdia", b"minf", b"stbl"):
        at = resized.index(name) - 4
        (size,) = struct.unpack_from(">I", resized, at)
        struct.pack_into(">I", resized, at, size + len(described) - (end - begin))
    return mp4(bytes(resized))


def with_other_reference(movie: bytes, inside: bytes, outside: bytes) -> bytes:
    """The movie with one data reference in place of another; its boxes are made longer by as much."""
    changed = bytearray(movie.replace(inside, outside))
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = changed.index(name) - 4
        (size,) = struct.unpack_from(">I", changed, at)
        struct.pack_into(">I", changed, at, size + len(outside) - len(inside))
    return bytes(changed)


def constant_flac(num_frames: int, *, rate_hz: int = 1000) -> bytes:
    """One value for 65 535 samples, again and again: 65 s in 16 bytes, 18 hours in 17 kB."""
    stated = (
        struct.pack(">HH", 65_535, 65_535) + bytes(6) + ((rate_hz << 44) | (15 << 36)).to_bytes(8, "big") + bytes(16)
    )
    return b"fLaC\x80\0\0\x22" + stated + b"".join(constant_frame(number, rate_hz) for number in range(num_frames))


def constant_frame(number: int, rate_hz: int) -> bytes:
    head = b"\xff\xf8\x7d\x08" + chr(number).encode() + struct.pack(">HH", 65_534, rate_hz)
    frame = head + bytes([crc(head, 8, 0x07)]) + b"\0" + struct.pack(">h", 1000 * (-1) ** number)
    return frame + struct.pack(">H", crc(frame, 16, 0x8005))


def crc(data: bytes, width: int, polynomial: int) -> int:
    """As FLAC has it: bits from the top, begun with 0."""
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value


def stamped(path: Path, times_ms: Sequence[int]) -> Path:
    """A Matroska file of packets of 20 ms of sound at these times."""
    sound = audio_files.encode(path.with_suffix(".webm"), audio_files.speech(1.0, rate_hz=48_000), rate_hz=48_000)
    with av.open(sound) as source, av.open(path, "w", format="matroska") as container:
        track = container.add_stream_from_template(source.streams.audio[0])
        bodies = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
        for index, time_ms in enumerate(times_ms):
            packet: Any = av.Packet(bodies[index % len(bodies)])
            packet.stream, packet.time_base = track, Fraction(1, 1000)
            packet.pts = packet.dts = time_ms
            container.mux(packet)
    sound.unlink()
    return path


def with_pictures(path: Path, size: int) -> Path:
    """A second of sound beside three transparent PNG pictures of `size` x `size`."""
    picture = png(size)
    sound = audio_files.encode(path.with_suffix(".m4a"), audio_files.speech(1.0))
    with av.open(sound) as source, av.open(path, "w") as container:
        video: Any = container.add_stream("png", rate=10)
        video.width = video.height = size
        video.pix_fmt = "rgba"
        track = container.add_stream_from_template(source.streams.audio[0])
        container.start_encoding()
        for index in range(3):
            packet: Any = av.Packet(picture)
            packet.stream, packet.time_base = video, Fraction(1, 10)
            packet.pts = packet.dts = index
            container.mux(packet)
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = track
                container.mux(packet)
    sound.unlink()
    return path


def png(size: int) -> bytes:
    """Nothing but transparency, in hardly any bytes."""
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 4 * size)) for _ in range(size)) + packer.flush()
    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_cover(sound: bytes, picture: bytes) -> bytes:
    """An mp3 with an ID3 tag that holds the picture."""
    body = b"\0image/png\0\x03\0" + picture
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    return b"ID3\x03\0\0" + bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame + sound


def empty_chunks(path: Path, num_bytes: int) -> Path:
    """A WAV file with so many bytes of empty chunks before its two seconds of sound; takes no room on the disk."""
    sound = audio_files.pcm16(audio_files.speech(2.0, rate_hz=16_000))
    whole = audio_files.wav_header(rate_hz=16_000, num_channels=1, num_data_bytes=len(sound))
    with path.open("wb") as file:
        file.write(whole[:36])
        file.seek(36 + num_bytes)
        file.write(whole[36:] + sound)
    return path
