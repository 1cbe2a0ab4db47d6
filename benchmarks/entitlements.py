"""What the look-up of entitlements costs as its tables grow: python -m benchmarks.entitlements (BENCH_ROWS=1000000).

The same query for random users of one project at 1,000, 100,000 and BENCH_ROWS users, each with an entitlement, a wallet with two
lots and a token period; with how PostgreSQL carries it out and the buffers that it touches. The floor is the smallest size.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
from typing import Any

from benchmarks.harness import ROWS, milliseconds, plan_of, running_stores, table

SIZES = sorted({1_000, min(100_000, ROWS), ROWS})
CHUNK = 20_000


def copy_rows(statement: str, rows: Any) -> None:
    """Write rows by COPY."""
    from django.db import connection

    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def seed(project_id: uuid.UUID, plan_id: uuid.UUID, first: int, beyond: int) -> None:
    """Write users with everything that the look-up reads."""
    now = dt.datetime.now(dt.UTC)
    begin = now - dt.timedelta(days=10)
    for at in range(first, beyond, CHUNK):
        users = [(uuid.uuid4(), uuid.uuid4(), number) for number in range(at, min(at + CHUNK, beyond))]
        copy_rows(
            "COPY projects_enduser (id, project_id, external_id, is_active, created_at) FROM STDIN",
            ((user, project_id, f"user-{number}", True, now) for user, _, number in users),
        )
        copy_rows(
            "COPY entitlements_entitlement (id, project_id, mode, end_user_id, plan_id, subscription_id, status, quantity, active,"
            " period_start, period_end, granted_period_start, epoch, changed_at, created_at) FROM STDIN",
            (
                (uuid.uuid4(), project_id, "test", user, plan_id, f"sub_{number}", "active", 1, True, begin,
                 begin + dt.timedelta(days=30), begin, 0, now, now)
                for user, _, number in users
            ),
        )  # fmt: skip
        copy_rows(
            "COPY entitlements_tokenperiod (id, project_id, mode, end_user_id, key, subscription_id, limit_tokens, starts_at,"
            " created_at) FROM STDIN",
            (
                (uuid.uuid4(), project_id, "test", user, f"sub_{number}:{int(begin.timestamp())}", f"sub_{number}",
                 1_000_000, begin, now)
                for user, _, number in users
            ),
        )  # fmt: skip
        copy_rows(
            "COPY entitlements_creditwallet (id, project_id, mode, end_user_id, transactions_count, daily_granted, created_at)"
            " FROM STDIN",
            ((wallet, project_id, "test", user, 0, 0, now) for user, wallet, _ in users),
        )
        copy_rows(
            "COPY entitlements_creditaccount (id, project_id, mode, wallet_id, kind, lot, source, balance, entries_count,"
            " created_at) FROM STDIN",
            (
                (uuid.uuid4(), project_id, "test", wallet, kind, kind, "", 100, 0, now)
                for _, wallet, _ in users
                for kind in ("bonus", "purchased")
            ),
        )


def settle() -> None:
    """Bring the planner's figures up to what was written, and let nobody who looks up wait for what is still to be written."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "VACUUM ANALYZE projects_enduser, entitlements_entitlement, entitlements_tokenperiod, entitlements_creditwallet,"
            " entitlements_creditaccount"
        )
        cursor.execute("CHECKPOINT")


def main() -> None:
    """Measure at each size, and print."""
    with running_stores(DATABASE_POOL="false"):
        from entitlements.models import Plan
        from entitlements.services.entitled import entitled_sql, read_entitled
        from projects.models import Project

        project = Project.objects.create(name="Bench", slug="bench")
        plan = Plan.objects.create(
            project=project, code="maker", name="Maker", token_budget=1_000_000, credits_per_day=30
        )
        rng = random.Random(1)
        rows: list[list[Any]] = []
        plans: list[str] = []
        done = 0
        for size in SIZES:
            seed(project.pk, plan.pk, done, size)
            settle()
            done = size

            def look_up(users: int = size) -> None:
                found = read_entitled(project_id=project.pk, mode="test", user_id=f"user-{rng.randrange(users)}")
                if (found.tier, found.tokens.limit, found.credits.available) != ("maker", 1_000_000, 230):
                    raise RuntimeError(f"not what was written: {found}")

            rows.append([f"{size:,}", milliseconds(look_up)])
            sql, values = entitled_sql(
                project_id=project.pk, mode="test", end_user_id=None, user_id=f"user-{size // 2}", also=None,
                moment=dt.datetime.now(dt.UTC),
            )  # fmt: skip
            plans.append(f"{size:,} users:\n{plan_of(sql, values)}")
        print(table(["users", "ms a look-up", "ratio"], [[*row, row[1] / rows[0][1]] for row in rows]))
        print("\n" + "\n\n".join(plans))


if __name__ == "__main__":
    main()
