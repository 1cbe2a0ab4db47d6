"""`make run`: everything on one machine, in the foreground, until Ctrl-C.

The supervisor starts PostgreSQL, Valkey, the Stripe sandbox, web, worker and beat, each in a process group of its own,
restarts what dies, and ends exactly what it started. It imports no Django: what needs Django runs in the children.
"""

import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil
import psycopg

from config.embedded import EmbeddedServerError, Server, die_with_parent, port_is_taken, start_postgres, start_redis
from config.heartbeat import forget_workers
from config.runtime_env import generated_keys, schema_key, write_runtime_env

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 90
STOP_SECONDS = 10
RESTARTS_MAX = 5
RESTART_WINDOW_SECONDS = 60
BACKOFF_SECONDS_MAX = 8
LOG_BYTES_MAX = 10 * 1024 * 1024
WEB_THREADS = 16


class CannotRun(Exception):
    """Something that the operator has to mend; the message says what."""


@dataclass
class Child:
    """One supervised process and how often it had to be started again."""

    name: str
    start: Callable[[], psutil.Process]
    log_file: Path
    process: psutil.Process | None = None
    deaths: list[float] = field(default_factory=list)
    restart_at: float | None = None

    def is_dead(self) -> bool:
        """Say whether the process has ended (a zombie has)."""
        if self.process is None:
            return True
        with suppress(psutil.NoSuchProcess):
            return bool(self.process.status() == psutil.STATUS_ZOMBIE)
        return True


def web_arguments(port: int) -> list[str]:
    """Return what follows `python` to serve the web part on loopback."""
    return ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--blocking-threads", str(WEB_THREADS), "--workers-kill-timeout", "5", "--no-ws", "--log-level", "warning",
            "config.wsgi:application"]  # fmt: skip


