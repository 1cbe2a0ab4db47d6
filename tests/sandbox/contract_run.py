"""A run through everything that the sandbox can do, for the contract tests to judge."""

from __future__ import annotations

from typing import Any

import httpx

from sandbox import API_VERSION
from tests.sandbox.contract_money import money
from tests.sandbox.stripe_api import CARD, Api, create_price, create_session, pay_on_page, subscribe, until


def catalogue(api: Api) -> None:
    account = api.get("/v1/account")
    api.get(f"/v1/accounts/{account['id']}")
    api.get("/v1/balance")
    product = api.post("/v1/products", name="Pro", description="For makers", metadata={"tier": "pro"}, active=True)
    api.post(f"/v1/products/{product['id']}", metadata={"tier": "", "rank": "2"}, name="Pro plan")
    price = create_price(api, 900, "year", product["id"])
    api.post(f"/v1/prices/{price['id']}", nickname="Yearly", metadata={"a": "b"}, lookup_key="pro_year")
    api.get(f"/v1/prices/{price['id']}", expand=["product"])
    api.get("/v1/prices", lookup_keys=["pro_year"], expand=["data.product"])
    api.get("/v1/products", ids=[product["id"]])
    api.get(f"/v1/products/{product['id']}", expand=["default_price"])
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
    api.post(f"/v1/refunds/{refund['id']}", metadata={"why": "asked"})
    api.get(f"/v1/charges/{charge}", expand=["refunds", "balance_transaction"])
    api.post(f"/v1/charges/{charge}", description="Credits", metadata={"a": "b"})
    moved = api.get("/v1/balance_transactions")["data"][0]
    api.get(f"/v1/balance_transactions/{moved['id']}", expand=["source"])
    api.get("/v1/charges", payment_intent=intent["id"])


def subscription_life(api: Api) -> None:
    subscription = subscribe(api, metadata={"user": "1"}, subscription_data={"metadata": {"user": "1"}})
    path = f"/v1/subscriptions/{subscription['id']}"
    api.get(path, expand=["latest_invoice.payments", "customer", "default_payment_method", "items.data.price.product"])
    item = subscription["items"]["data"][0]
    bigger = create_price(api, 2499, "month", item["price"]["product"])
    change: dict[str, Any] = {"items": [{"id": item["id"], "price": bigger["id"]}]}
    api.post("/v1/invoices/create_preview", subscription=subscription["id"], subscription_details=change)
    api.post(path, **change, proration_behavior="always_invoice")
    api.post(path, items=[{"id": item["id"], "quantity": 2}], proration_behavior="create_prorations")
    api.post(path, items=[{"id": item["id"], "quantity": 1}], proration_behavior="none", metadata={"user": "2"})
    api.post(path, cancel_at_period_end=True, cancellation_details={"comment": "too much"})
    api.post(path, cancel_at_period_end=False)
    api.get("/v1/subscriptions", customer=subscription["customer"], status="all")
    api.get("/v1/subscription_items", subscription=subscription["id"])
    api.get(f"/v1/subscription_items/{item['id']}")
    api.post(f"/v1/subscription_items/{item['id']}", quantity=1, metadata={"team": "a"})
    tiers = [{"up_to": 5, "flat_amount": 900}, {"up_to": "inf", "unit_amount_decimal": "12.5"}]
    steps: dict[str, Any] = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
    recurring = {"interval": "month"}
    seats = api.post("/v1/prices", product=item["price"]["product"], currency="usd", recurring=recurring, **steps)
    api.get(f"/v1/prices/{seats['id']}", expand=["tiers"])
    added = api.post("/v1/subscription_items", subscription=subscription["id"], price=seats["id"], quantity=7)
    api.delete(f"/v1/subscription_items/{added['id']}")
    invoices = api.get("/v1/invoices", customer=subscription["customer"], expand=["data.payments"])["data"]
    api.get(f"/v1/invoices/{invoices[-1]['id']}")
    api.get(f"/v1/invoices/{invoices[-1]['id']}/lines")
    payment = api.get("/v1/invoice_payments", invoice=invoices[-1]["id"])["data"][0]
    api.get(f"/v1/invoice_payments/{payment['id']}")
    portal(api, subscription)
    renewals(api, subscription)
    api.delete(path, cancellation_details={"feedback": "unused"})


