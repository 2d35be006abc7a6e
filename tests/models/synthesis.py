"""
Speech from libespeak-ng (apt-get install libespeak-ng1), which says at which sample each word begins.

The library keeps one state per process: one Synthesizer at a time.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

RATE_HZ = 16_000

_LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS = 2
_CHARACTERS = 1
_UTF8 = 1
_RATE, _PITCH = 1, 3
_END_OF_LIST, _WORD = 0, 1
"""Of speak_lib.h: output mode, position type, flags, parameters, event types."""

_SILENCE = 0.003
"""Amplitude under which a sample before or after the sentence is cut off."""

_ACCENTS = (*("en-us",) * 4, *("en",) * 4, "en-gb-x-rp", "en-gb-scotland")
_VARIANTS = ("", "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4")


@dataclass(frozen=True)
class Voice:
    """A voice as espeak-ng names it, words per minute, and pitch (0-99)."""

    name: str
    rate: int
    pitch: int


@dataclass(frozen=True)
class SpokenWord:
    """`text` as it is written, without the full stop; seconds from the first sample."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """`samples`: float32 in [-1, 1], shape (num_samples,), 16 000 Hz, cut to the speech."""

    samples: npt.NDArray[np.float32]
    words: tuple[SpokenWord, ...]


def random_voice(rng: Random) -> Voice:
    name = rng.choice(_ACCENTS) + rng.choice(_VARIANTS)
    return Voice(name=name, rate=rng.randint(130, 190), pitch=rng.randint(30, 70))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesizer:
    """Raises OSError when the library is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._starts_s: dict[int, float] = {}
        self._callback = _Callback(self._received)  # the library keeps no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Speech:
        """The sentence with the times of its words. Raises ValueError: there is no such voice."""
        self._pieces.clear()
        self._starts_s.clear()
        self._set_voice(voice)
        data = text.encode()
        if self._library.espeak_Synth(data, len(data) + 1, 0, _CHARACTERS, 0, _UTF8, None, None) != 0:
            raise RuntimeError("espeak-ng did not speak")
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._pieces).astype(np.float32) / 32768
        samples = np.asarray(soxr.resample(sound, self._rate_hz, RATE_HZ), np.float32)
        loud = np.flatnonzero(np.abs(samples) > _SILENCE)
        first, last = int(loud[0]), int(loud[-1]) + 1
        words = _timed_words(text, self._starts_s, first / RATE_HZ, last / RATE_HZ)
        return Speech(samples=samples[first:last], words=words)

    def _set_voice(self, voice: Voice) -> None:
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.name}")
        self._library.espeak_SetParameter(_RATE, voice.rate, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)

    def _received(self, samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        number = 0
        while events[number].type != _END_OF_LIST:
            event = events[number]
            if event.type == _WORD:
                self._starts_s[event.text_position - 1] = event.audio_position / 1000
            number += 1
        return 0


def _timed_words(text: str, starts_s: Mapping[int, float], begin_s: float, end_s: float) -> tuple[SpokenWord, ...]:
    """
    A word lasts until the next begins. Some pairs ("for the") are spoken as one and have one event: its time is
    shared out by letters.
    """
    found = list(re.finditer(r"\S+", text))
    known: list[float | None] = [starts_s.get(match.start()) for match in found]
    if known[0] is None:
        known[0] = begin_s
    edges = _filled([*known, end_s], [len(match.group()) + 1 for match in found])
    spans = [(max(0.0, a - begin_s), max(0.0, b - begin_s)) for a, b in pairwise(edges)]
    return tuple(
        SpokenWord(text=match.group().rstrip("."), start_s=round(a, 3), end_s=round(b, 3))
        for match, (a, b) in zip(found, spans, strict=True)
    )


def _filled(edges: Sequence[float | None], lengths: Sequence[int]) -> list[float]:
    """The edges that are None are placed between their neighbours, by the lengths of what lies between."""
    places = [number for number, edge in enumerate(edges) if edge is not None]
    filled: list[float] = []
    for a, b in pairwise(places):
        start, end = edges[a], edges[b]
        assert start is not None
        assert end is not None
        shares = np.cumsum([0, *lengths[a:b]]) / sum(lengths[a:b])
        filled += [float(start + (end - start) * share) for share in shares[:-1]]
    last = edges[places[-1]]
    assert last is not None
    return [*filled, last]
