"""
What a voice sounds like, as a vector: the GE2E speaker encoder whose weights the Resemblyzer wheel carries.

Wan et al., "Generalized end-to-end loss for speaker verification", 2018; weights by Corentin Jemine (Resemblyzer 0.1.4,
Apache-2.0). The encoder reads power mels, not their logarithm, so it hears loudness: each piece is scaled to one level
first. That alone is worth 16 points of DER on distant microphones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.engine.batches import map_ahead
from worker.engine.grid import MEL_FRAMES_PER_S, Floats, Ints
from worker.engine.pieces import Pieces
from worker.engine.recording import RATE_HZ, read_at
from worker.engine.segmentation import packaged_file
from worker.exceptions import ModelUnavailableError
from worker.ports import Report

if TYPE_CHECKING:
    import soundfile

MODEL = "resemblyzer-ge2e-0.1.4"
DIM = 256

_MEL_HOP = RATE_HZ // MEL_FRAMES_PER_S
_FFT = 400
_NUM_MELS = 40
BINS_HZ = np.linspace(0, RATE_HZ / 2, _FFT // 2 + 1)
"""Centres of the bins of a spectrum, shape (201,)."""

_WINDOW = 160
"""1.6 s, the length the encoder was trained on."""
WINDOW_HOP = 80
_LEVEL = 10 ** (-25 / 10)
"""-25 dBFS as mean square."""
_RING_HOP = 100
_POWER_PER_MEL = 0.0025
"""Mean square of a signal over the summed mel energy of its frames, measured on speech."""
_SPAN_FRAMES = 60 * MEL_FRAMES_PER_S
"""Pieces that begin within one minute are described together, from one stretch of audio."""


class VoiceEncoder:
    """
    The model, on the CPU until `to` moves it.

    Attributes:
        batch_size: windows computed at once.

    Raises ModelUnavailableError: the weights are missing or cannot be read.
    """

    def __init__(self) -> None:
        import torch

        self.batch_size = 32
        self._device = "cpu"
        path = packaged_file("resemblyzer", "pretrained.pt")
        self._lstm = torch.nn.LSTM(_NUM_MELS, DIM, num_layers=3, batch_first=True)
        self._linear = torch.nn.Linear(DIM, DIM)
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
            for name, part in (("lstm.", self._lstm), ("linear.", self._linear)):
                part.load_state_dict({k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)})
        except (RuntimeError, OSError, KeyError, EOFError, UnpicklingError) as error:
            raise ModelUnavailableError(reason=str(error)) from error
        self._mel = MelSpectrum()

    def to(self, device: str) -> None:
        """As torch names it. Mel spectra stay on the CPU: they are little work."""
        self._lstm.to(device)
        self._linear.to(device)
        self._device = device

    def describe(self, sound: soundfile.SoundFile, pieces: Pieces, *, num_threads: int, report: Report) -> Floats:
        """
        One L2-normalised vector per piece, shape (num_pieces, 256); zero for pieces too short to say anything.

        Audio is read, and dropped again, a minute at a time.
        """
        vectors = np.zeros((len(pieces.frames), DIM), dtype=np.float32)
        useful = int(pieces.length[pieces.long_enough].sum()) or 1
        done = 0
        for owners, embeddings in self.embed(self._windows(sound, pieces), num_threads=num_threads):
            np.add.at(vectors, owners, embeddings)
            done += len(owners)
            report(min(1.0, done * WINDOW_HOP / useful))
        return unit(vectors)

    def embed(self, windows: Iterator[tuple[int, Floats]], *, num_threads: int) -> Iterator[tuple[Ints, Floats]]:
        """
        Batches of (owner, mel window of shape (160, 40)) become batches of (owners, L2-normalised vectors), in order.

        Windows are asked for as they are needed, never all at once.
        """
        return map_ahead(self._run, _batches(windows, self.batch_size), num_threads=num_threads)

    def _windows(self, sound: soundfile.SoundFile, pieces: Pieces) -> Iterator[tuple[int, Floats]]:
        """(piece, mel window of shape (160, 40)), span of time by span of time."""
        usable = np.flatnonzero(pieces.long_enough)
        starts = np.array([pieces.frames[i][0] for i in usable], dtype=int)
        for span in np.unique(starts // _SPAN_FRAMES):
            group = usable[starts // _SPAN_FRAMES == span]
            first = min(int(pieces.frames[i][0]) for i in group)
            last = max(int(pieces.frames[i][-1]) for i in group)
            mel = self._mel(sound, first, last + 1)
            for piece in group.tolist():
                yield from ((piece, window) for window in mel_windows(mel[pieces.frames[piece] - first]))

    def _run(self, batch: tuple[Ints, Floats]) -> tuple[Ints, Floats]:
        import torch

        owners, windows = batch
        with torch.inference_mode():
            _, (hidden, _) = self._lstm(torch.from_numpy(windows).to(self._device))
            output: Floats = torch.relu(self._linear(hidden[-1])).cpu().numpy()
        return owners, unit(output)


class MelSpectrum:
    """
    Power mel spectrogram of a part of the recording, equal to librosa.feature.melspectrogram(n_fft=400, hop_length=160,
    n_mels=40) of the whole.
    """

    def __init__(self) -> None:
        self._spectrum = PowerSpectrum()
        self._filters = mel_filters().T

    def __call__(self, sound: soundfile.SoundFile, first: int, stop: int) -> Floats:
        """Frames first to stop, float32, shape (num_frames, 40)."""
        mel: Floats = self._spectrum(sound, first, stop) @ self._filters
        return mel


class PowerSpectrum:
    """Squared magnitudes of a part of the recording, one bin each 40 Hz, one frame each 10 ms."""

    def __init__(self) -> None:
        import torch

        self._hann = torch.hann_window(_FFT)

    def __call__(self, sound: soundfile.SoundFile, first: int, stop: int) -> Floats:
        """Frames first to stop, float32, shape (num_frames, 201)."""
        import torch

        start = first * _MEL_HOP - _FFT // 2
        length = (stop - first - 1) * _MEL_HOP + _FFT
        samples = np.zeros(length, dtype=np.float32)
        before = max(0, -start)
        heard = read_at(sound, start + before, start + length)
        samples[before : before + len(heard)] = heard
        spectrum: Any = torch.stft(
            torch.from_numpy(samples), _FFT, _MEL_HOP, window=self._hann, center=False, return_complex=True
        )
        power: Floats = (spectrum.real**2 + spectrum.imag**2).T.contiguous().numpy()
        return power


def num_mel_frames(num_samples: int) -> int:
    return num_samples // _MEL_HOP + 1


def mel_filters() -> Floats:
    """
    Triangular mel filters as librosa builds them (Slaney's scale, area-normalised), float32, shape (40, 201).

    Slaney's scale is linear up to 1000 Hz (200/3 Hz per mel) and logarithmic above (27 mels for a factor of 6.4).
    """
    highest_mel = 15 + 27 * np.log(RATE_HZ / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, highest_mel, _NUM_MELS + 2)
    edges_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.minimum((BINS_HZ - low) / (centre - low), (high - BINS_HZ) / (high - centre))
    filters: Floats = (np.maximum(0, triangles) * 2 / (high - low)).astype(np.float32)
    return filters


def at_one_level(mel: Floats) -> Floats:
    """The frames of one piece, scaled to -25 dBFS."""
    power = _POWER_PER_MEL * float(mel.sum(axis=1).mean())
    return mel * np.float32(_LEVEL / (power + 1e-12))


def window_starts(length: int) -> list[int]:
    """Where windows begin in a piece; one more is fitted to its end when at least half of it would be new."""
    if length <= _WINDOW:
        return [0]
    starts = list(range(0, length - _WINDOW + 1, WINDOW_HOP))
    if length - (starts[-1] + WINDOW_HOP) >= _WINDOW / 2 and starts[-1] + _WINDOW < length:
        starts.append(length - _WINDOW)
    return starts


def mel_windows(mel: Floats) -> Iterator[Floats]:
    """What the encoder hears of one piece: windows of shape (160, 40) at one level."""
    level = at_one_level(mel)
    return (_full_window(level[start : start + _WINDOW]) for start in window_starts(len(level)))


def ring_windows(mel: Floats) -> Iterator[Floats]:
    """
    The same of one whole stretch of speech, about one window a second. Where it ends it begins anew, so that each frame
    is heard as often as the others: of three seconds, plain windows would hear the middle twice.
    """
    level = at_one_level(mel)
    if len(level) <= _WINDOW:
        return iter((_full_window(level),))
    ring = np.concatenate([level, level[:_WINDOW]])
    return (ring[start : start + _WINDOW] for start in ring_starts(len(level)))


def ring_starts(length: int) -> list[int]:
    num = max(1, round(length / _RING_HOP))
    return [round(number * length / num) for number in range(num)]


def _full_window(part: Floats) -> Floats:
    """Short ones are repeated: padding with zeros costs five points of equal error rate."""
    return part if len(part) == _WINDOW else np.tile(part, (-(-_WINDOW // len(part)), 1))[:_WINDOW]


def _batches(windows: Iterator[tuple[int, Floats]], size: int) -> Iterator[tuple[Ints, Floats]]:
    batch: list[tuple[int, Floats]] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield _stack(batch)
            batch = []
    if batch:
        yield _stack(batch)


def _stack(batch: list[tuple[int, Floats]]) -> tuple[Ints, Floats]:
    return np.array([owner for owner, _ in batch], dtype=int), np.stack([window for _, window in batch])


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return scaled
