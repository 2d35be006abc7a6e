"""
Two-channel recordings of conversations, assembled from people's utterances: each kind is what a studio does to them.

The room is simple and physical: direct sound that falls with distance and comes later, and a diffuse field that is
equally loud everywhere, another noise for each pair of a person and a microphone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy.signal import fftconvolve

from tests.benchmarks._voice_channels import RATE_HZ, telephone

Sound = npt.NDArray[np.float32]
"""Shape (num_samples,), 16 000 Hz."""
Tracks = npt.NDArray[np.float32]
"""Shape (num_samples, num_people or 2)."""
People = Sequence[Sequence[Sound]]
"""The utterances of each person."""

SOUND_M_PER_S = 343.0


@dataclass(frozen=True)
class Studio:
    """Where one recording is made: all chance comes from its seed."""

    people: People
    random: Generator

    def talk(self, num_people: int = 2, *, overlap: float = 0.15, shares: Sequence[float] | None = None) -> Tracks:
        """
        A conversation of one to two minutes, a track per person, equally loud to 3 dB.

        `overlap`: in how many of the changes the next one begins before the other ends. `shares`: how likely each is
        to speak next, but for the one who has just spoken; None: by chance, nobody less than a third as likely.
        """
        who = self.random.choice(len(self.people), num_people, replace=False)
        voices = [self._voice(self.people[number]) for number in who]
        likely = np.asarray(shares if shares is not None else self.random.uniform(1, 3, num_people))
        tracks = np.zeros((round(self.random.uniform(60, 120) * RATE_HZ), num_people), np.float32)
        at, speaker = round(self.random.uniform(0, 2) * RATE_HZ), int(self.random.integers(num_people))
        while at < len(tracks):
            said = self._excerpt(voices[speaker], float(likely[speaker]))[: len(tracks) - at]
            tracks[at : at + len(said), speaker] += said
            is_early = self.random.random() < overlap
            pause_s = -self.random.uniform(0.2, 2.0) if is_early else self.random.exponential(0.5)
            at += max(RATE_HZ // 4, len(said) + round(pause_s * RATE_HZ))
            others = np.where(np.arange(num_people) == speaker, 0.0, likely) if num_people > 1 else likely
            speaker = int(self.random.choice(num_people, p=others / others.sum()))
        return tracks

    def _voice(self, utterances: Sequence[Sound]) -> Sound:
        said = np.concatenate(utterances)
        loud = np.sqrt(np.percentile(np.square(said), 90))
        return np.asarray(said * 0.1 / loud * self.decibels(-3, 3), np.float32)

    def _excerpt(self, voice: Sound, how_talkative: float) -> Sound:
        is_short = self.random.random() < 0.2  # "yes", "I see"
        length_s = self.random.uniform(0.4, 0.8) if is_short else self.random.uniform(1.0, 4.0) * how_talkative
        num = min(round(length_s * RATE_HZ), len(voice) - 1)
        first = int(self.random.integers(len(voice) - num))
        return voice[first : first + num]

    def decibels(self, low: float, high: float) -> float:
        return float(10 ** (self.random.uniform(low, high) / 20))

    def noise(self, num_samples: int, low: float, high: float, num_channels: int = 2) -> Tracks:
        """Unrelated, a level of its own on each channel, in decibels below full scale."""
        gains = [self.decibels(low, high) for _ in range(num_channels)]
        return np.asarray(self.random.standard_normal((num_samples, num_channels), np.float32) * gains, np.float32)

    def in_room(self, voices: Tracks, distances_m: Sequence[Sequence[float]], *, is_live: bool | None = None) -> Tracks:
        """What two microphones hear. `distances_m`: for each person those to both; `is_live`: the room, None: any."""
        is_live = bool(self.random.integers(2)) if is_live is None else is_live
        lasting_s = self.random.uniform(0.35, 0.6) if is_live else self.random.uniform(0.2, 0.35)
        critical_m = self.random.uniform(0.5, 0.8) if is_live else self.random.uniform(0.8, 1.2)
        heard = np.zeros((len(voices), 2), np.float32)
        for person, distances in enumerate(distances_m):
            for microphone, distance_m in enumerate(distances):
                response = self._response(distance_m, lasting_s, critical_m)
                heard[:, microphone] += fftconvolve(voices[:, person], response)[: len(voices)]
        return heard / np.float32(max(1.0, np.abs(heard).max())) + self.noise(len(heard), -75, -60)

    def _response(self, distance_m: float, lasting_s: float, critical_m: float) -> Sound:
        """At `critical_m` the diffuse field is as loud as the direct sound; it dies away by 60 dB in `lasting_s`."""
        num, late = round(lasting_s * RATE_HZ), round(0.004 * RATE_HZ)
        diffuse = self.random.standard_normal(num) * 10 ** (-3 * np.arange(num) / num)
        diffuse[:late] = 0
        diffuse *= 0.3 / critical_m / np.linalg.norm(diffuse)
        response = np.zeros(num + RATE_HZ // 20, np.float32)
        begins = round(distance_m / SOUND_M_PER_S * RATE_HZ)
        response[begins : begins + num] = diffuse
        response[begins] = 0.3 / distance_m
        return response


Kind = Callable[[Studio], Tracks]


def on_both(sound: Sound, *gains: float) -> Tracks:
    return np.stack([sound * gain for gain in gains], axis=1)


def mono(tracks: Tracks) -> Sound:
    total: Sound = tracks.sum(axis=1)
    return total


def later(sound: Sound, seconds: float) -> Sound:
    num = round(seconds * RATE_HZ)
    return np.concatenate((np.zeros(num, np.float32), sound))[: len(sound)]


# --- one person on each channel --------------------------------------------------------------------------------------


def clean(studio: Studio) -> Tracks:
    return studio.talk()


def noisy(studio: Studio) -> Tracks:
    voices = studio.talk()
    return voices + studio.noise(len(voices), -60, -48)


def one_side_softer(studio: Studio) -> Tracks:
    voices = studio.talk() * np.array([1, studio.decibels(-22, -18)], np.float32)
    return voices + studio.noise(len(voices), -75, -65)


def telephone_with_echo(studio: Studio) -> Tracks:
    """Both through the line; each end sends back something of the other one, 80 to 300 ms later."""
    line = telephone()
    near, far = (line(channel) for channel in studio.talk().T)
    echoes = [later(voice, studio.random.uniform(0.08, 0.3)) * studio.decibels(-30, -15) for voice in (far, near)]
    return np.stack((near + echoes[0], far + echoes[1]), axis=1) + studio.noise(len(near), -70, -55)


def crosstalk(low_db: float, high_db: float) -> Kind:
    def kind(studio: Studio) -> Tracks:
        voices = studio.talk()
        gains = np.array([studio.decibels(low_db, high_db) for _ in range(2)], np.float32)
        return voices + voices[:, ::-1] * gains + studio.noise(len(voices), -75, -60)

    return kind


def much_overlap(studio: Studio) -> Tracks:
    voices = studio.talk(overlap=0.8)
    return voices + studio.noise(len(voices), -75, -60)


def unequal_shares(studio: Studio) -> Tracks:
    """An interview: one asks briefly, the other one answers at length."""
    voices = studio.talk(shares=(0.8, 3.0))
    return voices + studio.noise(len(voices), -75, -60)


def lapels(low_m: float, high_m: float, *, is_live: bool) -> Kind:
    """Two in one room, this far from each other, each with a microphone at the chest."""

    def kind(studio: Studio) -> Tracks:
        own, apart = studio.random.uniform(0.15, 0.25, 2), studio.random.uniform(low_m, high_m)
        return studio.in_room(studio.talk(), [(own[0], apart), (apart, own[1])], is_live=is_live)

    return kind


# --- anything else ---------------------------------------------------------------------------------------------------


def same(studio: Studio) -> Tracks:
    return on_both(mono(studio.talk()), 1.0, 1.0)


def same_but_weaker(studio: Studio) -> Tracks:
    both = on_both(mono(studio.talk()), 1.0, studio.decibels(-20, -3))
    return both + studio.noise(len(both), -75, -60)


def small_delay(studio: Studio) -> Tracks:
    said = mono(studio.talk())
    both = np.stack((said, later(said, studio.random.uniform(0.0002, 0.03))), axis=1)
    return both + studio.noise(len(both), -75, -60)


def late_copy(studio: Studio) -> Tracks:
    said = mono(studio.talk())
    both = np.stack((said, later(said, studio.random.uniform(0.1, 0.95))), axis=1)
    return both + studio.noise(len(both), -75, -60)


def panned(studio: Studio) -> Tracks:
    """Everybody 1 to 6 dB to one side."""
    voices = studio.talk(int(studio.random.integers(2, 4)))
    gains = np.array([(1.0, studio.decibels(-6, -1)), (studio.decibels(-6, -1), 1.0), (1.0, 1.0)], np.float32)
    return voices @ gains[: voices.shape[1]] + studio.noise(len(voices), -75, -60)


def stereo_microphone(studio: Studio) -> Tracks:
    """Two cardioids in one place, a right angle between them; two to four people at a table around it."""
    voices = studio.talk(int(studio.random.integers(2, 5)))
    angles = np.array(studio.random.uniform(-np.pi / 2, np.pi / 2, voices.shape[1]))
    gains = 0.5 + 0.5 * np.cos(angles[:, None] + np.array([np.pi / 4, -np.pi / 4]))
    return studio.in_room(voices, studio.random.uniform(0.8, 2, (len(angles), 1)) / np.maximum(gains, 0.1))


def around(spread_m: float, num_people: tuple[int, int]) -> Kind:
    """Omnidirectional ones on a table `spread_m` apart; people around it, 0.7 to 1.5 m from its middle."""

    def kind(studio: Studio) -> Tracks:
        voices = studio.talk(int(studio.random.integers(num_people[0], num_people[1] + 1)))
        steps = np.linspace(0, 2 * np.pi, voices.shape[1], endpoint=False)
        angles = steps + studio.random.uniform(0, 2 * np.pi)
        places = studio.random.uniform(0.7, 1.5, len(angles)) * np.exp(1j * angles)
        distances = np.abs(places[:, None] - np.array([-spread_m / 2, spread_m / 2]))
        return studio.in_room(voices, np.maximum(distances, 0.3))

    return kind


def third_in_the_middle(nearer_db: float) -> Kind:
    """Two with a lapel microphone each, and one without, who is so much nearer to one of them."""

    def kind(studio: Studio) -> Tracks:
        apart, near = studio.random.uniform(1.0, 2.0), studio.random.uniform(0.7, 1.2)
        middle = (near, near * 10 ** (nearer_db / 20))
        return studio.in_room(studio.talk(3), [(0.2, apart), (apart, 0.2), middle])

    return kind


def third_on_both(studio: Studio) -> Tracks:
    """Two are panned hard, and a moderator is in the middle, or up to 5 dB to one side."""
    voices = studio.talk(3)
    gains = np.array([(1, 0), (0, 1), (0.7, 0.7 * studio.decibels(-5, 0))], np.float32)
    return voices @ gains + studio.noise(len(voices), -75, -60)


def lecture(studio: Studio) -> Tracks:
    """One with a microphone, another one for the room, in which three ask."""
    seats = [(d, studio.random.uniform(1, 3)) for d in studio.random.uniform(2, 5, 3)]
    return studio.in_room(studio.talk(4, shares=(6, 1, 1, 1)), [(0.2, studio.random.uniform(1.5, 3)), *seats])


def music(studio: Studio) -> Tracks:
    """Notes of a few instruments, each panned anywhere but hard, sometimes with a voice in the middle."""
    heard = np.zeros((90 * RATE_HZ, 2), np.float32)
    time_s = np.arange(3 * RATE_HZ) / RATE_HZ
    for _ in range(5):
        side, every_s = studio.random.uniform(0.15, 0.85), studio.random.choice([0.25, 0.5, 1.0])
        for begins_s in np.arange(0, 87, every_s):
            if studio.random.random() < 0.6:
                pitch_hz = 110 * 2 ** (studio.random.integers(0, 36) / 12)
                waves = [np.sin(2 * np.pi * h * pitch_hz * time_s) / h**2 for h in (1, 2, 3)]
                note = np.sum(waves, axis=0) * np.exp(-3 * time_s)
                at = round(begins_s * RATE_HZ)
                heard[at : at + len(note)] += np.outer(note, (1 - side, side)) * 0.1
    if studio.random.random() < 0.5:
        said = mono(studio.talk(1))[: len(heard)]
        heard[: len(said)] += on_both(said, 1.0, 1.0)
    return heard


def one_dead(studio: Studio) -> Tracks:
    both = on_both(mono(studio.talk()), 1.0, 0.0)
    return both + studio.noise(len(both), -80, -50) * studio.random.integers(0, 2)


def one_with_hum(studio: Studio) -> Tracks:
    said = mono(studio.talk())
    hum = np.sin(2 * np.pi * 50 * np.arange(len(said)) / RATE_HZ) * studio.decibels(-40, -15)
    return np.stack((said, hum.astype(np.float32)), axis=1) + studio.noise(len(said), -75, -60)


def noise_only(studio: Studio) -> Tracks:
    """Unrelated on both, louder and softer for seconds, as traffic or wind is."""
    num_s = 90
    levels = np.interp(
        np.arange(num_s * 50) / 50, np.arange(0, num_s, 2.0), studio.random.uniform(-60, -25, num_s // 2)
    )
    others = np.interp(
        np.arange(num_s * 50) / 50, np.arange(0, num_s, 2.0), studio.random.uniform(-60, -25, num_s // 2)
    )
    gains = 10 ** (np.stack((levels, others), axis=1) / 20)
    return np.asarray(studio.noise(num_s * RATE_HZ, 0, 0) * gains.repeat(RATE_HZ // 50, axis=0), np.float32)


def one_person(studio: Studio) -> Tracks:
    both = on_both(mono(studio.talk(1)), 1.0, studio.decibels(-40, 0))
    return both + studio.noise(len(both), -75, -50)


def one_who_turns(studio: Studio) -> Tracks:
    """One person between two microphones a metre apart, who turns from one to the other every few seconds."""
    said = mono(studio.talk(1))
    turns = np.arange(0, len(said) / RATE_HZ + 4, 4.0)
    side = np.interp(np.arange(len(said)) / RATE_HZ, turns, studio.random.uniform(-5, 5, len(turns)))
    return np.stack((said * 10 ** (side / 20), said * 10 ** (-side / 20)), axis=1).astype(np.float32) + studio.noise(
        len(said), -75, -60
    )


def changed_plug(studio: Studio) -> Tracks:
    """One channel until the plug is put into the other socket, and perhaps back again."""
    said = mono(studio.talk())
    edges = np.sort(studio.random.uniform(0, len(said), int(studio.random.integers(1, 3))))
    is_first = np.searchsorted(edges, np.arange(len(said))) % 2 == 0
    both = np.stack((said * is_first, said * ~is_first), axis=1).astype(np.float32)
    return both + studio.noise(len(both), -80, -65)


ONE_EACH: Mapping[str, Kind] = {
    "a clean track each": clean,
    "noise at -60 to -48 dB": noisy,
    "one side 20 dB softer": one_side_softer,
    "telephone with echo": telephone_with_echo,
    "crosstalk -20 to -15 dB": crosstalk(-20, -15),
    "crosstalk -15 to -10 dB": crosstalk(-15, -10),
    "much overlap": much_overlap,
    "one asks, one answers": unequal_shares,
    "lapels, 1.5 to 3 m apart, dry room": lapels(1.5, 3, is_live=False),
    "lapels, 0.7 to 1.5 m apart, dry room": lapels(0.7, 1.5, is_live=False),
    "lapels, 0.7 to 3 m apart, live room": lapels(0.7, 3, is_live=True),
}

TOGETHER: Mapping[str, Kind] = {
    "the same on both": same,
    "the same, one weaker": same_but_weaker,
    "the same, up to 30 ms later": small_delay,
    "the same, up to 0.95 s later": late_copy,
    "panned by up to 6 dB": panned,
    "stereo microphone, 2 to 4 people": stereo_microphone,
    "pair 0.4 m apart, 2 to 4 people": around(0.4, (2, 4)),
    "pair 1.5 m apart, 3 or 4 people": around(1.5, (3, 4)),
    "two lapels, a third in the middle": third_in_the_middle(0),
    "the same, the third 3 dB nearer to one": third_in_the_middle(3),
    "the same, the third 5 dB nearer to one": third_in_the_middle(5),
    "two panned hard, a third on both": third_on_both,
    "a lecture and a microphone for questions": lecture,
    "music": music,
    "one channel dead": one_dead,
    "one channel hums": one_with_hum,
    "noise only": noise_only,
    "one person": one_person,
    "one person who turns": one_who_turns,
    "a plug that changes sockets": changed_plug,
}
