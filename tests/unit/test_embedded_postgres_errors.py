"""What the system refuses gets a name of ours, and no path of the PC in its message."""

from __future__ import annotations

import errno
import os

import pytest

from worker.adapters.embedded_postgres import _mapped
from worker.exceptions import ConfigurationError, DiskFullError, PCWorkerException, SupabaseConnectionError


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, ConfigurationError),
        (errno.EROFS, ConfigurationError),
        (errno.EIO, SupabaseConnectionError),
    ],
)
def test_errors_of_the_system_get_a_name_of_ours(number: int, expected: type[PCWorkerException]) -> None:
    assert type(_mapped(OSError(number, os.strerror(number), "/secret/path"))) is expected
    assert "/secret/path" not in str(_mapped(OSError(number, os.strerror(number), "/secret/path")))
