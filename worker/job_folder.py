"""
The job folder: what one meeting needs on this PC, and what its finished stages left for the next attempt.

    AUDIO_TEMP_DIR/<meeting id>/     mode 0700
        lock                         held (flock) by the process that works here
        source                       the recording as it was fetched
        audio.wav                    16 kHz mono; audio-1.wav, audio-2.wav where each channel is one person's
        <stage>.json                 {"key": ..., "value": ...}, written atomically; <stage>-1.json of one channel
        result.json                  {"meeting_id", "token", "result"}, fsynced before commit, replayed at start
        finished                     the meeting is completed, and beside this only its stages' values are kept

A value is reused only when its key is equal: the key is a hash of the recording and of everything else that the stage
depends on. The folder is removed after cancel or delete, and after commit unless the values may be kept for a while
(KEEP_STAGES_DAYS); one that was left behind is swept by age.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from worker.disk_errors import disk_error
from worker.models import ProcessingResult, Stage, StageCost

V = TypeVar("V", bound=BaseModel)

FINISHED = "finished"
_VALUE = re.compile(rf"({'|'.join(Stage)})(-[12])?\.json")
_LENGTH_OF_ID = 36
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-[0-9]+)?")


class KeptResult(BaseModel):
    """A finished result that waits to be handed over."""

    meeting_id: UUID
    token: int
    result: ProcessingResult


def value_key(*parts: object) -> str:
    """A hash of everything that a stage's value depends on."""
    text = json.dumps([str(part) if isinstance(part, Path) else part for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class JobFolder:
    """One meeting's folder, locked for this process until `close` or `remove`."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @property
    def source(self) -> Path:
        return self.path / "source"

    @property
    def wav(self) -> Path:
        return self.path / "audio.wav"

    def load(self, stage: str, key: str, kind: type[V]) -> tuple[V, StageCost] | None:
        """
        The stage's value from an earlier attempt with what it cost, if it was made from the same things. Channels of
        their own are told by a number behind the stage.
        """
        try:
            kept = json.loads((self.path / f"{stage}.json").read_bytes())
            if kept["key"] != key:
                return None
            return kind.model_validate(kept["value"]), StageCost.model_validate(kept["cost"])
        except (OSError, ValueError, KeyError, TypeError):  # pydantic's ValidationError is a ValueError
            return None

    def save(self, stage: str, key: str, value: BaseModel, cost: StageCost) -> None:
        content = {"key": key, "value": value.model_dump(mode="json"), "cost": cost.model_dump(mode="json")}
        self._write(f"{stage}.json", content, durable=False)

    def save_result(self, kept: KeptResult) -> None:
        """On disk, surely, when this returns: from here on the work cannot be lost."""
        self._write("result.json", kept.model_dump(mode="json"), durable=True)

    def load_result(self) -> KeptResult | None:
        try:
            return KeptResult.model_validate_json((self.path / "result.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def forget_result(self) -> None:
        (self.path / "result.json").unlink(missing_ok=True)

    @property
    def finished_at(self) -> float | None:
        return finished_at(self.path)

    def keep_stages(self) -> None:
        """
        The meeting is completed: let go of the folder and leave only what its stages made, for a retry. The result goes
        last, so that who finds recording or sound here finds it, too, and removes it all.
        """
        if len(self.path.name) > _LENGTH_OF_ID:  # no later attempt looks here
            self.remove()
            return
        try:
            (self.path / FINISHED).touch()
            for path in sorted(self.path.iterdir(), key=lambda path: path.name == "result.json"):
                if path.name not in ("lock", FINISHED) and not _VALUE.fullmatch(path.name):
                    path.unlink()
        except OSError:
            self.remove()
        self.close()

    def close(self) -> None:
        """Let go of the folder and keep it for the next attempt."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def remove(self) -> OSError | None:
        """
        Let go of the folder and leave nothing of it. The lock goes last, so that nobody enters what is being emptied.

        Returns what could not be removed, as an error; then the rest is gone, and a later attempt may have more luck.
        """
        lock_fd, self._lock_fd = self._lock_fd, -1  # who closes it meanwhile, does not let go of it
        try:
            return _first_failure(self.path)
        finally:
            if lock_fd >= 0:
                os.close(lock_fd)

    def _write(self, name: str, content: dict[str, Any], *, durable: bool) -> None:
        target, part = self.path / name, self.path / f"{name}.part"
        try:
            with part.open("wb") as file:
                file.write(json.dumps(content, separators=(",", ":")).encode())
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(target)
            if durable:
                _sync_directory(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if (of_disk := disk_error(error)) is not None:
                raise of_disk from error
            raise


def open_job_folder(root: Path, meeting_id: UUID, token: int) -> JobFolder:
    """
    The meeting's folder, or one of its own for this token while another process of this PC still works in the first
    (a worker whose lease was lost may not have noticed yet), or where the first belongs to another user.
    """
    for name in (str(meeting_id), f"{meeting_id}-{token}"):
        folder = _made_and_locked(root / name)
        if folder is not None:
            (folder.path / FINISHED).unlink(missing_ok=True)
            folder.forget_result()  # of an earlier token: nobody takes it any more
            return folder
    raise RuntimeError(f"two processes work on meeting {meeting_id} with token {token}")


def _made_and_locked(path: Path) -> JobFolder | None:
    while True:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _locked(path, os.O_CREAT)
        except (FileNotFoundError, FileExistsError):  # mkdir says the latter, too, of what was there a moment ago
            if path.is_file():
                raise
            continue  # somebody has just removed it
        except PermissionError:
            return None


# --- what others have left ------------------------------------------------------------------------------------------


def job_folders(root: Path) -> list[Path]:
    """
    Every job folder, also those in which somebody works, sorted. Nothing else that lies there is one: a lock is what
    tells it, so that no folder of a user is taken for one (users have ids as well), and no link is followed.
    """
    if not root.is_dir():
        return []
    named = [path for path in sorted(root.iterdir()) if _NAME.fullmatch(path.name)]
    return [path for path in named if path.is_dir() and not path.is_symlink() and _is_job_folder(path)]


def _is_job_folder(path: Path) -> bool:
    """An empty one is being opened right now, or somebody was killed while he opened or removed it."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except PermissionError:
        return True  # another user's: whoever tries to enter hears of it
    except FileNotFoundError:
        return False
    return "lock" in names or not names


def meeting_of(path: Path) -> UUID:
    return UUID(path.name[:_LENGTH_OF_ID])


def finished_at(path: Path) -> float | None:
    """When its meeting was completed, in seconds since the epoch; None while there may be work to do."""
    try:
        return (path / FINISHED).stat().st_mtime
    except FileNotFoundError:
        return None


def size_bytes_of(path: Path) -> int:
    """What can be seen of it; files may come and go meanwhile."""
    size_bytes = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size_bytes += (Path(folder) / name).lstat().st_size
    return size_bytes


def is_empty(path: Path) -> bool:
    return next(path.iterdir(), None) is None


def has_result(path: Path) -> bool:
    return (path / "result.json").exists()


def lock_job_folder(path: Path) -> JobFolder | None:
    """An existing folder, locked; None while somebody works in it, and when it is gone. Raises OSError."""
    try:
        return _locked(path)
    except FileNotFoundError:
        return None


# --- locks ----------------------------------------------------------------------------------------------------------


def _locked(path: Path, flags: int = 0) -> JobFolder | None:
    """None while somebody works in it. Raises FileNotFoundError when it is gone, or is being removed."""
    fd = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if _is_still_there(path / "lock", fd):
        return JobFolder(path, fd)
    os.close(fd)
    raise FileNotFoundError(path)


def _is_still_there(lock: Path, fd: int) -> bool:
    """The folder may have been removed between open and lock; then the lock is on a file that has no name."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _first_failure(path: Path) -> OSError | None:
    failures: list[OSError] = []
    try:
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                failures += _failures_in(entry)
            elif entry.name != "lock":
                _unlink(entry, failures)
        if not failures:
            (path / "lock").unlink(missing_ok=True)
            path.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # somebody opened it between the last two steps
            failures.append(error)
    return failures[0] if failures else None


def _failures_in(path: Path) -> list[OSError]:
    failures: list[BaseException] = []
    shutil.rmtree(path, onerror=lambda _call, _path, error: failures.append(error[1]))
    return [error for error in failures if isinstance(error, OSError)]


def _unlink(path: Path, failures: list[OSError]) -> None:
    try:
        path.unlink()
    except OSError as error:
        failures.append(error)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
