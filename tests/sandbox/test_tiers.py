"""Prices in tiers and by the package: what a quantity comes to, in advance, by usage, when it changes, and on the pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, item_of, latest_invoice, make_customer
from tests.sandbox.stripe_api import Api, create_session, visible_text
from tests.sandbox.test_meters import make_meter, use

# Up to five at 7.00, up to ten at 6.50, more at 6.00.
TIERS: list[dict[str, Any]] = [
    {"up_to": 5, "unit_amount": 700},
    {"up_to": 10, "unit_amount": 650},
    {"up_to": "inf", "unit_amount": 600},
]


def price_of(api: Api, expect: int = 200, recurring: dict[str, Any] | None = None, **params: Any) -> Any:
    product = api.post("/v1/products", name="Seats")["id"]
    recurring = recurring or {"interval": "month"}
    return api.post("/v1/prices", expect, product=product, currency="usd", recurring=recurring, **params)


def tiered(api: Api, mode: str, tiers: list[dict[str, Any]] = TIERS, **params: Any) -> str:
    made: str = price_of(api, billing_scheme="tiered", tiers_mode=mode, tiers=tiers, **params)["id"]
    return made


def subscribe_to(api: Api, price: str, quantity: int | None = None) -> Any:
    customer = make_customer(api)["id"]
    return api.post("/v1/subscriptions", customer=customer, items=[{"price": price, "quantity": quantity}])


@pytest.mark.parametrize(
    ("mode", "quantity", "due"),
    # Graduated: 5 × 7.00 + 5 × 6.50 + 2 × 6.00; volume: all twelve at 6.00, all six at 6.50.
    [("graduated", 5, 3500), ("graduated", 12, 7950), ("volume", 5, 3500), ("volume", 6, 3900), ("volume", 12, 7200)],
)
def test_a_quantity_comes_to_what_its_tiers_say(api: Api, mode: str, quantity: int, due: int) -> None:
    subscription = subscribe_to(api, tiered(api, mode), quantity)
    invoice = latest_invoice(api, subscription)
    assert (invoice["amount_paid"], invoice["lines"]["data"][0]["quantity"]) == (due, quantity)
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, subscription)["amount_paid"] == due


def test_tiers_are_shown_only_when_expanded_and_have_no_unit_amount(api: Api) -> None:
    price = tiered(api, "graduated")
    plain = api.get(f"/v1/prices/{price}")
    assert "tiers" not in plain
    assert (plain["billing_scheme"], plain["tiers_mode"], plain["unit_amount"]) == ("tiered", "graduated", None)
    last = api.get(f"/v1/prices/{price}", expand=["tiers"])["tiers"][-1]
    assert last == {
        "flat_amount": None, "flat_amount_decimal": None, "unit_amount": 600, "unit_amount_decimal": "600", "up_to": None,
    }  # fmt: skip


def test_a_changed_quantity_is_prorated_by_its_tiers(api: Api) -> None:
    subscription = subscribe_to(api, tiered(api, "graduated"), 5)
    item = item_of(subscription)
    start, end = item["current_period_start"], item["current_period_end"]
    change = {
        "items": [{"id": item["id"], "quantity": 12}],
        "proration_behavior": "always_invoice",
        "proration_date": start + (end - start) // 2,
    }
    api.post(f"/v1/subscriptions/{subscription['id']}", **change)
    # Half of 35.00 back, half of 79.50 due.
    assert [line["amount"] for line in latest_invoice(api, subscription)["lines"]["data"]] == [-1750, 3975]


def test_usage_is_billed_by_tiers_with_flat_amounts(api: Api) -> None:
    metered = {"interval": "month", "usage_type": "metered", "meter": make_meter(api)["id"]}
    # A base fee with a hundred included, then half a cent each.
    tiers: list[dict[str, Any]] = [{"up_to": 100, "flat_amount": 1000}, {"up_to": "inf", "unit_amount_decimal": "0.5"}]
    subscription = subscribe_to(api, tiered(api, "graduated", tiers, recurring=metered))
    use(api, subscription["customer"], "250")
    control(api, f"subscriptions/{subscription['id']}/renew")
    invoice = latest_invoice(api, subscription)
    # 10.00 and 150 × 0.005
    assert (invoice["total"], invoice["lines"]["data"][0]["quantity"]) == (1075, 250)
    # The base fee is due without any use, too.
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, subscription)["total"] == 1000


def test_packages_are_counted_whole(api: Api) -> None:
    price = price_of(api, unit_amount=900, transform_quantity={"divide_by": 10, "round": "up"})
    subscription = subscribe_to(api, price["id"], 21)
    invoice = latest_invoice(api, subscription)
    # Three packages of ten hold twenty-one.
    assert (invoice["amount_paid"], invoice["lines"]["data"][0]["quantity"]) == (2700, 21)
    down = price_of(api, unit_amount=900, transform_quantity={"divide_by": 10, "round": "down"})
    assert latest_invoice(api, subscribe_to(api, down["id"], 21))["amount_paid"] == 1800


def test_the_pages_show_what_tiers_come_to_and_usage_can_be_canceled(api: Api) -> None:
    price = tiered(api, "graduated")
    session = create_session(api, price, line_items=[{"price": price, "quantity": 12}])
    page = visible_text(httpx.get(session["url"]).text)
    assert "$79.50" in page and "Qty 12" in page and "each" not in page
    metered = {"interval": "month", "usage_type": "metered", "meter": make_meter(api)["id"]}
    by_usage = subscribe_to(api, price_of(api, recurring=metered, unit_amount=5)["id"])
    portal = api.post("/v1/billing_portal/sessions", customer=by_usage["customer"])["url"]
    assert "By usage" in visible_text(httpx.get(portal).text)
    canceling = httpx.get(f"{portal}/subscriptions/{by_usage['id']}/cancel")
    assert canceling.status_code == 200 and "By usage" in visible_text(canceling.text)
    switching = httpx.get(f"{portal}/subscriptions/{by_usage['id']}/update")
    assert switching.status_code == 200 and "tiered price" in visible_text(switching.text)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"billing_scheme": "tiered", "tiers": TIERS}, "tiers_mode"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume"}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS[:2]}, "tiers[1][up_to]"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [TIERS[1], TIERS[0], TIERS[2]]}, "tiers[1][up_to]"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": "inf"}]}, "tiers[0]"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS, "unit_amount": 1}, "unit_amount"),
        ({"unit_amount": 1, "tiers_mode": "volume"}, "tiers_mode"),
        ({"unit_amount": 1, "transform_quantity": {"divide_by": 0, "round": "up"}}, "transform_quantity[divide_by]"),
    ],
    ids=["no mode", "no tiers", "no end", "disorder", "no amount", "two amounts", "mode alone", "by nothing"],
)  # fmt: skip
def test_tiers_that_make_no_sense_are_refused_and_no_price_is_made(
    api: Api, params: dict[str, Any], param: str
) -> None:
    assert price_of(api, 400, **params)["error"]["param"] == param
    assert api.get("/v1/prices")["data"] == []
