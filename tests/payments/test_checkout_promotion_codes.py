"""POST checkout-session with `promo_code`: it lowers the price, or the answer says why it does not."""

import time
import uuid
from typing import Any

import pytest

from payments.models import BillingPolicy, CheckoutSession
from tests.live import wait_until
from tests.payments.shop import Shop, at_once, buy, checkout_body, open_checkout, post

LEAF = "checkout-session"
AMOUNT = 2000


MINIMUM: dict[str, Any] = {"restrictions[minimum_amount]": 5000, "restrictions[minimum_amount_currency]": "usd"}
FIRST_TIME: dict[str, Any] = {"restrictions[first_time_transaction]": "true"}


def make_code(shop: Shop, *, coupon: dict[str, Any] | None = None, **more: Any) -> str:
    """Make a code that takes a quarter off; returns what buyers type."""
    made = shop.api("POST", "coupons", **({"duration": "once"} | ({"percent_off": 25} if coupon is None else coupon)))
    code = f"SAVE{uuid.uuid4().hex[:8].upper()}"
    shop.api(
        "POST",
        "promotion_codes",
        **{"promotion[type]": "coupon", "promotion[coupon]": made["id"], "code": code, **more},
    )
    return code


def refusal(user: Any, price_id: str, code: str, **more: Any) -> tuple[int, str]:
    answer = post(user, LEAF, checkout_body(price_id, promo_code=code, **more))
    assert answer.json().get("detail", "").startswith("promo_code: "), answer.content
    return answer.status_code, answer.json()["code"]


def opened_here(user: Any) -> int:
    rows = CheckoutSession.objects.for_project(user.end_user.project_id).filter(end_user=user.end_user)
    return rows.filter(status="open").count()


# Works


