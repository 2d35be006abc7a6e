"""A PC for tests of install.sh: all in one folder, the packages of these tests, a stand-in for systemctl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.worker_process import ROOT

PAYLOAD = ("*.txt", "*.md", "LICENSE", "Makefile", "pyproject.toml", ".env.example")


class LabPC:
    """
    `source` is a clone that a test may change, `prefix` stands for the root of the file system.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder, self.source, self.prefix = folder, folder / "clone", folder / "root"
        self.opt, self.etc = self.prefix / "opt/pc-worker", self.prefix / "etc/pc-worker"
        self.settings = folder / "lab.env"
        self.settings.write_text(settings)
        self._num_changes = 0
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._program(
            "systemctl", f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.support.systemctl {self.prefix} "$@"'
        )
        self._program("nvidia-smi", "exit 1")
        self._clone()

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            self.source / "systemd/install.sh", "--prefix", self.prefix, "--venv", sys.prefix, "--settle", "0", *options
        )

    def uninstall(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.source / "systemd/uninstall.sh", "--prefix", self.prefix, *options)

    def pc_worker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.prefix / "usr/local/bin/pc-worker", *arguments)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            env={
                "PATH": f"{self._bin}:{os.environ['PATH']}",
                "SYSTEMCTL": "systemctl",
                "SUPABASE_KEY": "of-the-caller",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def add_gpus(self, count: int) -> None:
        lines = "\\n".join(f"GPU {number}: NVIDIA RTX A4000 (UUID: GPU-{number})" for number in range(count))
        self._program("nvidia-smi", f"printf '{lines}\\n'")

    def change_version(self, main: str = "") -> None:
        """Another version of the code; `main` goes in front of `python -m worker`."""
        file = self.source / "worker/__main__.py"
        self._num_changes += 1
        file.write_text(f"import sys\n{main}\n{(ROOT / 'worker/__main__.py').read_text()}# {self._num_changes}\n")

    @property
    def versions(self) -> set[str]:
        return {path.name for path in self.opt.iterdir() if path.is_dir() and not path.is_symlink()}

    @property
    def current(self) -> str:
        return (self.opt / "current").readlink().name

    def state(self, instance: str) -> str:
        return self.run("systemctl", "is-active", f"pc-worker@{instance}").stdout.strip()

    def calls(self) -> list[str]:
        """What systemctl was asked to do."""
        file = self.prefix / "systemctl.log"
        return [] if not file.exists() else [c for c in file.read_text().splitlines() if not c.startswith("is-")]

    def tree(self) -> dict[str, tuple[float, int, bytes]]:
        """Every file with its time, mode and content."""
        found = {}
        for path in self.prefix.rglob("*"):
            if path.name != "systemctl.log" and "/log/" not in str(path):
                status = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path.relative_to(self.prefix))] = (status.st_mtime if content else 0, status.st_mode, content)
        return found

    def close(self) -> None:
        for file in (self.prefix / "run").glob("*.pid"):
            self.run("systemctl", "stop", file.stem)

    def _program(self, name: str, script: str) -> None:
        file = self._bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def _clone(self) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("worker", "systemd"):
            shutil.copytree(ROOT / name, self.source / name, ignore=ignored)
        for pattern in PAYLOAD:
            for file in ROOT.glob(pattern):
                shutil.copy2(file, self.source / file.name)
