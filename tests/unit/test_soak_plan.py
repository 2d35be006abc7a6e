"""The soak's plan and its arithmetic: the same seed is the same night, and what is wrong is not counted as right."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from tests.soak.faults import Kill
from tests.soak.pc import Reading
from tests.soak.plan import DATABASE, ENDS_A_PROCESS, RECOVERY_S, Kind, faults_of, meetings_of
from tests.soak.recovery import Recovery, recoveries
from tests.soak.watch import growth_of

NIGHT = {"duration_s": 600.0, "every_s": 5.0, "num_pcs": 4}


def test_the_same_seed_gives_the_same_night_and_another_seed_another() -> None:
    assert faults_of(1, **NIGHT) == faults_of(1, **NIGHT) != faults_of(2, **NIGHT)  # type: ignore[arg-type]  # two kinds of numbers
    meetings = [meetings_of(seed, duration_s=600, num_meetings=50) for seed in (1, 1, 2)]
    assert meetings[0] == meetings[1] != meetings[2]


def test_ten_minutes_of_seed_1_hold_a_fault_every_five_seconds_and_every_kind_of_it() -> None:
    faults = faults_of(1, **NIGHT)  # type: ignore[arg-type]
    assert [fault.at_s for fault in faults] == [5.0 * number for number in range(1, 120)]
    assert {fault.kind for fault in faults} == set(Kind)


def test_nothing_is_hit_before_it_is_whole_again_and_the_first_pc_is_never_ended() -> None:
    for seed in range(20):
        whole_at = Counter[int]()
        for fault in faults_of(seed, **NIGHT):  # type: ignore[arg-type]
            assert fault.at_s >= whole_at[fault.pc]
            whole_at[fault.pc] = fault.at_s + fault.lasts_s + RECOVERY_S  # type: ignore[assignment]  # seconds
            assert fault.pc in (DATABASE, 0, 1, 2, 3)
            assert not (fault.pc == 0 and fault.kind in ENDS_A_PROCESS)


def test_a_process_that_takes_more_and_more_is_growing() -> None:
    def lived(*, mb_per_s: float = 0.0, fds_per_s: float = 0.0) -> bool:
        readings = [Reading(s, int((50 + s * mb_per_s) * 2**20), int(18 + s * fds_per_s), 3) for s in range(300)]
        return growth_of(readings).is_growing

    assert not lived()
    assert lived(mb_per_s=0.1)
    assert lived(fds_per_s=0.1)


def test_recovery_counts_from_the_kill_to_the_next_claim_of_what_was_held() -> None:
    held, replayed, before, given_up = uuid4(), uuid4(), uuid4(), uuid4()
    attempts = [
        (held, "a", "reaped", 90.0, 108.0),
        (held, "b", "completed", 109.0, 112.0),
        (replayed, "a", "completed", 95.0, 104.0),
        (before, "a", "completed", 80.0, 85.0),
        (given_up, "a", "reaped", 96.0, 108.0),
        (given_up, "b", "completed", 150.0, 155.0),
    ]

    def rows(query: str) -> list[tuple[object, ...]]:
        return [(given_up, 140.0)] if "soak.notes" in query else list(attempts)

    found = recoveries(rows, [Kill(Kind.KILL_LONG, "a", 100.0)])
    assert found == [Recovery(Kind.KILL_LONG, 9.0, 12.0), Recovery(Kind.KILL_LONG, None, 4.0)]
