"""
`python -m worker doctor`: what keeps this PC's worker from working, found without changing anything.

A check is one small function that returns a Check, or several; its sentence ends with the remedy. Everything is tried
with the key that the worker itself would use, never with an administrator's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from worker.app_access import project_access
from worker.app_database import looked_at_store
from worker.app_recordings import bucket_of
from worker.config import ADMIN_VARIABLES, VARIABLES, Need, Settings, load_settings
from worker.exceptions import (
    ConfigurationError,
    PCWorkerException,
    SchemaMismatchError,
    SupabaseAccessError,
)
from worker.key_expiry import WARN_DAYS
from worker.ports import Store
from worker.supabase_keys import MASTER_KINDS, read_key, worker_refusals

SLOW_S = 2.0
"""A claim, a heartbeat and a result are calls like the one that is timed; all have 20 seconds."""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(NamedTuple):
    name: str
    state: State
    sentence: str


async def examine(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> list[Check]:
    """All checks, in the order in which their remedies help. What cannot be tried yet is left out."""
    settings, found = usable_settings(environ, env_file)
    if settings is None:
        return found
    refusals = _refusals(settings)
    if settings.supabase_url is not None and not refusals:
        found += key_checks(settings, time.time())
    if not refusals and (settings.supabase_url or settings.database_url):
        found += [*await _database(settings), await storage_check(settings)]
    return found


# --- settings and keys -------------------------------------------------------------------------------------------


def usable_settings(environ: Mapping[str, str] | None, env_file: Path | None) -> tuple[Settings | None, list[Check]]:
    """The worker's settings, as far as they can be used, and what is wrong with them."""
    needs = [Need.DATABASE, Need.WORKER]
    try:
        settings = load_settings(needs, environ=environ, env_file=env_file, make_directories=False)
    except ConfigurationError as error:
        found = [Check("settings", State.FAILED, problem) for problem in error.details["problems"]]
    else:
        return settings, [Check("settings", State.OK, "They are complete.")]
    try:
        settings = load_settings(environ=environ, env_file=env_file)
    except ConfigurationError:
        return None, found
    return settings.model_copy(update={VARIABLES[name]: None for name in ADMIN_VARIABLES}), found


def _refusals(settings: Settings) -> list[str]:
    """Already told as problems of the settings; nothing need be tried with such keys."""
    if settings.supabase_url is None:
        return []
    if settings.supabase_key is None:
        return ["not set"]
    token = settings.supabase_worker_token
    return worker_refusals(
        settings.supabase_key.get_secret_value(), token.get_secret_value() if token else None, now=time.time()
    )


def key_checks(settings: Settings, now: float) -> list[Check]:
    """What each key is, its role, and when it ends."""
    access = project_access(settings)
    return [_key_check(name, text, now) for name, text in (access.by_variable if access else {}).items()]


def _key_check(variable: str, text: str, now: float) -> Check:
    facts = read_key(text)
    days_left = facts.days_left(now)
    role = f", role {facts.role}" if facts.role else ""
    if days_left is None:
        return Check("key", State.OK, f"{variable} is {facts.in_words}{role}. It does not expire.")
    ends = f"{variable} is {facts.in_words}{role}. It expires on {facts.expires_on}, in {int(days_left)} days."
    if days_left >= WARN_DAYS:
        return Check("key", State.OK, ends)
    new = "Copy a newer key" if facts.kind in MASTER_KINDS else "Mint a new token with `python -m worker token`"
    return Check("key", State.WARNING, f"{ends} {new} before.")


# --- the database ------------------------------------------------------------------------------------------------


async def _database(settings: Settings) -> list[Check]:
    try:
        async with looked_at_store(settings) as store:
            if store is None:
                return [_not_running()]
            return [await latency_check(store), await schema_check(store)]
    except PCWorkerException as error:
        return [_failed(error)]


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
        await bucket_of(access).probe()
    except PCWorkerException as error:
        return Check("storage", State.FAILED, str(error))
    return Check("storage", State.OK, "The bucket is there and the key is let in.")


def _folder_check(folder: Path) -> Check:
    if not folder.is_dir():
        return Check("storage", State.WARNING, "The folder STORAGE_DIR is not there yet. It is made when it is needed.")
    return Check("storage", State.OK, "The folder STORAGE_DIR is there.")
