"""The doctor's room for the database and the recordings: tried with the key that the worker would use."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from pathlib import Path

from worker.app_access import project_access
from worker.app_database import embedded_folder, looked_at_store
from worker.app_doctor_check import Check, State
from worker.app_recordings import bucket_of
from worker.config import Settings
from worker.exceptions import PCWorkerException, SchemaMismatchError, SupabaseAccessError
from worker.key_expiry import WARN_DAYS
from worker.models import WorkerState
from worker.ports import Store
from worker.supabase_keys import MASTER_KINDS, WORKER_ROLE, read_key, worker_refusals

SLOW_S = 2.0
"""A claim, a heartbeat and a result are calls like the one that is timed; all have 20 seconds."""

PATIENCE_S = 10.0
"""For everything that is asked of the database, and of the storage: a project that sleeps is not waited for."""

CLOCK_TIMEOUT_S = 5.0
SKEW_WARNING_S = 30.0
SKEW_FAILED_S = 300.0
"""Servers allow tokens half a minute or so; five minutes off, those that are fresh or end soon are refused."""

_CAUSES_OF_SILENCE = ("database", "access")


async def project_checks(settings: Settings) -> list[Check]:
    """The database's lines, then the storage's; a project that does not answer or let in is told once."""
    if not (settings.supabase_url or settings.database_url) or _is_refused(settings):
        return []
    of_database, of_storage = await asyncio.gather(database_checks(settings), storage_check(settings))
    is_away = any(check.name in _CAUSES_OF_SILENCE and check.state is State.FAILED for check in of_database)
    if is_away and settings.supabase_url and of_storage.state is State.FAILED:
        return of_database
    return [*of_database, of_storage]


# --- keys and clock ----------------------------------------------------------------------------------------------


def _is_refused(settings: Settings) -> bool:
    """Already told as a problem of the settings; nothing need be tried with such keys."""
    if settings.supabase_url is None:
        return False
    if settings.supabase_key is None:
        return True
    token = settings.supabase_worker_token
    refusals = worker_refusals(
        settings.supabase_key.get_secret_value(), token.get_secret_value() if token else None, now=time.time()
    )
    return bool(refusals)


def key_checks(settings: Settings, now: float) -> list[Check]:
    """What each key is, its role, and when it ends; nothing of keys that were refused."""
    access = None if _is_refused(settings) else project_access(settings)
    return [_key_check(name, text, now) for name, text in (access.by_variable if access else {}).items()]


def _key_check(variable: str, text: str, now: float) -> Check:
    facts = read_key(text)
    days_left = facts.days_left(now)
    role = f", role {facts.role}" if facts.role else ""
    if days_left is None:
        return Check("key", State.OK, f"{variable} is {facts.in_words}{role}. It does not expire.")
    ends = f"{variable} is {facts.in_words}{role}. It expires on {facts.expires_on}, in {math.floor(days_left)} days."
    if days_left >= WARN_DAYS:
        return Check("key", State.OK, ends)
    new = "Copy a newer key" if facts.kind in MASTER_KINDS else "Mint a new token with `python -m worker token`"
    return Check("key", State.WARNING, f"{ends} {new} before.")


async def clock_check(settings: Settings) -> Check | None:
    """This PC's clock against the database's. Asked without a key, because keys look expired to a wrong clock."""
    skew_s = await _skew_s(settings)
    if skew_s is None:
        return None
    if abs(skew_s) < SKEW_WARNING_S:
        return Check("clock", State.OK, f"The clock is within {math.ceil(abs(skew_s))} s of the database's.")
    wrong = f"This PC's clock is {abs(skew_s):,.0f} s {'behind' if skew_s > 0 else 'ahead of'} the database's"
    if abs(skew_s) < SKEW_FAILED_S:
        return Check("clock", State.WARNING, f"{wrong}. Run `timedatectl set-ntp true`.")
    sentence = f"{wrong}: tokens and certificates may seem expired, or not yet valid. Run `timedatectl set-ntp true`."
    return Check("clock", State.FAILED, sentence)


async def _skew_s(settings: Settings) -> float | None:
    """None where nobody answers, and for a database of this PC's own."""
    from worker.adapters.server_clock import skew_over_http, skew_over_postgres

    if settings.supabase_url is not None:
        return await skew_over_http(f"{settings.supabase_url}/rest/v1/", timeout_s=CLOCK_TIMEOUT_S)
    url = settings.database_url.get_secret_value() if settings.database_url else "embedded"
    return None if embedded_folder(url) else await skew_over_postgres(url, timeout_s=CLOCK_TIMEOUT_S)


# --- the database ------------------------------------------------------------------------------------------------


