"""Every object and event of a wide scripted run has the shape that Stripe publishes for the pinned version."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import stripe

from sandbox import API_VERSION, schema
from tests.conftest import Sandbox
from tests.sandbox.stripe_api import CARD, Api, create_price, create_session, pay_on_page, subscribe

OBJECTS = {
    "account",
    "balance",
    "billing_portal.configuration",
    "billing_portal.session",
    "charge",
    "checkout.session",
    "customer",
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
    "refund",
    "subscription",
    "subscription_item",
    "webhook_endpoint",
}

EVENTS = {
    "charge.failed",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.attached",
    "price.created",
    "product.created",
    "product.updated",
    "refund.created",
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


def catalogue(api: Api) -> None:
    api.get("/v1/account")
    api.get("/v1/balance")
    product = api.post("/v1/products", name="Pro", description="For makers", metadata={"tier": "pro"}, active=True)
    api.post(f"/v1/products/{product['id']}", metadata={"tier": "", "rank": "2"}, name="Pro plan")
    price = create_price(api, 900, "year", product["id"])
    api.post(f"/v1/prices/{price['id']}", nickname="Yearly", metadata={"a": "b"}, lookup_key="pro_year")
    api.get(f"/v1/prices/{price['id']}", expand=["product"])
    api.get("/v1/prices", lookup_keys=["pro_year"], expand=["data.product"])
    api.get("/v1/products", ids=[product["id"]])
    spare = api.post("/v1/products", name="Spare")
    api.delete(f"/v1/products/{spare['id']}")


def one_time_payment(api: Api) -> None:
    session = create_session(
        api,
        create_price(api, 5000, interval=None)["id"],
        mode="payment",
        metadata={"type": "pack"},
        expand=["line_items"],
    )
    pay_on_page(session, cardNumber="4000000000009995")
    pay_on_page(session)
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["payment_intent.latest_charge", "customer"])
    api.get(f"/v1/checkout/sessions/{session['id']}/line_items")
    intent = done["payment_intent"]
    api.get(f"/v1/payment_intents/{intent['id']}")
    charge = intent["latest_charge"]["id"]
    api.post("/v1/refunds", payment_intent=intent["id"], amount=2000, reason="requested_by_customer")
    refund = api.post("/v1/refunds", charge=charge)
    api.get(f"/v1/refunds/{refund['id']}", expand=["charge"])
    api.get("/v1/refunds", charge=charge)
    api.get(f"/v1/charges/{charge}", expand=["refunds"])
    api.get("/v1/charges", payment_intent=intent["id"])


def subscription_life(api: Api) -> None:
    subscription = subscribe(api, metadata={"user": "1"}, subscription_data={"metadata": {"user": "1"}})
    path = f"/v1/subscriptions/{subscription['id']}"
    api.get(path, expand=["latest_invoice.payments", "customer", "default_payment_method", "items.data.price.product"])
    item = subscription["items"]["data"][0]
    bigger = create_price(api, 2499, "month", item["price"]["product"])
    change = {"items": [{"id": item["id"], "price": bigger["id"]}]}
    with contextlib.suppress(AssertionError):
        api.post("/v1/invoices/create_preview", subscription=subscription["id"], subscription_details=change)
    api.post(path, **change, proration_behavior="always_invoice")
    api.post(path, items=[{"id": item["id"], "quantity": 2}], proration_behavior="create_prorations")
    api.post(path, items=[{"id": item["id"], "quantity": 1}], proration_behavior="none", metadata={"user": "2"})
    api.post(path, cancel_at_period_end=True, cancellation_details={"comment": "too much"})
    api.post(path, cancel_at_period_end=False)
    api.get("/v1/subscriptions", customer=subscription["customer"], status="all")
    api.get("/v1/subscription_items", subscription=subscription["id"])
    invoices = api.get("/v1/invoices", customer=subscription["customer"], expand=["data.payments"])["data"]
    api.get(f"/v1/invoices/{invoices[-1]['id']}")
    api.get(f"/v1/invoices/{invoices[-1]['id']}/lines")
    api.get("/v1/invoice_payments", invoice=invoices[-1]["id"])
    portal(api, subscription)
    renewals(api, subscription)
    api.delete(path, cancellation_details={"feedback": "unused"})


def portal(api: Api, subscription: dict[str, Any]) -> None:
    session = api.post(
        "/v1/billing_portal/sessions", customer=subscription["customer"], return_url="https://shop.example"
    )
    configurations = api.get("/v1/billing_portal/configurations")["data"]
    api.get(f"/v1/billing_portal/configurations/{configurations[0]['id']}")
    httpx.post(f"{session['url']}/subscriptions/{subscription['id']}/cancel", data={"feedback": "other"})
    httpx.post(f"{session['url']}/subscriptions/{subscription['id']}/resume")
    httpx.post(f"{session['url']}/payment-method", data={**CARD, "cardNumber": "5555555555554444"})


def renewals(api: Api, subscription: dict[str, Any]) -> None:
    control = f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}"
    for action, body in (("renew", {}), ("renew", {"outcome": "declined"}), ("pause", {}), ("resume", {})):
        httpx.post(f"{control}/{action}", json=body, timeout=20)


def declines(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000000000000002")
    pay_on_page(session, cardNumber="4000002500003155")
    httpx.post(session["url"] + "/authenticate", data={"result": "fail"})
    api.post(f"/v1/checkout/sessions/{session['id']}/expire")
    api.get(f"/v1/checkout/sessions/{session['id']}")
    second = create_session(api, create_price(api)["id"], subscription_data={"trial_period_days": 3})
    pay_on_page(second, cardNumber="4000002500003155")
    httpx.post(second["url"] + "/authenticate", data={"result": "complete"})
    api.get("/v1/checkout/sessions", limit=1)
    api.get("/v1/payment_intents")


def customers(api: Api) -> None:
    customer = api.post(
        "/v1/customers", email="a@example.com", name="A", address={"country": "DE"}, metadata={"k": "v"}
    )
    path = f"/v1/customers/{customer['id']}"
    api.post(path, metadata={"k": ""}, phone="1", preferred_locales=["de"], shipping="")
    method = api.post("/v1/payment_methods/pm_card_visa/attach", customer=customer["id"])
    api.post(path, invoice_settings={"default_payment_method": method["id"]})
    api.get(f"{path}/payment_methods")
    api.get("/v1/payment_methods", customer=customer["id"], type="card")
    price = create_price(api)
    made = api.post(
        "/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], expand=["latest_invoice"]
    )
    api.get(f"/v1/subscriptions/{made['id']}")
    trial = api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], trial_period_days=7)
    api.delete(f"/v1/subscriptions/{trial['id']}", prorate=True, invoice_now=True)
    api.get("/v1/customers", email="a@example.com")
    api.delete(path)
    api.get(path)


def endpoints(api: Api) -> None:
    made = api.post(
        "/v1/webhook_endpoints",
        url="http://127.0.0.1:9/hook",
        enabled_events=["invoice.paid", "customer.created"],
        api_version=API_VERSION,
        metadata={"a": "b"},
    )
    path = f"/v1/webhook_endpoints/{made['id']}"
    api.post(path, enabled_events=["*"], disabled=True, description="Test")
    api.get(path)
    api.get("/v1/webhook_endpoints")
    api.delete(path)


@pytest.fixture(scope="module")
def run(sandbox: Sandbox) -> Run:
    api = Api(sandbox.url, sandbox.create_account("Contract").test_secret_key, lenient=True)
    for part in (endpoints, catalogue, customers, one_time_payment, subscription_life, declines):
        part(api)
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
        wrong, warnings = judge(schema.validate_answer(*where.split(" ", 1), body))
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


def test_the_run_was_wide(run: Run) -> None:
    kinds = {entry["object"] for _, body in run.api.answers for entry in walk(body)}
    assert kinds >= OBJECTS
    assert {event["type"] for event in run.events} >= EVENTS


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
