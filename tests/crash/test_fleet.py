"""Three PCs on one Supabase project: real audio through the real PostgREST, one PC killed, one drained midway."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audio_files import encode, speech, write_sound
from tests.support.supabase_fleet import Fleet, supabase_fleet
from tests.support.supabase_project import add_user

pytestmark = pytest.mark.crash

NUM_MEETINGS = 60


@pytest.fixture
def fleet(crash_server_dsn: str, tmp_path: Path) -> Iterator[Fleet]:
    with supabase_fleet(crash_server_dsn, tmp_path) as fleet:
        yield fleet


def recordings(folder: Path) -> list[Path]:
    """Each sounds different, so that its checksum tells which recording a result is of."""
    made = []
    for number in range(NUM_MEETINGS):
        samples = speech(1.0 + number % 3, seed=number)
        name = folder / f"recording {number}"
        made.append(
            encode(name.with_suffix((".mp3", ".m4a")[number % 2]), samples)
            if number % 3
            else write_sound(name.with_suffix(".wav"), samples)
        )
    return made


@pytest.mark.slow
async def test_sixty_meetings_complete_exactly_once_while_one_pc_is_killed_and_one_is_drained(fleet: Fleet) -> None:
    """Three processes of their own WORKER_ID with the restricted token; no meeting is lost or done twice."""
    alice, bob = add_user(fleet.stack.dsn), add_user(fleet.stack.dsn)
    (fleet.folder / "made").mkdir()
    made = recordings(fleet.folder / "made")
    owners = [(None, alice, bob)[number % 3] for number in range(NUM_MEETINGS)]
    sha256_of = {
        fleet.enqueue_as(owner, path): hashlib.sha256(path.read_bytes()).hexdigest()
        for owner, path in zip(owners, made, strict=True)
    }

    killed, drained, kept = (fleet.worker(name) for name in ("killed", "drained", "kept"))
    for _ in range(3):
        killed.wait_for("MeetingCompleted")
    killed.wait_for("StageStarted", stage="transcribe")
    killed.kill()
    drained.wait_for("StageStarted", stage="transcribe")
    drained_id = f"drained-{fleet.folder.name}"
    assert "takes no more meetings" in fleet.command("drain", drained_id)
    num_claimed = fleet.rows(f"select count(*) from pc_worker.job_attempts where worker_id = '{drained_id}'")
    await fleet.wait_until_nothing_is_left()

    found = fleet.rows("select id, status, result #>> '{audio,sha256}' from public.meetings")
    assert Counter(status for _, status, _ in found) == {"completed": NUM_MEETINGS}
    assert {meeting_id: sha256 for meeting_id, _, sha256 in found} == sha256_of
    outcomes = fleet.rows("select meeting_id, outcome from pc_worker.job_attempts")
    assert Counter(meeting_id for meeting_id, outcome in outcomes if outcome == "completed") == dict.fromkeys(
        sha256_of, 1
    )
    assert {outcome for _, outcome in outcomes} == {"completed", "reaped"}
    assert fleet.rows("select count(*), count(distinct meeting_id) from public.transcript_segments") == [(120, 60)]
    assert fleet.rows(f"select count(*) from pc_worker.job_attempts where worker_id = '{drained_id}'") == num_claimed
    assert drained.is_running
    for worker, name in ((drained, "drained"), (kept, "kept")):
        assert worker.is_running
        assert list(fleet.temp(name).iterdir()) == []
