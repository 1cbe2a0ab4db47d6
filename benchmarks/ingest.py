"""How fast deliveries are acknowledged: python -m benchmarks.ingest [--seconds 8] [--rounds 3].

In turns on one machine and one PostgreSQL, eight connections each: our webhook endpoint, a bare WSGI application on the same server
that does the same insert and commit, and psycopg alone. Every delivery is signed beforehand and has an id of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import multiprocessing
import statistics
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.harness import running, running_stores, table

CONNECTIONS = 8
SECRET = "whsec_" + "benchmark" * 3
FLOOR, OURS, RAW = "bare WSGI", "webhook endpoint", "psycopg alone"


def event_body(number: int) -> bytes:
    """Make a delivery of a usual size (about 4 kB)."""
    found = {
        "id": "sub_bench",
        "object": "subscription",
        "customer": f"cus_{number % 997}",
        "metadata": {"filling": "x" * 3500},
    }
    event = {
        "id": f"evt_{uuid.uuid4().hex}", "object": "event", "api_version": "2026-08-26.dahlia", "created": int(time.time()),
        "data": {"object": found}, "livemode": False, "pending_webhooks": 1, "request": None,
        "type": "customer.subscription.updated",
    }  # fmt: skip
    return json.dumps(event).encode()


def signed(body: bytes) -> dict[str, str]:
    """Sign a body as Stripe does."""
    now = int(time.time())
    digest = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "Stripe-Signature": f"t={now},v1={digest}"}


def send_for(port: int, path: str, seconds: float, counts: Any) -> None:
    """Send over one kept connection until the time is up; only answers of 200 count."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    prepared = [event_body(number) for number in range(4000)]
    requests = [(body, signed(body)) for body in prepared]
    began, done = time.perf_counter(), 0
    for body, headers in requests:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"answer {answer.status}")
        done += 1
        if time.perf_counter() - began > seconds:
            break
    counts.put(done / (time.perf_counter() - began))


def insert_for(url: str, project: str, seconds: float, counts: Any) -> None:
    """Insert and commit with psycopg until the time is up."""
    import psycopg

    from benchmarks.bare_wsgi import INSERT

    prepared = [event_body(number).decode() for number in range(4000)]
    with psycopg.connect(url, autocommit=True) as connection:
        began, done = time.perf_counter(), 0
        for body in prepared:
            connection.execute(INSERT, [uuid.uuid4(), project, uuid.uuid4().hex, "cus_bench", body])
            done += 1
            if time.perf_counter() - began > seconds:
                break
        counts.put(done / (time.perf_counter() - began))


def in_parallel(target: Any, *arguments: Any) -> float:
    """Return the sum of what CONNECTIONS processes did per second."""
    context = multiprocessing.get_context("spawn")
    counts = context.Queue()
    senders = [context.Process(target=target, args=(*arguments, counts)) for _ in range(CONNECTIONS)]
    for sender in senders:
        sender.start()
    rates = [counts.get(timeout=120) for _ in senders]
    for sender in senders:
        sender.join(30)
    return sum(rates)


def measure(directory: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Run all three in turns and return their rates."""
    import os

    from config.embedded import free_port
    from config.run import web_arguments
    from payments.models import StripeConfig, StripeCredentials, WebhookEvent
    from projects.models import Project

    project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
    config = StripeConfig.objects.create(project=project)
    row = StripeCredentials(config=config, project=project, mode="test")
    row.set_secret("webhook_secret", SECRET)
    row.save()
    ours_port, floor_port = free_port(), free_port()
    ours = web_arguments(ours_port)
    floor = [*web_arguments(floor_port)[:-1], "benchmarks.bare_wsgi:application"]
    path = f"/api/v1/payments/stripe/webhooks/{project.pk}/test"
    rates: dict[str, list[float]] = {FLOOR: [], OURS: [], RAW: []}
    with (
        running(ours, ready=f"http://127.0.0.1:{ours_port}/healthz", log_file=directory / "ours.log"),
        running(
            floor,
            ready=f"http://127.0.0.1:{floor_port}/",
            log_file=directory / "floor.log",
            BENCH_PROJECT=str(project.pk),
        ),
    ):
        in_parallel(send_for, ours_port, path, 1.0)
        in_parallel(send_for, floor_port, "/", 1.0)
        for _ in range(rounds):
            rates[FLOOR].append(in_parallel(send_for, floor_port, "/", seconds))
            rates[OURS].append(in_parallel(send_for, ours_port, path, seconds))
            rates[RAW].append(in_parallel(insert_for, os.environ["DATABASE_URL"], str(project.pk), seconds))
    stored = WebhookEvent.objects.for_project(project).filter(event_id__startswith="evt_").count()
    if not stored:
        raise RuntimeError("nothing was stored")
    return rates


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    with running_stores() as directory:
        rates = measure(directory, given.seconds, given.rounds)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    rows = [[name, medians[name], medians[name] / medians[FLOOR], medians[name] / medians[RAW]] for name in rates]
    print(table(["what", "per second", f"ratio to {FLOOR}", f"ratio to {RAW}"], rows))


if __name__ == "__main__":
    main()
