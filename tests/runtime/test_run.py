"""`make run` as a person meets it: first start, second start, Ctrl-C, and what goes wrong."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config.embedded import free_port
from tests.live import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.no_db]

ROOT = Path(__file__).resolve().parents[2]
FIRST_START_SECONDS = 60
SECOND_START_SECONDS = 8
# Other tests share the two cores with these; the promise itself is measured by benchmarks on a quiet machine.
BUSY_FACTOR = 4
SCRAPER = "scraper-" * 3


@dataclass
class Run:
    """One `make run` on a directory of its own."""

    directory: Path
    port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """An environment without what the test run itself set."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PORT": str(self.port),
            "SANDBOX_PORT": str(self.sandbox_port),
            "VAR_DIR": str(self.directory),
            "METRICS_TOKEN": SCRAPER,
            "METRICS_PORT": str(self.metrics_port),
        }

    def start(self) -> None:
        """Start it; the output goes to a file."""
        with (self.directory.parent / "output").open("wb") as sink:
            self.process = psutil.Popen(
                [sys.executable, "-m", "config.run"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it printed so far."""
        return (self.directory.parent / "output").read_text()

    def wait_ready(self, seconds: float) -> float:
        """Wait for the READY line; return how long it took."""
        began = time.monotonic()
        wait_until(
            lambda: f"READY http://127.0.0.1:{self.port}\n" in self.output or self.process.poll() is not None,
            seconds=seconds,
            what="READY",
        )
        assert self.process.poll() is None, self.output
        return time.monotonic() - began

    def family(self) -> list[psutil.Process]:
        """Return the supervisor's children and theirs."""
        return list(self.process.children(recursive=True))

    def end(self, signal_number: int) -> int:
        """Signal it as a terminal or a service manager would, and return its exit code."""
        self.process.send_signal(signal_number)
        return int(self.process.wait(30))


def is_gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; one may end between two looks."""
    try:
        return not process.is_running() or process.status() == "zombie"
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def run(server_dir: Path) -> Iterator[Run]:
    """One instance for the module: its first start is the slow one."""
    run = Run(server_dir / "var")
    yield run
    if run.process is not None and run.process.poll() is None:
        run.process.kill()


@pytest.mark.timeout(300)
def test_first_start_then_interrupt_then_second_start_with_the_same_data(run: Run) -> None:
    run.start()
    first = run.wait_ready(FIRST_START_SECONDS * BUSY_FACTOR)
    assert httpx.get(f"http://127.0.0.1:{run.port}/readyz").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{run.sandbox_port}/_sandbox/health").status_code == 200
    keys = (run.directory / "keys.json").read_text()
    family = run.family()
    assert len(family) >= 6
    assert run.end(signal.SIGINT) == 0
    assert [process for process in family if process.is_running()] == []
    assert not (run.directory / "runtime.env").exists()

    run.start()
    second = run.wait_ready(SECOND_START_SECONDS * BUSY_FACTOR)
    assert "Preparing the database" not in run.output
    assert (run.directory / "keys.json").read_text() == keys
    print(f"first start {first:.1f} s, second start {second:.1f} s")


@pytest.mark.timeout(120)
def test_its_output_names_addresses_sign_ins_and_what_to_click(run: Run) -> None:
    assert f"http://127.0.0.1:{run.port}/admin/" in run.output
    assert f"http://127.0.0.1:{run.port}/docs" in run.output
    for who in ("developer", "support", "end user"):
        assert re.search(rf"^\s+{who}\s+\S", run.output, re.MULTILINE), run.output
    link = re.search(r"Start here:\s+(\S+)", run.output)
    assert link is not None
    page = httpx.get(link[1], follow_redirects=True)
    assert page.status_code == 200
    assert "4242" in page.text


@pytest.mark.timeout(120)
def test_its_metrics_are_those_of_all_its_processes_for_the_scraper_alone(run: Run) -> None:
    address = f"http://127.0.0.1:{run.port}/metrics"
    assert httpx.get(address).status_code == 401
    of_the_worker, of_the_web = (
        'payments_task_seconds_count{outcome="ok",task="own:sweep"}',
        "payments_http_request_seconds_count{",
    )

    def told(url: str) -> str:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {SCRAPER}"})
        return answer.text if of_the_worker in answer.text and of_the_web in answer.text else ""

    httpx.get(f"http://127.0.0.1:{run.port}/docs")
    found = wait_until(lambda: told(address), seconds=30, what="both processes are told of")
    assert 'payments_state_readable{source="database"} 1.0' in found
    # The worker's own port, for a network that only the monitoring reaches.
    assert told(f"http://127.0.0.1:{run.metrics_port}/metrics")


@pytest.mark.timeout(120)
def test_manage_py_in_another_terminal_works_on_the_running_instance(run: Run) -> None:
    assert stat.S_IMODE((run.directory / "runtime.env").stat().st_mode) == 0o600
    only_the_directory = {key: value for key, value in run.environment.items() if not key.endswith("PORT")}
    script = "from projects.models import Project; print('projects', Project.objects.count())"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", script],
        cwd=ROOT,
        env=only_the_directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"projects [1-9]", done.stdout)


@pytest.mark.timeout(120)
def test_a_second_run_on_the_same_directory_is_refused_and_harms_nothing(run: Run) -> None:
    second = Run(run.directory)
    done = subprocess.run(
        [sys.executable, "-m", "config.run"],
        cwd=ROOT,
        env=second.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "already runs" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (run.directory / "runtime.env").exists()
    assert httpx.get(f"http://127.0.0.1:{run.port}/healthz").status_code == 200


@pytest.mark.timeout(120)
def test_a_killed_worker_is_started_again(run: Run) -> None:
    def worker() -> psutil.Process | None:
        for child in run.process.children():
            with suppress(psutil.Error):
                if {"celery", "worker"} <= set(child.cmdline()):
                    return child
        return None

    before = worker()
    assert before is not None
    before.kill()
    after = wait_until(lambda: (now := worker()) and now.pid != before.pid and now, seconds=30, what="a new worker")
    assert after.pid != before.pid
    assert "worker ended; starting it again" in run.output


@pytest.mark.timeout(120)
def test_after_a_kill_of_the_supervisor_nothing_of_it_stays(run: Run) -> None:
    family = run.family()
    run.process.kill()
    run.process.wait(10)
    wait_until(lambda: all(map(is_gone, family)), seconds=30, what="all children gone")


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_taken_port_is_named(tmp_path: Path, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "config.run"],
            cwd=ROOT,
            env={**Run(tmp_path / "var").environment, name: port},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"Port {port} is in use" in done.stdout
    assert f"set {name}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_odd_port_is_refused_by_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.run"],
        cwd=ROOT,
        env={**Run(tmp_path / "var").environment, "PORT": "eight"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "PORT must be a port between 1 and 65535, not 'eight'" in done.stdout
