"""Meters: usage is added up per customer and billed when the period is over."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.sandbox.lives import control, event_types, latest_invoice, make_customer
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page


def make_meter(api: Api, formula: str = "sum", name: str = "renders") -> Any:
    return api.post(
        "/v1/billing/meters", display_name="Renders", event_name=name, default_aggregation={"formula": formula}
    )


def metered_price(api: Api, meter: str, **params: Any) -> Any:
    wanted = {"unit_amount": 5, **params}
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter}
    product = api.post("/v1/products", name="Renders")["id"]
    return api.post("/v1/prices", product=product, currency="usd", recurring=recurring, **wanted)


def use(api: Api, customer: str, value: str, expect: int = 200, **params: Any) -> Any:
    payload = {"stripe_customer_id": customer, "value": value}
    return api.post("/v1/billing/meter_events", expect, event_name="renders", payload=payload, **params)


def test_usage_is_billed_at_the_renewal_and_nothing_in_advance(api: Api) -> None:
    price = metered_price(api, make_meter(api)["id"])
    customer = make_customer(api)["id"]
    subscription = api.post("/v1/subscriptions", customer=customer, items=[{"price": price["id"]}])
    first = latest_invoice(api, subscription)
    assert (first["total"], first["lines"]["data"][0]["quantity"]) == (0, 0)
    assert "quantity" not in subscription["items"]["data"][0]
    before = len(event_types(api))
    for value in ("100", "40"):
        use(api, customer, value)
    assert event_types(api, before) == []
    preview = api.post("/v1/invoices/create_preview", subscription=subscription["id"])
    assert preview["total"] == 700
    control(api, f"subscriptions/{subscription['id']}/renew")
    invoice = latest_invoice(api, subscription)
    (line,) = invoice["lines"]["data"]
    # 140 renders at 5 each
    assert (line["quantity"], line["amount"], invoice["amount_paid"]) == (140, 700, 700)
    assert line["period"]["end"] == subscription["items"]["data"][0]["current_period_end"]


def test_a_fixed_and_a_metered_price_share_a_subscription(api: Api) -> None:
    metered = metered_price(api, make_meter(api)["id"], unit_amount=None, unit_amount_decimal="0.5")
    fixed = create_price(api, 2000)
    customer = make_customer(api)["id"]
    subscription = api.post(
        "/v1/subscriptions", customer=customer, items=[{"price": fixed["id"]}, {"price": metered["id"]}]
    )
    assert latest_invoice(api, subscription)["total"] == 2000
    use(api, customer, "301")
    control(api, f"subscriptions/{subscription['id']}/renew")
    # 301 at half a cent is 150.5, rounded up
    assert [line["amount"] for line in latest_invoice(api, subscription)["lines"]["data"]] == [2000, 151]


@pytest.mark.parametrize(("formula", "value"), [("sum", 9), ("count", 3), ("last", 2)])
def test_a_meter_adds_up_as_its_formula_says(api: Api, formula: str, value: int) -> None:
    meter = make_meter(api, formula)
    customer = api.post("/v1/customers")["id"]
    now = int(time.time())
    for index, usage in enumerate(("4", "3", "2")):
        use(api, customer, usage, timestamp=now - 300 + index)
    start, end = now // 60 * 60 - 600, now // 60 * 60 + 60
    (summary,) = api.get(
        f"/v1/billing/meters/{meter['id']}/event_summaries", customer=customer, start_time=start, end_time=end
    )["data"]
    assert summary["aggregated_value"] == value


def test_an_event_counts_once_and_can_be_canceled(api: Api) -> None:
    meter = make_meter(api)
    customer = api.post("/v1/customers")["id"]
    use(api, customer, "5", identifier="render-1")
    assert use(api, customer, "5", 400, identifier="render-1")["error"]["param"] == "identifier"
    cancel: dict[str, Any] = {"event_name": "renders", "type": "cancel", "cancel": {"identifier": "render-1"}}
    assert api.post("/v1/billing/meter_event_adjustments", **cancel)["status"] == "pending"
    api.post("/v1/billing/meter_event_adjustments", 400, **cancel)
    now = int(time.time()) // 60 * 60
    times = {"start_time": now - 600, "end_time": now + 60}
    (summary,) = api.get(f"/v1/billing/meters/{meter['id']}/event_summaries", customer=customer, **times)["data"]
    assert summary["aggregated_value"] == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"value": "many"}, "payload[value]"),
        ({"customer": "cus_x"}, "payload[stripe_customer_id]"),
        ({"timestamp": int(time.time()) - 36 * 86400}, "timestamp"),
        ({"timestamp": int(time.time()) + 3600}, "timestamp"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(api: Api, change: dict[str, Any], param: str) -> None:
    make_meter(api)
    known = {"customer": api.post("/v1/customers")["id"], "value": "1", **change}
    assert use(api, expect=400, **known)["error"]["param"] == param


def test_a_meter_is_renamed_switched_off_and_on(api: Api) -> None:
    meter = make_meter(api)
    path = f"/v1/billing/meters/{meter['id']}"
    assert meter["id"].startswith("mtr_")
    api.post("/v1/billing/meters", 400, display_name="R", event_name="renders", default_aggregation={"formula": "sum"})
    assert api.post(path, display_name="Prints")["display_name"] == "Prints"
    assert api.post(f"{path}/deactivate")["status"] == "inactive"
    api.post(f"{path}/deactivate", 400)
    use(api, api.post("/v1/customers")["id"], "1", 400)
    assert api.post(f"{path}/reactivate")["status"] == "active"
    assert api.get("/v1/billing/meters", status="active")["data"][0]["id"] == meter["id"]
    assert event_types(api) == [
        "billing.meter.created",
        "billing.meter.updated",
        "billing.meter.deactivated",
        "customer.created",
        "billing.meter.reactivated",
    ]


def test_a_metered_price_needs_a_meter_and_takes_no_quantity(api: Api) -> None:
    meter = make_meter(api)["id"]
    product = api.post("/v1/products", name="Renders")["id"]
    base = {"product": product, "currency": "usd", "unit_amount": 5}
    api.post("/v1/prices", 400, recurring={"interval": "month", "usage_type": "metered"}, **base)
    api.post("/v1/prices", 400, recurring={"interval": "month", "meter": meter}, **base)
    price = metered_price(api, meter)["id"]
    customer = make_customer(api)["id"]
    api.post("/v1/subscriptions", 400, customer=customer, items=[{"price": price, "quantity": 2}])
    session = create_session(api, price, line_items=[{"price": price}])
    assert (session["amount_total"], pay_on_page(session).status_code) == (0, 303)


def test_usage_of_others_and_of_other_periods_is_not_billed(api: Api) -> None:
    price = metered_price(api, make_meter(api)["id"])
    mine, other = make_customer(api)["id"], make_customer(api)["id"]
    subscription = api.post("/v1/subscriptions", customer=mine, items=[{"price": price["id"]}])
    use(api, other, "1000")
    use(api, mine, "1000", timestamp=int(time.time()) - 3600)
    use(api, mine, "20")
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, subscription)["total"] == 100


def test_a_planned_end_bills_the_last_usage_and_an_immediate_one_does_not(api: Api) -> None:
    price = metered_price(api, make_meter(api)["id"])
    for planned, due in ((True, 500), (False, 0)):
        customer = make_customer(api)["id"]
        subscription = api.post("/v1/subscriptions", customer=customer, items=[{"price": price["id"]}])
        path = f"/v1/subscriptions/{subscription['id']}"
        use(api, customer, "100")
        if planned:
            api.post(path, cancel_at_period_end=True)
            control(api, f"subscriptions/{subscription['id']}/advance", to="end")
        else:
            api.delete(path)
        assert api.get(path)["status"] == "canceled"
        charged = api.get("/v1/charges", customer=customer)["data"]
        assert sum(charge["amount"] for charge in charged) == due
