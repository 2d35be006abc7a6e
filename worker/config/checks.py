"""What settings must be together: sentences about what is missing or clashes, each with its remedy."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from pathlib import Path

from worker.config.fields import Settings
from worker.supabase_keys import admin_refusals, worker_refusals


class Need(StrEnum):
    """What a command cannot do without."""

    DATABASE = "database"  # the queue, with any key that opens it
    PEOPLE = "people"  # the queue with a key that may do what people do: enqueue, read and change all meetings
    WORKER = "worker"  # everything to run a worker, and no administrator's secret
    MIGRATION = "migration"  # the database as its owner


_NEEDED_OWNER = (
    "SUPABASE_DB_URL: not set. Put the address of the project's database (Connect, Session pooler) into .env.admin; "
    "or paste what `python -m worker migrate --print` prints into the project's SQL editor."
)
_NEEDED_DATABASE = (
    "SUPABASE_URL and SUPABASE_KEY, or DATABASE_URL: not set. Say where the meetings are: "
    "DATABASE_URL=embedded for a database of its own on this PC."
)


def problems_of(values: Mapping[str, str], needs: AbstractSet[Need]) -> list[str]:
    """
    What is missing for these needs, or clashes.

    Args:
        values: by variable, as they were written; also those that are wrong in themselves.
    """
    problems = []
    if Need.WORKER in needs and "WORKER_ID" not in values:
        problems.append(
            "WORKER_ID: not set. Give this worker a name that no other one has, such as WORKER_ID=lab-pc-1."
        )
    if "DATABASE_URL" in values and "SUPABASE_URL" in values:
        problems.append("DATABASE_URL and SUPABASE_URL: both are set. Keep the one where the meetings are.")
    if Need.MIGRATION in needs and not {"DATABASE_URL", "SUPABASE_DB_URL"} & values.keys():
        problems.append(_NEEDED_OWNER)
    if needs & {Need.DATABASE, Need.PEOPLE, Need.WORKER}:
        problems += _without_database(values, needs)
        problems += _refused_keys(values, needs)
    return [*problems, *_half_an_endpoint(values)]


def _half_an_endpoint(values: Mapping[str, str]) -> list[str]:
    has_url, has_model = "SUMMARY_LLM_URL" in values, "SUMMARY_LLM_MODEL" in values
    if has_url and not has_model:
        return ["SUMMARY_LLM_MODEL: not set. Name the model that writes summaries, as the endpoint calls it."]
    if has_model and not has_url:
        return ["SUMMARY_LLM_URL: not set. Say where the model is, such as http://gpu-box:11434/v1."]
    return []


def _without_database(values: Mapping[str, str], needs: AbstractSet[Need]) -> list[str]:
    has_url, has_key = "SUPABASE_URL" in values, "SUPABASE_KEY" in values
    problems = []
    if has_url and not has_key and "SUPABASE_ADMIN_KEY" not in values:
        problems.append("SUPABASE_KEY: not set. Copy it from the project's API settings.")
    if has_key and not has_url:
        problems.append("SUPABASE_URL: not set. Copy it from the project's API settings.")
    if not (has_url or has_key or "DATABASE_URL" in values or needs == {Need.WORKER}):
        problems.append(_NEEDED_DATABASE)
    return problems


def _refused_keys(values: Mapping[str, str], needs: AbstractSet[Need]) -> list[str]:
    """Which of the keys a command uses is decided in worker.app_access, by the same order."""
    key, admin_key, now = values.get("SUPABASE_KEY"), values.get("SUPABASE_ADMIN_KEY"), time.time()
    if "SUPABASE_URL" not in values or not (key or admin_key):
        return []
    if Need.PEOPLE in needs or key is None or admin_key is not None:
        return admin_refusals(admin_key, key, now=now)
    return worker_refusals(key, values.get("SUPABASE_WORKER_TOKEN"), now=now)


# --- directories -------------------------------------------------------------------------------------------------


def directories(settings: Settings, needs: AbstractSet[Need]) -> list[str]:
    """The settings that name a directory which the command writes into."""
    has_folder = needs & {Need.DATABASE, Need.PEOPLE} and settings.database_url is not None
    names = ["storage_dir"] if has_folder else []
    return [*names, "audio_temp_dir", "model_cache_dir", "log_dir"] if Need.WORKER in needs else names


def directory_problems(settings: Settings, names: list[str], *, create: bool) -> list[str]:
    """What cannot be written into; with `create` the directories are made first."""
    problems = []
    for name in names:
        folder: Path = getattr(settings, name)
        if not _is_writable(folder, create=create):
            problems.append(
                f"{name.upper()}: {folder} cannot be created or written. Choose another folder or its owner."
            )
    return problems


def _is_writable(folder: Path, *, create: bool) -> bool:
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError:
        return False
