"""Fixtures of every test: the database, the sandbox that stands in for Stripe, and the cast."""

import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx._transports import default as httpx_transport

from config.embedded import die_with_parent, free_port, stop_process
from tests.leftovers import lay_leftovers_aside
from tests.servers import create_run_database

pytest_plugins = ["tests.cast", "tests.live", "tests.node_runtime"]

# Each one-shot call of httpx reads the system's certificates anew, which took a third of the suite's time; loopback needs none.
httpx_transport.create_ssl_context = functools.cache(httpx_transport.create_ssl_context)

LOOPBACK = ["127.0.0.1", "::1", "localhost"]
LONG = (
    "tests/scenarios/test_convergence", "tests/scenarios/", "tests/faults/test_rolling", "tests/whole/",
    "tests/faults/test_stripe_in", "tests/roles/test_pages", "tests/runtime/test_run.py", "tests/runtime/test_settings",
    "tests/browser/test_demo.py", "tests/browser/test_license", "tests/security/test_route_matrix",
)  # fmt: skip
NEEDS_NO_DATABASE = ("tests/sandbox/",)
SANDBOX_START_SECONDS = 30
_run_databases: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marks."""
    config.addinivalue_line("markers", "no_db: the test needs no database")
    config.addinivalue_line("markers", "browser: the test drives chromium (skipped without it unless CI_STRICT=1)")
    config.addinivalue_line("markers", "node: the test runs Node.js (skipped without it unless CI_STRICT=1)")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "live(env, parts): how the fixture live_service starts the service")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark stand-in tests, which need no database, so that their runs start nothing; put the long files first."""
    for item in items:
        if item.nodeid.startswith(NEEDS_NO_DATABASE):
            item.add_marker(pytest.mark.no_db)
    # A worker takes a file at a time: a long one that comes last is waited for by all others. While the first of them makes
    # the database, which takes a while in a fresh checkout, the other workers do what needs none.
    first = min((place for place in map(_long, items) if place is not None), default=None)

    def turn(item: pytest.Item) -> tuple[int, int]:
        place = _long(item)
        if place is not None:
            return (0 if place == first else 2, place)
        return (1 if item.nodeid.startswith(NEEDS_NO_DATABASE) else 3, 0)

    items.sort(key=turn)


def _long(item: pytest.Item) -> int | None:
    return next((place for place, start in enumerate(LONG) if item.nodeid.startswith(start)), None)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what is there for good: it looked through all modules every few seconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def run_database(django_db_blocker: Any) -> str:
    """Clone the migrated template once for this process and return the database's name."""
    with django_db_blocker.unblock():
        name = create_run_database()
    _run_databases.append(name)
    return name


@pytest.fixture(scope="module", autouse=True)
def only_this_files_work(django_db_blocker: Any) -> None:
    """Begin each file with nothing to do: rounds go over all projects, those of earlier files, too."""
    if _run_databases:
        with django_db_blocker.unblock():
            lay_leftovers_aside()


@pytest.fixture(scope="session")
def django_db_setup(run_database: str) -> None:
    """pytest-django would create and flush a database of its own; ours is there already."""


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the test use the run's database: real commits, no wrapping transaction, no truncation.

    Tests are kept apart by making projects and users of their own.
    """
    if request.node.get_closest_marker("no_db"):
        yield
        return
    request.getfixturevalue("run_database")
    from django.db import connection

    with request.getfixturevalue("django_db_blocker").unblock():
        yield
        left_open = connection.in_atomic_block
        if left_open or (connection.connection is not None and connection.connection.closed):
            connection.close()
        assert not left_open, "the test left a transaction open"


@pytest.fixture(scope="module")
def server_dir() -> Iterator[Path]:
    """A directory for a PostgreSQL of one's own.

    Not below tmp_path: root runs PostgreSQL as another user, and every start of pytest closes its base for others.
    """
    directory = Path(tempfile.mkdtemp(prefix="payments-server-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class SandboxAccount:
    """One Stripe account of the sandbox with its keys."""

    account_id: str
    test_secret_key: str
    test_publishable_key: str
    live_secret_key: str
    live_publishable_key: str


@dataclass(frozen=True)
class Sandbox:
    """The running sandbox: its address and its control calls."""

    url: str
    data_dir: Path
    log_file: Path

    def create_account(self, name: str = "Test account") -> SandboxAccount:
        """Register an account and return its keys."""
        answer = httpx.post(f"{self.url}/_sandbox/api/accounts", json={"name": name}, timeout=10)
        answer.raise_for_status()
        body = answer.json()
        return SandboxAccount(**{field: body[field] for field in SandboxAccount.__dataclass_fields__})


def start_sandbox(data_dir: Path, *, port: int | None = None) -> tuple[Sandbox, subprocess.Popen[bytes]]:
    """Start a sandbox of one's own, checking everything that it sends against Stripe's schema."""
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    log_file = data_dir / "sandbox.log"
    with log_file.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", str(port), "--data", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, "SANDBOX_VALIDATE": "1"},
            start_new_session=True,
            preexec_fn=die_with_parent(15),
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + SANDBOX_START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/_sandbox/health", timeout=5).raise_for_status()
            return Sandbox(url, data_dir, log_file), process
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                tail = log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the sandbox did not start:\n{tail}") from error
            time.sleep(0.1)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of this run, standing in for Stripe at settings.STRIPE_API_BASE."""
    import psutil
    from django.conf import settings

    running, process = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    before = settings.STRIPE_API_BASE
    settings.STRIPE_API_BASE = running.url
    try:
        yield running
        _assert_only_valid_shapes(running)
    finally:
        settings.STRIPE_API_BASE = before
        stop_process(psutil.Process(process.pid))


def _assert_only_valid_shapes(running: Sandbox) -> None:
    """Fail the run when the stand-in sent anything that Stripe's published shapes do not allow: green tests over
    a wrong stand-in prove nothing."""
    report = httpx.get(f"{running.url}/_sandbox/api/violations", timeout=10).json()
    assert report["enabled"] is True
    assert report["data"] == [], f"{len(report['data'])} answers or events of the sandbox have a wrong shape"
