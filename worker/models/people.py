"""Who is who: people across meetings, and the decisions that made them so."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from worker.models.recording import SpeakerEmbedding, Value


class KnownSpeaker(Value):
    """A person of the meeting's owner, named or not, with the voices kept of him or her."""

    id: UUID
    name: str | None
    embeddings: tuple[SpeakerEmbedding, ...] = ()


class KnownSpeakers(Value):
    """Everybody whom the meeting's owner knows, at one moment: `version` grows with every change of any of them."""

    version: int
    speakers: tuple[KnownSpeaker, ...] = ()


class VoiceMatch(Value):
    """
    Why a voice of a meeting was given to a person, or was not.

    `outcome`: identified (it is `speaker_id`), suggested (it may be `speaker_id`; somebody has to say), unknown.
    Scores are cosines in [-1, 1], of voices described by `model`.
    """

    outcome: str
    reason: str | None = Field(default=None, description="what kept it from more: 'score', 'margin', 'not_mutual' ...")
    speaker_id: UUID | None = Field(default=None, description="who comes nearest, also when that is not near enough")
    score: float | None = None
    runner_up_id: UUID | None = None
    runner_up_score: float | None = None
    model: str | None = None
    confirm_from: float | None = Field(default=None, description="the threshold to be identified")
    suggest_from: float | None = None
    margin: float | None = Field(default=None, description="how far the runner-up has to be behind")


class Person(Value):
    """A row of `speakers` as people see it. `keeps_voice` is False for who has opted out."""

    id: UUID
    user_id: UUID | None = None
    name: str | None = None
    num_meetings: int = 0
    speech_s: float = 0.0
    num_voiceprints: int = Field(default=0, description="embeddings kept, of any model")
    keeps_voice: bool = True
    last_heard_at: datetime | None = Field(default=None, description="when the newest of the meetings was created")


class Decision(Value):
    """
    A row of the ledger `speaker_decisions`.

    kind         speaker_id                        other_speaker_id
    identified   whom the worker took the voice for    the runner-up
    suggested    whom the voice may be             the runner-up
    unknown      who comes nearest, if anybody     the runner-up
    confirmed    whom somebody says the voice is
    rejected     the voice's new speaker, or none  whom it is not
    split        the voice's new speaker           whose it was
    named        who has the name
    merged       who stays                         who went into him or her
    forgotten, opted_out, opted_in, deleted        whose voice, or who
    """

    id: int
    user_id: UUID | None = None
    kind: str
    speaker_id: UUID | None = None
    other_speaker_id: UUID | None = None
    meeting_id: UUID | None = None
    label: str | None = None
    name: str | None = None
    score: float | None = None
    runner_up_score: float | None = None
    model: str | None = None
    thresholds: dict[str, float] | None = None
    decided_by: str
    decided_at: datetime
    undone_by: str | None = None
    undone_at: datetime | None = None
