"""POST preview-update: what a change costs, to the unit, and nothing is changed by asking."""

from typing import Any

import pytest

from entitlements.models import PlanPrice
from payments.models import StripeIntent
from tests.cast import AppUser
from tests.payments.deliveries import control
from tests.payments.rows import create_plan
from tests.payments.shop import STRIPE, Shop, buy, get, post

LEAF = "preview-update"
FIELDS = {
    "subscription_id", "price_id", "currency", "proration_behavior", "proration_date", "amount_due_cents", "credit_cents",
    "subtotal_cents", "discount_cents", "tax_cents", "total_cents", "next_invoice_cents", "next_invoice_at", "lines",
    "message",
}  # fmt: skip


def middle(shop: Shop) -> int:
    """Return a moment in the current period at which nothing divides evenly."""
    item = shop.objects("subscriptions")[0]["items"]["data"][0]
    start, end = item["current_period_start"], item["current_period_end"]
    return int(start + (end - start) * 0.377)


def preview(user: AppUser, **body: Any) -> dict[str, Any]:
    answer = post(user, LEAF, body)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def newest_invoice(shop: Shop) -> dict[str, Any]:
    return shop.objects("invoices")[0]


def update(shop: Shop, **form: Any) -> None:
    """Change the subscription as the app's owner would on Stripe's dashboard."""
    shop.api("POST", f"subscriptions/{shop.objects('subscriptions')[0]['id']}", **form)


# Works: what is shown is what is charged

CHANGES = {
    "upgrade": (1000, "month", 2999, "month", 1),
    "downgrade": (2999, "month", 1000, "month", 1),
    "seats": (1299, "month", 2499, "month", 3),
    "month-to-year": (1299, "month", 11691, "year", 1),
    "year-to-month": (11691, "year", 1299, "month", 1),
}


