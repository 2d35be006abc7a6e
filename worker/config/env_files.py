"""The files that settings are read from: .env for everybody, .env.admin beside it for administrators alone."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from worker.config.fields import ADMIN_VARIABLES, VARIABLES

READABLE_BY_OTHERS = 0o077


class EnvFiles:
    """
    What stands in .env and, `with_admin`, in .env.admin; `problems` are sentences with their remedy.

    Args:
        env_file: where .env would be; None or a missing file is as an empty one.
    """

    def __init__(self, env_file: Path | None, *, with_admin: bool) -> None:
        self.problems: list[str] = []
        self._known = VARIABLES.keys() if with_admin else VARIABLES.keys() - ADMIN_VARIABLES
        self._values = self._read(env_file)
        self._check_env()
        if with_admin and env_file is not None:
            self._add_admin(env_file.with_name(env_file.name + ".admin"))

    def merged_with(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Only our variables; the environment wins; an empty value counts as not set, as in a copied .env.example."""
        merged = {**self._values, **environ}
        return {name: value.strip() for name, value in merged.items() if name in self._known and value.strip()}

    def _read(self, file: Path | None) -> dict[str, str]:
        if file is None or not file.is_file():
            return {}
        try:
            values = dotenv_values(file, interpolate=False)  # a password may hold ${
        except OSError:
            self.problems.append(f"{file.name}: this user may not read it. Correct its owner or its mode.")
        except UnicodeDecodeError:
            self.problems.append(f"{file.name}: it is not UTF-8 text. Save it as UTF-8.")
        else:
            self._notice_misspelt(values)
            return {name: value for name, value in values.items() if value}
        return {}

    def _notice_misspelt(self, names: Mapping[str, object]) -> None:
        """A misspelt name would otherwise be ignored without a word."""
        for name in names:
            close = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
            if name not in VARIABLES and close:
                self.problems.append(f"{name}: not a setting. Did you mean {close[0]}?")

    def _check_env(self) -> None:
        for name in sorted(ADMIN_VARIABLES & self._values.keys()):
            self.problems.append(f"{name}: must not stand in .env, which a service reads. Move it to .env.admin.")

    def _add_admin(self, file: Path) -> None:
        if not os.access(file, os.R_OK):
            return  # somebody else's: who may not read it works without it
        if file.stat().st_mode & READABLE_BY_OTHERS:
            self.problems.append(f"{file.name}: other users of this PC may read it. Run `chmod 600 {file.name}`.")
        values = self._read(file)
        for name in sorted(values.keys() & VARIABLES.keys() - ADMIN_VARIABLES):
            self.problems.append(f"{name}: is not read from {file.name}. Move it to .env.")
        self._values |= {name: value for name, value in values.items() if name in ADMIN_VARIABLES}
