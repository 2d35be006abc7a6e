"""Local voices linked into tracks, and tracks cut into pieces: small made-up activations."""

from __future__ import annotations

import numpy as np

from worker.engine.grid import CHUNK_FRAMES, FRAME_S, Bools, Floats, edge_s, mel_frames, num_chunks, runs
from worker.engine.pieces import cut_pieces
from worker.engine.tracks import Tracks, follow_voices, link_chunks

STEP = 30


def chunks(voices: Bools, order: list[tuple[int, ...]]) -> Floats:
    """Activations of each chunk; chunk c hears voice order[c][i] as its local voice i."""
    return np.stack([voices[c * STEP : c * STEP + CHUNK_FRAMES, list(local)] for c, local in enumerate(order)]).astype(
        np.float32
    )


def talk(*stretches: tuple[int, int, int], num_frames: int = CHUNK_FRAMES + 3 * STEP) -> Bools:
    """(voice, first frame, frame after the last), shape (num_frames, 3)."""
    voices = np.zeros((num_frames, 3), dtype=bool)
    for voice, first, stop in stretches:
        voices[first:stop, voice] = True
    return voices


def test_a_voice_keeps_its_track_when_the_model_numbers_it_anew() -> None:
    voices = talk((0, 20, 150), (1, 140, 260))
    ids = link_chunks(chunks(voices, [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)]) > 0.5, STEP)
    first, second = ids[0, 0], ids[0, 1]
    assert [ids[c, i] for c, i in enumerate((0, 1, 2, 0))] == [first] * 4
    assert [ids[c, i] for c, i in enumerate((1, 0, 1, 2))] == [second] * 4
    assert first != second
    assert (ids >= 0).sum() == 8


def test_tracks_give_back_the_speech_they_were_made_of() -> None:
    voices = talk((0, 20, 150), (1, 140, 260))
    tracks = follow_voices(chunks(voices, [(0, 1, 2)] * 4), STEP)
    assert len(tracks.tracks) == 2
    np.testing.assert_array_equal(tracks.num_voices, voices.sum(axis=1))
    for voice, track in enumerate(tracks.tracks):
        expected = voices[track.first : track.first + len(track.active), voice]
        np.testing.assert_array_equal(track.active, expected)
        np.testing.assert_array_equal(track.heard, expected)
        assert track.beside == {1 - voice}


def test_silence_has_no_tracks() -> None:
    tracks = follow_voices(chunks(talk(), [(0, 1, 2)] * 4), STEP)
    assert tracks.tracks == ()
    assert not tracks.num_voices.any()


def test_a_voice_that_stops_and_another_that_starts_later_are_two_tracks() -> None:
    voices = talk((0, 0, 25), (0, 330, 383))
    tracks = follow_voices(chunks(voices, [(0, 1, 2)] * 4), STEP)
    assert len(tracks.tracks) == 2


def made_of(voices: Bools) -> Tracks:
    return follow_voices(chunks(voices, [(0, 1, 2)] * 4), STEP)


def test_pieces_hold_one_voice_and_last_at_most_two_seconds() -> None:
    """Voice 0 speaks 4.2 s, the last 0.3 s of it together with voice 1: that part belongs to no piece."""
    voices = talk((0, 10, 260), (1, 240, 300))
    pieces = cut_pieces(made_of(voices), num_mel_frames=1000)
    frames = np.concatenate(pieces.frames)
    assert len(frames) == len(set(frames.tolist()))
    assert pieces.length.max() <= 200
    overlap_s = edge_s(np.array([240, 260]))
    assert not ((frames / 100 >= overlap_s[0]) & (frames / 100 < overlap_s[1])).any()
    alone_s = (voices.sum(axis=1) == 1).sum() * FRAME_S
    assert abs(len(frames) / 100 - alone_s) < 0.05


def test_pieces_are_cut_at_long_gaps() -> None:
    voices = talk((0, 10, 60), (0, 150, 200))
    assert len(cut_pieces(made_of(voices), num_mel_frames=1000).frames) == 2


def test_runs_and_mel_frames_agree_on_time() -> None:
    active = np.array([False, True, True, False, True])
    starts, stops = runs(active)
    assert (starts.tolist(), stops.tolist()) == ([1, 4], [3, 5])
    seconds = mel_frames(active, 100, 10_000) / 100
    inside = [(s, e) for s, e in zip(edge_s(starts + 100), edge_s(stops + 100), strict=True)]
    assert all(any(s <= t < e for s, e in inside) for t in seconds)


def test_chunks_reach_the_end_of_the_recording() -> None:
    for num_samples in (0, 1, 80_000, 80_001, 480_000):
        last_start = (num_chunks(num_samples, STEP) - 1) * STEP * 270
        assert last_start + 80_000 >= num_samples
        assert last_start == 0 or last_start - STEP * 270 + 80_000 < num_samples
