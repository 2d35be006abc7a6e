"""
What each voice of a recording sounds like, the same way whoever told the voices apart.

A voice is described twice: as it is heard, and as a telephone would carry it. The encoder takes a missing upper band
for another voice, so the first is made only where that band is there. What a telephone has filtered is not filtered
again: the encoder needs the little that telephones leave below 300 Hz (CONTRIBUTING, "Voices").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from worker.engine.clean_speech import clean_pieces
from worker.engine.grid import MEL_FRAMES_PER_S, Floats, Ints
from worker.engine.listening import CPU, exact
from worker.engine.recording import open_recording
from worker.engine.reports import only_forward
from worker.engine.voices import (
    BINS_HZ,
    DIM,
    MODEL,
    WINDOW_HOP,
    PowerSpectrum,
    VoiceEncoder,
    mel_filters,
    num_mel_frames,
    ring_windows,
    unit,
)
from worker.engine.whisper_model import give_back
from worker.engine.whisperx_library import is_gpu_out_of_memory, mapped
from worker.models import SpeakerEmbedding, SpeakerTurn
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

NARROW_MODEL = f"{MODEL}+narrow"

MOST_S = 40.0
"""From 20 to 40 s the cosine to the same voice grows by 0.01 in the mean, and by 0.03 at worst (CONTRIBUTING)."""
LEAST_S = 1.0
"""With one second the same voice scores 0.81 in the mean, 0.93 with one utterance; of less nothing is said."""

_WIDE, _NARROW = 0, 1
_MODELS = {_WIDE: MODEL, _NARROW: NARROW_MODEL}
_TELEPHONE_HZ = (300, 3400)
"""The pass band of telephony: ITU-T G.712."""
_ORDER = 3
"""Skirts between those of old and new telephones; steeper or flatter ones suit some better and others worse."""
_WIDE_BAND_FROM = 10 ** (-40 / 10)
"""
Power above 4 kHz over that of 0.5 to 3 kHz. Measured on pieces of 2 s: at least -33 dB in wide band, also in a room and
in noise; at most -62 dB by telephone, real and simulated.
"""
_LOWS_FROM = 10 ** (-20 / 10)
"""
Power of 80 to 160 Hz over that of 0.5 to 3 kHz. Measured on pieces of 2 s, 98 % of them: at least -20 dB where nothing
is filtered, at most -16 dB by telephone (-7 dB by the gentlest one: filtering it again does little harm).
"""
_DECIMALS = 5
_BATCH_CPU = 32
_BATCH_GPU = 256


@dataclass(frozen=True)
class _Piece:
    voice: int
    frames: Ints


class VoiceDescriber:
    """
    Args:
        encoder: shared with others; None: one of its own.
        num_threads: batches computed at once on the CPU, each on one core; PyTorch is told to use one thread per batch,
            for the whole process, as by the diarizers.
        device: as torch names it. Where a GPU's memory runs out, the CPU describes this recording.
        most_s: about so many seconds of clean speech are taken of each voice.

    Raises ModelUnavailableError: the encoder cannot be loaded.
    """

    def __init__(
        self,
        encoder: VoiceEncoder | None = None,
        *,
        num_threads: int = 2,
        device: str = CPU,
        most_s: float = MOST_S,
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self._encoder = encoder or VoiceEncoder()
        self._num_threads = num_threads
        self._device = device
        self._most_s = most_s
        self._spectrum = PowerSpectrum()
        self._filters: Floats = mel_filters().T
        self._telephone_filters: Floats = self._filters * telephone_response()[:, None]

    def describe(self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report) -> tuple[SpeakerEmbedding, ...]:
        """
        One or two embeddings per label, in order of label: of model `MODEL` where the voice is there in wide band, and
        always of `NARROW_MODEL`. None of a label with under a second of clean speech.

        Args:
            audio: WAV as the Decoder writes it.
            turns: who speaks when; parts where several speak say nothing.

        Raises AudioPreprocessingError, OutOfMemoryError, EngineError.
        """
        forward = only_forward(report)
        for device in dict.fromkeys((self._device, CPU)):
            try:
                with open_recording(audio) as sound:
                    return self._describe_on(device, sound, turns, forward)
            except (RuntimeError, MemoryError) as error:
                if device == CPU or not is_gpu_out_of_memory(error):
                    raise mapped(error) from error
            self._encoder.to(CPU)
            give_back()
        raise AssertionError("The last device is the CPU, which returns or raises.")

    def _describe_on(
        self, device: str, sound: soundfile.SoundFile, turns: tuple[SpeakerTurn, ...], report: Report
    ) -> tuple[SpeakerEmbedding, ...]:
        self._encoder.to(device)
        self._encoder.batch_size = _BATCH_CPU if device == CPU else _BATCH_GPU
        taken = clean_pieces(turns, num_mel_frames(sound.frames), most_s=self._most_s)
        labels = sorted(taken)
        pieces = [_Piece(voice, frames) for voice, label in enumerate(labels) for frames in taken[label]]
        with nullcontext() if device == CPU else exact():
            vectors, speech_s = self._vectors(sound, pieces, len(labels), report, 1 if device != CPU else None)
        report(1.0)
        return tuple(
            _embedding(labels[voice], band, vectors[2 * voice + band], speech_s[2 * voice + band])
            for voice in range(len(labels))
            for band in _MODELS
            if speech_s[2 * voice + band] >= LEAST_S
        )

    def _vectors(
        self, sound: soundfile.SoundFile, pieces: list[_Piece], num_voices: int, report: Report, num_threads: int | None
    ) -> tuple[Floats, Floats]:
        """Row 2 * voice + band: L2-normalised vectors, shape (2 * num_voices, 256), and seconds of speech."""
        vectors = np.zeros((2 * num_voices, DIM), dtype=np.float32)
        heard = np.zeros(2 * num_voices, dtype=np.int64)
        expected = 2 * sum(len(piece.frames) for piece in pieces) / WINDOW_HOP
        done = 0
        windows = self._windows(sound, pieces, heard)
        for owners, embeddings in self._encoder.embed(windows, num_threads=num_threads or self._num_threads):
            np.add.at(vectors, owners, embeddings)
            done += len(owners)
            report(min(1.0, done / expected))
        return unit(vectors), (heard / MEL_FRAMES_PER_S).astype(np.float32)

    def _windows(self, sound: soundfile.SoundFile, pieces: list[_Piece], heard: Ints) -> Iterator[tuple[int, Floats]]:
        """(row, mel window); adds to `heard` how many frames each row was made from."""
        for piece in pieces:
            first = int(piece.frames[0])
            power = self._spectrum(sound, first, int(piece.frames[-1]) + 1)[piece.frames - first]
            for band, mel in self._mels(power):
                row = 2 * piece.voice + band
                heard[row] += len(mel)
                for window in ring_windows(mel):
                    yield row, window

    def _mels(self, power: Floats) -> Iterator[tuple[int, Floats]]:
        """(band, mel frames) of all that can be said of a piece; digital silence says nothing."""
        if is_wide_band(power):
            yield _WIDE, power @ self._filters
        if power.any():
            filters = self._filters if is_by_telephone(power) else self._telephone_filters
            yield _NARROW, power @ filters


def telephone_response() -> Floats:
    """
    How much power of each bin a telephone lets through, in [0, 1], shape (201,): a Butterworth band pass, and nothing
    above half of its 8000 samples a second.
    """
    low_hz, high_hz = _TELEPHONE_HZ
    bin_hz = np.maximum(BINS_HZ, 1.0)
    off_centre = (bin_hz**2 - low_hz * high_hz) / ((high_hz - low_hz) * bin_hz)
    passed = 1 / (1 + off_centre ** (2 * _ORDER))
    response: Floats = np.where(bin_hz <= 4000, passed, 0.0).astype(np.float32)
    return response


def is_wide_band(power: Floats) -> bool:
    """Whether the upper band is there, in a spectrum of shape (num_frames, 201)."""
    return bool(_power(power, 4000, 8000) > _WIDE_BAND_FROM * _power(power, 500, 3000))


def is_by_telephone(power: Floats) -> bool:
    """Whether neither the upper nor the lowest band is there: calls over IP often carry the lowest one."""
    has_lows = _power(power, 80, 160) > _LOWS_FROM * _power(power, 500, 3000)
    return not has_lows and not is_wide_band(power)


def _power(power: Floats, low_hz: int, high_hz: int) -> float:
    return float(power[:, _between(low_hz, high_hz)].sum())


def _between(low_hz: int, high_hz: int) -> npt.NDArray[np.bool_]:
    """Bins of a spectrum, shape (201,)."""
    bin_hz = BINS_HZ
    return (bin_hz >= low_hz) & (bin_hz <= high_hz)


def _embedding(label: str, band: int, vector: Floats, speech_s: float) -> SpeakerEmbedding:
    return SpeakerEmbedding(
        label=label,
        model=_MODELS[band],
        dim=DIM,
        vector=tuple(round(value, _DECIMALS) for value in vector.astype(float).tolist()),
        speech_s=round(float(speech_s), 2),
    )
