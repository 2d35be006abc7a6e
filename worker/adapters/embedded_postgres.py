"""
A real Postgres in a directory, for a worker without a database server.

The server is a process of its own: it outlives us, and whoever comes next adopts it. What is on the disk is the only
truth; nothing depends on who started the server, or on how they ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.adapters.embedded_postgres_binaries import Install, find_wheel, runnable_install
from worker.adapters.embedded_postgres_home import DEFAULT_PORT, Home, settle_home, settled_home
from worker.adapters.embedded_postgres_processes import end, living, send, wait_for_end
from worker.exceptions import ConfigurationError, DiskFullError, PCWorkerException, SupabaseConnectionError

_START_TIMEOUT_S = 300  # replaying the write-ahead log after a crash, on a slow disk
_STOP_TIMEOUT_S = 60
_ORPHAN_S = 5.0
_INITDB_TIMEOUT_S = 300
_POLL_S = 0.02
_MAX_LOG_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 4096
_SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "50",
    "max_wal_size": "256MB",
    "log_checkpoints": "off",
    # a statement or a row in the server's log would put transcripts there
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# not synchronous_commit: without it commits would not even survive a kill of the server
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """
    One cluster under `base_dir`, created at first use, and its server.

    Several processes may use it at once. Each holds a shared lock from `start` to `stop` (or to its death), and the
    server is stopped by the last one to leave. Who is killed does not stop it: it goes on, and the next `start` adopts
    it. A server that was killed itself is recovered by the next `start`, also of the same object.

    As root the server runs as `nobody`; where that account cannot reach `base_dir`, the cluster lies under
    `service_dir` and `base_dir/cluster` is a link to it.

    Args:
        base_dir: where the cluster is; created when missing.
        port: also listen on 127.0.0.1, with passwords (none is set at first); None: reachable by the socket only.
        durable: False gives up fsync, for tests: commits survive every kill, but not a power cut. All users of one
            directory should agree; who adopts a server takes it as it is.
        service_dir: as root, for what the server's account could not reach otherwise.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        service_dir: Path = Path("/var/lib/pc-worker"),
    ) -> None:
        self._base_dir = base_dir.absolute()
        self._port = port
        self._durable = durable
        self._service_dir = service_dir
        self._wheel = find_wheel()
        self._users_fd: int | None = None
        self._mutex = threading.Lock()

    def start(self) -> str:
        """
        Start the server or adopt the one that runs, and count ourselves among its users. May be called again, and
        from any thread.

        Returns:
            libpq conninfo for `psycopg.connect`: over the unix socket, user and database `postgres`.

        Raises:
            ConfigurationError: the directory, the account or the Postgres version does not fit.
            DiskFullError: no room for the cluster or its log.
            SupabaseConnectionError: the server does not come up; `details["log"]` is the end of its log.
        """
        with self._mutex, _foreign_errors_mapped():
            home = settle_home(self._base_dir, self._service_dir)
            with home.locked():
                conninfo = self._running(home) or self._started(home)
                if self._users_fd is None:
                    self._users_fd = home.open_lock("users")
                    flock(self._users_fd, LOCK_SH)
            return conninfo

    def stop(self) -> None:
        """Leave; the last user stops the server. Does nothing when we are no user."""
        with self._mutex, _foreign_errors_mapped():
            if self._users_fd is None:
                return
            home = settled_home(self._base_dir)
            users_fd, self._users_fd = self._users_fd, None
            try:
                if home is not None:
                    with home.locked():
                        if _is_last_user(users_fd):
                            self._stop_server(home)
            finally:
                os.close(users_fd)

    def is_running(self) -> bool:
        """Whether the server answers and takes connections, whoever started it."""
        with _foreign_errors_mapped():
            home = settled_home(self._base_dir)
            conninfo = home and _conninfo(home)
            return bool(conninfo) and _answers(str(conninfo))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- under the lock ------------------------------------------------------------------------------------------

    def _running(self, home: Home) -> str | None:
        """The conninfo of a living server, waited for while it starts; None when there is none, or it goes away."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            conninfo = _conninfo(home)
            if conninfo and _answers(conninfo):
                self._check_port(home)
                return conninfo
            if _postmaster(home) not in living(home.tag):
                return None
            time.sleep(_POLL_S)
        raise _failure(home, "The embedded database is running and does not take connections.")

    def _started(self, home: Home) -> str:
        self._clear_the_dead(home)
        install = runnable_install(self._wheel, home.account, self._service_dir, home.major)
        if home.major is None:
            _create_cluster(home, install, durable=self._durable)
        self._start_server(home, install)
        conninfo = self._running(home)
        if conninfo is None:
            raise _failure(home, "The embedded database ended right after its start.")
        return conninfo

    def _clear_the_dead(self, home: Home) -> None:
        """
        What a killed postmaster leaves behind: backends that are busy (they would keep a new server from starting),
        its lock file (whose process id may since belong to another program) and its socket.
        """
        if not end(home.tag):
            raise _failure(home, "Processes of an earlier database server do not end.")
        (home.data / "postmaster.pid").unlink(missing_ok=True)
        for stale in home.socket_dir(self._socket_port).glob(".s.PGSQL.*"):
            stale.unlink()
        for unfinished in home.path.glob("new-*"):
            _remove(unfinished)

    def _start_server(self, home: Home, install: Install) -> None:
        socket_dir = home.socket_dir(self._socket_port)
        home.make_private(socket_dir)
        _rotate(home.log)
        # relative names: pg_ctl pastes these into a shell command without quoting them
        argv = [install.program("pg_ctl"), "start", "-w", "-t", str(_START_TIMEOUT_S), "-D", "data"]
        argv += ["-l", "log/server.log", "-o", shlex.join(self._server_options(home, socket_dir))]
        with tempfile.TemporaryFile("w+", dir=home.path) as output:
            done = home.account.run(argv, cwd=home.path, output=output)
            output.seek(0)
            if done.returncode != 0:
                raise _failure(home, "The embedded database does not start.", output=output.read()[-_TAIL_BYTES:])

    def _server_options(self, home: Home, socket_dir: Path) -> list[str]:
        quoted = str(socket_dir).replace('"', '""')  # the setting is a list; quotes keep spaces and commas
        settings = {**_SETTINGS, "cluster_name": home.tag, **({} if self._durable else _NOT_DURABLE)}
        options = ["-k", f'"{quoted}"', "-p", str(self._socket_port), "-h", "127.0.0.1" if self._port else ""]
        return options + [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _stop_server(self, home: Home) -> None:
        """
        SIGINT is the fast shutdown: sessions are cut, everything is written. When that takes too long: as after a
        power cut. Not by pg_ctl: if we are killed here, it would live on and stop the server of whoever comes next.
        """
        postmaster = _postmaster(home)
        stopped = False
        if postmaster is not None and postmaster in living(home.tag):
            send([postmaster], signal.SIGINT)
            stopped = wait_for_end(home.tag, _STOP_TIMEOUT_S, postmaster=postmaster)
        if not stopped and not end(home.tag):
            raise _failure(home, "The embedded database does not stop.")
        home.forget_short_socket_dir(self._socket_port)

    @property
    def _socket_port(self) -> int:
        return self._port or DEFAULT_PORT

    def _check_port(self, home: Home) -> None:
        lines = _pid_file(home)
        if self._port is not None and (lines[3], lines[5]) != (str(self._port), "127.0.0.1"):
            raise ConfigurationError(
                "The embedded database is already running without the TCP port that is asked for. "
                "Stop the other workers on this data directory first, or use the same port for all."
            )


def _create_cluster(home: Home, install: Install, *, durable: bool) -> None:
    """initdb into a directory of its own, then one rename: a cluster is there completely or not at all."""
    fresh = Path(tempfile.mkdtemp(prefix=f"new-{home.tag}-", dir=home.path))
    home.account.give(fresh)
    argv = [install.program("initdb"), "-D", fresh.name, "-U", "postgres", "-E", "UTF8", "--no-instructions"]
    argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same order on every PC
    argv += ["--auth-local=trust", "--auth-host=scram-sha-256"]  # the socket is guarded by its directory's mode
    argv += [] if durable else ["--no-sync"]
    done = home.account.run(argv, cwd=home.path, output=subprocess.PIPE, timeout_s=_INITDB_TIMEOUT_S)
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        raise _failure(home, "The embedded database cannot be created.", output=done.stdout[-_TAIL_BYTES:])
    fresh.rename(home.data)
    _sync(home.path)


def _remove(unfinished: Path) -> None:
    """What an initdb that was killed has left. Its last child may still be writing there for a moment."""
    deadline = time.monotonic() + _ORPHAN_S
    while unfinished.exists() and time.monotonic() < deadline:
        shutil.rmtree(unfinished, ignore_errors=True)
        time.sleep(_POLL_S)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _is_last_user(users_fd: int) -> bool:
    try:
        flock(users_fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_file(home: Home) -> list[str]:
    """
    The lines of postmaster.pid: process id, data directory, start time, port, socket directory, listen address, ...
    Fewer while the server starts. Source: src/include/utils/pidfile.h.
    """
    with contextlib.suppress(FileNotFoundError):
        return [line.strip() for line in (home.data / "postmaster.pid").read_text().splitlines()]
    return []


def _postmaster(home: Home) -> int | None:
    lines = _pid_file(home)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _conninfo(home: Home) -> str | None:
    """How the server in postmaster.pid is reached, whoever chose its port and socket."""
    from psycopg.conninfo import make_conninfo

    lines = _pid_file(home)
    if len(lines) < 6 or not lines[4]:
        return None
    return make_conninfo(host=lines[4], port=lines[3], user="postgres", dbname="postgres")


def _answers(conninfo: str) -> bool:
    """Like pg_isready: a server that is full answers too; one that is starting or stopping does not."""
    from psycopg.pq import PGconn, Ping

    return Ping(PGconn.ping(f"{conninfo} connect_timeout=5".encode())) is Ping.OK


# --- errors ------------------------------------------------------------------------------------------------------


def _failure(home: Home, what: str, *, output: str = "") -> PCWorkerException:
    log = _tail(home.log)
    details = {"log": log, "output": output, "log_file": str(home.log)}
    if os.strerror(errno.ENOSPC) in output + log.rsplit("starting PostgreSQL", 1)[-1]:
        return DiskFullError(
            "There is no room on the disk for the embedded database. Make room, then start again.", **details
        )
    return SupabaseConnectionError(
        f"{what} Look into its log (cluster/log/server.log in the data directory).", **details
    )


def _tail(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        file.seek(max(0, os.fstat(fd).st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


@contextlib.contextmanager
def _foreign_errors_mapped() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _mapped(error) from error
    except subprocess.TimeoutExpired as error:
        raise SupabaseConnectionError(
            "The embedded database could not be created in time. Check whether the disk answers, then start again."
        ) from error


def _mapped(error: OSError) -> PCWorkerException:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError()
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return ConfigurationError(
            "The directory of the embedded database cannot be used: it is not writable for this account. "
            "Run the worker as the account that owns it, or choose another data directory.",
            cause=str(error),
        )
    return SupabaseConnectionError(
        "The embedded database could not be started: the PC refused a file or a process. Try again; if it stays so, "
        "check the disk.",
        cause=str(error),
    )