@pytest.mark.parametrize("behavior", ["always_invoice", "create_prorations", "none"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_the_amount_charged_is_the_amount_shown(shop: Shop, dana: AppUser, change: str, behavior: str) -> None:
    old, old_interval, new, new_interval, quantity = CHANGES[change]
    buy(shop, dana, shop.price(old, interval=old_interval), quantity=quantity)
    wanted: dict[str, Any] = {
        "new_price_id": shop.price(new, interval=new_interval), "proration_behavior": behavior, "proration_date": middle(shop)
    }  # fmt: skip
    first = newest_invoice(shop)["id"]
    shown = preview(dana, **wanted)
    assert newest_invoice(shop)["id"] == first
    wanted["proration_date"] = shown["proration_date"]
    again = preview(dana, **wanted)
    # A period that begins with the change begins a second later.
    assert {**again, "lines": []} == {**shown, "lines": []}
    answer = post(dana, "update-subscription", wanted)
    assert answer.status_code == 200, answer.content
    charged = newest_invoice(shop)
    if charged["id"] == first:
        assert (shown["amount_due_cents"], shown["credit_cents"]) == (0, 0)
        control(shop, f"subscriptions/{shown['subscription_id']}/renew", outcome="paid")
        charged = newest_invoice(shop)
        assert charged["amount_due"] == shown["next_invoice_cents"]
    else:
        assert (charged["amount_due"], shown["next_invoice_cents"]) == (shown["amount_due_cents"], None)
        assert max(-charged["total"], 0) == shown["credit_cents"]
    assert (charged["total"], charged["subtotal"]) == (shown["total_cents"], shown["subtotal_cents"])
    assert [line["amount"] for line in charged["lines"]["data"]] == [line["amount_cents"] for line in shown["lines"]]
    at_once = behavior == "always_invoice" or old_interval != new_interval
    assert (shown["next_invoice_cents"] is None) is at_once


def test_a_coupon_and_tax_are_in_the_amount_and_named_for_what_they_are(shop: Shop, dana: AppUser) -> None:
    buy(shop, dana, shop.price(1000))
    coupon = shop.api("POST", "coupons", percent_off=25, duration="forever")
    update(shop, **{"discounts[0][coupon]": coupon["id"], "automatic_tax[enabled]": "true"})
    for behavior, amount in (("create_prorations", 2999), ("always_invoice", 4999)):
        wanted: dict[str, Any] = {"new_price_id": shop.price(amount), "proration_behavior": behavior}
        wanted["proration_date"] = middle(shop)
        shown = preview(dana, **wanted)
        assert shown["tax_cents"] > 0
        assert post(dana, "update-subscription", wanted).status_code == 200
        if behavior == "create_prorations":
            assert shown["discount_cents"] > 0
            control(shop, f"subscriptions/{shown['subscription_id']}/renew", outcome="paid")
        charged = newest_invoice(shop)
        amounts = (shown["amount_due_cents"] or shown["next_invoice_cents"], shown["total_cents"])
        assert (charged["amount_due"], charged["total"]) == amounts
        assert sum(tax["amount"] for tax in charged["total_taxes"]) == shown["tax_cents"]
        assert not any("tax" in line["description"].lower() for line in shown["lines"])


def test_asking_changes_nothing(shop: Shop, dana: AppUser) -> None:
    buy(shop, dana, shop.price(1000))
    before = shop.objects("subscriptions"), shop.objects("invoices"), shop.objects("invoiceitems")
    mine = get(dana, "my-subscription").json()
    for behavior in ("always_invoice", "create_prorations", "none"):
        shown = preview(dana, new_price_id=shop.price(2000), proration_behavior=behavior)
        assert set(shown) == FIELDS
    assert (shop.objects("subscriptions"), shop.objects("invoices"), shop.objects("invoiceitems")) == before
    assert get(dana, "my-subscription").json() == mine
    assert not StripeIntent.objects.for_project(shop.project).filter(operation="update").exists()


def test_the_price_that_is_paid_already_costs_nothing_more(shop: Shop, dana: AppUser) -> None:
    price = shop.price(1000)
    buy(shop, dana, price)
    shown = preview(dana, new_price_id=price, proration_behavior="always_invoice")
    assert (shown["amount_due_cents"], shown["next_invoice_cents"]) == (0, 1000)
    assert "already" in shown["message"]


def test_another_interval_is_said_aloud(shop: Shop, dana: AppUser) -> None:
    buy(shop, dana, shop.price(11691, interval="year"))
    shown = preview(dana, new_price_id=shop.price(1299))
    assert "every month instead of every year" in shown["message"]


# A plan instead of a price


def test_a_plan_keeps_the_interval_that_is_paid_unless_another_is_asked_for(shop: Shop, dana: AppUser) -> None:
    prices = {}
    for code, monthly in (("maker", 1299), ("pro", 2499)):
        plan = create_plan(shop.project, code=code)
        for interval, amount in (("month", monthly), ("year", monthly * 9)):
            prices[code, interval] = shop.price(amount, interval=interval)
            PlanPrice.objects.create(
                project=shop.project, plan=plan, mode="test", interval=interval, stripe_price_id=prices[code, interval]
            )
    buy(shop, dana, prices["maker", "year"])
    assert preview(dana, plan="pro")["price_id"] == prices["pro", "year"]
    assert preview(dana, plan="pro", interval="month")["price_id"] == prices["pro", "month"]
    changed = post(dana, "update-subscription", {"plan": "pro"})
    assert (changed.status_code, changed.json()["price_id"]) == (200, prices["pro", "year"])
    assert "instead" not in changed.json()["message"]
    assert get(dana, "my-subscription").json()["plan_code"] == "pro"
    monthly_now = post(dana, "update-subscription", {"plan": "maker", "interval": "month"})
    assert monthly_now.json()["price_id"] == prices["maker", "month"]
    assert post(dana, "update-subscription", {"plan": "pro"}).json()["price_id"] == prices["pro", "month"]


# Refuses


def test_what_an_update_refuses_a_preview_refuses(shop: Shop, dana: AppUser, erin: AppUser) -> None:
    buy(shop, dana, shop.price(1000))
    wrong: list[tuple[AppUser, dict[str, Any], int, str]] = [
        (dana, {"new_price_id": "price_nobodyHasThis"}, 400, "price_not_found"),
        (dana, {"new_price_id": shop.price(currency="eur")}, 400, "price_does_not_fit"),
        (dana, {"new_price_id": shop.price(), "proration_date": 1}, 400, "bad_proration_date"),
        (erin, {"new_price_id": shop.price()}, 404, "no_subscription"),
    ]
    for user, body, status, code in wrong:
        answer = post(user, LEAF, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    for body, field in (
        ({}, "new_price_id"),
        ({"new_price_id": "p", "plan": "pro"}, "plan"),
        ({"plan": "nothing"}, "plan"),
        ({"plan": "pro", "interval": "week"}, "interval"),
        ({"new_price_id": "p", "proration_behavior": "sometimes"}, "proration_behavior"),
    ):
        answer = post(dana, LEAF, body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field]), body


def test_a_subscription_that_ends_with_its_period_has_no_next_invoice_to_show(shop: Shop, dana: AppUser) -> None:
    buy(shop, dana, shop.price(1000))
    assert post(dana, "cancel-subscription").status_code == 200
    new = shop.price(2000)
    answer = post(dana, LEAF, {"new_price_id": new})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_next_invoice")
    assert preview(dana, new_price_id=new, proration_behavior="always_invoice")["amount_due_cents"] > 0


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.post(
            f"{STRIPE}/{LEAF}", data={"new_price_id": "price_1"}, content_type="application/json", headers=headers
        )
        assert answer.status_code == 401


def test_trouble_at_stripe_is_said(shop: Shop, dana: AppUser) -> None:
    buy(shop, dana, shop.price(1000))
    shop.fault("POST /v1/invoices/create_preview", "status:500", times=5)
    assert post(dana, LEAF, {"new_price_id": shop.price(2000)}).status_code == 503
