"""
Six meetings of four people who come and go, put together from single utterances, and what a worker makes of them.

After each meeting somebody gives a name to those who were there for the first time, and does nothing else. So whoever
is rightly named in a later meeting was recognised by the voice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tests.support.real_worker import worked_off
from tests.support.spoken_meetings import RATE_HZ, sentences
from worker.adapters.store_postgres import PostgresStore
from worker.models import MeetingDetail, SpeakerTurn

Sound = npt.NDArray[np.float32]

ATTENDANCE = ((0, 1), (0, 1, 2), (1, 2, 3), (0, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3))
"""Who is there, by number; everybody comes back at least three times."""

_NUM_VOICES = 9
"""Of the single sentences; they take turns (`_VOICES` of tests/models/held_out_speech.py)."""

_SYNTHETIC = (("Anna", 3, 0.85), ("Bert", 5, 1.0), ("Cora", 4, 1.25), ("Dirk", 2, 0.8))
"""Name, number of the voice (en+f2, en+m7, en-us+f4, en-us+m3), speed."""

_SEED = 6
_PAUSE_S = 0.4
_SILENCE_S = 0.5


@dataclass(frozen=True)
class PlannedMeeting:
    """`turns` are the truth; their labels are the names of people. `newcomers` have not been heard before."""

    number: int
    samples: Sound
    turns: tuple[SpeakerTurn, ...]
    newcomers: tuple[str, ...]

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(sorted({turn.label for turn in self.turns}))


@dataclass(frozen=True)
class HeldMeeting:
    """
    What became of a meeting.

    Attributes:
        heard_share: of what people say, by time, that the diarizer hears. Pauses within an utterance count as said.
        right_share: of what it hears, under a voice that has the right name.
        wrong_share: under a voice that has another one's.
        recognised, missed: of those who had been named before, who has a voice with his or her name, and who has not.
        num_voices: that the diarizer heard.
    """

    number: int
    heard_share: float
    right_share: float
    wrong_share: float
    recognised: tuple[str, ...]
    missed: tuple[str, ...]
    num_people: int
    num_voices: int
    scores: tuple[float, ...]


def synthetic_people() -> dict[str, list[Sound]]:
    """
    Four voices of the tests' own speech, some made higher or lower by playing them faster or slower, which changes the
    length of the throat as well: as espeak-ng speaks them, GE2E takes most of its voices for one (cosines up to 0.96).

    Of 18 that were tried (five voices at several speeds) these four are far apart for both encoder and diarizer. Three
    sentences against three others of the same voice score at least 0.910, against another voice at most 0.732.
    """
    spoken: dict[int, list[Sound]] = {}
    for number, sentence in enumerate(sentences(), start=1):
        spoken.setdefault(number % _NUM_VOICES, []).append(sentence.samples)
    return {name: [_played(pair, speed) for pair in _pairs(spoken[voice])] for name, voice, speed in _SYNTHETIC}


def _pairs(sounds: Sequence[Sound]) -> list[Sound]:
    """Two sentences at a time, as people talk."""
    return [np.concatenate(sounds[first : first + 2]) for first in range(0, len(sounds) - 1, 2)]


def _played(sound: Sound, speed: float) -> Sound:
    return np.asarray(soxr.resample(sound, RATE_HZ, RATE_HZ / speed), np.float32)


def planned_meetings(utterances: Mapping[str, Sequence[Sound]], *, seconds_each: float) -> list[PlannedMeeting]:
    """
    Four people in six meetings, each for about `seconds_each` in each. Nobody says the same thing in two meetings in a
    row.
    """
    rng, names = Random(_SEED), list(utterances)
    said: Counter[str] = Counter()
    heard: set[str] = set()
    meetings = []
    for number, present in enumerate(ATTENDANCE, start=1):
        turns = []
        for name in (names[index] for index in present):
            spoken_s = 0.0
            while spoken_s < seconds_each:
                samples = utterances[name][said[name] % len(utterances[name])]
                said[name] += 1
                spoken_s += len(samples) / RATE_HZ
                turns.append((name, samples))
        rng.shuffle(turns)
        newcomers = tuple(names[index] for index in present if names[index] not in heard)
        heard.update(newcomers)
        meetings.append(_put_together(number, turns, newcomers))
    return meetings


def _put_together(number: int, turns: Sequence[tuple[str, Sound]], newcomers: tuple[str, ...]) -> PlannedMeeting:
    pieces, place_s, truth = [_silence(_SILENCE_S)], _SILENCE_S, []
    for name, samples in turns:
        end_s = place_s + len(samples) / RATE_HZ
        truth.append(SpeakerTurn(start_s=place_s, end_s=end_s, label=name))
        pieces += [samples, _silence(_PAUSE_S)]
        place_s = end_s + _PAUSE_S
    return PlannedMeeting(number, np.concatenate(pieces), tuple(truth), newcomers)


def _silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


async def hold(dsn: str, folder: Path, meetings: Sequence[PlannedMeeting]) -> list[HeldMeeting]:
    """One after the other through `python -m worker run --once` on the tests' models and the bundled diarizer."""
    (folder / "recordings").mkdir()
    store = PostgresStore(dsn, application_name="test")
    try:
        return [await _hold(store, dsn, folder, meeting) for meeting in meetings]
    finally:
        await store.close()


