"""Where an embedded cluster lies on the disk, and where its socket is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from worker.adapters.embedded_postgres_account import Account, account_for
from worker.exceptions import ConfigurationError

DEFAULT_PORT = 5432
_MAX_SOCKET_BYTES = 107  # sockaddr_un.sun_path, unix(7), without its closing zero
_SHORT_DIR = Path("/tmp")  # noqa: S108 - the directory below is private, and refused when it is somebody else's


@dataclass(frozen=True)
class Home:
    """
    `path` is BASE/cluster, symbolic links resolved. Below it:

    data/         the cluster, mode 0700, owned by the server's account
    log/          the server's log, likewise
    socket/       the server's socket, likewise; elsewhere when the path is too long for a socket
    lock          held while somebody starts, recovers or stops the server
    users         held, shared, by each process that uses the server
    """

    path: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "log" / "server.log"

    @property
    def tag(self) -> str:
        """Names this cluster among all processes of the PC."""
        return f"pcw-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"

    @property
    def major(self) -> int | None:
        """The Postgres version that created the cluster; None when there is none yet."""
        try:
            return int((self.data / "PG_VERSION").read_text().strip())
        except FileNotFoundError:
            return None

    def socket_dir(self, port: int) -> Path:
        beside = self.path / "socket"
        num_bytes = len(os.fsencode(beside / f".s.PGSQL.{port}"))
        if num_bytes <= _MAX_SOCKET_BYTES and "," not in str(beside):  # libpq reads a comma as a second host
            return beside
        return _SHORT_DIR / f"{self.tag}-{self.account.uid}"

    def forget_short_socket_dir(self, port: int) -> None:
        directory = self.socket_dir(port)
        if directory.parent == _SHORT_DIR:
            with contextlib.suppress(OSError):  # only tidiness: not empty, or gone
                directory.rmdir()

    def open_lock(self, name: str) -> int:
        """A file to flock: owned like its directory, so that root and the owner can take turns."""
        fd = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)
        return fd

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time starts, recovers or stops the server. The kernel lets go when its holder dies."""
        with _flocked(self.open_lock("lock")):
            yield

    def make_private(self, directory: Path) -> None:
        """
        Create a directory of mode 0700 for the server's account, or check the one that is there.

        Raises ConfigurationError when it is a link, or somebody else's.
        """
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            self.account.give(directory)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.account.uid or found.st_mode & 0o077:
            raise ConfigurationError(
                "A directory that the embedded database needs belongs to somebody else or is open to others. "
                "Remove it, or choose a data directory with a shorter path.",
                directory=str(directory),
            )


@contextlib.contextmanager
def _flocked(fd: int) -> Iterator[None]:
    try:
        flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)


def settled_home(base_dir: Path) -> Home | None:
    """The home of a cluster that was begun earlier; None when there is none."""
    path = base_dir / "cluster"
    if not path.exists():
        return None
    path = path.resolve()
    return Home(path, account_for(path / "data"))


def settle_home(base_dir: Path, service_dir: Path) -> Home:
    """
    Find or make the place of the cluster.

    Usually that is BASE/cluster. As root the server runs as another account, which cannot pass a closed directory
    above it (/root): then BASE/cluster is a link to a directory of its own under `service_dir`.

    Raises ConfigurationError when the server's account cannot reach it.
    """
    base_dir.mkdir(parents=True, exist_ok=True)
    with _flocked(os.open(base_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)):
        home = settled_home(base_dir) or _new_home(base_dir, service_dir)
        _check(home)
    return home


def _check(home: Home) -> None:
    if not home.account.can_enter(home.path):
        raise ConfigurationError(
            "The account that runs the embedded database cannot enter its directory. Open the directories above it "
            "(chmod o+x), or choose another data directory.",
            directory=str(home.path),
        )
    for name in ("log", "socket"):
        home.make_private(home.path / name)


def _new_home(base_dir: Path, service_dir: Path) -> Home:
    path = base_dir / "cluster"
    account = account_for(path / "data")
    if account.can_enter(base_dir):
        path.mkdir()
        path.chmod(0o700 if account.is_us else 0o755)
    else:
        _link_to_reachable(path, service_dir)
    return Home(path.resolve(), account)


def _link_to_reachable(path: Path, service_dir: Path) -> None:
    service_dir.mkdir(parents=True, exist_ok=True)
    service_dir.chmod(0o755)
    # a name of its own, not one made from BASE: who deletes BASE to start afresh must not find the old data again
    reachable = Path(tempfile.mkdtemp(prefix="cluster-", dir=service_dir))
    reachable.chmod(0o755)
    path.symlink_to(reachable, target_is_directory=True)
