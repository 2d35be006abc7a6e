"""
Files that nobody would call a recording, and recordings that were tampered with. All is seeded.

`originals` are whole recordings of many kinds; `hostile` makes something else of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from tests.support import audio_files

SECONDS = 0.3

MUXED = {
    "mp3": ("mp3", "libmp3lame", 44_100),
    "m4a": ("mp4", "aac", 44_100),
    "alac.m4a": ("mp4", "alac", 44_100),
    "mp4": ("mp4", "aac", 48_000),
    "mov": ("mov", "pcm_s16le", 44_100),
    "3gp": ("3gp", "libopencore_amrnb", 8_000),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "aac": ("adts", "aac", 44_100),
    "ac3": ("ac3", "ac3", 48_000),
    "eac3": ("eac3", "eac3", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "mka": ("matroska", "flac", 44_100),
    "mkv": ("matroska", "aac", 44_100),
    "pcm.mkv": ("matroska", "pcm_s16le", 16_000),
    "opus": ("ogg", "libopus", 48_000),
    "ogg": ("ogg", "vorbis", 44_100),
    "oga": ("ogg", "flac", 44_100),
    "flac": ("flac", "flac", 44_100),
    "wma": ("asf", "wmav2", 44_100),
    "avi": ("avi", "libmp3lame", 44_100),
    "flv": ("flv", "libmp3lame", 44_100),
    "ts": ("mpegts", "mp2", 44_100),
    "mpg": ("mpeg", "mp2", 44_100),
    "nut": ("nut", "pcm_s16le", 44_100),
    "rm": ("rm", "ac3", 44_100),
    "wv": ("wv", "wavpack", 44_100),
    "tta": ("tta", "tta", 44_100),
    "ima.wav": ("wav", "adpcm_ima_wav", 44_100),
    "ima.caf": ("caf", "adpcm_ima_qt", 44_100),
}
"""File extension -> FFmpeg's container, encoder and rate."""

SUBTYPES = {
    "wav": ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM", "GSM610"),
    "aiff": ("PCM_16", "PCM_24", "FLOAT"),
    "caf": ("PCM_16", "ALAC_16"),
    "w64": ("PCM_16",),
    "au": ("PCM_16", "ULAW"),
    "voc": ("PCM_16",),
    "flac": ("PCM_16", "PCM_24"),
}
"""What libsndfile writes."""

MAGIC = (
    *(
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"OggS\0\x02",
        b"fLaC\0\0\0\x22",
        b"ID3\x04\0\0",
    ),
    *(
        b"\x1a\x45\xdf\xa3",
        b"FORM\0\0\xff\xffAIFF",
        b"\0\0\0\x20ftypM4A ",
        b"#!AMR\n",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    ),
    *(
        b"caff\0\x01\0\0desc",
        b".snd",
        b"wvpk",
        b"TTA1",
        b"MAC \x96\x0f",
        b"\xff\xfb\x90\x64",
        b"\xff\xf1\x50\x80",
        b".RMF",
    ),
    *(
        b"G@\0\x10",
        b"FLV\x01\x05",
        b"MPCK",
        b"\x0b\x77",
        b"DSD ",
        b"tBaK",
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02",
    ),
)

LIES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 10**9, 2**63 - 1, 2**64 - 1)
"""What a header may state as a size, a rate, a number of channels or a time."""


REFERENCES = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:9,\nPLACE\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nPLACE\n",
    '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="PLACE"\n#EXTINF:9,\nPLACE\n',
    "ffconcat version 1.0\nfile 'PLACE'\nduration 10\n",
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>PLACE</BaseURL></MPD>',
    '<asx version="3.0"><entry><ref href="PLACE"/></entry></asx>',
    "[playlist]\nFile1=PLACE\nNumberOfEntries=1\nVersion=2\n",
    '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="PLACE"/></svg>',
    '<html><body><audio src="PLACE"></audio></body></html>',
    "rtsp://PLACE",
)


def originals(folder: Path) -> dict[str, bytes]:
    """A third of a second of each kind, mono and stereo in turns, as bytes."""
    for index, (name, (container, codec, rate_hz)) in enumerate(MUXED.items()):
        num_channels = 2 if codec == "vorbis" else 1 if rate_hz == 8_000 else 1 + index % 2
        muxed(folder / f"made.{name}", container, codec, rate_hz, num_channels)
    for extension, subtypes in SUBTYPES.items():
        for index, subtype in enumerate(subtypes):
            samples = audio_files.speech(SECONDS, num_channels=1 + index % 2)
            audio_files.write_sound(folder / f"{subtype}.{extension}", samples, subtype=subtype)
    audio_files.video(folder / "video.mp4", audio_files.speech(SECONDS), duration_s=SECONDS)
    audio_files.video(folder / "video.mkv", audio_files.speech(SECONDS), duration_s=SECONDS)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def muxed(path: Path, container: str, codec: str, rate_hz: int, num_channels: int, seconds: float = SECONDS) -> None:
    with av.open(path, "w", format=container) as file:
        track = audio_files.sound_track(file, codec, rate_hz, num_channels)
        if codec == "libopencore_amrnb":
            track.bit_rate = 12_200
        track.options = {"strict": "-2"}
        audio_files.mux_sound(file, track, audio_files.speech(seconds, rate_hz=rate_hz, num_channels=num_channels))


