"""
The queue's calls as the SQL functions take them. A transport (psycopg, PostgREST) only implements `call`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from worker.adapters import store_wire as wire
from worker.adapters.ledger_functions import LedgerFunctions, whose
from worker.adapters.migrate_postgres import migrations
from worker.adapters.refresh_functions import RefreshFunctions
from worker.adapters.summary_functions import SummaryFunctions
from worker.exceptions import LeaseLostError, MeetingCancelledError, MeetingGoneError, SchemaMismatchError
from worker.models import (
    Beat,
    ClaimAnswer,
    Failure,
    FleetStatus,
    HeartbeatAnswer,
    KnownSpeakers,
    MeetingStatus,
    ProcessingResult,
    Registration,
    Stage,
    Trouble,
    WorkerInfo,
    WriteAnswer,
)


class StoreFunctions(LedgerFunctions, RefreshFunctions, SummaryFunctions):
    """The part of ports.Store that is the same over every transport."""

    @abstractmethod
    async def call(self, function: str, **parameters: Any) -> dict[str, Any]:
        """
        Call `public.<function>` with named parameters and return its jsonb answer.

        Parameters are str, int, float or UUID; dict, list and bool travel as jsonb. Repeats the call on transport
        errors. Raises as ports.Store states.
        """

    async def register(self, worker: WorkerInfo) -> Registration:
        payload = wire.worker_payload(worker, _known_migrations())
        try:
            answer = await self.call(
                "worker_register_v1", p_worker_id=worker.worker_id, p_instance_id=worker.instance_id, p_worker=payload
            )
        except SchemaMismatchError as error:
            raise _without_schema(error) from error
        return wire.registration(answer)

    async def claim(self, worker_id: str, instance_id: UUID, claim_id: UUID, *, min_wait_s: float = 0.0) -> ClaimAnswer:
        answer = await self.call(
            "worker_claim_v1",
            p_worker_id=worker_id,
            p_instance_id=instance_id,
            p_claim_id=claim_id,
            p_min_wait_s=float(min_wait_s),
        )
        return wire.claim_answer(answer)

    async def heartbeat(
        self, worker_id: str, instance_id: UUID, beats: Sequence[Beat], troubles: Sequence[Trouble] = ()
    ) -> HeartbeatAnswer:
        answer = await self.call(
            "worker_heartbeat_v2",
            p_worker_id=worker_id,
            p_instance_id=instance_id,
            p_beats=[beat.model_dump(mode="json") for beat in beats],
            p_troubles=wire.storable([trouble.model_dump(mode="json") for trouble in troubles]),
        )
        return wire.heartbeat_answer(answer)

    async def complete(self, meeting_id: UUID, token: int, result: ProcessingResult) -> WriteAnswer:
        payload = wire.result_payload(result)
        answer = await self.call("worker_complete_v2", p_meeting_id=meeting_id, p_token=token, p_result=payload)
        return wire.write_answer(answer)

    async def fail(self, meeting_id: UUID, token: int, failure: Failure) -> WriteAnswer:
        payload = wire.storable(failure.model_dump(mode="json"))
        answer = await self.call("worker_fail_v1", p_meeting_id=meeting_id, p_token=token, p_failure=payload)
        return wire.write_answer(answer)

    async def release(self, meeting_id: UUID, token: int) -> WriteAnswer:
        return wire.write_answer(await self.call("worker_release_v1", p_meeting_id=meeting_id, p_token=token))

    async def speakers(self, meeting_id: UUID, token: int, models: Sequence[str]) -> KnownSpeakers:
        """Raises LeaseLostError, MeetingCancelledError or MeetingGoneError when the token may not write any more."""
        asked = [wire.storable(model) for model in models]
        answer = await self.call("worker_speakers_v2", p_meeting_id=meeting_id, p_token=token, p_models=asked)
        return wire.known_speakers(_of_holder(answer))

    async def vocabulary(self, meeting_id: UUID, token: int) -> tuple[str, ...]:
        """Raises as `speakers` does."""
        answer = await self.call("worker_vocabulary_v1", p_meeting_id=meeting_id, p_token=token)
        return wire.words(_of_holder(answer))

    async def guidance(self, meeting_id: UUID, token: int) -> str | None:
        """Raises as `speakers` does."""
        return wire.guidance(_of_holder(await self.call("worker_guidance_v1", p_meeting_id=meeting_id, p_token=token)))

    async def statuses(self, meeting_ids: Sequence[UUID]) -> dict[UUID, MeetingStatus]:
        asked = [str(meeting_id) for meeting_id in meeting_ids]
        return wire.statuses(await self.call("worker_statuses_v1", p_meeting_ids=asked))

    async def drain(self, worker_id: str, *, draining: bool) -> WriteAnswer:
        """`draining`, `resumed`, or `gone` for a worker that never registered. Lasts until it is taken back."""
        return wire.write_answer(await self.call("worker_drain_v1", p_worker_id=worker_id, p_draining=draining))

    async def status(self) -> FleetStatus:
        return wire.fleet_status(await self.call("worker_status_v2"))

    async def schema(self) -> str | None:
        """The difference to this worker's migrations in words; None when there is none."""
        answer = await self.call("worker_schema_v1", p_known=_known_migrations())
        return None if answer["outcome"] == "ok" else str(answer["message"])

    async def cancel(self, meeting_id: UUID) -> WriteAnswer:
        return wire.write_answer(await self.call("meeting_cancel_v1", p_meeting_id=meeting_id))

    async def retry(
        self, meeting_id: UUID, *, replace_edits: bool = False, from_stage: Stage | None = None
    ) -> WriteAnswer:
        wish = {} if from_stage is None else {"p_from": from_stage.value}
        answer = await self.call("meeting_retry_v2", p_meeting_id=meeting_id, p_replace_edits=replace_edits, **wish)
        return wire.write_answer(answer)

    async def words(self, user_id: UUID | None = None) -> tuple[str, ...]:
        return wire.words(await self.call("vocabulary_list_v1", **whose(user_id)))

    async def add_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        asked = [wire.storable(word) for word in words]
        return wire.words(await self.call("vocabulary_add_v1", p_words=asked, **whose(user_id)))

    async def remove_words(self, words: Sequence[str], user_id: UUID | None = None) -> tuple[str, ...]:
        asked = [wire.storable(word) for word in words]
        return wire.words(await self.call("vocabulary_remove_v1", p_words=asked, **whose(user_id)))


def _of_holder(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer to whoever works on the meeting; anybody else gets an error."""
    if answer["outcome"] != "ok":
        raise {"cancelled": MeetingCancelledError, "gone": MeetingGoneError}.get(answer["outcome"], LeaseLostError)()
    return answer


def _without_schema(error: SchemaMismatchError) -> SchemaMismatchError:
    """Not even the function is there that would say which migration is missing."""
    if str(error) != SchemaMismatchError.default_message:
        return error  # it says more already
    first = _known_migrations()[0]
    return SchemaMismatchError(
        f"The database lacks the worker's migrations, from {first} on. Run `python -m worker migrate`.", **error.details
    )


def _known_migrations() -> list[str]:
    return [migration.name for migration in migrations()]
