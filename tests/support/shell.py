"""`python -m worker` as scripts and people run it: real processes, exit codes, stdout and stderr apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.worker_process import ROOT


class Shell:
    """
    Runs commands in `folder` with one environment; a variable that is empty is not set.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in {**self.environment, **variables}.items() if value}
        return subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def json(self, *arguments: str, returncode: int = 0, **variables: str) -> dict[str, Any]:
        """One JSON object on stdout, and nothing else."""
        done = self(*arguments, "--json", **variables)
        assert done.returncode == returncode, done.stderr
        value = json.loads(done.stdout)
        assert isinstance(value, dict)
        return value
