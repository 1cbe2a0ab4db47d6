"""Previews with what a caller adds: discounts, tax, and a beginning that has not happened."""

from __future__ import annotations

from typing import Any

from tests.sandbox.lives import control, event_types, item_of, latest_invoice, make_customer, start
from tests.sandbox.stripe_api import Api, create_price

PREVIEW = "/v1/invoices/create_preview"


def test_a_discount_is_previewed_and_not_redeemed(api: Api) -> None:
    subscription = start(api, 2000)
    coupon = api.post("/v1/coupons", percent_off=25, duration="forever")["id"]
    seen = event_types(api)
    preview = api.post(PREVIEW, subscription=subscription["id"], discounts=[{"coupon": coupon}])
    assert (preview["subtotal"], preview["total"]) == (2000, 1500)
    assert [entry["amount"] for entry in preview["total_discount_amounts"]] == [500]
    assert api.get(f"/v1/coupons/{coupon}")["times_redeemed"] == 0
    assert event_types(api) == seen
    api.post(f"/v1/subscriptions/{subscription['id']}", discounts=[{"coupon": coupon}])
    # Without those that the subscription has.
    assert api.post(PREVIEW, subscription=subscription["id"], discounts="")["total"] == 2000
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, subscription)["amount_paid"] == preview["total"]
    assert (
        api.post(PREVIEW, 400, subscription=subscription["id"], discounts=[{"coupon": "none"}])["error"]["param"]
        == "discounts[0][coupon]"
    )


def test_a_beginning_is_previewed_with_trial_discount_and_tax(api: Api) -> None:
    customer = make_customer(api, address={"country": "DE"})["id"]
    price = create_price(api, 2000)["id"]
    coupon = api.post("/v1/coupons", amount_off=500, currency="usd", duration="once")["id"]
    wanted = {"items": [{"price": price, "quantity": 2}]}
    more: dict[str, Any] = {"discounts": [{"coupon": coupon}], "automatic_tax": {"enabled": True}}
    preview = api.post(PREVIEW, customer=customer, subscription_details=wanted, **more)
    # 40.00 less 5.00, and a tenth of it in tax
    assert (preview["subtotal"], preview["total"]) == (4000, 3850)
    trial = {**wanted, "trial_end": preview["created"] + 5 * 86400, "billing_cycle_anchor": "now"}
    free = api.post(PREVIEW, customer=customer, subscription_details=trial)
    assert (free["total"], free["lines"]["data"][0]["period"]["end"]) == (0, trial["trial_end"])
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    made = api.post("/v1/subscriptions", customer=customer, items=wanted["items"], **more)
    assert latest_invoice(api, made)["total"] == preview["total"]
    assert item_of(made)["quantity"] == 2


def test_what_a_preview_cannot_show_is_refused_by_name(api: Api) -> None:
    customer = make_customer(api)["id"]
    details = {"items": [{"price": create_price(api)["id"]}], "proration_date": 1}
    error = api.post(PREVIEW, 400, customer=customer, subscription_details=details)["error"]
    assert error["param"] == "subscription_details[proration_date]"
    assert api.post(PREVIEW, 400, customer=customer, preview_mode="recurring")["error"]["param"] == "preview_mode"
