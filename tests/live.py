"""The service as processes of its own, for tests that kill, stop or freeze a part of it.

It works on the test process's own database, so a test prepares and inspects with the ORM, and on a Valkey of its own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config.embedded import Server, die_with_parent, free_port, start_redis, stop_process
from config.run import beat_arguments, web_arguments, worker_arguments

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 40


def wait_until(holds: Callable[[], Any], *, seconds: float, what: str, interval: float = 0.1) -> Any:
    """Poll until the answer is truthy and return it; fail with `what` after the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
        time.sleep(interval)


@dataclass
class LiveService:
    """Web, worker and beat as subprocesses; every part can be hurt and started again."""

    directory: Path
    environment: dict[str, str]
    port: int
    redis: Server
    parts: tuple[str, ...]
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    # The checkout that parts are started from: another one than this plays the release before.
    root: Path = ROOT

    @property
    def url(self) -> str:
        """The address of the web part."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str) -> psutil.Process:
        """Start web, worker or beat, any of them again, or one more: "second worker"."""
        arguments = {
            "web": web_arguments(self.port),
            "worker": worker_arguments(),
            "beat": beat_arguments(self.directory / f"{name}-schedule"),
        }[name.split()[-1]]
        with self.log_file(name).open("ab") as sink:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        self.processes[name] = psutil.Process(child.pid)
        return self.processes[name]

    def stop(self, name: str) -> None:
        """End one part politely."""
        stop_process(self.processes.pop(name), signal.SIGTERM)

    def kill(self, name: str) -> None:
        """End one part with all its processes as a crash would: SIGKILL, nothing is flushed."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)

    def stop_redis(self) -> None:
        """Take Redis away: connections are refused."""
        self.redis.kill()

    def start_redis(self) -> None:
        """Bring Redis back, empty, on the same port."""
        self.redis = start_redis(self.directory / "redis", port=self.redis.port, persistent=False)

    def freeze_redis(self) -> None:
        """Make Redis hang: connections are accepted by the kernel and never answered."""
        self.redis.process.send_signal(signal.SIGSTOP)

    def thaw_redis(self) -> None:
        """Let a frozen Redis go on."""
        self.redis.process.send_signal(signal.SIGCONT)

    def log_file(self, name: str) -> Path:
        """Return the log of web, worker or beat."""
        return self.directory / f"{name}.log"

    def logs(self) -> str:
        """Return everything that the parts have logged."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.directory.glob("*.log")))

    def readiness(self) -> dict[str, Any]:
        """Return the body of /readyz, or what kept it from answering."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5)
            return {"code": answer.status_code, **answer.json()}
        except (httpx.HTTPError, ValueError) as error:
            return {"code": 0, "error": str(error)}

    def is_up(self) -> bool:
        """Say whether the web part answers, ready or not."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until /readyz answers 200. Raises AssertionError with the logs' ends."""
        deadline = time.monotonic() + seconds
        while (state := self.readiness())["code"] != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"the service was not ready within {seconds} s: {state}\n{self.logs()[-4000:]}")
            time.sleep(0.1)

    def put_right(self) -> None:
        """Undo what a test did: what is frozen goes on, what is gone is started, what came besides ends, logs are empty."""
        if self.redis.is_running():
            self.thaw_redis()
        else:
            self.start_redis()
        for name in [name for name in self.processes if name not in self.parts]:
            self.stop(name)
        for file in self.directory.glob("*.log"):
            os.truncate(file, 0)
        for name in self.parts:
            process = self.processes.get(name)
            if process is None or not process.is_running():
                self.start(name)
            else:
                os.killpg(process.pid, signal.SIGCONT)
        self.wait_started()

    def wait_started(self) -> None:
        """Wait until the parts that there are to be do their work."""
        if {"web", "worker"} <= set(self.parts):
            self.wait_ready()
        elif "web" in self.parts:
            wait_until(self.is_up, seconds=READY_SECONDS, what="the web part")

    def close(self) -> None:
        """End everything that was started, also what is frozen."""
        for name in list(self.processes):
            if self.processes[name].is_running():
                self.stop(name)
        if self.redis.is_running():
            self.redis.process.send_signal(signal.SIGCONT)
            self.redis.stop()


@contextmanager
def running_service(
    directory: Path,
    stripe_url: str,
    *,
    env: Mapping[str, str] | None = None,
    parts: tuple[str, ...] = ("web", "worker", "beat"),
    root: Path = ROOT,
) -> Iterator[LiveService]:
    """Start a service on this process's database, wait until it is ready, and end it afterwards."""
    port = free_port()
    redis = start_redis(directory / "redis", persistent=False)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "REDIS_URL": redis.url,
        "DATABASE_POOL": "true",
        "DATABASE_POOL_SIZE": "20",
        "PORT": str(port),
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "STRIPE_API_BASE": stripe_url,
        "GITHUB_API_BASE": f"{stripe_url}/_github",
        "OUTGOING_ALLOWED_HOSTS": "127.0.0.1",
        "WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
        "EVENT_SWEEP_SECONDS": "1",
        "LOG_LEVEL": "INFO",
        # The tests' own process has run them.
        "CELERY_SKIP_CHECKS": "1",
        **(env or {}),
    }
    environment.pop("PYTEST_VERSION", None)
    service = LiveService(directory, environment, port, redis, parts, root=root)
    try:
        for part in parts:
            service.start(part)
        service.wait_started()
        yield service
    finally:
        service.close()


class LiveServices:
    """The service of one file of tests: a start costs seconds of every core, so tests that want the same one share it."""

    def __init__(self, new_directory: Callable[[], Path], stripe_url: str) -> None:
        self._new_directory = new_directory
        self._stripe_url = stripe_url
        self._wanted: dict[str, Any] = {}
        self._running = ExitStack()
        self._service: LiveService | None = None

    def get(self, **options: Any) -> LiveService:
        """Give the service that runs if it was started with these options, put right again, else a new one.

        Never two at a time: their workers would take up each other's work.
        """
        if self._service is None or options != self._wanted:
            self.close()
            started = running_service(self._new_directory(), self._stripe_url, **options)
            self._wanted, self._service = options, self._running.enter_context(started)
        else:
            self._service.put_right()
        return self._service

    def close(self) -> None:
        """End the service that runs, if any."""
        self._service = None
        self._running.close()


@pytest.fixture(scope="module")
def live_services(tmp_path_factory: pytest.TempPathFactory, sandbox: Any) -> Iterator[LiveServices]:
    """Start the services that this file's tests want."""
    services = LiveServices(lambda: tmp_path_factory.mktemp("service"), sandbox.url)
    yield services
    services.close()


@pytest.fixture
def live_service(
    request: pytest.FixtureRequest, run_database: str, live_services: LiveServices, settings: Any
) -> LiveService:
    """A whole service on this process's database, ready to be hurt.

    `@pytest.mark.live(env={"FAIL_AT": "..."}, parts=("web", "worker"))` adds to its environment or leaves parts out.
    """
    marker = request.node.get_closest_marker("live")
    options: dict[str, Any] = marker.kwargs if marker else {}
    service = live_services.get(**options)
    settings.PUBLIC_BASE_URL = service.url
    return service
