"""Troubles that are read off the events: told once when they begin, once when they end."""

from __future__ import annotations

import pytest

from tests.support.queue_worlds import TurnedClock
from worker import events
from worker.trouble_watch import AWAY_AFTER_S, KEY_EXPIRED, KEY_EXPIRING, QUEUE_OLD, KeysEnd, QueueAge, StoreAway
from worker.troubles import Troubles

HOUR_S = 3600.0
AWAY = "database_unreachable"


class Told:
    """What the observers hear: a + for each code that began, a - for each that ended."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.sentences: list[str] = []
        self.troubles = Troubles(self.note)

    def note(self, event: object) -> None:
        match event:
            case events.TroubleBegan(trouble):
                self.codes.append(f"+{trouble.code}")
                self.sentences.append(trouble.sentence)
            case events.TroubleEnded(code):
                self.codes.append(f"-{code}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


# --- the queue ---------------------------------------------------------------------------------------------------


def test_a_queue_that_ages_is_told_once_and_is_over_when_it_is_young_again(told: Told) -> None:
    watch = QueueAge(told.troubles, limit_s=2 * HOUR_S)
    for hours in (0.1, 2.0, 2.1, 3.0, 2.5, 0.5, 0.1):
        watch(events.QueueSeen(4, hours * HOUR_S))
    assert told.codes == [f"+{QUEUE_OLD}", f"-{QUEUE_OLD}"]
    assert "2.1 h" in told.sentences[0]
    assert "python -m worker status" in told.sentences[0]


def test_an_empty_queue_is_young(told: Told) -> None:
    watch = QueueAge(told.troubles, limit_s=HOUR_S)
    watch(events.QueueSeen(1, 2 * HOUR_S))
    watch(events.QueueSeen(0, None))
    assert told.codes[-1] == f"-{QUEUE_OLD}"


def test_ages_around_the_limit_are_not_told_each_time(told: Told) -> None:
    watch = QueueAge(told.troubles, limit_s=HOUR_S)
    for _ in range(10):
        watch(events.QueueSeen(4, 1.01 * HOUR_S))
        watch(events.QueueSeen(4, 0.95 * HOUR_S))
    assert told.codes == [f"+{QUEUE_OLD}"]


# --- the database ------------------------------------------------------------------------------------------------


class Database:
    """Calls that fail, and the watch that hears of them."""

    def __init__(self, told: Told, clock: TurnedClock) -> None:
        self.clock, self.watch = clock, StoreAway(told.troubles, clock)

    def fail_for(self, seconds: float, call: str = "heartbeat", code: str = AWAY) -> None:
        """A call every 30 s."""
        for _ in range(int(seconds / 30)):
            self.watch(events.StoreUnavailable(call, code, 30.0, f"{code} happened. Do this."))
            self.clock.at_s += 30.0


@pytest.fixture
def database(told: Told, clock: TurnedClock) -> Database:
    return Database(told, clock)


def test_a_short_outage_is_no_trouble(told: Told, database: Database) -> None:
    for _ in range(5):
        database.fail_for(AWAY_AFTER_S)
        database.watch(events.StoreRecovered("heartbeat"))
    assert told.codes == []


def test_a_long_outage_is_told_once_with_the_sentence_of_its_error(told: Told, database: Database) -> None:
    database.fail_for(HOUR_S)
    assert told.codes == [f"+{AWAY}"]
    assert told.sentences == [f"{AWAY} happened. Do this."]
    database.watch(events.StoreRecovered("heartbeat"))
    assert told.codes == [f"+{AWAY}", f"-{AWAY}"]


def test_a_refused_key_is_another_trouble_than_a_database_that_is_away(told: Told, database: Database) -> None:
    database.fail_for(HOUR_S)
    database.fail_for(HOUR_S, code="supabase_access_denied")
    database.watch(events.StoreRecovered("heartbeat"))
    assert told.codes == [f"+{AWAY}", f"-{AWAY}", "+supabase_access_denied", "-supabase_access_denied"]


def test_claims_alone_that_fail_are_a_trouble_although_heartbeats_are_answered(told: Told, database: Database) -> None:
    for _ in range(20):
        database.fail_for(30.0, call="claim", code="database_refused")
        database.watch(events.QueueSeen(0, None))
    assert told.codes == ["+database_refused"]


def test_a_claim_that_is_no_longer_tried_in_vain_is_no_trouble(told: Told, database: Database) -> None:
    """A claim that gets through says nothing by itself; the next heartbeats are answered."""
    database.fail_for(HOUR_S, call="claim")
    for _ in range(5):
        database.watch(events.QueueSeen(0, None))
        database.clock.at_s += 30.0
    assert told.codes == [f"+{AWAY}", f"-{AWAY}"]


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_key_that_ends_is_told_once_and_again_when_it_has_ended(told: Told) -> None:
    watch = KeysEnd(told.troubles)
    for days_left in (2, 1, 0, -1, -2):
        watch(events.KeyExpiring("SUPABASE_WORKER_TOKEN", "2026-12-31", days_left))
    assert sorted(told.codes) == sorted([f"+{KEY_EXPIRING}", f"-{KEY_EXPIRING}", f"+{KEY_EXPIRED}"])
    for sentence in told.sentences:
        assert "SUPABASE_WORKER_TOKEN" in sentence
        assert "2026-12-31" in sentence
