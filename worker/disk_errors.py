"""What the operating system says of a disk, in our terms. Pure; the errors' own texts name paths, so none is kept."""

from __future__ import annotations

import errno

from worker.exceptions import DiskFailedError, DiskFullError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FAILED = frozenset({errno.EROFS, errno.EIO})
"""A disk that fails is made read-only by the kernel: mount(8), errors=remount-ro."""


def disk_error(error: BaseException) -> DiskFullError | DiskFailedError | None:
    """None when it is not about a disk."""
    if not isinstance(error, OSError):
        return None
    if error.errno in FULL:
        return DiskFullError()
    return DiskFailedError(errno=error.errno) if error.errno in FAILED else None
