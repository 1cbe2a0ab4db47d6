"""Coupons and promotion codes: what they take off which invoices, and when they cannot be redeemed."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, event_types, item_of, latest_invoice, make_customer, switch
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page, visible_text


def coupon(api: Api, **params: Any) -> Any:
    wanted = {"percent_off": 25, "duration": "forever", **params}
    return api.post("/v1/coupons", **wanted)


def code_of(api: Api, made: Any, **params: Any) -> Any:
    return api.post("/v1/promotion_codes", promotion={"type": "coupon", "coupon": made["id"]}, **params)


def start_with(api: Api, discounts: list[dict[str, str]], *amounts: int, expect: int = 200, **params: Any) -> Any:
    customer = params.pop("customer", None) or make_customer(api)["id"]
    items = [{"price": create_price(api, amount)["id"]} for amount in amounts or (2000,)]
    return api.post("/v1/subscriptions", expect, customer=customer, items=items, discounts=discounts, **params)


def totals(invoice: Any) -> tuple[int, int, int]:
    (off,) = invoice["total_discount_amounts"] or [{"amount": 0}]
    return invoice["subtotal"], off["amount"], invoice["total"]


def test_a_forever_coupon_lowers_every_invoice(api: Api) -> None:
    made = coupon(api, name="Friends")
    subscription = start_with(api, [{"coupon": made["id"]}])
    # 25 % of 2000
    assert totals(latest_invoice(api, subscription)) == (2000, 500, 1500)
    control(api, f"subscriptions/{subscription['id']}/renew")
    invoice = latest_invoice(api, subscription)
    assert totals(invoice) == (2000, 500, 1500) and invoice["amount_paid"] == 1500
    assert invoice["discounts"] == api.get(f"/v1/subscriptions/{subscription['id']}")["discounts"]
    whole = api.get(f"/v1/invoices/{invoice['id']}", expand=["discounts"])["discounts"][0]
    assert (whole["source"], whole["subscription"]) == (
        {"type": "coupon", "coupon": made["id"]},
        subscription["id"],
    )
    assert api.get(f"/v1/coupons/{made['id']}")["times_redeemed"] == 1
    assert "customer.discount.created" in event_types(api)


def test_a_coupon_that_lasts_once_lowers_the_first_invoice_only(api: Api) -> None:
    subscription = start_with(
        api, [{"coupon": coupon(api, percent_off=None, amount_off=700, currency="usd", duration="once")["id"]}]
    )
    assert totals(latest_invoice(api, subscription)) == (2000, 700, 1300)
    # Recorded: it is gone from the subscription at once, and stays on its invoice.
    assert subscription["discounts"] == []
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert totals(latest_invoice(api, subscription)) == (2000, 0, 2000)


def test_a_coupon_that_lasts_once_waits_for_the_end_of_a_trial(api: Api) -> None:
    made = coupon(api, duration="once")
    subscription = start_with(api, [{"coupon": made["id"]}], trial_period_days=7)
    assert len(subscription["discounts"]) == 1
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert totals(latest_invoice(api, subscription)) == (2000, 500, 1500)
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["discounts"] == []


def test_a_repeating_coupon_ends_after_its_months(api: Api) -> None:
    made = coupon(api, percent_off=50, duration="repeating", duration_in_months=3)
    subscription = start_with(api, [{"coupon": made["id"]}])
    discount = api.get(f"/v1/subscriptions/{subscription['id']}", expand=["discounts"])["discounts"][0]
    assert 89 <= (discount["end"] - discount["start"]) / 86400 <= 92


def test_an_amount_off_is_spread_with_the_remainder_on_the_last_line(api: Api) -> None:
    made = coupon(api, percent_off=None, amount_off=500, currency="usd")
    invoice = latest_invoice(api, start_with(api, [{"coupon": made["id"]}], 1000, 2000))
    # Documented: 5.00 over 10.00 and 20.00 is 1.66 and 3.34.
    assert [line["discount_amounts"][0]["amount"] for line in invoice["lines"]["data"]] == [166, 334]
    assert totals(invoice) == (3000, 500, 2500)


def test_an_amount_off_never_makes_an_invoice_negative(api: Api) -> None:
    made = coupon(api, percent_off=None, amount_off=5000, currency="usd")
    subscription = start_with(api, [{"coupon": made["id"]}])
    invoice = latest_invoice(api, subscription)
    assert totals(invoice) == (2000, 2000, 0)
    assert (invoice["status"], subscription["status"]) == ("paid", "active")


def test_two_discounts_work_one_on_the_other(api: Api) -> None:
    first, second = coupon(api, percent_off=50), coupon(api, percent_off=10)
    invoice = latest_invoice(api, start_with(api, [{"coupon": first["id"]}, {"coupon": second["id"]}]))
    # 2000 - 1000 = 1000, less 10 % of that
    assert ([entry["amount"] for entry in invoice["total_discount_amounts"]], invoice["total"]) == ([1000, 100], 900)


def test_a_coupon_for_other_products_takes_nothing_off(api: Api) -> None:
    mine, other = create_price(api, 2000), create_price(api, 3000)
    made = coupon(api, percent_off=50, applies_to={"products": [mine["product"]]})
    assert "applies_to" not in made
    assert api.get(f"/v1/coupons/{made['id']}", expand=["applies_to"])["applies_to"] == {"products": [mine["product"]]}
    items = [{"price": mine["id"]}, {"price": other["id"]}]
    subscription = api.post(
        "/v1/subscriptions", customer=make_customer(api)["id"], items=items, discounts=[{"coupon": made["id"]}]
    )
    assert totals(latest_invoice(api, subscription)) == (5000, 1000, 4000)


def test_a_change_credits_what_was_really_paid(api: Api) -> None:
    subscription = start_with(api, [{"coupon": coupon(api, percent_off=50)["id"]}])
    start, end = item_of(subscription)["current_period_start"], item_of(subscription)["current_period_end"]
    price = create_price(api, 6000, product=item_of(subscription)["price"]["product"])
    half = start + (end - start) // 2
    switch(api, subscription, price["id"], proration_behavior="always_invoice", proration_date=half)
    lines = latest_invoice(api, subscription)["lines"]["data"]
    # Half of 1000 back, half of 3000 due.
    assert [line["amount"] for line in lines] == [-500, 1500]


def test_discounts_are_put_on_and_taken_off_a_running_subscription(api: Api) -> None:
    subscription = start_with(api, [])
    path = f"/v1/subscriptions/{subscription['id']}"
    made = coupon(api)
    changed = api.post(path, discounts=[{"coupon": made["id"]}])
    (first,) = changed["discounts"]
    second = coupon(api, percent_off=10)
    both = api.post(path, discounts=[{"discount": first}, {"coupon": second["id"]}])
    assert both["discounts"][0] == first and len(both["discounts"]) == 2
    assert api.post("/v1/invoices/create_preview", subscription=subscription["id"])["total"] == 1350  # 2000·.75·.9
    gone = api.delete(f"{path}/discount")
    assert gone["deleted"] is True
    assert api.get(path)["discounts"] == []
    api.delete(f"{path}/discount", 404)
    assert event_types(api).count("customer.discount.deleted") == 2


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"percent_off": 0}, "percent_off"),
        ({"percent_off": 101}, "percent_off"),
        ({"percent_off": None}, "percent_off"),
        ({"amount_off": 5, "currency": "usd"}, "amount_off"),
        ({"percent_off": None, "amount_off": 5}, "currency"),
        ({"duration": "repeating"}, "duration_in_months"),
        ({"duration": "once", "duration_in_months": 3}, "duration_in_months"),
        ({"max_redemptions": 0}, "max_redemptions"),
        ({"redeem_by": 1}, "redeem_by"),
        ({"applies_to": {"products": ["prod_x"]}}, "applies_to[products][0]"),
    ],
)
def test_a_coupon_that_makes_no_sense_is_refused(api: Api, params: dict[str, Any], param: str) -> None:
    wanted = {"percent_off": 25, "duration": "forever", **params}
    assert api.post("/v1/coupons", 400, **wanted)["error"]["param"] == param
    assert api.get("/v1/coupons")["data"] == []


def test_a_coupon_is_renamed_deleted_and_its_discounts_go_on(api: Api) -> None:
    made = coupon(api, id="FRIENDS")
    api.post("/v1/coupons", 400, id="FRIENDS", percent_off=1, duration="once")
    subscription = start_with(api, [{"coupon": "FRIENDS"}])
    assert api.post("/v1/coupons/FRIENDS", name="For friends", metadata={"a": "b"})["name"] == "For friends"
    api.post("/v1/coupons/FRIENDS", 400, percent_off=5)
    assert api.delete(f"/v1/coupons/{made['id']}")["deleted"] is True
    api.get("/v1/coupons/FRIENDS", 404)
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert totals(latest_invoice(api, subscription)) == (2000, 500, 1500)


def test_a_used_up_coupon_is_refused_and_nothing_is_written(api: Api) -> None:
    made = coupon(api, max_redemptions=1)
    start_with(api, [{"coupon": made["id"]}])
    assert api.get(f"/v1/coupons/{made['id']}")["valid"] is False
    before = len(api.get("/v1/subscriptions")["data"])
    error = start_with(api, [{"coupon": made["id"]}], expect=400)["error"]
    assert (error["code"], error["param"]) == ("coupon_expired", "discounts[0][coupon]")
    assert len(api.get("/v1/subscriptions")["data"]) == before


def test_a_coupon_past_its_date_is_refused(api: Api) -> None:
    made = coupon(api, redeem_by=int(time.time()) + 1)
    time.sleep(1.2)
    assert start_with(api, [{"coupon": made["id"]}], expect=400)["error"]["code"] == "coupon_expired"


def test_a_coupon_in_another_currency_is_refused(api: Api) -> None:
    made = coupon(api, percent_off=None, amount_off=500, currency="eur")
    start_with(api, [{"coupon": made["id"]}], expect=400)


def test_a_code_is_minted_like_stripes(api: Api) -> None:
    code = code_of(api, coupon(api))["code"]
    assert len(code) == 8 and code.isalnum() and code == code.upper()


@pytest.mark.parametrize(
    "restriction",
    [
        {"active": False},
        {"restrictions": {"minimum_amount": 2001, "minimum_amount_currency": "usd"}},
        {"restrictions": {"minimum_amount": 1, "minimum_amount_currency": "eur"}},
    ],
)
def test_a_code_is_refused_where_its_restrictions_say_so(api: Api, restriction: dict[str, Any]) -> None:
    code = code_of(api, coupon(api), **restriction)
    error = start_with(api, [{"promotion_code": code["id"]}], expect=400)["error"]
    assert error["param"] == "discounts[0][promotion_code]"
    assert api.get("/v1/subscriptions")["data"] == []


def test_a_first_time_code_is_for_customers_without_payments(api: Api) -> None:
    code = code_of(api, coupon(api), restrictions={"first_time_transaction": True})
    customer = make_customer(api)["id"]
    discounts = [{"promotion_code": code["id"]}]
    assert start_with(api, discounts, customer=customer)["status"] == "active"
    error = start_with(api, discounts, customer=customer, expect=400)["error"]
    assert "prior transactions" in error["message"]


def test_a_code_of_one_customer_is_refused_to_others(api: Api) -> None:
    mine = make_customer(api)["id"]
    code = code_of(api, coupon(api), customer=mine)
    start_with(api, [{"promotion_code": code["id"]}], expect=400)
    assert start_with(api, [{"promotion_code": code["id"]}], customer=mine)["status"] == "active"


def test_a_code_is_used_as_often_as_it_may_be_and_can_be_switched_off(api: Api) -> None:
    code = code_of(api, coupon(api), max_redemptions=1, code="SPRING")
    api.post(
        "/v1/promotion_codes", 400, promotion={"type": "coupon", "coupon": code["promotion"]["coupon"]}, code="spring"
    )
    start_with(api, [{"promotion_code": code["id"]}])
    used = api.get(f"/v1/promotion_codes/{code['id']}")
    assert (used["active"], used["times_redeemed"]) == (False, 1)
    start_with(api, [{"promotion_code": code["id"]}], expect=400)
    assert [each["id"] for each in api.get("/v1/promotion_codes", code="spring")["data"]] == [code["id"]]
    off = api.post(f"/v1/promotion_codes/{code['id']}", active=False, metadata={"a": "b"})
    assert off["active"] is False


def test_a_discount_of_a_checkout_session_is_on_its_invoice(api: Api) -> None:
    session = create_session(api, create_price(api, 2000)["id"], discounts=[{"coupon": coupon(api)["id"]}])
    assert (session["amount_subtotal"], session["amount_total"]) == (2000, 1500)
    assert session["total_details"]["amount_discount"] == 500
    text = visible_text(httpx.get(session["url"]).text)
    assert "25% off forever" in text and "-$5.00" in text and "$15.00" in text
    assert pay_on_page(session).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["invoice", "subscription"])
    assert totals(done["invoice"]) == (2000, 500, 1500) and done["invoice"]["amount_paid"] == 1500
    assert len(done["subscription"]["discounts"]) == 1
    assert "customer.discount.created" in event_types(api)


def test_a_code_is_typed_on_the_page_and_can_be_taken_off(api: Api) -> None:
    code_of(api, coupon(api, percent_off=50, name="Half"), code="HALF")
    session = create_session(api, create_price(api, 2000)["id"], allow_promotion_codes=True)
    url = session["url"] + "/promotion-code"
    wrong = httpx.post(url, data={"promotionCode": "NOPE"})
    assert wrong.status_code == 400 and "This code is invalid." in wrong.text
    assert httpx.post(url, data={"promotionCode": " half "}).status_code == 303
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["amount_total"] == 1000
    assert "HALF is applied" in visible_text(httpx.get(session["url"]).text)
    assert httpx.post(url, data={"remove": "1"}).status_code == 303
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["amount_total"] == 2000
    httpx.post(url, data={"promotionCode": "HALF"})
    assert pay_on_page(session).status_code == 303
    (charge,) = api.get("/v1/charges")["data"]
    assert charge["amount"] == 1000


def test_a_code_used_up_meanwhile_is_refused_at_payment(api: Api) -> None:
    code_of(api, coupon(api), code="LAST", max_redemptions=1)
    price = create_price(api, 2000)["id"]
    first, second = (create_session(api, price, allow_promotion_codes=True) for _ in range(2))
    for session in (first, second):
        httpx.post(session["url"] + "/promotion-code", data={"promotionCode": "LAST"})
    assert pay_on_page(first).status_code == 303
    assert pay_on_page(second).status_code == 402
    assert len(api.get("/v1/charges")["data"]) == 1


def test_a_page_without_codes_takes_none(api: Api) -> None:
    code_of(api, coupon(api), code="HALF")
    session = create_session(api, create_price(api, 2000)["id"])
    assert 'name="promotionCode"' not in httpx.get(session["url"]).text
    httpx.post(session["url"] + "/promotion-code", data={"promotionCode": "HALF"})
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["amount_total"] == 2000
    create = {"discounts": [{"coupon": coupon(api)["id"]}], "allow_promotion_codes": True}
    api.post(
        "/v1/checkout/sessions",
        400,
        mode="subscription",
        success_url="https://a.example",
        line_items=[{"price": create_price(api)["id"], "quantity": 1}],
        **create,
    )


def test_a_one_time_payment_is_discounted(api: Api) -> None:
    made = coupon(api, percent_off=100, duration="once")
    price = create_price(api, 5000, interval=None)["id"]
    free = create_session(api, price, mode="payment", discounts=[{"coupon": made["id"]}])
    assert pay_on_page(free).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{free['id']}")
    assert (done["amount_total"], done["payment_status"]) == (0, "no_payment_required")
    assert api.get("/v1/charges")["data"] == []


def test_a_manual_invoice_is_discounted(api: Api) -> None:
    customer = make_customer(api)["id"]
    api.post("/v1/invoiceitems", customer=customer, amount=1000, currency="usd")
    invoice = api.post(
        "/v1/invoices",
        customer=customer,
        pending_invoice_items_behavior="include",
        discounts=[{"coupon": coupon(api)["id"]}],
    )
    assert totals(invoice) == (1000, 250, 750)
    api.post(f"/v1/invoices/{invoice['id']}/finalize")
    assert api.post(f"/v1/invoices/{invoice['id']}/pay")["amount_paid"] == 750
