"""
Settings from the environment and .env (the environment wins). Every wrong or missing value is reported at once, each
with its remedy.

An administrator's secrets are read from the environment or from .env.admin beside .env, and not at all for a worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.checks import Need, directories, directory_problems, problems_of
from worker.config.env_files import EnvFiles
from worker.config.fields import ADMIN_VARIABLES, VARIABLES, Settings
from worker.exceptions import ConfigurationError

__all__ = ["ADMIN_VARIABLES", "VARIABLES", "Need", "Settings", "load_settings"]


def load_settings(
    needs: Iterable[Need] = (),
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    make_directories: bool = True,
) -> Settings:
    """
    Read, check, and create the directories that must exist.

    Args:
        environ: os.environ when None.
        env_file: beside it, with `.admin` at the end of its name, lies the administrator's file.
        make_directories: False only looks whether they could be made.

    Raises:
        ConfigurationError: its message lists every problem, one per line; `details["problems"]` holds them as a list.
    """
    wanted = frozenset(needs)
    files = EnvFiles(env_file, with_admin=Need.WORKER not in wanted)
    values = files.merged_with(os.environ if environ is None else environ)
    settings, wrong = _parsed(values)
    problems = [*files.problems, *wrong, *problems_of(values, wanted)]
    if settings is not None:
        problems += directory_problems(settings, directories(settings, wanted), create=make_directories)
    if problems or settings is None:
        raise ConfigurationError(
            "The settings are not right:\n" + "\n".join(f"  {p}" for p in problems), problems=problems
        )
    return settings


def _parsed(values: Mapping[str, str]) -> tuple[Settings | None, list[str]]:
    """The settings, or what is wrong with single values."""
    try:
        return Settings.model_validate({VARIABLES[name]: value for name, value in values.items()}), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return None, [_explain(item) for item in found]


def _explain(item: Any) -> str:
    name = str(item["loc"][0]).upper()
    message = str(item["msg"]).removeprefix("Value error, ")
    description = Settings.model_fields[str(item["loc"][0])].description
    file = ".env.admin" if name in ADMIN_VARIABLES else ".env"
    return f"{name}: {message[0].lower()}{message[1:]}. {description}. Correct it in {file}."
