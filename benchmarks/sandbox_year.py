"""A year of monthly subscribers in the sandbox, by test clocks: python -m benchmarks.sandbox_year [--subscribers 200].

Starts a sandbox of its own on a free port with an empty state, and prints how long the year took. A clock holds three
customers and advances two months at once, as at Stripe. Every twentieth card is declined in July and replaced a week
later.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx

PER_CLOCK = 3
PRICE = 1500
START = datetime(2027, 1, 1, tzinfo=UTC)
# Two months at a time, then the hour in which the last renewal is a draft.
STOPS = [(2027, 3), (2027, 5), (2027, 7), (2027, 9), (2027, 11), (2028, 1)]
HOUR_AND_MORE = 3601
DAY = 24 * 3600
DECLINED_EVERY = 20


class Account:
    """One account of the sandbox, spoken to in plain HTTP."""

    def __init__(self, url: str) -> None:
        keys = httpx.post(f"{url}/_sandbox/api/accounts", json={"name": "Benchmark"}).json()
        self.url = url
        self.account_id: str = keys["account_id"]
        self.http = httpx.Client(base_url=url, auth=(keys["test_secret_key"], ""), timeout=120)

    def call(self, method: str, path: str, **form: Any) -> Any:
        """Call Stripe's API; a refusal ends the run."""
        fields: dict[str, Any] = {"data" if method == "POST" else "params": form}
        answer = self.http.request(method, f"/v1/{path}", **fields)
        answer.raise_for_status()
        return answer.json()

    def everything(self, path: str, **query: Any) -> list[Any]:
        """Read all pages of a list."""
        found: list[Any] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = self.call("GET", path, limit=100, **query, **after)
            found += page["data"]
            if not page["has_more"]:
                return found


def subscribe(account: Account, count: int) -> tuple[list[str], list[Any]]:
    """Make the clocks and their subscribers; gives both."""
    product = account.call("POST", "products", name="Maker")["id"]
    price = account.call(
        "POST", "prices", product=product, currency="usd", unit_amount=PRICE, **{"recurring[interval]": "month"}
    )["id"]
    clocks: list[str] = []
    subscriptions = []
    for number in range(count):
        if number % PER_CLOCK == 0:
            clocks.append(account.call("POST", "test_helpers/test_clocks", frozen_time=int(START.timestamp()))["id"])
        customer = account.call("POST", "customers", test_clock=clocks[-1], payment_method="pm_card_visa")["id"]
        card = account.call("GET", "payment_methods", customer=customer, type="card")["data"][0]["id"]
        wanted = {"customer": customer, "items[0][price]": price, "default_payment_method": card}
        subscriptions.append(account.call("POST", "subscriptions", **wanted))
    return clocks, subscriptions


def advance(account: Account, clocks: list[str], to: int) -> None:
    """Advance all clocks and wait until the last is ready."""
    for clock in clocks:
        account.call("POST", f"test_helpers/test_clocks/{clock}/advance", frozen_time=to)
    for clock in clocks:
        while (status := account.call("GET", f"test_helpers/test_clocks/{clock}")["status"]) == "advancing":
            time.sleep(0.02)
        assert status == "ready", f"{clock} is {status}"


def use_card(account: Account, subscription: Any, card: str) -> None:
    """Give a subscription another card."""
    method = account.call("POST", f"payment_methods/{card}/attach", customer=subscription["customer"])["id"]
    account.call("POST", f"subscriptions/{subscription['id']}", default_payment_method=method)


def run_year(account: Account, clocks: list[str], subscriptions: list[Any]) -> None:
    """Let a year pass, with its declines and recoveries."""
    unlucky = subscriptions[::DECLINED_EVERY]
    for place, (year, month) in enumerate(STOPS):
        if place == 3:
            for subscription in unlucky:
                use_card(account, subscription, "pm_card_chargeCustomerFail")
        to = int(datetime(year, month, 1, tzinfo=UTC).timestamp())
        if place == 3:
            # The July renewal fails; a new card is there within the two weeks of retries.
            advance(account, clocks, to - 55 * DAY)
            for subscription in unlucky:
                use_card(account, subscription, "pm_card_mastercard")
        advance(account, clocks, to)
    advance(account, clocks, to + HOUR_AND_MORE)


def check(account: Account, subscriptions: list[Any]) -> Counter[str]:
    """See that nothing is missing: thirteen paid invoices each, and everyone active."""
    events = Counter(event["type"] for event in account.everything("events"))
    for subscription in subscriptions:
        assert account.call("GET", f"subscriptions/{subscription['id']}")["status"] == "active"
        invoices = account.everything("invoices", subscription=subscription["id"])
        assert [invoice["amount_paid"] for invoice in invoices] == [PRICE] * 13, subscription["id"]
    return events


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=200)
    count = parser.parse_args().subscribers
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "sandbox", "--port", "0", "--data", directory, "--reset"]
        environment = {**os.environ, "SANDBOX_VALIDATE": "0"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert process.stdout is not None
            account = Account(process.stdout.readline().split()[-1])
            began = time.monotonic()
            clocks, subscriptions = subscribe(account, count)
            subscribed = time.monotonic()
            run_year(account, clocks, subscriptions)
            done = time.monotonic()
            events = check(account, subscriptions)
        finally:
            process.terminate()
            process.wait(timeout=20)
    print(f"{count} subscribers on {len(clocks)} clocks, {os.cpu_count()} cores")
    print(f"subscribing {subscribed - began:.1f} s, the year {done - subscribed:.1f} s, together {done - began:.1f} s")
    print(f"{events.total()} events, {events['invoice.paid']} invoices paid, {events['charge.failed']} charges failed")


if __name__ == "__main__":
    main()