def portal(api: Api, subscription: dict[str, Any]) -> None:
    session = api.post(
        "/v1/billing_portal/sessions", customer=subscription["customer"], return_url="https://shop.example"
    )
    features = {"subscription_cancel": {"enabled": True, "mode": "immediately"}, "invoice_history": {"enabled": True}}
    made = api.post("/v1/billing_portal/configurations", features=features)
    api.post(f"/v1/billing_portal/configurations/{made['id']}", name="Strict", active=False)
    configurations = api.get("/v1/billing_portal/configurations")["data"]
    api.get(f"/v1/billing_portal/configurations/{configurations[0]['id']}")
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": subscription["id"]}}
    api.post("/v1/billing_portal/sessions", customer=subscription["customer"], flow_data=flow)
    httpx.post(f"{session['url']}/subscriptions/{subscription['id']}/cancel", data={"feedback": "other"})
    httpx.post(f"{session['url']}/subscriptions/{subscription['id']}/resume")
    httpx.post(f"{session['url']}/payment-method", data={**CARD, "cardNumber": "5555555555554444"})


def act(api: Api, subscription: dict[str, Any], action: str, **body: Any) -> None:
    url = f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}/{action}"
    httpx.post(url, json=body, timeout=20).raise_for_status()


def renewals(api: Api, subscription: dict[str, Any]) -> None:
    act(api, subscription, "renew")
    act(api, subscription, "renew", outcome="declined")
    failed = api.get(f"/v1/subscriptions/{subscription['id']}", expand=["latest_invoice"])["latest_invoice"]
    api.post(f"/v1/invoices/{failed['id']}/pay")
    act(api, subscription, "pause")
    api.post(f"/v1/subscriptions/{subscription['id']}/resume")
    for behavior in ("void", "mark_uncollectible", "keep_as_draft"):
        api.post(f"/v1/subscriptions/{subscription['id']}", pause_collection={"behavior": behavior})
        act(api, subscription, "renew")
    api.post(f"/v1/subscriptions/{subscription['id']}", pause_collection="")


def declines(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000000000000002")
    pay_on_page(session, cardNumber="4000002500003155")
    httpx.post(session["url"] + "/authenticate", data={"result": "fail"})
    api.post(f"/v1/checkout/sessions/{session['id']}", metadata={"late": "1"})
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
    api.get(f"{path}/payment_methods/{method['id']}")
    api.get("/v1/payment_methods", customer=customer["id"], type="card")
    api.post(f"/v1/payment_methods/{method['id']}", metadata={"main": "yes"}, billing_details={"name": "A"})
    api.get(f"/v1/payment_methods/{method['id']}")
    spare = api.post("/v1/payment_methods", type="card", card={"token": "tok_visa"})
    api.post(f"/v1/payment_methods/{spare['id']}/attach", customer=customer["id"])
    api.post(f"/v1/payment_methods/{spare['id']}/detach")
    price = create_price(api)
    made = api.post(
        "/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], expand=["latest_invoice"]
    )
    api.get(f"/v1/subscriptions/{made['id']}")
    trial = api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], trial_period_days=7)
    api.delete(f"/v1/subscriptions/{trial['id']}", prorate=True, invoice_now=True)
    manual_invoices(api, customer)
    payment_intents(api, customer)
    first_payments(api, price)
    api.get(f"{path}/balance_transactions")
    api.get("/v1/customers", email="a@example.com")
    api.delete(path)
    api.get(path)


def manual_invoices(api: Api, customer: dict[str, Any]) -> None:
    owner = customer["id"]
    item = api.post("/v1/invoiceitems", customer=owner, amount=700, currency="usd", description="Extra")
    api.get(f"/v1/invoiceitems/{item['id']}")
    api.get("/v1/invoiceitems", customer=owner)
    invoice = api.post("/v1/invoices", customer=owner, pending_invoice_items_behavior="include")
    api.post(f"/v1/invoices/{invoice['id']}", description="By hand", metadata={"a": "b"})
    api.post(f"/v1/invoices/{invoice['id']}/finalize")
    api.post(f"/v1/invoices/{invoice['id']}/pay")
    for ending in ("void", "mark_uncollectible"):
        api.post("/v1/invoiceitems", customer=owner, amount=900, currency="usd")
        other = api.post("/v1/invoices", customer=owner, pending_invoice_items_behavior="include")
        api.post(f"/v1/invoices/{other['id']}/finalize")
        api.post(f"/v1/invoices/{other['id']}/{ending}")
    draft = api.post("/v1/invoices", customer=owner)
    api.post("/v1/invoiceitems", customer=owner, amount=300, currency="usd", invoice=draft["id"])
    api.delete(f"/v1/invoices/{draft['id']}")
    unwanted = api.post("/v1/invoiceitems", customer=owner, amount=1, currency="usd")
    api.delete(f"/v1/invoiceitems/{unwanted['id']}")


