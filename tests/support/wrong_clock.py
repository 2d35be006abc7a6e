"""The environment of a process whose clock is wrong: the dates that it and its files tell are nobody else's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def wrong_by(offset: str) -> dict[str, str]:
    """`offset` as libfaketime writes it, say "+1d". Time since the start (monotonic) goes on as it does."""
    return {"LD_PRELOAD": _library(), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1"}


def wrong_as_told_in(file: Path) -> dict[str, str]:
    """As the file says, which may change while the process runs: the clock jumps at once."""
    return {"LD_PRELOAD": _library(), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"} | {
        "DONT_FAKE_MONOTONIC": "1"
    }


def _library() -> str:
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1")
