"""
The encoder inside the Resemblyzer wheel as pyannote.audio knows voice models. Imported by pyannote, by the name in the
checkpoint that tiny_pyannote.py writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyannote.audio.core.model import Model

from worker.engine.voices import DIM, at_one_level, mel_filters, window_starts

_WINDOW = 160
_MIN_FRAMES = 40
"""0.4 s: less says nothing about a voice."""


class GE2EVoice(Model):
    """
    Voices as the bundled diarizer describes them, less what all have in common (`usual`); NaN where there is less than
    0.4 s of speech.
    """

    def __init__(self, sample_rate: int = 16000, num_channels: int = 1, task: Any = None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels")
        self.lstm = torch.nn.LSTM(40, DIM, num_layers=3, batch_first=True)
        self.linear = torch.nn.Linear(DIM, DIM)
        self.register_buffer("usual", torch.zeros(DIM))
        self._filters = torch.from_numpy(mel_filters())

    @property
    def dimension(self) -> int:
        return DIM

    def forward(self, waveforms: Any, weights: Any = None, **_: Any) -> Any:
        """Shapes (num, 1, num_samples) and (num, num_frames) to (num, 256)."""
        hann = torch.hann_window(400, device=waveforms.device)
        spectra = torch.stft(waveforms[:, 0], 400, 160, window=hann, return_complex=True)
        mels = (self._filters.to(waveforms.device) @ spectra.abs() ** 2).transpose(1, 2)
        if weights is None:
            weights = torch.ones(mels.shape[:2], device=mels.device)
        masks = torch.nn.functional.interpolate(weights[:, None], mels.shape[1], mode="nearest")[:, 0] > 0.5
        windows = [_windows(mel[mask].cpu().numpy()) for mel, mask in zip(mels, masks, strict=True)]
        return self._voices(windows, mels.device)

    def _voices(self, windows: list[Any], device: Any) -> Any:
        voices = torch.full((len(windows), DIM), float("nan"), device=device)
        owners = np.repeat(np.arange(len(windows)), [len(its) for its in windows])
        if len(owners):
            _, (hidden, _) = self.lstm(torch.from_numpy(np.concatenate(windows)).to(device))
            vectors = torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1]))) - self.get_buffer("usual")
            for owner in np.unique(owners):
                voices[owner] = vectors[owners == owner].mean(dim=0)
        return voices


def _windows(mel: Any) -> Any:
    """Shape (num_windows, 160, 40); none where there is too little to say anything."""
    if len(mel) < _MIN_FRAMES:
        return np.empty((0, _WINDOW, 40), dtype=np.float32)
    level = at_one_level(mel)
    tiled = level if len(level) >= _WINDOW else np.tile(level, (-(-_WINDOW // len(level)), 1))
    return np.stack([tiled[start : start + _WINDOW] for start in window_starts(len(tiled))])
