"""
`python -m worker doctor`: what keeps this PC's worker from working, found without changing anything.

A check is one small function that returns a Check, several, or none; its sentence ends with the remedy. Everything is
tried with the key that the worker itself would use, never with an administrator's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path

from worker import app_doctor_engine as engine
from worker import app_doctor_pc as pc
from worker import app_doctor_plan as plan
from worker import app_doctor_project as project
from worker.app_doctor_check import Check, Lines, State, guarded, guarded_sync, in_order
from worker.app_doctor_diarizer import diarizer_check
from worker.app_doctor_summary import summary_check
from worker.config import ADMIN_VARIABLES, VARIABLES, Need, Settings, load_settings
from worker.exceptions import ConfigurationError


async def examine(
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    senses: pc.PcSenses | None = None,
) -> list[Check]:
    """All checks, in the order in which their remedies help. What cannot be tried yet is left out. Never raises."""
    settings, found = usable_settings(environ, env_file)
    if settings is None:
        return found
    lines = await asyncio.gather(*_looks(settings, environ, senses or pc.PcSenses()))
    return in_order([*found, *(check for checks in lines for check in checks)])


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


def _looks(
    settings: Settings, environ: Mapping[str, str] | None, senses: pc.PcSenses
) -> list[Coroutine[None, None, list[Check]]]:
    """Everything that is looked at, all at the same time."""

    async def clock() -> Lines:
        return await project.clock_check(settings)

    async def database_and_storage() -> Lines:
        return await project.project_checks(settings)

    async def model() -> Lines:
        return await engine.model_check(await asyncio.to_thread(with_model), environ)

    async def summary() -> Lines:
        return await summary_check(settings)

    def with_model() -> Settings:
        return plan.settings_with_model(settings, environ, senses)

    return [
        guarded("clock", clock),
        guarded("database", database_and_storage),
        guarded("model", model),
        guarded("summary", summary),
        guarded_sync("key", lambda: project.key_checks(settings, time.time())),
        guarded_sync("temp_space", lambda: pc.temp_space_check(settings, senses)),
        guarded_sync("model_space", lambda: engine.model_space_check(with_model(), senses)),
        guarded_sync("memory", lambda: pc.memory_check(settings, senses)),
        guarded_sync("gpu", lambda: engine.gpu_check(settings, environ, senses)),
        guarded_sync("cuda", lambda: plan.cuda_check(settings, environ, senses)),
        guarded_sync("plan", lambda: plan.plan_check(settings, environ, senses)),
        guarded_sync("diarizer", lambda: diarizer_check(settings, environ)),
        guarded_sync("hf_token", lambda: engine.hf_token_check(settings)),
        guarded_sync("telemetry", lambda: engine.telemetry_check(settings, environ)),
        guarded_sync("unit", lambda: pc.unit_check(settings, senses)),
    ]