def worker_arguments() -> list[str]:
    """Return what follows `python` to run a worker."""
    return ["-m", "celery", "-A", "config", "worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]


def beat_arguments(schedule_file: Path) -> list[str]:
    """Return what follows `python` to run beat; its file only remembers when each task ran last."""
    return ["-m", "celery", "-A", "config", "beat", "--loglevel", "WARNING", "--schedule", str(schedule_file),
            "--pidfile", ""]  # fmt: skip


def number_from_environment(name: str, default: int) -> int:
    """Read a port. Raises CannotRun that names the variable."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise CannotRun(f"{name} must be a port between 1 and 65535, not {text!r}.")
    return int(text)


class Supervisor:
    """Starts, watches and stops the parts of the service."""

    def __init__(self) -> None:
        """Read the environment; nothing is started yet. Raises CannotRun."""
        self.port = number_from_environment("PORT", 8000)
        self.sandbox_port = number_from_environment("SANDBOX_PORT", 8420)
        self.var_dir = Path(os.environ.get("VAR_DIR", ROOT / "var")).resolve()
        self.logs = self.var_dir / "logs"
        self.own_sandbox = not os.environ.get("STRIPE_API_BASE")
        self.stopping = threading.Event()
        self.children: list[Child] = []
        self.environment: dict[str, str] = {}
        self.lock: IO[str] | None = None
        self.runtime_env: Path | None = None

    # ---- starting

    def prepare(self) -> None:
        """Take the directory for ourselves and check the ports. Raises CannotRun."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.lock = (self.var_dir / "run.lock").open("a")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(f"The service already runs on {self.var_dir}. Stop it, or set VAR_DIR.") from None
        if port_is_taken(self.port):
            raise CannotRun(f"Port {self.port} is in use. Stop what uses it, or set PORT, e.g.: PORT=8001 make run")
        if self.own_sandbox and port_is_taken(self.sandbox_port):
            raise CannotRun(
                f"Port {self.sandbox_port} is in use. Stop what uses it, or set SANDBOX_PORT, "
                "e.g.: SANDBOX_PORT=8421 make run"
            )

    def start_servers(self) -> None:
        """Start the sandbox, PostgreSQL and Valkey, unless their addresses were given, and settle the environment."""
        given = os.environ
        public = given.get("PUBLIC_BASE_URL", f"http://127.0.0.1:{self.port}").rstrip("/")
        own = {
            "PORT": str(self.port),
            "SANDBOX_PORT": str(self.sandbox_port),
            "VAR_DIR": str(self.var_dir),
            "PUBLIC_BASE_URL": public,
            "DEMO": given.get("DEMO", "true"),
            "STATIC_ROOT": given.get("STATIC_ROOT", str(self.var_dir / "static")),
        }
        if self.own_sandbox:
            sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
            own["STRIPE_API_BASE"] = sandbox_url
            own["GITHUB_API_BASE"] = given.get("GITHUB_API_BASE", f"{sandbox_url}/_github")
            # The demo needs these two; what the operator opens comes on top.
            opened = [
                given.get("OUTGOING_ALLOWED_HOSTS", ""),
                f"127.0.0.1:{self.sandbox_port}",
                f"127.0.0.1:{self.port}",
            ]
            own["OUTGOING_ALLOWED_HOSTS"] = ",".join(filter(None, opened))
            self.environment = {**given, **own}
            data = str(self.var_dir / "sandbox")
            self.add("sandbox", ["-m", "sandbox", "--port", str(self.sandbox_port), "--data", data])
        if not given.get("DATABASE_URL"):
            own["DATABASE_URL"] = self.add_server("postgres", self._start_postgres)
        if not given.get("REDIS_URL"):
            own["REDIS_URL"] = self.add_server("redis", self._start_redis)
            forget_workers(own["REDIS_URL"])
        Path(own["STATIC_ROOT"]).mkdir(parents=True, exist_ok=True)
        # Nothing here is for other users of the machine: the keys are in the file that others cannot read.
        self.environment = {**generated_keys(self.var_dir), **given, **own}
        if "PROMETHEUS_MULTIPROC_DIR" not in given:
            # What processes before these have counted is nobody's any more.
            shutil.rmtree(self.var_dir / "metrics", ignore_errors=True)
            (self.var_dir / "metrics").mkdir()
            self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.var_dir / "metrics")
        names = [*own, *generated_keys(self.var_dir), "DATABASE_URL", "REDIS_URL"]
        self.runtime_env = write_runtime_env(self.var_dir, {name: self.environment[name] for name in names})

    def _start_postgres(self, port: int | None) -> Server:
        return start_postgres(self.var_dir / "postgres", port=port, database="payments")

    def _start_redis(self, port: int | None) -> Server:
        return start_redis(self.var_dir / "redis", port=port)

    def add_server(self, name: str, start: Callable[[int | None], Server]) -> str:
        """Start an embedded server under supervision and return its URL; a restart keeps the port."""
        server = start(None)

        def restart() -> psutil.Process:
            process: psutil.Process = start(server.port).process
            return process

        self.children.append(Child(name, restart, server.log_file, process=server.process))
        return server.url

    def add(self, name: str, arguments: list[str]) -> None:
        """Start one of our Python processes under supervision."""
        log_file = self.logs / f"{name}.log"
        if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
            log_file.replace(log_file.with_suffix(".log.1"))

        def start() -> psutil.Process:
            with log_file.open("ab") as sink:
                child = subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=ROOT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    start_new_session=True,
                    preexec_fn=die_with_parent(signal.SIGTERM),
                )
            return psutil.Process(child.pid)

        self.children.append(Child(name, start, log_file, process=start()))

    def prepare_database(self) -> None:
        """Migrate and seed, unless this database says that it was done for this state of the code."""
        key = self.preparation_key()
        with psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=5) as connection:
            row = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        if row is not None and row[0] == key:
            return
        say("Preparing the database (the first start takes some seconds) ...")
        arguments = ["manage.py", "bootstrap", "--schema-key", key]
        if self.own_sandbox and self.environment["DEMO"].lower() in {"1", "true", "yes", "on"}:
            arguments.append("--demo")
        if self.own_sandbox:
            self.wait_for("The sandbox", self.sandbox_port, "/_sandbox/health")
        log_file = self.logs / "bootstrap.log"
        with log_file.open("ab") as sink:
            done = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=sink, start_new_session=True, preexec_fn=die_with_parent(signal.SIGTERM),
            )  # fmt: skip
        while done.poll() is None:
            if self.stopping.wait(0.1):
                done.terminate()
                done.wait(STOP_SECONDS)
                return
        if done.returncode != 0:
            raise CannotRun(f"The database could not be prepared; {log_file} ends with:\n{tail_of(log_file)}")

    def preparation_key(self) -> str:
        """Return what the database was prepared for: this code, at these addresses."""
        addresses = [self.environment["PUBLIC_BASE_URL"], self.environment.get("STRIPE_API_BASE", "")]
        return " ".join([schema_key(), *addresses])

    def start_service(self) -> None:
        """Start web and worker."""
        self.add("web", web_arguments(self.port))
        self.add("worker", worker_arguments())

    def start_beat(self) -> None:
        """Start beat, last of all: nothing waits for it, and the others need the processor first."""
        (self.var_dir / "beat").mkdir(exist_ok=True)
        self.add("beat", beat_arguments(self.var_dir / "beat" / "schedule"))

    def wait_for(self, name: str, port: int, path: str) -> None:
        """Wait until an address answers 200. Raises CannotRun with what it said last."""
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"
        while not self.stopping.is_set():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
                connection.request("GET", path)
                response = connection.getresponse()
                answer = response.read(2000).decode(errors="replace")
                connection.close()
                if response.status == 200:
                    return
            except OSError as error:
                answer = str(error)
            if time.monotonic() > deadline:
                logs = "\n".join(f"{child.log_file} ends with:\n{tail_of(child.log_file)}" for child in self.children)
                raise CannotRun(f"{name} was not ready within {READY_SECONDS} s: {answer}\n{logs}")
            self.tend()
            self.stopping.wait(0.1)

    # ---- watching

    def tend(self) -> None:
        """Start again what has died, later each time. Raises CannotRun for what keeps dying."""
        now = time.monotonic()
        for child in self.children:
            if child.restart_at is not None and now >= child.restart_at:
                child.restart_at = None
                try:
                    child.process = child.start()
                except (EmbeddedServerError, OSError) as error:
                    say(f"{child.name} did not start: {error}")
                    child.process = None
            if child.restart_at is None and child.is_dead():
                if child.process is not None:
                    with suppress(psutil.Error):
                        child.process.wait(0)  # Reap it: a zombie would keep its pid for as long as we run.
                child.deaths = [moment for moment in child.deaths if now - moment < RESTART_WINDOW_SECONDS] + [now]
                if len(child.deaths) > RESTARTS_MAX:
                    raise CannotRun(
                        f"{child.name} ended {len(child.deaths)} times within {RESTART_WINDOW_SECONDS} s; "
                        f"{child.log_file} ends with:\n{tail_of(child.log_file)}"
                    )
                delay = min(2 ** (len(child.deaths) - 1) * 0.5, BACKOFF_SECONDS_MAX)
                say(f"{child.name} ended; starting it again in {delay:.1f} s (log: {child.log_file})")
                child.restart_at = now + delay

    def watch(self) -> None:
        """Keep everything running until a signal arrives."""
        while not self.stopping.wait(0.5):
            self.tend()

    # ---- stopping

    def stop(self) -> None:
        """End what was started, the servers last, each within a bounded time."""
        servers = {"postgres", "redis"}
        for group in (
            [child for child in self.children if child.name not in servers],
            [child for child in self.children if child.name in servers],
        ):
            for child in group:
                self._signal(child, signal.SIGINT if child.name == "postgres" else signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for child in group:
                while not child.is_dead() and time.monotonic() < deadline:
                    time.sleep(0.02)
                self._signal(child, signal.SIGKILL)  # The group: a leader's own children may have outlived it.
                if child.process is not None:
                    with suppress(psutil.Error):
                        child.process.wait(STOP_SECONDS)
        if self.runtime_env is not None:
            self.runtime_env.unlink(missing_ok=True)

    @staticmethod
    def _signal(child: Child, signal_number: int) -> None:
        """Signal the child's own process group, which is named after the pid that we started."""
        if child.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if child.name == "postgres":
                # PostgreSQL's children are its own to end; SIGKILL to the postmaster alone makes them leave.
                os.kill(child.process.pid, signal_number)
            else:
                os.killpg(child.process.pid, signal_number)


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    print(text, flush=True)


def tail_of(path: Path, lines: int = 12) -> str:
    """Return the end of a log."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def announce(supervisor: Supervisor) -> None:
    """Print where everything is and what to click first."""
    base = supervisor.environment["PUBLIC_BASE_URL"]
    welcome = supervisor.var_dir / "welcome.json"
    demo: Mapping[str, str] = json.loads(welcome.read_text()) if welcome.exists() else {}
    lines = [
        "",
        f"  Web        {base}          API docs {base}/docs          Admin {base}/admin/",
        f"  Stripe     {_stripe_address(supervisor)}",
        *_stand_in_addresses(supervisor),
        f"  Database   {_without_password(supervisor.environment['DATABASE_URL'])}",
        f"  Data, logs {supervisor.var_dir}",
    ]
    if demo:
        lines += [
            "",
            "  Demo sign-ins (admin and API)",
            *[f"    {name:<10} {text}" for name, text in demo.items()],
            "",
            f"  Start here:  {base}/demo/   and pay with card 4242 4242 4242 4242",
        ]
    lines += ["", "  Ctrl-C stops everything.", ""]
    say("\n".join(lines))
    say(f"READY http://127.0.0.1:{supervisor.port}")


def _stripe_address(supervisor: Supervisor) -> str:
    """Name what plays Stripe; the sandbox's own page is what a person can open."""
    if supervisor.own_sandbox:
        return f"the sandbox, http://127.0.0.1:{supervisor.sandbox_port}/_sandbox/"
    return supervisor.environment.get("STRIPE_API_BASE") or "the real Stripe"


def _stand_in_addresses(supervisor: Supervisor) -> list[str]:
    """Name the pages on which it is seen what plans allow for model calls, and whom licences let in."""
    if not supervisor.own_sandbox:
        return []
    sandbox = f"http://127.0.0.1:{supervisor.sandbox_port}"
    return [
        f"  LiteLLM    a stand-in, {sandbox}/_litellm   (what plans allow there)",
        f"  GitHub     a stand-in, {sandbox}/_github    (accept a licence's invitation there)",
    ]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"


def main() -> int:
    """Run until a signal; return the exit code."""
    os.umask(0o077)  # Logs and data are for whoever runs this, and for nobody else on the machine.
    try:
        supervisor = Supervisor()
    except CannotRun as reason:
        say(str(reason))
        return 1

    def on_signal(number: int, frame: object) -> None:
        supervisor.stopping.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGHUP, on_signal)
    code = 0
    try:
        supervisor.prepare()
        supervisor.start_servers()
        supervisor.prepare_database()
        if not supervisor.stopping.is_set():
            supervisor.start_service()
            if supervisor.own_sandbox:
                supervisor.wait_for("The sandbox", supervisor.sandbox_port, "/_sandbox/health")
            supervisor.wait_for("The service", supervisor.port, "/readyz")
        if not supervisor.stopping.is_set():
            supervisor.start_beat()
            announce(supervisor)
            supervisor.watch()
    except (CannotRun, EmbeddedServerError, psycopg.OperationalError) as reason:
        say(str(reason))
        code = 1
    finally:
        if supervisor.children:
            say("Stopping ...")
        supervisor.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
