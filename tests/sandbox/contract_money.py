"""A run through what moves money beside the plain life of a subscription, for the contract tests to judge."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.sandbox.stripe_api import CARD, Api, create_price, create_session, pay_on_page

IBAN = "AT611904300234573201"


def switch(api: Api, path: str, **body: Any) -> None:
    httpx.post(f"{api.url}/_sandbox/api/{path}", json=body, timeout=20).raise_for_status()


def customer_with_card(api: Api, **fields: Any) -> Any:
    return api.post(
        "/v1/customers",
        payment_method="pm_card_visa",
        invoice_settings={"default_payment_method": "pm_card_visa"},
        address={"country": "DE"},
        **fields,
    )


def reductions(api: Api) -> None:
    price = create_price(api, 2000)
    coupon = api.post("/v1/coupons", percent_off=20, duration="forever", applies_to={"products": [price["product"]]})
    path = f"/v1/coupons/{coupon['id']}"
    api.post(path, name="Twenty", metadata={"a": "b"})
    api.get(path, expand=["applies_to"])
    api.get("/v1/coupons")
    code = api.post(
        "/v1/promotion_codes",
        promotion={"type": "coupon", "coupon": coupon["id"]},
        restrictions={"minimum_amount": 100, "minimum_amount_currency": "usd"},
    )
    api.get("/v1/promotion_codes", code=code["code"], expand=["data.promotion.coupon"])
    api.get(f"/v1/promotion_codes/{code['id']}")
    session = create_session(api, price["id"], allow_promotion_codes=True, automatic_tax={"enabled": True})
    httpx.post(session["url"] + "/promotion-code", data={"promotionCode": code["code"]})
    pay_on_page(session)
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["invoice.discounts", "subscription.discounts"])
    api.delete(f"/v1/subscriptions/{done['subscription']['id']}/discount")
    api.post(f"/v1/promotion_codes/{code['id']}", active=False)
    api.delete(path)


def balances(api: Api) -> None:
    customer = customer_with_card(api)["id"]
    path = f"/v1/customers/{customer}/balance_transactions"
    entry = api.post(path, amount=-500, currency="usd")
    api.get(f"{path}/{entry['id']}")
    api.post(f"{path}/{entry['id']}", description="Sorry")
    tax_ids = f"/v1/customers/{customer}/tax_ids"
    first = api.post(tax_ids, type="eu_vat", value="DE123456789")
    api.get(f"{tax_ids}/{first['id']}")
    switch(api, f"tax_ids/{first['id']}/verify", outcome="unverified")
    api.get(tax_ids)
    second = api.post("/v1/tax_ids", type="ch_vat", value="CHE123", owner={"type": "customer", "customer": customer})
    api.get("/v1/tax_ids")
    api.get(f"/v1/tax_ids/{second['id']}")
    api.delete(f"/v1/tax_ids/{second['id']}")
    api.delete(f"{tax_ids}/{first['id']}")


def mishaps(api: Api) -> None:
    """What the Dashboard, the tax stub and a card's month bring about."""
    button(api, create_price(api, 700)["id"], "delete")
    customer = customer_with_card(api)["id"]
    api.post("/v1/invoiceitems", customer=customer, amount=900, currency="usd")
    draft = api.post("/v1/invoices", customer=customer, pending_invoice_items_behavior="include", auto_advance=True)
    switch(api, f"invoices/{draft['id']}/fail_finalization")
    api.get(f"/v1/invoices/{draft['id']}")
    api.post(f"/v1/invoices/{draft['id']}/finalize")
    method = api.get(f"/v1/customers/{customer}/payment_methods")["data"][0]
    button(api, method["id"], "expire_soon")


def button(api: Api, object_id: str, name: str) -> None:
    httpx.post(f"{api.url}/_sandbox/api/objects/{object_id}/{name}", json={}, timeout=20).raise_for_status()


def charge(api: Api, card: str) -> Any:
    intent = api.post("/v1/payment_intents", amount=2000, currency="usd", confirm=True, payment_method=card)
    return api.get(f"/v1/charges/{intent['latest_charge']}")


