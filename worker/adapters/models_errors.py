"""What goes wrong with the disk of the models, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from worker.adapters.models_place import Model
from worker.exceptions import DiskFullError, ModelUnavailableError

NOT_WRITABLE = "MODEL_CACHE_DIR cannot be written. Choose another folder, or correct its owner."
BROKEN = "MODEL_CACHE_DIR cannot be read or written as it should. Check its disk, and that it holds nothing but models."


def disk_full(model: Model, needed_bytes: int) -> DiskFullError:
    return DiskFullError(
        f"There is no room for the model {model.name}: {needed_bytes / 1e9:.1f} GB more are needed on the disk of "
        "MODEL_CACHE_DIR. Free some, or choose another folder, then run the command again."
    )


def disk_problem(error: OSError, model: Model) -> DiskFullError | ModelUnavailableError | None:
    """None when it is not about this PC's disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(model, model.num_bytes)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ModelUnavailableError(NOT_WRITABLE, reason=type(error).__name__)
    return None


@contextmanager
def disk_problems_mapped(model: Model) -> Iterator[None]:
    """For work on files alone."""
    try:
        yield
    except OSError as error:
        raise disk_problem(error, model) or ModelUnavailableError(BROKEN, reason=type(error).__name__) from error
