"""
Whether the functions that a worker calls may be called, found by calling each in a way that changes nothing.

They are told of a meeting and a worker that do not exist, of a migration that nobody has, or of beats that are no list:
each then answers that it has nothing to do, or is undone by its own error. Only a refusal of the call itself counts.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from worker.adapters.store_functions import StoreFunctions
from worker.exceptions import SchemaMismatchError, SupabaseAccessError, SupabaseQueryError

_NOBODY = UUID(int=0)
_NO_WORKER = {"p_worker_id": "", "p_instance_id": _NOBODY}
_NO_MEETING = {"p_meeting_id": _NOBODY, "p_token": 0}

HARMLESS: dict[str, dict[str, Any]] = {
    "worker_register_v1": {**_NO_WORKER, "p_worker": {"schema": ["asked by doctor"]}},
    "worker_claim_v1": {**_NO_WORKER, "p_claim_id": _NOBODY, "p_min_wait_s": 0.0},
    # an empty list would count as a sign of life of the fleet
    "worker_heartbeat_v2": {**_NO_WORKER, "p_beats": {}, "p_troubles": []},
    "worker_complete_v2": {**_NO_MEETING, "p_result": {}},
    "worker_fail_v1": {**_NO_MEETING, "p_failure": {}},
    "worker_release_v1": _NO_MEETING,
    "worker_speakers_v2": {**_NO_MEETING, "p_models": []},
    "worker_vocabulary_v1": _NO_MEETING,
    "worker_guidance_v1": _NO_MEETING,
    "worker_statuses_v1": {"p_meeting_ids": []},
    "worker_drain_v1": {"p_worker_id": "", "p_draining": False},
    "worker_status_v2": {},
    "worker_schema_v1": {"p_known": []},
}
"""Every function of the worker's that StoreFunctions calls, with arguments on which it does nothing."""

_DENIED = "42501"  # SQLSTATE insufficient_privilege, as psycopg reports it


async def refused_functions(store: StoreFunctions) -> list[str]:
    """The names of those that this key or user may not call, or that are missing. Raises SupabaseConnectionError."""
    may = await asyncio.gather(*(_may_call(store, name) for name in HARMLESS))
    return [name for name, allowed in zip(HARMLESS, may, strict=True) if not allowed]


async def _may_call(store: StoreFunctions, name: str) -> bool:
    try:
        await store.call(name, **HARMLESS[name])
    except (SupabaseAccessError, SchemaMismatchError):
        return False
    except SupabaseQueryError as error:
        return error.details.get("sqlstate") != _DENIED
    return True