def trouble(api: Api) -> None:
    won = charge(api, "pm_card_createDispute")
    (dispute,) = api.get("/v1/disputes", charge=won["id"])["data"]
    api.get(f"/v1/disputes/{dispute['id']}", expand=["charge"])
    api.post(f"/v1/disputes/{dispute['id']}", evidence={"product_description": "A tool"})
    switch(api, f"disputes/{dispute['id']}/close", outcome="won")
    charge(api, "pm_card_createDisputeInquiry")
    api.post(f"/v1/disputes/{api.get('/v1/disputes')['data'][0]['id']}/close")
    warned = charge(api, "pm_card_createIssuerFraudRecord")
    (warning,) = api.get("/v1/radar/early_fraud_warnings", charge=warned["id"])["data"]
    api.post("/v1/refunds", charge=warned["id"], reason="fraudulent")
    api.get(f"/v1/radar/early_fraud_warnings/{warning['id']}")
    failing = api.post("/v1/refunds", charge=charge(api, "pm_card_refundFail")["id"])
    switch(api, f"refunds/{failing['id']}/settle", outcome="failed")
    api.get(f"/v1/refunds/{failing['id']}")
    waiting = api.post("/v1/refunds", charge=charge(api, "pm_card_pendingRefund")["id"])
    switch(api, f"refunds/{waiting['id']}/settle", outcome="succeeded")


def saved_cards(api: Api) -> None:
    customer = customer_with_card(api)
    made = api.post("/v1/setup_intents", customer=customer["id"], payment_method_types=["card"])
    path = f"/v1/setup_intents/{made['id']}"
    api.post(path, description="Later")
    api.post(f"{path}/confirm", 402, payment_method="pm_card_chargeDeclined")
    asked = api.post(f"{path}/confirm", payment_method="pm_card_authenticationRequired", return_url="https://a.example")
    switch(api, f"setup_intents/{asked['id']}/authenticate", success=True)
    api.get(path, expand=["latest_attempt", "payment_method"])
    api.get("/v1/setup_intents", customer=customer["id"])
    api.get("/v1/setup_attempts", setup_intent=made["id"])
    api.post(f"/v1/setup_intents/{api.post('/v1/setup_intents')['id']}/cancel")
    method = customer["invoice_settings"]["default_payment_method"]
    switch(api, f"payment_methods/{method}/expire")
    switch(api, f"payment_methods/{method}/renew")


def debits(api: Api) -> None:
    product = api.post("/v1/products", name="Maker")["id"]
    price = api.post("/v1/prices", product=product, currency="eur", unit_amount=2500)["id"]
    fields = {name: value for name, value in CARD.items() if not name.startswith("card")}
    for outcome in ("succeeded", "failed"):
        session = create_session(api, price, mode="payment", payment_method_types=["card", "sepa_debit"])
        httpx.post(session["url"], data={**fields, "iban": IBAN})
        intent = api.get(f"/v1/checkout/sessions/{session['id']}")["payment_intent"]
        api.get(f"/v1/payment_intents/{intent}", expand=["payment_method", "latest_charge"])
        switch(api, f"payment_intents/{intent}/settle", outcome=outcome)


def usage(api: Api) -> None:
    meter = api.post(
        "/v1/billing/meters", display_name="Renders", event_name="renders", default_aggregation={"formula": "sum"}
    )
    path = f"/v1/billing/meters/{meter['id']}"
    api.post(path, display_name="Prints")
    api.get(path)
    api.get("/v1/billing/meters")
    product = api.post("/v1/products", name="Renders")["id"]
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter["id"]}
    price = api.post("/v1/prices", product=product, currency="usd", recurring=recurring, unit_amount_decimal="0.5")
    customer = customer_with_card(api)["id"]
    subscription = api.post("/v1/subscriptions", customer=customer, items=[{"price": price["id"]}])
    payload = {"stripe_customer_id": customer, "value": "400"}
    for identifier in ("a", "b"):
        api.post("/v1/billing/meter_events", event_name="renders", payload=payload, identifier=identifier)
    cancel = {"identifier": "b"}
    api.post("/v1/billing/meter_event_adjustments", event_name="renders", type="cancel", cancel=cancel)
    now = int(time.time()) // 60 * 60
    api.get(f"{path}/event_summaries", customer=customer, start_time=now - 600, end_time=now + 60)
    switch(api, f"subscriptions/{subscription['id']}/renew")
    api.get(f"/v1/invoices/{api.get('/v1/invoices', customer=customer)['data'][0]['id']}")
    api.post(f"{path}/deactivate")
    api.post(f"{path}/reactivate")


def money(api: Api) -> None:
    """Do all of it."""
    for part in (reductions, balances, mishaps, trouble, saved_cards, debits, usage):
        part(api)