@pytest.mark.parametrize("mode", ["subscription", "payment"])
def test_a_code_lowers_what_is_paid_in_either_case_of_letters(shop: Shop, dana: Any, mode: str) -> None:
    price_id = shop.price(AMOUNT, interval="month" if mode == "subscription" else "")
    bought = buy(shop, dana, price_id, mode=mode, promo_code=make_code(shop).lower())
    assert (bought["payment_status"], bought["payment"]["amount_cents"]) == ("paid", AMOUNT * 3 // 4)


def test_a_code_that_takes_all_off_needs_no_payment(shop: Shop, dana: Any) -> None:
    code = make_code(shop, coupon={"percent_off": 100, "duration": "forever"})
    bought = buy(shop, dana, shop.price(AMOUNT), promo_code=code)
    assert (bought["payment_status"], bought["payment"]) == ("no_payment_required", None)
    assert bought["subscription"]["plan_active"] is True


def test_without_a_code_the_page_takes_one_unless_the_project_says_no(shop: Shop, dana: Any) -> None:
    price_id = shop.price(AMOUNT, interval="")
    first = open_checkout(dana, price_id, mode="payment")
    assert shop.api("GET", f"checkout/sessions/{first['session_id']}")["allow_promotion_codes"] is True
    with_code = open_checkout(dana, price_id, mode="payment", promo_code=make_code(shop))
    assert not shop.api("GET", f"checkout/sessions/{with_code['session_id']}")["allow_promotion_codes"]
    BillingPolicy.objects.create(project=shop.project, allow_promotion_codes=False)
    second = open_checkout(dana, price_id, mode="payment")
    assert second["session_id"] != first["session_id"]
    assert not shop.api("GET", f"checkout/sessions/{second['session_id']}")["allow_promotion_codes"]


# Refuses


def test_an_unknown_code_is_an_error(shop: Shop, dana: Any) -> None:
    for code in ("NOBODY", "Sonderpreis für dich", "a" * 400):
        assert refusal(dana, shop.price(), code) == (400, "promo_code_not_found")
    assert opened_here(dana) == 0 and shop.objects("customers") == []


def test_a_code_of_the_other_mode_is_unknown(shop: Shop, dana: Any) -> None:
    code = make_code(shop)
    body = checkout_body(shop.price(live=True), promo_code=code)
    answer = post(dana, LEAF, body, query="?test_mode=false")
    assert (answer.status_code, answer.json()["code"]) == (400, "promo_code_not_found")


def test_a_code_that_is_switched_off_used_up_or_out_of_time_says_so(shop: Shop, dana: Any, erin: Any) -> None:
    price_id = shop.price(AMOUNT, interval="")
    past = make_code(shop, expires_at=int(time.time()) + 3)
    off = make_code(shop)
    shop.api("POST", f"promotion_codes/{shop.objects('promotion_codes', code=off)[0]['id']}", active="false")
    used = make_code(shop, max_redemptions=1)
    buy(shop, erin, price_id, mode="payment", promo_code=used)
    wait_until(lambda: not shop.objects("promotion_codes", code=past)[0]["active"], seconds=10, what="an expired code")
    for code, reason in ((off, "no longer active"), (used, "used up"), (past, "expired")):
        answer = post(dana, LEAF, checkout_body(price_id, mode="payment", promo_code=code))
        assert (answer.status_code, answer.json()["code"]) == (400, "promo_code_expired"), answer.content
        assert reason in answer.json()["detail"]
    assert opened_here(dana) == 0


def test_a_code_for_first_purchases_is_refused_to_who_has_paid_before(shop: Shop, dana: Any, erin: Any) -> None:
    price_id = shop.price(AMOUNT, interval="")
    code = make_code(shop, **FIRST_TIME)
    buy(shop, dana, price_id, mode="payment")
    assert refusal(dana, price_id, code, mode="payment") == (400, "promo_code_not_applicable")
    assert opened_here(dana) == 0
    assert buy(shop, erin, price_id, mode="payment", promo_code=code)["payment"]["amount_cents"] == AMOUNT * 3 // 4


def test_a_code_for_other_products_currencies_or_larger_orders_is_refused(shop: Shop, dana: Any) -> None:
    price_id = shop.price(AMOUNT)
    product = shop.api("POST", "products", name="Something else")["id"]
    codes = [
        make_code(shop, coupon={"percent_off": 25, "applies_to[products][0]": product}),
        make_code(shop, coupon={"amount_off": 100, "currency": "eur"}),
        make_code(shop, **MINIMUM),
    ]
    for code in codes:
        assert refusal(dana, price_id, code) == (400, "promo_code_not_applicable"), code
    assert opened_here(dana) == 0
    own = shop.api("GET", f"prices/{price_id}")["product"]
    assert open_checkout(
        dana, price_id, promo_code=make_code(shop, coupon={"percent_off": 25, "applies_to[products][0]": own})
    )


def test_anothers_personal_code_is_refused_and_ones_own_is_taken(shop: Shop, dana: Any, erin: Any) -> None:
    price_id = shop.price(AMOUNT, interval="")
    open_checkout(dana, price_id, mode="payment")
    personal = make_code(shop, customer=shop.objects("customers")[0]["id"])
    assert refusal(erin, price_id, personal, mode="payment") == (400, "promo_code_not_applicable")
    assert buy(shop, dana, price_id, mode="payment", promo_code=personal)["payment"]["amount_cents"] == AMOUNT * 3 // 4


@pytest.mark.parametrize("code", ["", 7, "x" * 501, "a\u0000b"])
def test_a_code_that_is_no_text_of_its_length_is_422(shop: Shop, dana: Any, code: Any) -> None:
    answer = post(dana, LEAF, checkout_body(shop.price(), promo_code=code))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "promo_code"]


# Edge


def test_a_refused_code_leaves_the_way_free_for_the_purchase_without_it(shop: Shop, dana: Any) -> None:
    price_id = shop.price(AMOUNT)
    code = make_code(shop, **MINIMUM)
    refusal(dana, price_id, code)
    assert buy(shop, dana, price_id)["payment"]["amount_cents"] == AMOUNT


# Race


def test_the_last_redemption_is_one_persons(shop: Shop, dana: Any, erin: Any) -> None:
    price_id = shop.price(AMOUNT, interval="")
    code = make_code(shop, max_redemptions=1)
    pages = [open_checkout(user, price_id, mode="payment", promo_code=code) for user in (dana, erin)]
    at_once(2, lambda number: shop.pay(pages[number]["checkout_url"]))
    assert (
        sorted(intent["amount"] for intent in shop.objects("payment_intents") if intent["status"] == "succeeded")[0]
        == AMOUNT * 3 // 4
    )
    assert shop.objects("promotion_codes", code=code)[0]["times_redeemed"] == 1