Tampering = Callable[[dict[str, bytes], np.random.Generator], bytes]


def hostile(made: dict[str, bytes], others: list[bytes], rng: np.random.Generator, index: int) -> bytes:
    """The file number `index` of a series; each way of tampering comes with the same frequency."""
    if index % (len(TAMPERINGS) + 1) == len(TAMPERINGS):
        return others[int(rng.integers(len(others)))]
    return TAMPERINGS[index % (len(TAMPERINGS) + 1)](made, rng)


def picked(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    return made[list(made)[int(rng.integers(len(made)))]]


def mutated(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    return audio_files.mutated(picked(made, rng), rng)


def cut(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    data = picked(made, rng)
    return data[: int(rng.integers(0, len(data)))]


def spliced(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """The beginning of one recording and the end of another."""
    first, second = picked(made, rng), picked(made, rng)
    return first[: int(rng.integers(1, len(first)))] + second[int(rng.integers(0, len(second))) :]


def lying(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """One to three numbers of the header are others: most of what is in the first bytes is a number."""
    data = bytearray(picked(made, rng))
    for _ in range(rng.integers(1, 4)):
        width = int(rng.choice([1, 2, 4, 8]))
        begin = int(rng.integers(4, min(len(data) - width, 640)))
        lie = LIES[int(rng.integers(len(LIES)))] % 256**width
        data[begin : begin + width] = lie.to_bytes(width, "little" if rng.integers(2) else "big")
    return bytes(data)


def lying_at_the_end(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """As `lying`, for containers whose index comes last."""
    name = [name for name in made if name.endswith((".m4a", ".mp4", ".mov", ".3gp", ".mkv", ".avi"))]
    data = bytearray(made[name[int(rng.integers(len(name)))]])
    for _ in range(rng.integers(1, 6)):
        begin = len(data) - int(rng.integers(8, min(len(data), 900)))
        data[begin : begin + 4] = (LIES[int(rng.integers(len(LIES)))] % 2**32).to_bytes(4, "big")
    return bytes(data)


def repeated(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """A stretch of it a few hundred times."""
    data = picked(made, rng)
    begin = int(rng.integers(0, len(data) - 1))
    end = min(len(data), begin + int(rng.integers(1, 600)))
    return data[:begin] + data[begin:end] * int(rng.integers(2, 300)) + data[end:]


def pasted(made: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Several whole recordings in one file: rates, channels and formats change on the way."""
    return b"".join(picked(made, rng) for _ in range(rng.integers(2, 5)))


def behind_magic(_: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """Begins like a recording and goes on as noise."""
    return MAGIC[int(rng.integers(len(MAGIC)))] + rng.bytes(int(rng.integers(0, 5000)))


TAMPERINGS: tuple[Tampering, ...] = (
    *(mutated, cut, spliced, lying, lying_at_the_end, repeated, pasted, behind_magic, mutated, lying),
)


def references(path: str, url: str) -> Iterator[bytes]:
    """Playlists and the like that name a file or an address in every way that FFmpeg knows."""
    subfile = f"subfile,,start,0,end,0,,:{path}"
    for place in (path, f"file:{path}", f"file://{path}", url, f"concat:{path}|{path}", subfile):
        yield from (template.replace("PLACE", place).encode() for template in REFERENCES)


def other_things(path: str, url: str) -> Iterator[bytes]:
    """Files of other kinds, most of which name a file or an address that a careless reader would open."""
    yield from references(path, url)
    yield b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"
    yield b'{"title": "CANARY", "audio": null}' * 20
    yield b"[Script Info]\nTitle: CANARY\n[Events]\nDialogue: 0,0:00:00.00,0:00:09.00,,,,,,,CANARY\n"
    yield b"1\n00:00:00,000 --> 00:00:09,000\nCANARY\n"
    yield b"%PDF-1.7\n" + bytes(range(256)) * 20
    yield b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(range(256)) * 8
    yield b"\x7fELF\x02\x01\x01" + bytes(2000)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(range(256)) * 4
    yield b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 20_000, 20_000) + b"\x08\x06\0\0\0" + bytes(3000)
    yield "Protokoll: niemand kam. CANARY \u202e\u2028\n".encode() * 200
    yield b""
    yield from (bytes([byte]) for byte in (0, 10, 0x1A, 0x52, 0xFF))
    yield bytes(100_000)
    yield b"\xff" * 100_000
