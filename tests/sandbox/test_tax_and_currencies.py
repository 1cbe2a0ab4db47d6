"""The stub of automatic tax, tax ids, currencies without and with three decimals, and the customer's credit balance."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, event_types, latest_invoice, make_customer
from tests.sandbox.stripe_api import Api, create_session, pay_on_page, visible_text

ADDRESS = {"country": "DE", "postal_code": "10115"}
TAXED = {"enabled": True}


def price_in(api: Api, amount: int, currency: str = "usd", behavior: str | None = None, **params: Any) -> str:
    product = api.post("/v1/products", name="Maker")["id"]
    wanted = {"recurring": {"interval": "month"}, **params}
    made: str = api.post(
        "/v1/prices", product=product, currency=currency, unit_amount=amount, tax_behavior=behavior, **wanted
    )["id"]
    return made


def subscribe_to(api: Api, price: str, expect: int = 200, customer: str | None = None, **params: Any) -> Any:
    customer = customer or make_customer(api, address=ADDRESS)["id"]
    return api.post("/v1/subscriptions", expect, customer=customer, items=[{"price": price}], **params)


@pytest.mark.parametrize(
    ("behavior", "total", "without", "tax"),
    # 10 % on top of 2000; 2000 that holds it: 2000·10/110 = 181.8
    [("exclusive", 2200, 2000, 200), ("inclusive", 2000, 1818, 182), (None, 2200, 2000, 200)],
)
def test_every_invoice_of_a_taxed_subscription_holds_tax(
    api: Api, behavior: str | None, total: int, without: int, tax: int
) -> None:
    subscription = subscribe_to(api, price_in(api, 2000, behavior=behavior), automatic_tax=TAXED)
    control(api, f"subscriptions/{subscription['id']}/renew")
    for listed in api.get("/v1/invoices", subscription=subscription["id"])["data"]:
        assert (listed["subtotal"], listed["total"], listed["total_excluding_tax"]) == (2000, total, without)
        assert listed["amount_paid"] == total
        (entry,) = listed["total_taxes"]
        assert (entry["amount"], entry["taxable_amount"]) == (tax, 2000)
        assert listed["automatic_tax"]["status"] == "complete"


def test_tax_is_on_what_a_discount_leaves(api: Api) -> None:
    coupon = api.post("/v1/coupons", percent_off=25, duration="forever")["id"]
    subscription = subscribe_to(api, price_in(api, 2000), automatic_tax=TAXED, discounts=[{"coupon": coupon}])
    invoice = latest_invoice(api, subscription)
    # 2000 - 500 = 1500, and 10 % of that
    assert (invoice["total"], invoice["total_excluding_tax"], invoice["total_taxes"][0]["amount"]) == (1650, 1500, 150)


@pytest.mark.parametrize(("exempt", "reason"), [("exempt", "customer_exempt"), ("reverse", "reverse_charge")])
def test_who_is_exempt_pays_none(api: Api, exempt: str, reason: str) -> None:
    customer = make_customer(api, address=ADDRESS, tax_exempt=exempt)["id"]
    invoice = latest_invoice(api, subscribe_to(api, price_in(api, 2000), customer=customer, automatic_tax=TAXED))
    assert (invoice["total"], invoice["total_taxes"][0]["taxability_reason"]) == (2000, reason)


def test_without_a_location_tax_is_refused_and_nothing_is_written(api: Api) -> None:
    customer = make_customer(api)["id"]
    error = subscribe_to(api, price_in(api, 2000), 400, customer, automatic_tax=TAXED)["error"]
    assert error["code"] == "customer_tax_location_invalid"
    assert api.get("/v1/subscriptions")["data"] == []


def test_tax_is_switched_on_and_off(api: Api) -> None:
    subscription = subscribe_to(api, price_in(api, 2000))
    path = f"/v1/subscriptions/{subscription['id']}"
    preview = {"subscription": subscription["id"]}
    assert api.post(path, automatic_tax=TAXED)["automatic_tax"]["enabled"] is True
    assert api.post("/v1/invoices/create_preview", **preview)["total"] == 2200
    api.post(path, automatic_tax={"enabled": False})
    assert api.post("/v1/invoices/create_preview", **preview)["total"] == 2000


def test_the_page_shows_the_tax_and_the_card_pays_it(api: Api) -> None:
    session = create_session(api, price_in(api, 2000), automatic_tax=TAXED)
    assert (session["amount_total"], session["total_details"]["amount_tax"]) == (2200, 200)
    text = visible_text(httpx.get(session["url"]).text)
    assert "Tax $2.00" in text and "$22.00" in text
    assert pay_on_page(session).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["invoice", "subscription"])
    assert (done["invoice"]["total"], done["invoice"]["amount_paid"]) == (2200, 2200)
    assert done["subscription"]["automatic_tax"]["enabled"] is True
    assert [charge["amount"] for charge in api.get("/v1/charges")["data"]] == [2200]


def test_checkout_taxes_a_known_customer_with_an_address_only(api: Api) -> None:
    customer, price = make_customer(api)["id"], price_in(api, 2000)
    line = [{"price": price, "quantity": 1}]
    wanted = {"mode": "subscription", "customer": customer, "line_items": line, "success_url": "https://a.example"}
    error = api.post("/v1/checkout/sessions", 400, automatic_tax=TAXED, **wanted)["error"]
    assert error["code"] == "customer_tax_location_invalid"
    session = api.post("/v1/checkout/sessions", automatic_tax=TAXED, customer_update={"address": "auto"}, **wanted)
    assert pay_on_page(session).status_code == 303
    assert api.get(f"/v1/customers/{customer}")["address"]["country"] == "DE"


def test_tax_ids_are_kept_verified_shown_and_removed(api: Api) -> None:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=1_798_761_600)["id"]
    customer = make_customer(api, name="Dana", test_clock=clock)["id"]
    path = f"/v1/customers/{customer}/tax_ids"
    made = api.post(path, type="eu_vat", value="DE 123456789")
    assert (made["country"], made["value"], made["verification"]["status"]) == (
        "DE",
        "DE123456789",  # pragma: allowlist secret
        "pending",
    )
    doubtful = api.post(
        "/v1/tax_ids", type="eu_vat", value="DE111111111", owner={"type": "customer", "customer": customer}
    )
    control(api, f"test_clocks/{clock}/advance", seconds=60)
    assert api.get(f"{path}/{made['id']}")["verification"] == {
        "status": "verified",
        "verified_address": None,
        "verified_name": "Dana",
    }
    assert api.get(f"{path}/{doubtful['id']}")["verification"]["status"] == "unverified"
    settled = [event["data"] for event in api.all_events() if event["type"] == "customer.tax_id.updated"]
    assert [data["object"]["id"] for data in settled] == [made["id"], doubtful["id"]]
    assert settled[1]["previous_attributes"] == {"verification": {"status": "pending"}}
    # The authorities may change their mind; kinds that nobody verifies say so.
    assert control(api, f"tax_ids/{made['id']}/verify", outcome="unverified")["verification"]["verified_name"] is None
    foreign = api.post(f"/v1/customers/{make_customer(api)['id']}/tax_ids", type="ch_vat", value="CHE123")
    assert (foreign["country"], foreign["verification"]["status"]) == ("CH", "unavailable")
    assert [each["id"] for each in api.get(path)["data"]] == [doubtful["id"], made["id"]]
    assert len(api.get(f"/v1/customers/{customer}", expand=["tax_ids"])["tax_ids"]["data"]) == 2
    invoice = latest_invoice(api, subscribe_to(api, price_in(api, 2000), customer=customer))
    assert {"type": "eu_vat", "value": made["value"]} in invoice["customer_tax_ids"]
    assert api.delete(f"{path}/{made['id']}")["deleted"] is True
    api.get(f"{path}/{made['id']}", 404)
    api.post(path, 400, type="eu_vat", value="1")
    assert {"customer.tax_id.created", "customer.tax_id.deleted"} <= set(event_types(api))


def test_a_renewal_that_cannot_be_taxed_stays_a_draft_and_goes_on_when_the_address_is_known(api: Api) -> None:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=1_798_761_600)["id"]
    customer = make_customer(api, test_clock=clock, address={"country": "DE"})["id"]
    subscription = subscribe_to(api, price_in(api, 2000), customer=customer, automatic_tax=TAXED)
    api.post(f"/v1/customers/{customer}", address="")
    since = len(api.all_events())
    control(api, f"subscriptions/{subscription['id']}/advance", to="payment")
    draft = latest_invoice(api, subscription)
    assert (draft["status"], draft["automatically_finalizes_at"], draft["attempt_count"]) == ("draft", None, 0)
    assert draft["automatic_tax"]["status"] == "requires_location_inputs"
    assert draft["last_finalization_error"]["code"] == "customer_tax_location_invalid"
    types = event_types(api, since)
    assert "invoice.finalization_failed" in types and not {"invoice.finalized", "charge.succeeded"} & set(types)
    refused = api.post(f"/v1/invoices/{draft['id']}/finalize", 400)["error"]
    assert refused["code"] == "customer_tax_location_invalid"
    assert event_types(api, since).count("invoice.finalization_failed") == 2
    api.post(f"/v1/customers/{customer}", address={"country": "DE"})
    done = api.post(f"/v1/invoices/{draft['id']}/finalize")
    assert (done["status"], done["last_finalization_error"], done["amount_due"]) == ("open", None, 2200)
    control(api, f"test_clocks/{clock}/advance", seconds=3600)
    assert api.get(f"/v1/invoices/{draft['id']}")["status"] == "paid"


@pytest.mark.parametrize(
    ("currency", "amount", "shown", "least"),
    [
        ("jpy", 1500, "¥1,500", 50),
        ("kwd", 15500, "KWD\u00a015.500", 500),
        ("ugx", 150000, "UGX\u00a01,500.00", 50),
        ("eur", 1500, "€15.00", 50),
        ("gbp", 1500, "£15.00", 30),
    ],
)
def test_a_currency_is_shown_and_charged_in_its_own_smallest_unit(
    api: Api, currency: str, amount: int, shown: str, least: int
) -> None:
    session = create_session(api, price_in(api, amount, currency))
    assert shown in httpx.get(session["url"]).text
    assert pay_on_page(session).status_code == 303
    (charge,) = api.get("/v1/charges")["data"]
    assert (charge["amount"], charge["currency"]) == (amount, currency)
    small: dict[str, Any] = {"currency": currency, "confirm": True, "payment_method": "pm_card_visa"}
    assert api.post("/v1/payment_intents", 400, amount=least - 1, **small)["error"]["code"] == "amount_too_small"
    assert api.post("/v1/payment_intents", amount=least, **small)["status"] == "succeeded"


def test_a_line_in_three_decimals_is_written_with_them(api: Api) -> None:
    invoice = latest_invoice(api, subscribe_to(api, price_in(api, 15500, "kwd")))
    assert invoice["lines"]["data"][0]["description"] == "1 × Maker (at 15.500 KWD / month)"


def test_credit_is_given_used_up_and_written_down(api: Api) -> None:
    customer = make_customer(api)["id"]
    path = f"/v1/customers/{customer}/balance_transactions"
    given = api.post(path, amount=-3000, currency="usd", description="Sorry", metadata={"a": "b"})
    assert (given["type"], given["ending_balance"]) == ("adjustment", -3000)
    assert event_types(api)[-1] == "customer.updated"
    api.post(path, 400, amount=-1, currency="eur")
    subscription = subscribe_to(api, price_in(api, 2000), customer=customer)
    first = latest_invoice(api, subscription)
    assert (first["total"], first["amount_due"], first["ending_balance"], first["status"]) == (2000, 0, -1000, "paid")
    control(api, f"subscriptions/{subscription['id']}/renew")
    second = latest_invoice(api, subscription)
    assert (second["amount_due"], second["amount_paid"], second["starting_balance"]) == (1000, 1000, -1000)
    entries = api.get(path)["data"]
    assert [(each["type"], each["amount"], each["ending_balance"]) for each in entries] == [
        ("applied_to_invoice", 1000, 0),
        ("applied_to_invoice", 2000, -1000),
        ("adjustment", -3000, -3000),
    ]
    assert api.post(f"{path}/{given['id']}", description="Really sorry")["description"] == "Really sorry"
    assert api.get(f"{path}/{given['id']}")["metadata"] == {"a": "b"}
    api.get(f"/v1/customers/{make_customer(api)['id']}/balance_transactions/{given['id']}", 404)


def test_voiding_an_invoice_gives_its_credit_back(api: Api) -> None:
    customer = make_customer(api, "pm_card_chargeCustomerFail")["id"]
    api.post(f"/v1/customers/{customer}", balance=-500)
    subscription = subscribe_to(api, price_in(api, 2000), customer=customer)
    assert api.get(f"/v1/customers/{customer}")["balance"] == 0
    api.post(f"/v1/invoices/{subscription['latest_invoice']}/void")
    assert api.get(f"/v1/customers/{customer}")["balance"] == -500
    newest = api.get(f"/v1/customers/{customer}/balance_transactions")["data"][0]
    assert (newest["type"], newest["amount"]) == ("unapplied_from_invoice", -500)
