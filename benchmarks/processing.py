"""What processing an event costs: python -m benchmarks.processing (BENCH_ROWS=1000000).

Statements and milliseconds of a status change and of a renewal, besides the mirror, with small tables and after BENCH_ROWS
processed events and BENCH_ROWS payments came; the reads at Stripe that a burst of fifty events takes; and what it costs to find
the next events.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx

from benchmarks.harness import ROWS, milliseconds, running_sandbox, running_stores, table
from benchmarks.reads import seed

MIRROR_BEGINS = "payments_synclease SET until"
BOOKKEEPING = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


class Counter:
    """Counts the statements of a stretch of work up to the mirror's."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self._mirror = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = str(sql)
        self._mirror = self._mirror or MIRROR_BEGINS in text.replace('"', "")
        if not self._mirror and not text.startswith(BOOKKEEPING):
            self.statements.append(text)
        return execute(sql, params, many, context)


class Account:
    """A project wired to an account of the sandbox, with one subscriber."""

    def __init__(self, url: str) -> None:
        from payments.services.stripe_config import put_stripe_config
        from projects.models import Project

        keys = httpx.post(f"{url}/_sandbox/api/accounts", json={"name": "Benchmark"}).json()
        self.url, self.account_id = url, keys["account_id"]
        self.http = httpx.Client(base_url=url, auth=(keys["test_secret_key"], ""), timeout=60)
        self.project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
        put_stripe_config(project=self.project, changes={"test_secret_key": keys["test_secret_key"]})
        product = self.call("POST", "products", name="Maker")["id"]
        recurring = {"recurring[interval]": "month"}
        price = self.call("POST", "prices", product=product, currency="usd", unit_amount=1500, **recurring)["id"]
        customer = self.call("POST", "customers", payment_method="pm_card_visa")["id"]
        card = self.call("GET", "payment_methods", customer=customer, type="card")["data"][0]["id"]
        wanted = {"customer": customer, "items[0][price]": price, "default_payment_method": card}
        self.subscription = self.call("POST", "subscriptions", **wanted)
        self._seen: set[str] = set()

    def call(self, method: str, path: str, **form: Any) -> Any:
        """Call Stripe's API; a refusal ends the run."""
        fields: dict[str, Any] = {"data" if method == "POST" else "params": form}
        answer = self.http.request(method, f"/v1/{path}", **fields)
        answer.raise_for_status()
        return answer.json()

    def renew(self) -> None:
        """Let the next period begin and be paid."""
        path = f"{self.url}/_sandbox/api/subscriptions/{self.subscription['id']}/renew"
        httpx.post(path, json={"account_id": self.account_id, "outcome": "paid"}, timeout=60).raise_for_status()

    def take_events(self, only: str = "") -> None:
        """Store what the account has had to say since the last call, as its deliveries would."""
        import json

        from payments.event_body import read_event_body
        from payments.services.inbox import store_event

        events = self.call("GET", "events", limit=100)["data"]
        for event in reversed(events):
            if event["id"] not in self._seen:
                self._seen.add(event["id"])
                if not only or event["type"] == only:
                    store_event(
                        project_id=self.project.pk, mode="test", event=read_event_body(json.dumps(event).encode())
                    )

    def reads(self) -> int:
        """Return how often the subscription was read."""
        answer = httpx.get(f"{self.url}/_sandbox/api/requests", params={"account_id": self.account_id}).json()["data"]
        path = f"/v1/subscriptions/{self.subscription['id']}"
        return sum(1 for entry in answer if entry["path"] == path and entry["method"] == "GET")


def processed() -> tuple[int, float]:
    """Process what is due; return the statements besides the mirror, and the milliseconds with everything."""
    from django.db import connection

    from payments.services.inbox import lease_due_groups
    from payments.services.processing import process_group
    from payments.webhooks import HANDLERS

    counted, began = 0, time.perf_counter()
    while groups := lease_due_groups(limit=8):
        for group in groups:
            counter = Counter()
            watching: AbstractContextManager[Any] = connection.execute_wrapper(counter)
            with watching:
                process_group(group, HANDLERS)
            counted += len(counter.statements)
    return counted, (time.perf_counter() - began) * 1000


def measure(account: Account) -> dict[str, tuple[int, float]]:
    """Let a status change and a renewal happen and process them."""
    account.take_events()
    processed()
    account.call("POST", f"subscriptions/{account.subscription['id']}", cancel_at_period_end="true")
    account.take_events("customer.subscription.updated")
    change = processed()
    account.call("POST", f"subscriptions/{account.subscription['id']}", cancel_at_period_end="false")
    account.take_events()
    processed()
    account.renew()
    account.take_events()
    return {"status change": change, "renewal": processed()}


def burst(account: Account, events: int = 50) -> int:
    """Store many events about one subscription at once; return how often it was read for them."""
    import json

    from payments.event_body import read_event_body
    from payments.services.inbox import store_event

    before = account.reads()
    found = {"id": account.subscription["id"], "object": "subscription", "customer": account.subscription["customer"]}
    for _ in range(events):
        event = {
            "id": f"evt_{uuid.uuid4().hex}", "object": "event", "created": int(time.time()), "livemode": False,
            "type": "customer.subscription.updated",
            "data": {"object": found},
        }  # fmt: skip
        store_event(project_id=account.project.pk, mode="test", event=read_event_body(json.dumps(event).encode()))
    processed()
    return account.reads() - before


def seed_events(project_id: Any, rows: int) -> None:
    """Write processed events, as years of deliveries leave them."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_webhookevent (id, project_id, mode, event_id, type, api_version, stripe_account_id, object_id,
                root, payload, status, attempts, error, wait_reason, received_at, handled_at)
            SELECT gen_random_uuid(), %s, 'test', 'evt_old_' || n, 'invoice.paid', '', '', 'in_' || n, 'cus_' || n %% 1000, '{}',
                'processed', 0, '', '', now() - n * interval '1 second', now() FROM generate_series(1, %s) n
            """,
            [project_id, rows],
        )
        cursor.execute("VACUUM ANALYZE payments_webhookevent")


def main() -> None:
    """Measure before and after the rows came, and print."""
    with running_stores(DATABASE_POOL="false") as directory, running_sandbox(directory) as url:
        from django.conf import settings

        from payments.services.inbox import lease_due_groups

        settings.STRIPE_API_BASE = url
        account = Account(url)
        small = measure(account)
        idle_small = milliseconds(lambda: lease_due_groups(limit=8))
        read = burst(account)
        seed(account.project.pk, ROWS, ROWS)
        seed_events(account.project.pk, ROWS)
        large = measure(account)
        idle_large = milliseconds(lambda: lease_due_groups(limit=8))
    rows: list[list[Any]] = [
        [name, small[name][0], large[name][0], small[name][1], large[name][1], large[name][1] / small[name][1]]
        for name in small
    ]
    rows.append(["looking for due events", 2, 2, idle_small, idle_large, idle_large / idle_small])
    print(table(["what", "statements", f"at {ROWS:,} rows", "ms", f"ms at {ROWS:,} rows", "ratio"], rows))
    print(f"\nReads of the subscription for a burst of 50 events: {read}")


if __name__ == "__main__":
    main()