def payment_intents(api: Api, customer: dict[str, Any]) -> None:
    card: dict[str, Any] = {"payment_method_types": ["card"]}
    intent = api.post("/v1/payment_intents", amount=1500, currency="usd", customer=customer["id"], **card)
    api.post(f"/v1/payment_intents/{intent['id']}", metadata={"a": "b"}, description="By hand")
    api.post(f"/v1/payment_intents/{intent['id']}/confirm", payment_method="pm_card_visa")
    other = api.post("/v1/payment_intents", amount=1500, currency="usd", **card)
    refused = f"/v1/payment_intents/{other['id']}/confirm"
    api.post(refused, 402, payment_method="pm_card_chargeDeclined")
    api.post(refused, payment_method="pm_card_authenticationRequired", return_url="https://shop.example")
    api.post(f"/v1/payment_intents/{other['id']}/cancel")


def first_payments(api: Api, price: dict[str, Any]) -> None:
    """Subscriptions made by API whose first payment fails or waits for its customer."""
    for card in ("pm_card_chargeCustomerFail", "pm_card_authenticationRequired"):
        customer = api.post("/v1/customers", email="b@example.com")["id"]
        method = api.post(f"/v1/payment_methods/{card}/attach", customer=customer)
        api.post(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": method["id"]})
        made = api.post(
            "/v1/subscriptions", customer=customer, items=[{"price": price["id"]}], expand=["latest_invoice"]
        )
        act(api, made, "expire")


def time_passes(api: Api) -> None:
    """A trial that pauses, a renewal that fails and recovers, a change that waits: all on one clock."""
    clocks = "/v1/test_helpers/test_clocks"
    clock = api.post(clocks, frozen_time=1_798_761_600, name="A month")
    customer = api.post("/v1/customers", test_clock=clock["id"], email="c@example.com")["id"]
    price = create_price(api, 1500)
    wanted: dict[str, Any] = {"customer": customer, "items": [{"price": price["id"]}], "trial_period_days": 10}
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    subscription = api.post("/v1/subscriptions", **wanted, trial_settings=settings)
    path = f"/v1/subscriptions/{subscription['id']}"
    api.post(path, trial_end=1_798_761_600 + 12 * 86400, pause_collection={"behavior": "void", "resumes_at": 2**31})
    act(api, subscription, "advance", to="trial_will_end")
    act(api, subscription, "advance", to="trial_end")
    api.post(f"{path}/resume")
    act(api, subscription, "advance", to="pending_update_expiry")
    method = api.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    api.post(path, default_payment_method=method, pause_collection="")
    api.post(f"{path}/resume")
    failing = api.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    api.post(path, default_payment_method=failing)
    change: dict[str, Any] = {"items": [{"id": subscription["items"]["data"][0]["id"], "quantity": 3}]}
    changed = api.post(path, **change, payment_behavior="pending_if_incomplete", proration_behavior="always_invoice")
    api.post(f"/v1/invoices/{changed['latest_invoice']}/pay", payment_method=method)
    act(api, subscription, "advance", to="upcoming")
    act(api, subscription, "advance", to="payment")
    act(api, subscription, "advance", to="retry")
    api.post(path, default_payment_method=method)
    act(api, subscription, "advance", to="retry")
    api.post(path, trial_end=api.get(f"{clocks}/{clock['id']}")["frozen_time"] + 86400)
    api.post(path, trial_end="now")
    for parent in ("customers", "subscriptions"):
        api.get(f"/v1/{parent}", test_clock=clock["id"])
    now = api.get(f"{clocks}/{clock['id']}")["frozen_time"]
    api.post(f"{clocks}/{clock['id']}/advance", frozen_time=now + 60)
    until(lambda: api.get(f"{clocks}/{clock['id']}")["status"] == "ready")
    api.get(clocks)
    api.delete(f"{clocks}/{clock['id']}")


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


def everything(api: Api) -> None:
    """Do all of it."""
    for part in (endpoints, catalogue, customers, one_time_payment, subscription_life, declines, time_passes, money):
        part(api)
