"""The official SDKs for Node and Python live the same life against the sandbox, and the amounts are those worked out here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.conftest import Sandbox, SandboxAccount
from tests.node_runtime import NODE_DIRECTORY
from tests.sandbox.sdk_life import PythonLife

SECONDS_MAX = 90

# 10.00 a month; in the middle of a month to 25.00: half of the old price comes back, half of the new one is due, so
# -5.00 + 12.50 = 7.50. Half of that, 3.75, is refunded; 3.76 more would be more than is left.
BOUGHT: dict[str, Any] = {
    "status": "active", "price": 1000, "reason": "subscription_create", "invoice": "paid", "total": 1000, "paid": 1000,
    "lines": [1000],
}  # fmt: skip
RENEWED = BOUGHT | {"reason": "subscription_cycle"}
UPGRADED: dict[str, Any] = {
    "status": "active", "price": 2500, "reason": "subscription_update", "invoice": "paid", "total": 750, "paid": 750,
    "lines": [-500, 1250],
}  # fmt: skip
STEPS = [
    {"step": "bought", **BOUGHT},
    *({"step": f"renewed {period}", **RENEWED} for period in (1, 2, 3)),
    {"step": "failed", **RENEWED, "status": "past_due", "invoice": "open", "paid": 0},
    {"step": "recovered", **RENEWED},
    {"step": "upgraded", **UPGRADED},
    {"step": "canceled", **UPGRADED, "status": "canceled"},
]
# Five months at 10.00 and the upgrade.
MONEY = {"paid": 5 * 1000 + 750, "refunded": 375, "declined": 1}
EXPECTED_TYPES = {
    "charge.failed",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.completed",
    "customer.created",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "refund.created",
    "test_helpers.test_clock.advancing",
    "test_helpers.test_clock.ready",
}


def check(lived: dict[str, Any]) -> None:
    """Compare a life with what was worked out by hand."""
    for expected, seen in zip(STEPS, lived["steps"], strict=True):
        assert {**seen, "lines": sorted(seen["lines"])} == expected
    assert lived["money"] == MONEY
    assert lived["too_much"] == ["StripeInvalidRequestError", 400]
    assert set(lived["types"]) >= EXPECTED_TYPES


@pytest.mark.timeout(240)
def test_stripe_python_lives_a_whole_life(client: stripe.StripeClient) -> None:
    check(PythonLife(client).run())


@pytest.mark.node
@pytest.mark.timeout(400)
def test_stripe_node_lives_a_whole_life(sandbox: Sandbox, account: SandboxAccount, node: Path) -> None:
    environment = {"SANDBOX_URL": sandbox.url, "STRIPE_SECRET_KEY": account.test_secret_key, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [str(node), "life.mjs"],
        cwd=NODE_DIRECTORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check(json.loads(done.stdout))