async def _hold(store: PostgresStore, dsn: str, folder: Path, meeting: PlannedMeeting) -> HeldMeeting:
    file = f"meeting-{meeting.number}.wav"
    soundfile.write(folder / "recordings" / file, meeting.samples, RATE_HZ, subtype="PCM_16")
    before = await worked_off(store, dsn, folder, file)
    for newcomer in meeting.newcomers:
        await _give_name(store, before, meeting, newcomer)
    return _assessed(before, await _detail(store, before.meeting.id), meeting)


async def _detail(store: PostgresStore, meeting_id: UUID) -> MeetingDetail:
    detail = await store.meeting(meeting_id)
    assert detail is not None
    return detail


async def _give_name(store: PostgresStore, detail: MeetingDetail, meeting: PlannedMeeting, name: str) -> None:
    """As somebody would who listens: to the voice that says most of what the person says."""
    label = _voice_of(detail, meeting, name)
    (speaker_id,) = (voice.speaker_id for voice in detail.speakers if voice.label == label)
    assert speaker_id is not None
    await store.name_speaker(speaker_id, name)


def _assessed(before: MeetingDetail, after: MeetingDetail, meeting: PlannedMeeting) -> HeldMeeting:
    shared_s = _shared_s(after, meeting)
    names = {voice.label: voice.name for voice in after.speakers}
    right_s = sum(seconds for (label, person), seconds in shared_s.items() if names.get(label) == person)
    wrong_s = sum(seconds for (label, person), seconds in shared_s.items() if names.get(label) not in (None, person))
    heard_s, spoken_s = sum(shared_s.values()), sum(turn.end_s - turn.start_s for turn in meeting.turns)
    had_name = {voice.name for voice in before.speakers if voice.name is not None}
    returned = [person for person in meeting.people if person not in meeting.newcomers]
    return HeldMeeting(
        number=meeting.number,
        heard_share=heard_s / spoken_s,
        right_share=right_s / heard_s,
        wrong_share=wrong_s / heard_s,
        recognised=tuple(person for person in returned if person in had_name),
        missed=tuple(person for person in returned if person not in had_name),
        num_people=len(meeting.people),
        num_voices=len(after.speakers),
        scores=tuple(round(voice.score, 3) for voice in before.speakers if voice.score is not None),
    )


def _voice_of(detail: MeetingDetail, meeting: PlannedMeeting, name: str) -> str:
    shared_s = {label: seconds for (label, person), seconds in _shared_s(detail, meeting).items() if person == name}
    return max(shared_s, key=lambda label: shared_s[label])


def _shared_s(detail: MeetingDetail, meeting: PlannedMeeting) -> Counter[tuple[str, str]]:
    """Seconds of the diarizer's turns by (label, who really speaks)."""
    shared_s: Counter[tuple[str, str]] = Counter()
    for label, start_s, end_s in (detail.meeting.result or {})["turns"]:
        for turn in meeting.turns:
            shared_s[label, turn.label] += max(0.0, min(end_s, turn.end_s) - max(start_s, turn.start_s))
    return shared_s
