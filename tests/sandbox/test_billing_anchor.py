"""Subscriptions whose cycle begins at a later day: a short first period, charged for its part or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.lives import control, item_of, latest_invoice, make_customer, switch
from tests.sandbox.stripe_api import Api, create_price

# 1 January 2027; the cycle begins on the 11th, so that its whole period is the 31 days from 11 December.
NEW_YEAR = 1_798_761_600
DAY = 86400
THE_11TH = NEW_YEAR + 10 * DAY


def begin(api: Api, expect: int = 200, **params: Any) -> Any:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=NEW_YEAR)["id"]
    customer = make_customer(api, test_clock=clock)["id"]
    price = create_price(api, 3100)
    wanted = {"customer": customer, "items": [{"price": price["id"]}], "billing_cycle_anchor": THE_11TH, **params}
    return api.post("/v1/subscriptions", expect, **wanted)


def test_the_days_until_the_anchor_are_charged_by_the_second_and_then_whole_months(api: Api) -> None:
    subscription = begin(api)
    item = item_of(subscription)
    assert (subscription["status"], subscription["billing_cycle_anchor"]) == ("active", THE_11TH)
    assert (item["current_period_start"], item["current_period_end"]) == (NEW_YEAR, THE_11TH)
    first = latest_invoice(api, subscription)
    # 31.00 for 31 days, 10 of them
    assert (first["amount_paid"], first["lines"]["data"][0]["period"]["end"]) == (1000, THE_11TH)
    control(api, f"subscriptions/{subscription['id']}/advance", to="payment")
    renewed = latest_invoice(api, subscription)
    assert (renewed["amount_paid"], renewed["period_start"], renewed["period_end"]) == (3100, NEW_YEAR, THE_11TH)
    assert item_of(api.get(f"/v1/subscriptions/{subscription['id']}"))["current_period_end"] == THE_11TH + 31 * DAY


def test_a_change_within_the_short_period_is_prorated_by_the_whole_one(api: Api) -> None:
    subscription = begin(api)
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=5 * DAY)
    dearer = create_price(api, 6200, "month", item_of(subscription)["price"]["product"])["id"]
    switch(api, subscription, dearer, proration_behavior="always_invoice")
    # 5 of 31 days are left: 5.00 back, 10.00 to pay
    invoice = latest_invoice(api, subscription)
    assert sorted(line["amount"] for line in invoice["lines"]["data"]) == [-500, 1000]


def test_without_proration_nothing_is_charged_until_the_anchor(api: Api) -> None:
    subscription = begin(api, proration_behavior="none")
    assert (subscription["status"], latest_invoice(api, subscription)["total"]) == ("active", 0)
    control(api, f"subscriptions/{subscription['id']}/advance", to="payment")
    assert latest_invoice(api, subscription)["amount_paid"] == 3100


@pytest.mark.parametrize(
    "params",
    [
        {"billing_cycle_anchor": NEW_YEAR - 1},
        {"billing_cycle_anchor": NEW_YEAR + 32 * DAY},
        {"trial_period_days": 3},
    ],
    ids=["past", "too late", "trial"],
)
def test_an_anchor_outside_the_next_period_is_refused_and_nothing_begins(api: Api, params: dict[str, Any]) -> None:
    assert "billing_cycle_anchor" in begin(api, 400, **params)["error"]["param"]
    assert api.get("/v1/subscriptions", status="all")["data"] == [] == api.get("/v1/charges")["data"]
