"""The libraries that computing on an NVIDIA GPU needs, as they are installed; nothing is loaded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = {"nvidia-cudnn-cu12": 9, "nvidia-cublas-cu12": 12}
"""What CTranslate2 4 and torch for CUDA 12 load, and the major versions they were made for. Source: faster-whisper's
README, "Requirements"."""


def wrong_libraries() -> list[str]:
    """Each in words; empty when all is well."""
    found = []
    for package, major in PACKAGES.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            found.append(f"{package} is not installed")
            continue
        if installed.partition(".")[0] != str(major):
            found.append(f"{package} is {installed} instead of {major}")
    return found


def foreign_cudnn(library_path: str) -> bool:
    """Whether a folder of LD_LIBRARY_PATH holds another cuDNN, which would be loaded in place of the installed one."""
    return any(list(Path(folder).glob("libcudnn*.so*")) for folder in library_path.split(":") if folder)


def is_engine(pid: int) -> bool:
    """Whether a process is a child of some worker on this PC."""
    try:
        return b"worker.adapters.child_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