async def database_checks(settings: Settings) -> list[Check]:
    """Lines until the first that keeps the next from being tried."""
    found: list[Check] = []
    try:
        async with asyncio.timeout(PATIENCE_S), looked_at_store(settings) as store:
            if store is None:
                return [_not_running()]
            await _look_at(store, settings, found)
    except TimeoutError:
        sentence = f"The database does not answer within {PATIENCE_S:.0f} s. Check the network and the database."
        return [*found, Check("database", State.FAILED, sentence)]
    except PCWorkerException as error:
        return [*found, _failed(error)]
    return found


async def _look_at(store: Store, settings: Settings, found: list[Check]) -> None:
    found.append(await latency_check(store))
    found.append(await schema_check(store))
    if found[-1].state is State.OK:  # else some may be missing: told once
        found += await functions_check(store, _role(settings))
    if settings.worker_id is not None:
        found.append(worker_id_check(settings.worker_id, (await store.status()).workers))


def _not_running() -> Check:
    sentence = "The embedded database is not running, so it was not looked at. Any command or a worker starts it."
    return Check("database", State.WARNING, sentence)


async def latency_check(store: Store, *, slow_s: float = SLOW_S) -> Check:
    """One harmless call of the worker's, timed; the first one also connects."""
    await store.status()
    started = time.monotonic()
    await store.status()
    took_s = time.monotonic() - started
    answers = f"It lets this worker in and answers in {took_s * 1000:,.0f} ms."
    if took_s > slow_s:
        return Check("database", State.WARNING, f"{answers} That is slow: look at the network and the project's load.")
    return Check("database", State.OK, answers)


async def schema_check(store: Store) -> Check:
    """Which migration is missing, or unknown to this worker."""
    try:
        difference = await store.schema()
    except SchemaMismatchError as error:
        return _failed(error)
    if difference is not None:
        return Check("schema", State.FAILED, difference)
    return Check("schema", State.OK, "The database has the migrations of this worker.")


async def functions_check(store: Store, role: str | None) -> list[Check]:
    """Whether each function may be called; nothing of a store that has none."""
    from worker.adapters.store_functions import StoreFunctions
    from worker.adapters.store_probe import HARMLESS, refused_functions

    if not isinstance(store, StoreFunctions):
        return []
    refused = await refused_functions(store)
    if not refused:
        return [Check("functions", State.OK, f"All {len(HARMLESS)} functions of the worker may be called.")]
    grant = f"grant execute on function {', '.join(f'public.{name}' for name in refused)} to {role or 'ROLE'};"
    sentence = f"This worker may not call {', '.join(refused)}. Run in the project's SQL editor: `{grant}`"
    return [Check("functions", State.FAILED, sentence)]


def _role(settings: Settings) -> str | None:
    """Whose rights in the database count; None for a user of a Postgres."""
    if settings.supabase_url is None:
        return None
    return WORKER_ROLE if settings.supabase_worker_token else "service_role"


def worker_id_check(worker_id: str, workers: Sequence[WorkerState]) -> Check:
    """Whether somebody else goes by this name. What runs on this PC is this worker itself."""
    import socket

    from worker.adapters.host_lock import is_worker_id_held

    if is_worker_id_held(worker_id):
        return Check("worker_id", State.OK, f"{worker_id} is running on this PC.")
    hosts = [w.hostname for w in workers if w.worker_id == worker_id and w.alive and w.hostname != socket.gethostname()]
    if hosts:
        sentence = f"WORKER_ID {worker_id} is alive on the PC {hosts[0]}. Stop that one, or set another WORKER_ID here."
        return Check("worker_id", State.FAILED, sentence)
    return Check("worker_id", State.OK, f"No other PC uses the WORKER_ID {worker_id}.")


def _failed(error: PCWorkerException) -> Check:
    names = {SupabaseAccessError: "access", SchemaMismatchError: "schema"}
    name = next((name for kind, name in names.items() if isinstance(error, kind)), "database")
    return Check(name, State.FAILED, str(error))


# --- the recordings ----------------------------------------------------------------------------------------------


async def storage_check(settings: Settings) -> Check:
    """Whether recordings can be read: from the bucket, or from the folder standing in for it."""
    access = project_access(settings)
    if access is None:
        return _folder_check(settings.storage_dir)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await bucket_of(access).probe()
    except TimeoutError:
        sentence = f"Storage does not answer within {PATIENCE_S:.0f} s. Check the network and the project."
        return Check("storage", State.FAILED, sentence)
    except PCWorkerException as error:
        return Check("storage", State.FAILED, str(error))
    return Check("storage", State.OK, "The bucket is there and the key is let in.")


def _folder_check(folder: Path) -> Check:
    if not folder.is_dir():
        return Check("storage", State.WARNING, "The folder STORAGE_DIR is not there yet. It is made when it is needed.")
    return Check("storage", State.OK, "The folder STORAGE_DIR is there.")
