"""Every object and event of a wide scripted run has the shape that Stripe publishes for the pinned version."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

import sandbox as package
from sandbox import API_VERSION, schema
from sandbox.resources import all_routes
from tests.conftest import Sandbox
from tests.sandbox.contract_run import everything
from tests.sandbox.stripe_api import CARD, Api

OBJECTS = {
    "account",
    "balance",
    "billing.meter",
    "billing.meter_event",
    "billing.meter_event_adjustment",
    "billing.meter_event_summary",
    "billing_portal.configuration",
    "billing_portal.session",
    "charge",
    "checkout.session",
    "coupon",
    "customer",
    "customer_balance_transaction",
    "discount",
    "dispute",
    "event",
    "invoice",
    "invoice_payment",
    "item",
    "line_item",
    "list",
    "payment_intent",
    "payment_method",
    "price",
    "product",
    "promotion_code",
    "radar.early_fraud_warning",
    "refund",
    "setup_attempt",
    "setup_intent",
    "subscription",
    "subscription_item",
    "tax_id",
    "test_helpers.test_clock",
    "webhook_endpoint",
}

# Sent by the real Stripe of this version though its library does not declare them: recorded (plan, quantity,
# current_trial, billing_cycle_anchor of trial_settings) or long known (total_count of embedded lists).
UNDECLARED = {"plan", "quantity", "current_trial", "billing_cycle_anchor", "total_count"}


INDEX = re.compile(r"\[\d+\]")


@dataclass
class Run:
    """What a run of everything answered and emitted."""

    api: Api
    events: list[dict[str, Any]]
    report: dict[str, Any]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Find every API object inside a value."""
    if isinstance(value, dict):
        if isinstance(value.get("object"), str):
            yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


@pytest.fixture(scope="module")
def run(sandbox: Sandbox) -> Run:
    api = Api(sandbox.url, sandbox.create_account("Contract").test_secret_key, lenient=True)
    everything(api)
    events = api.all_events()
    api.get(f"/v1/events/{events[0]['id']}")
    report: dict[str, Any] = httpx.get(f"{sandbox.url}/_sandbox/api/violations").json()
    return Run(api, events, report)


def judge(problems: list[schema.Problem]) -> tuple[list[str], set[str]]:
    """Give what is wrong, and the warnings in short; a field that nobody knows Stripe to send is wrong here."""
    wrong = [str(problem) for problem in schema.errors_of(problems)]
    warnings = set()
    for problem in schema.warnings_of(problems):
        warnings.add(f"{re.sub(INDEX, '[]', problem.path)}: {problem.message}")
        if problem.path.rsplit(".", 1)[-1] not in UNDECLARED:
            wrong.append(str(problem))
    return wrong, warnings


def test_every_answer_had_its_operations_shape(run: Run) -> None:
    found, seen = {}, set()
    for where, body in run.api.answers:
        method, path = where.split(" ", 1)
        wrong, warnings = judge(schema.validate_answer(method, path, body))
        seen |= warnings
        if wrong:
            found[where] = wrong
    print("unknown fields and new values in answers:", *sorted(seen), sep="\n  ")
    assert found == {}


def test_every_event_had_its_types_shape(run: Run) -> None:
    found, seen = {}, set()
    for event in run.events:
        wrong, warnings = judge(schema.validate_event(event))
        seen |= warnings
        if wrong:
            found[event["type"]] = wrong
    print("unknown fields and new values in events:", *sorted(seen), sep="\n  ")
    assert found == {}


def test_the_run_used_every_route_and_met_every_kind_of_object(run: Run) -> None:
    kinds = {entry["object"] for _, body in run.api.answers for entry in walk(body)}
    assert kinds >= OBJECTS
    used = {re.sub(r"{\w+}", "{}", where) for where, _ in run.api.answers}
    assert {f"{method} {re.sub(r'{[a-zA-Z]+}', '{}', path)}" for method, path, _ in all_routes()} - used == set()


def test_the_run_saw_every_event_that_the_code_can_emit(run: Run) -> None:
    named = set()
    for file in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in schema.spec()["events"]:
                named.add(node.value)
    assert len(named) > 30
    assert named - {event["type"] for event in run.events} == set()


def test_the_run_saw_every_event_that_the_service_handles(run: Run) -> None:
    from payments.webhooks import HANDLERS

    seen = {event["type"] for event in run.events}
    assert [wanted for wanted in HANDLERS if wanted not in seen] == []


def test_no_subscription_anywhere_has_a_period_at_its_top(run: Run) -> None:
    bodies = [body for _, body in run.api.answers] + run.events
    subscriptions = [entry for body in bodies for entry in walk(body) if entry["object"] == "subscription"]
    assert len(subscriptions) > 10
    for subscription in subscriptions:
        assert not {"current_period_start", "current_period_end"} & set(subscription)
        for item in subscription["items"]["data"]:
            assert item["current_period_start"] <= item["current_period_end"]


def test_removed_fields_of_invoices_intents_and_charges_stay_away(run: Run) -> None:
    removed = {
        "invoice": {"subscription", "paid", "charge", "payment_intent", "payments"},
        "payment_intent": {"invoice"},
        "charge": {"invoice"},
    }
    for event in run.events:
        for entry in walk(event):
            assert not removed.get(entry["object"], set()) & set(entry), event["type"]


def test_events_carry_the_pinned_version_and_the_mode(run: Run) -> None:
    assert {event["api_version"] for event in run.events} == {API_VERSION}
    assert {event["livemode"] for event in run.events} == {False}


def test_the_sandbox_watched_itself_and_found_nothing(run: Run) -> None:
    assert run.report["enabled"] is True
    assert run.report["checked"] > 200
    assert run.report["data"] == []
    print(f"warnings of the sandbox's own check: {run.report['warnings']}")


def test_refusals_come_in_stripes_envelope(run: Run) -> None:
    api = run.api
    api.get("/v1/customers/cus_nope", expect=404)
    api.get("/v1/customers", expect=400, limit=0)
    api.get("/v1/customers", expect=400, starting_after="cus_nope")
    api.post("/v1/customers", expect=400, nonsense=1)
    api.post("/v1/prices", expect=400, currency="usd", unit_amount=5)
    api.post("/v1/subscriptions", expect=400, customer="cus_nope", items=[{"price": "price_nope"}])
    api.get("/v1/charges", expect=400, expand=["data.nonsense"])
    assert httpx.get(f"{api.url}/v1/nonsense", headers={"Authorization": f"Bearer {api.key}"}).status_code == 404
    wrong = Api(api.url, "sk_test_wrong")
    assert wrong.get("/v1/customers", expect=401)["error"]["type"] == "invalid_request_error"


def test_the_official_library_talks_to_the_sandbox(sandbox: Sandbox) -> None:
    account = sandbox.create_account("SDK")
    client = stripe.StripeClient(account.test_secret_key, base_addresses={"api": sandbox.url})
    product = client.v1.products.create({"name": "Maker"})
    price = client.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 1299, "recurring": {"interval": "month"}}
    )
    session = client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": price.id, "quantity": 1}],
            "success_url": "https://shop.example/{CHECKOUT_SESSION_ID}",
            "metadata": {"user": "1"},
            "expand": ["line_items"],
        }
    )
    assert session.line_items is not None and session.line_items.data[0].amount_total == 1299
    assert httpx.post(str(session.url), data=CARD).status_code == 303
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert isinstance(done.subscription, stripe.Subscription) and done.subscription.status == "active"
    types = [event.type for event in client.v1.events.list({"limit": 100}).auto_paging_iter()]
    assert "checkout.session.completed" in types
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.customers.retrieve("cus_nope")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
