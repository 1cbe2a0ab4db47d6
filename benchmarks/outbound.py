"""What a dead endpoint costs the others: python -m benchmarks.outbound (BENCH_EVENTS=200 BENCH_QUEUED=10000).

One worker's rounds deliver the events of one project, one every 25 ms, from the moment when an event is recorded to the moment when
the app has it: first alone, then beside another project whose endpoint hangs until the time-out and has thousands of them waiting.
The two are taken in turns; the figure is the ratio of their 95th percentiles.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.harness import running_stores, table

EVENTS = int(os.environ.get("BENCH_EVENTS", "200"))
QUEUED = int(os.environ.get("BENCH_QUEUED", "10000"))
ROUNDS = 3
EVERY_SECONDS = 0.025
ARRIVED: dict[str, float] = {}


class App(BaseHTTPRequestHandler):
    """Notes when an event came; the other path never answers in time."""

    def do_POST(self) -> None:
        """Answer, or hang."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/dead":
            time.sleep(60)
            return
        ARRIVED[event["data"]["key"]] = time.perf_counter()
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def project_with(url: str) -> Any:
    """Make a project with one endpoint."""
    from notifications.services.endpoints import create_endpoint
    from projects.models import Project

    project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
    create_endpoint(project=project, mode="test", fields={"url": url})
    return project


def record(project: Any, key: str) -> None:
    """Record one event."""
    from django.db import transaction

    from notifications.services.outbox import record_effect

    payload = {"type": "payment.succeeded", "data": {"key": key}}
    with transaction.atomic():
        record_effect(project_id=project.pk, mode="test", kind="app_event", effect_key=f"app:{key}", payload=payload)


def pile_up(project: Any) -> None:
    """Let events wait for the project's endpoint."""
    from django.db import transaction

    from notifications.models import OutboxRow
    from notifications.services.deliveries import fan_out

    with transaction.atomic():
        for _ in range(QUEUED):
            record(project, uuid.uuid4().hex)
        rows = OutboxRow.objects.for_project(project)
        for row in rows:
            fan_out(row)
        rows.update(status="done")


def worker(stop: threading.Event) -> list[threading.Thread]:
    """Run the two rounds as a worker does, without its pause between them."""
    from notifications.tasks import run_outbox, run_webhooks

    def repeat(round_of: Any) -> None:
        while not stop.is_set():
            round_of()
            stop.wait(0.05)

    threads = [threading.Thread(target=repeat, args=(one,), daemon=True) for one in (run_outbox, run_webhooks)]
    for thread in threads:
        thread.start()
    return threads


def delays(project: Any) -> list[float]:
    """Return milliseconds from recording to arriving, of EVENTS events."""
    sent = {}
    for _ in range(EVENTS):
        key = uuid.uuid4().hex
        sent[key] = time.perf_counter()
        record(project, key)
        time.sleep(EVERY_SECONDS)
    deadline = time.monotonic() + 120
    while not sent.keys() <= ARRIVED.keys():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(sent.keys() - ARRIVED.keys())} events did not arrive within two minutes")
        time.sleep(0.05)
    return [(ARRIVED[key] - at) * 1000 for key, at in sent.items()]


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def measure() -> list[list[Any]]:
    """Take turns: alone, beside the dead endpoint."""
    from django.db.models.functions import Now

    from notifications.models import WebhookDelivery, WebhookEndpoint

    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    alive, dead = project_with(f"{base}/alive"), project_with(f"{base}/dead")
    pile_up(dead)
    endpoints = WebhookEndpoint.objects.for_project(dead)
    stop = threading.Event()
    endpoints.update(disabled_at=Now(), disabled_reason="switched_off")
    threads = worker(stop)
    found: dict[str, list[float]] = {"alone": [], "beside it": []}
    for _ in range(ROUNDS):
        endpoints.update(disabled_at=Now(), disabled_reason="switched_off")
        found["alone"] += delays(alive)
        # As hard as it can be: not yet known to be dead.
        endpoints.update(disabled_at=None, disabled_reason="", failures_in_row=0, held_until=None)
        found["beside it"] += delays(alive)
    # What hangs ends by its time-out, and the rounds with it.
    endpoints.update(disabled_at=Now(), disabled_reason="switched_off")
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
    waiting = WebhookDelivery.objects.for_project(dead).unfinished().count()
    rows = [[name, f"{statistics.median(ms):.0f}", f"{p95(ms):.0f}", f"{max(ms):.0f}"] for name, ms in found.items()]
    rows.append(["ratio of p95", "", f"{p95(found['beside it']) / p95(found['alone']):.2f}", f"{waiting} wait"])
    return rows


def main() -> None:
    """Print the figures."""
    with running_stores(WEBHOOK_ALLOWED_HOSTS="127.0.0.1"):
        print(table([f"{EVENTS * ROUNDS} events", "median ms", "p95 ms", "slowest ms"], measure()))


if __name__ == "__main__":
    main()
