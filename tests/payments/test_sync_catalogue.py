"""Plan prices follow Stripe's: what is charged is shown, what is off sale is not sold, a difference is reported once."""

from typing import Any

import pytest

from entitlements.models import Plan, PlanPrice
from moderation.models import ReviewItem
from payments.mirror import mirrored
from payments.models import WebhookEvent
from payments.services.objects.catalogue import GONE, INACTIVE, PRODUCT_INACTIVE, judge_price
from tests.cast import Developer, create_project
from tests.payments.deliveries import an_event, deliver, events_of, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, connect_stripe


@pytest.fixture(autouse=True)
def listening(shop: Shop) -> None:
    """The shop takes webhooks."""
    set_webhook_secret(shop.project)


def sell(shop: Shop, price_id: str = "", *, project: Any = None, **fields: Any) -> PlanPrice:
    """Offer a plan for a price of Stripe's."""
    project = project or shop.project
    plan = create_plan(project)
    values = {"mode": "test", "stripe_price_id": price_id, "amount_cents": 1000, "currency": "usd"} | fields
    return PlanPrice.objects.create(project=project, plan=plan, **values)


def deliver_new(shop: Shop, project: Any = None) -> set[str]:
    """Deliver what has happened since; returns what became of it."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])
    return set(stored(shop.project).values_list("status", flat=True))


def said(row: PlanPrice) -> tuple[int, str, bool, str]:
    row.refresh_from_db()
    return row.amount_cents, row.currency, row.active, row.warning


def items(shop: Shop) -> list[ReviewItem]:
    return list(ReviewItem.objects.for_project(shop.project).filter(kind="price_drift").order_by("created_at"))


# Works


def test_a_price_as_expected_changes_nothing_and_an_amount_never_entered_is_filled_in(shop: Shop) -> None:
    as_expected = sell(shop, shop.price(1000))
    never_entered = sell(shop, shop.price(2500, currency="eur"), amount_cents=0)
    assert deliver_new(shop) <= {"processed", "ignored"}
    assert said(as_expected) == (1000, "usd", True, "")
    assert said(never_entered) == (2500, "eur", True, "")
    assert items(shop) == []


def test_what_stripe_charges_is_shown_and_the_difference_is_reported_once(shop: Shop) -> None:
    price_id = shop.price(1250)
    row = sell(shop, price_id)
    deliver_new(shop)
    warning = "Stripe charges 12.50 USD; here it was 10.00 USD."
    assert said(row) == (1250, "usd", True, warning)
    (item,) = items(shop)
    assert (item.subject, item.status) == (price_id, "pending") and warning in item.title
    for _ in range(2):
        deliver(shop, [an_event("price.updated", data={"object": shop.api("GET", f"prices/{price_id}")})])
    assert said(row) == (1250, "usd", True, warning) and len(items(shop)) == 1


def test_an_inactive_price_is_off_sale_until_stripe_sells_it_again(shop: Shop) -> None:
    price_id = shop.price(1000)
    row, kept_off = sell(shop, price_id), sell(shop, shop.price(1000), active=False)
    for active, expected in ((False, (False, INACTIVE)), (True, (True, "")), (False, (False, INACTIVE))):
        shop.api("POST", f"prices/{price_id}", active=str(active).lower())
        deliver_new(shop)
        assert said(row)[2:] == expected
    assert said(kept_off)[2:] == (False, ""), "what the developer took off sale stays off"
    assert len(items(shop)) == 1


def test_a_product_that_is_taken_off_sale_takes_its_prices_with_it(shop: Shop) -> None:
    price_id = shop.price(1000)
    row = sell(shop, price_id)
    product = shop.api("GET", f"prices/{price_id}")["product"]
    shop.api("POST", f"products/{product}", active="false")
    deliver_new(shop)
    assert said(row)[2:] == (False, PRODUCT_INACTIVE)
    shop.api("POST", f"products/{product}", active="true")
    deliver_new(shop)
    assert said(row)[2:] == (True, "")


def test_a_lookup_key_that_moves_to_another_price_changes_what_is_shown(shop: Shop) -> None:
    first, second = shop.price(1000), shop.price(1500)
    shop.api("POST", f"prices/{first}", lookup_key="maker")
    row = sell(shop, lookup_key="maker")
    deliver_new(shop)
    assert said(row) == (1000, "usd", True, "")
    shop.api("POST", f"prices/{second}", lookup_key="maker", transfer_lookup_key="true")
    deliver_new(shop)
    assert said(row)[0] == 1500 and "15.00 USD" in said(row)[3] and row.stripe_price_id == ""


# Edge


def test_a_price_that_stripe_lost_is_off_sale(shop: Shop) -> None:
    row = sell(shop, "price_gone")
    deliver(shop, [an_event("price.deleted", data={"object": {"id": "price_gone", "object": "price"}})])
    assert said(row) == (1000, "usd", False, GONE)
    assert len(items(shop)) == 1


def test_only_rows_of_the_same_mode_and_price_are_touched(shop: Shop) -> None:
    price_id = shop.price(1250)
    live = sell(shop, price_id, mode="live")
    other = sell(shop, "price_other")
    deliver_new(shop)
    assert said(live) == said(other) == (1000, "usd", True, "")


def test_every_project_on_an_account_compares_the_catalogue_with_its_own_plans(shop: Shop, alice: Developer) -> None:
    neighbour = create_project(alice, "Neighbour")
    connect_stripe(neighbour, shop.account)
    row = sell(shop, shop.price(1250))
    theirs = sell(shop, row.stripe_price_id, project=neighbour)
    assert deliver_new(shop) <= {"processed", "ignored"}
    price_event = WebhookEvent.objects.for_project(shop.project).get(type="price.created")
    assert price_event.status == "processed"
    assert said(row)[0] == 1250 and said(theirs)[0] == 1000


def test_what_cannot_be_compared_keeps_its_amount() -> None:
    row = PlanPrice(amount_cents=1000, currency="usd", interval="month", plan=Plan(name="Maker"))
    by_tiers = {"active": True, "unit_amount": None, "currency": "usd", "recurring": {"interval": "month"}}
    assert judge_price(row, by_tiers, None).difference == ""
    yearly = {"active": True, "unit_amount": 1000, "currency": "usd", "recurring": {"interval": "year"}}
    assert judge_price(row, yearly, None).warning == "Stripe bills it each year."
    assert judge_price(row, by_tiers, {"id": "prod_1", "deleted": True}).warning == PRODUCT_INACTIVE


def test_coupons_and_promotion_codes_are_mirrored_for_support(shop: Shop) -> None:
    coupon = shop.api("POST", "coupons", percent_off=20, duration="once")
    code = shop.api("POST", "promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": coupon["id"]})
    assert deliver_new(shop) <= {"processed", "ignored"}
    accounts = [shop.account.account_id]
    assert mirrored("coupon", account_ids=accounts).filter(id=coupon["id"]).exists()
    found = mirrored("promotion_code", account_ids=accounts).get(id=code["id"])
    assert found.stripe_data["code"] == code["code"]
    shop.api("DELETE", f"coupons/{coupon['id']}")
    deliver_new(shop)
    assert set(stored(shop.project).filter(type__startswith="coupon.").values_list("status", flat=True)) == {
        "processed"
    }
