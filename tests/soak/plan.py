"""
What will be done to the fleet, and when: pure, from a seed. The same seed gives the same plan, on every machine.

What the operating system makes of it is another matter: how far a worker has come when it is killed differs from run
to run, and so do the figures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID

LEASE_S, HEARTBEAT_S, GRACE_S = 6.0, 1.0, 2.0
"""The defaults (180, 30, 60) in the same proportions."""

DATABASE = -1
"""What a fault hits when it is no PC."""


class Kind(StrEnum):
    """The faults. The text is what the table says."""

    KILL = "SIGKILL, started again at once"
    KILL_LONG = "SIGKILL, started again after lease and grace"
    KILL_RENAME = "SIGKILL, started again under another WORKER_ID"
    TERM = "SIGTERM, started again"
    TERM_TWICE = "SIGTERM twice, started again"
    FREEZE = "SIGSTOP for longer than lease and grace"
    CHILD = "SIGKILL of a child"
    CUT = "network of one PC cut for less than the lease"
    CUT_LONG = "network of one PC cut for longer than lease and grace"
    DATABASE_KILL = "SIGKILL of Postgres, started again at once"
    DATABASE_RESTART = "fast restart of Postgres"
    DATABASE_AWAY = "SIGKILL of Postgres, away for longer than the lease"


@dataclass(frozen=True, slots=True)
class Fault:
    """`pc` is its number from 0, or DATABASE; whatever was broken is whole again `lasts_s` later."""

    at_s: float
    kind: Kind
    pc: int
    lasts_s: float = 0.0


LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.KILL_LONG: (LEASE_S + GRACE_S + 1, 2 * LEASE_S),
    Kind.KILL_RENAME: (0.0, 2.0),
    Kind.FREEZE: (LEASE_S + GRACE_S + 1, 2 * LEASE_S),
    Kind.CUT: (1.0, LEASE_S - 2),
    Kind.CUT_LONG: (LEASE_S + GRACE_S + 1, 2 * LEASE_S),
    Kind.DATABASE_AWAY: (LEASE_S + 1, LEASE_S + GRACE_S + 2),
}

WEIGHTS: dict[Kind, int] = {
    Kind.KILL: 4,
    Kind.KILL_LONG: 3,
    Kind.KILL_RENAME: 2,
    Kind.TERM: 3,
    Kind.TERM_TWICE: 2,
    Kind.FREEZE: 3,
    Kind.CHILD: 4,
    Kind.CUT: 3,
    Kind.CUT_LONG: 2,
    Kind.DATABASE_KILL: 2,
    Kind.DATABASE_RESTART: 1,
    Kind.DATABASE_AWAY: 1,
}

ENDS_A_PROCESS = frozenset({Kind.KILL, Kind.KILL_LONG, Kind.KILL_RENAME, Kind.TERM, Kind.TERM_TWICE})
ON_DATABASE = frozenset({Kind.DATABASE_KILL, Kind.DATABASE_RESTART, Kind.DATABASE_AWAY})

RECOVERY_S = 5.0
"""What was hit by a fault is left alone for so long afterwards, so that it may begin something to be hit in."""


def faults_of(seed: int, *, duration_s: float, every_s: float, num_pcs: int) -> tuple[Fault, ...]:
    """
    One fault every `every_s`. PC 0 is never killed or told to end, so that one process lives through the whole run and
    a leak can show; it is frozen, cut off and robbed of its children like all others.
    """
    random = Random(f"faults {seed}")
    whole_at = dict.fromkeys((DATABASE, *range(num_pcs)), 0.0)
    faults: list[Fault] = []
    at_s = every_s
    while at_s < duration_s:
        whole = [target for target, when in whole_at.items() if when <= at_s]
        if candidates := [(kind, target) for kind in Kind for target in whole if _fits(kind, target)]:
            kind = _one_of([kind for kind in Kind if any(kind is k for k, _ in candidates)], random)
            target = random.choice([t for k, t in candidates if k is kind])
            lasts_s = round(random.uniform(*LASTS_S.get(kind, (0.0, 0.0))), 1)
            faults.append(Fault(at_s, kind, target, lasts_s))
            whole_at[target] = at_s + lasts_s + RECOVERY_S
        at_s = round(at_s + every_s, 3)
    return tuple(faults)


def _fits(kind: Kind, target: int) -> bool:
    if kind in ON_DATABASE or target == DATABASE:
        return kind in ON_DATABASE and target == DATABASE
    return not (target == 0 and kind in ENDS_A_PROCESS)


def _one_of(kinds: Sequence[Kind], random: Random) -> Kind:
    return random.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]


# --- meetings --------------------------------------------------------------------------------------------------------


class Fate(StrEnum):
    """What happens to a meeting besides being worked on."""

    PLAIN = "nothing"
    ENGINE_DIES = "its engine is killed, the first time"
    ERROR = "its transcription fails, the first time"
    CANCELLED = "cancelled by its user"
    DELETED = "deleted by its user"
    RETRIED = "retried by its user when completed"
    LATE_AUDIO = "its recording is uploaded after the row was inserted"


FATES = {
    Fate.PLAIN: 82,
    Fate.ENGINE_DIES: 3,
    Fate.ERROR: 3,
    Fate.CANCELLED: 3,
    Fate.DELETED: 3,
    Fate.RETRIED: 3,
    Fate.LATE_AUDIO: 3,
}

PER_OWNER = 25
STAGE_S = {"decode": 0.1, "transcribe": 0.5, "align": 0.1, "diarize": 0.3}
"""Seconds of work in each stage, on average."""


@dataclass(frozen=True, slots=True)
class PlannedMeeting:
    """Inserted at `at_s` by `owner`; its fate comes `after_s` later."""

    number: int
    id: UUID
    owner: UUID
    at_s: float
    fate: Fate
    after_s: float
    num_turns: int
    stage_s: dict[str, float]

    @property
    def mark(self) -> str:
        """The word that every word of its transcript begins with, and of no other."""
        return f"m{self.number}x"

    @property
    def audio_path(self) -> str:
        return f"{self.owner}/{self.id}/audio.json"

    @property
    def words_per_turn(self) -> int:
        return 3

    def recording(self, count_file: str) -> str:
        """What the scripted engines are to do and to hear. `count_file`: where the first time is told from the rest."""
        scripts: dict[str, dict[str, Any]] = {stage: {"seconds": seconds} for stage, seconds in self.stage_s.items()}
        scripts["transcribe"]["words"] = [
            {"text": f"{self.mark}{turn}-{word}", "start_s": turn + word * 0.3, "end_s": turn + word * 0.3 + 0.2}
            for turn in range(self.num_turns)
            for word in range(self.words_per_turn)
        ]
        scripts["diarize"]["turns"] = [
            {"start_s": float(turn), "end_s": turn + 1.0, "label": f"SPEAKER_0{turn % 2}"}
            for turn in range(self.num_turns)
        ]
        misdeeds: dict[Fate, dict[str, Any]] = {
            Fate.ENGINE_DIES: {"kill_signal": 9},
            Fate.ERROR: {"raise_code": "engine_failed"},
        }
        if misdeed := misdeeds.get(self.fate):
            scripts["transcribe"] |= {**misdeed, "only_first": 1, "count_file": count_file}
        return json.dumps(scripts)


def meetings_of(seed: int, *, duration_s: float, num_meetings: int) -> tuple[PlannedMeeting, ...]:
    """Inserted evenly over nine tenths of the run, so that the last faults hit some as well."""
    random = Random(f"meetings {seed}")
    owners = [_uuid(random) for _ in range(1 + num_meetings // PER_OWNER)]
    return tuple(
        PlannedMeeting(
            number=number,
            id=_uuid(random),
            owner=random.choice(owners),
            at_s=round(0.9 * duration_s * number / num_meetings, 3),
            fate=random.choices(list(FATES), list(FATES.values()))[0],
            after_s=round(random.uniform(0.0, 4.0), 3),
            num_turns=random.randint(2, 6),
            stage_s={stage: round(mean_s * random.uniform(0.2, 1.8), 3) for stage, mean_s in STAGE_S.items()},
        )
        for number in range(num_meetings)
    )


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)
