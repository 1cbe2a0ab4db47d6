"""What every benchmark stands on: a PostgreSQL and Valkey of its own with the settings of production, and honest timing.

A figure is a ratio to a floor that is measured in the same run, in turns with it, so that a busy machine slows both.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from config.embedded import die_with_parent, free_port, start_postgres, start_redis, stop_process
from config.runtime_env import ROOT, generated_keys

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))


@contextmanager
def running_stores(**environment: str) -> Iterator[Path]:
    """Start PostgreSQL (durable, as shipped) and Valkey in a fresh directory, load Django on them and migrate."""
    directory = Path(tempfile.mkdtemp(prefix="payments-bench-"))
    servers = [start_postgres(directory / "postgres", database="payments"), start_redis(directory / "redis")]
    os.environ.update(generated_keys(directory))
    os.environ.update(
        {
            "VAR_DIR": str(directory),
            "DATABASE_URL": servers[0].url,
            "REDIS_URL": servers[1].url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DEMO": "false",
            "PUBLIC_BASE_URL": "http://127.0.0.1",
            "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
            "LOG_LEVEL": "ERROR",
            "STRIPE_API_BASE": "http://127.0.0.1:9",
            **environment,
        }
    )
    try:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        yield directory
    finally:
        from django.db import connections

        connections.close_all()
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running(arguments: list[str], *, ready: str, log_file: Path, **environment: str) -> Iterator[None]:
    """Run a Python process until its address answers, and stop it at the end."""
    import psutil

    with log_file.open("ab") as sink:
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
            stdout=sink, stderr=sink, start_new_session=True, preexec_fn=die_with_parent(15),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(ready, timeout=5)
                break
            except httpx.HTTPError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log_file.read_text(errors="replace")[-2000:]) from None
                time.sleep(0.1)
        yield
    finally:
        stop_process(psutil.Process(child.pid))


@contextmanager
def running_sandbox(directory: Path) -> Iterator[str]:
    """Run a Stripe of one's own and return its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["-m", "sandbox", "--port", str(port), "--data", str(directory / "sandbox")]
    with running(arguments, ready=f"{url}/_sandbox/health", log_file=directory / "sandbox.log"):
        yield url


def milliseconds(work: Callable[[], Any], *, times: int = 200, warm: int = 20) -> float:
    """Return the median duration of a call."""
    for _ in range(warm):
        work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def plan_of(sql: str, values: Any) -> str:
    """Return how PostgreSQL carries out a statement, with the buffers that it touched."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


def table(headings: list[str], rows: list[list[Any]]) -> str:
    """Draw a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += [
        "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |"
        for row in rows
    ]
    return "\n".join(lines)
