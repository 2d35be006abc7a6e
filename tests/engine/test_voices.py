"""The features of the voice encoder, against librosa's."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np

from tests.support.speech_sample import read_sound
from worker.engine.grid import Floats
from worker.engine.recording import open_recording
from worker.engine.voices import (
    MelSpectrum,
    at_one_level,
    mel_filters,
    num_mel_frames,
    ring_starts,
    ring_windows,
    window_starts,
)


def test_mel_filters_equal_librosa_s() -> None:
    np.testing.assert_allclose(mel_filters(), librosa.filters.mel(sr=16_000, n_fft=400, n_mels=40), atol=1e-7)


def centred_mel(samples: Floats) -> Floats:
    """As librosa.feature.melspectrogram(n_fft=400, hop_length=160, n_mels=40, pad_mode="constant") defines it."""
    padded = np.pad(samples, 200)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[start : start + 400] * hann for start in range(0, len(padded) - 399, 160)])
    mel: Floats = (np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters().T).astype(np.float32)
    return mel


def test_the_mel_spectrum_of_a_part_equals_that_part_of_the_whole(sample: Path) -> None:
    whole = centred_mel(read_sound(sample))
    mel = MelSpectrum()
    with open_recording(sample) as sound:
        last = num_mel_frames(sound.frames)
        assert last == len(whole)
        for first, stop in ((0, 1), (0, 300), (1234, 1300), (last - 50, last), (0, last)):
            np.testing.assert_allclose(mel(sound, first, stop), whole[first:stop], rtol=1e-3, atol=1e-5)


def test_loudness_does_not_change_what_the_encoder_hears() -> None:
    mel = np.random.default_rng(0).random((160, 40)).astype(np.float32)
    np.testing.assert_allclose(at_one_level(mel), at_one_level(mel * 100), rtol=1e-4)


def test_round_a_ring_each_frame_is_heard_as_often_as_the_others() -> None:
    """Give or take one window."""
    for length in (161, 250, 300, 777):
        heard = np.zeros(length, dtype=int)
        for start in ring_starts(length):
            heard[np.arange(start, start + 160) % length] += 1
        assert heard.min() >= 1
        assert heard.max() - heard.min() <= 1


def test_windows_round_a_ring_are_full() -> None:
    mel = np.random.default_rng(0).random((250, 40)).astype(np.float32)
    level = at_one_level(mel)
    windows = list(ring_windows(mel))
    assert [window.shape for window in windows] == [(160, 40)] * 2
    np.testing.assert_array_equal(windows[1], np.concatenate([level[125:], level[:35]]))
    (short,) = ring_windows(mel[:100])
    assert short.shape == (160, 40)


def test_windows_cover_a_piece_without_reaching_beyond_it() -> None:
    assert window_starts(100) == window_starts(160) == [0]
    for length in range(161, 1000):
        starts = window_starts(length)
        assert starts[0] == 0
        assert starts[-1] + 160 <= length
        assert length - (starts[-1] + 160) < 80
