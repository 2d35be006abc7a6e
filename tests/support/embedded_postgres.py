"""A real, empty Postgres for a test, on a throw-away directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worker.adapters.embedded_postgres import EmbeddedPostgres


@contextlib.contextmanager
def reachable_directory() -> Iterator[Path]:
    """
    A directory that the server's account may enter. pytest's tmp_path is closed to others, so as root each cluster
    in it would move to /var/lib.
    """
    directory = Path(tempfile.mkdtemp(prefix="pcw-test-", dir="/tmp"))
    if os.geteuid() == 0:
        directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def temporary_postgres() -> Iterator[str]:
    """The conninfo of a fresh server without fsync; stopped and removed afterwards. About 0.6 s: share it."""
    with reachable_directory() as directory:
        postgres = EmbeddedPostgres(directory, durable=False)
        try:
            yield postgres.start()
        finally:
            postgres.stop()
