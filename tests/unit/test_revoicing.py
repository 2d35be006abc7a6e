"""The voices of meetings that are done, described anew: which recordings are taken, and which are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.queue_values import result
from tests.support.queue_worlds import MemoryWorld
from tests.support.settings import settings_in
from worker.app_revoicing import revoiced
from worker.exceptions import ConfigurationError
from worker.models import SpeakerEmbedding
from worker.revoicing import Revoicing
from worker.testing.scripted import ScriptedDecoder, ScriptedDiarizer, ScriptedSummarizer, ScriptedTranscriber
from worker.testing.stages_inline import InlineStages
from worker.testing.storage_memory import MemoryStorage

TURNS = [["SPEAKER_00", 0.0, 5.0], ["SPEAKER_01", 5.0, 9.0]]
SHA256 = "0" * 64  # what the scripted decoder says of every recording
NEW = tuple(
    SpeakerEmbedding(label=label, model="newer", dim=2, vector=(1.0, 0.0), speech_s=4.0)
    for label in ("SPEAKER_00", "SPEAKER_01")
)


class Lab:
    """A queue, its recordings, and what describes voices."""

    def __init__(self, temp_dir: Path) -> None:
        self.world, self.storage, self.temp_dir = MemoryWorld(), MemoryStorage({"lab/a.wav": b"sound"}), temp_dir

    async def meeting(self, **kept: Any) -> UUID:
        """A completed one; its result says this."""
        meeting_id = await self.world.enqueue()
        claim = await self.world.claim(await self.world.worker())
        value = result("x").model_copy(update={"result": {"turns": TURNS, "audio": {"sha256": SHA256}, **kept}})
        assert (await self.world.store.complete(meeting_id, claim.token, value)).outcome == "completed"
        return meeting_id

    async def revoice(self, meeting_id: UUID, **describer: Any) -> tuple[str, str | None]:
        stages = InlineStages(
            decoder=ScriptedDecoder(),
            transcriber=ScriptedTranscriber(),
            diarizer=ScriptedDiarizer(),
            describer=ScriptedDiarizer(voices=NEW, **describer),
            summarizer=ScriptedSummarizer(),
            settings={},
        )
        work = Revoicing(self.world.store, self.storage, self.storage, stages, self.temp_dir, max_bytes=1000)
        done = await work.revoice(meeting_id)
        await stages.close()
        assert list(self.temp_dir.iterdir()) == []  # no recording stays behind, whatever happens
        return done.outcome, done.message

    async def num_stale(self) -> int:
        return len(await self.world.store.stale_voices(["newer"]))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_voices_are_described_from_the_recording_that_was_transcribed(lab: Lab) -> None:
    """A second time there is nothing to add."""
    meeting_id = await lab.meeting()
    assert await lab.num_stale() == 1
    assert await lab.revoice(meeting_id) == ("done", None)
    assert await lab.num_stale() == 0
    assert (await lab.revoice(meeting_id))[0] == "already_done"


async def test_another_recording_under_the_same_address_is_not_taken(lab: Lab) -> None:
    """Its voices are others at the same times."""
    outcome, message = await lab.revoice(await lab.meeting(audio={"sha256": "1" * 64}))
    assert (outcome, "another one" in (message or "")) == ("refused", True)
    assert await lab.num_stale() == 1


async def test_a_recording_that_is_gone_is_said_so(lab: Lab) -> None:
    lab.storage.recordings.clear()
    outcome, message = await lab.revoice(await lab.meeting())
    assert (outcome, "[audio_missing]" in (message or "")) == ("failed", True)


async def test_an_engine_that_fails_costs_one_meeting(lab: Lab) -> None:
    """The others go on: it is an outcome."""
    outcome, message = await lab.revoice(await lab.meeting(), raise_code="engine_failed")
    assert (outcome, "[engine_failed]" in (message or "")) == ("failed", True)


@pytest.mark.parametrize("turns", [[], None])
async def test_a_meeting_without_voices_is_refused(lab: Lab, turns: object) -> None:
    assert (await lab.revoice(await lab.meeting(turns=turns)))[0] == "refused"


async def test_a_meeting_that_is_not_done_is_refused_and_one_that_is_not_there_is_gone(lab: Lab) -> None:
    assert (await lab.revoice(await lab.world.enqueue()))[0] == "refused"
    assert (await lab.revoice(uuid4()))[0] == "gone"


# --- composed ----------------------------------------------------------------------------------------------------


async def test_where_no_voice_is_kept_none_is_described(lab: Lab, tmp_path: Path) -> None:
    """IDENTIFY_SPEAKERS=false on this PC holds for this command too."""
    meeting_id = await lab.meeting()
    settings = settings_in(tmp_path, IDENTIFY_SPEAKERS="false")
    with pytest.raises(ConfigurationError, match="IDENTIFY_SPEAKERS"):
        await anext(revoiced(settings, lab.world.store, [meeting_id]))


async def test_where_nothing_is_stale_nothing_is_started(lab: Lab, tmp_path: Path) -> None:
    assert [one async for one in revoiced(settings_in(tmp_path), lab.world.store, None)] == []
