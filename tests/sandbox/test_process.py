"""The process: says when it is ready, keeps its state over restarts and kills, stops quickly."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.sandbox.stripe_api import Api

Start = Callable[..., tuple[str, "subprocess.Popen[str]"]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a sandbox on a free port over the test's own directory."""
    running: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> tuple[str, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", "0", "--data", str(tmp_path / "data"), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("SANDBOX READY http://127.0.0.1:")
        return line.split()[-1], process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def new_key(url: str) -> str:
    key: str = httpx.post(f"{url}/_sandbox/api/accounts", json={"name": "Acme"}).json()["test_secret_key"]
    return key


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_state_survives_a_restart(start: Start, how: signal.Signals) -> None:
    url, process = start()
    key = new_key(url)
    customer = Api(url, key).post("/v1/customers", name="Dana")
    kept = Api(url, key).call("POST", "/v1/products", headers={"Idempotency-Key": "k"}, name="Pro")
    process.send_signal(how)
    process.wait(5)
    url, _ = start()
    again = Api(url, key)
    assert again.get(f"/v1/customers/{customer['id']}") == customer
    assert again.call("POST", "/v1/products", headers={"Idempotency-Key": "k"}, name="Pro") == kept
    assert len(again.all_events()) == 2


def test_reset_begins_anew(start: Start) -> None:
    url, process = start()
    key = new_key(url)
    process.terminate()
    process.wait(5)
    url, _ = start("--reset")
    assert httpx.get(f"{url}/v1/account", auth=(key, "")).status_code == 401


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_also_with_requests_that_hang(start: Start, how: signal.Signals) -> None:
    url, process = start()
    headers = {"Authorization": f"Bearer {new_key(url)}"}
    fault = {"match": "GET /v1/*", "do": "hang", "seconds": 60}
    httpx.post(f"{url}/_sandbox/api/faults", json=fault).raise_for_status()

    def hang() -> None:
        try:
            httpx.get(f"{url}/v1/customers", headers=headers, timeout=30)
        except httpx.TransportError:
            pass

    thread = threading.Thread(target=hang)
    thread.start()
    time.sleep(0.3)
    process.send_signal(how)
    # The request hangs for a minute: whoever waits for it is much later than a busy machine.
    assert process.wait(15) == 0
    thread.join(5)


def test_health_is_answered(start: Start) -> None:
    url, _ = start()
    assert httpx.get(f"{url}/_sandbox/health").json() == {"status": "ok"}
