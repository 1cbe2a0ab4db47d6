"""A move to a smaller plan without proration: what is paid for stays, and the smaller plan begins with the next period."""

from typing import Any

import pytest

from entitlements.models import PlanPrice
from payments.models import Subscription
from payments.services.invariants import check_invariants
from tests.cast import AppUser
from tests.payments.deliveries import control, deliver, events_of, process_all, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, buy, get, post

LEAF = "update-subscription"
PRICES = {"starter": 500, "maker": 1000, "pro": 2500}


@pytest.fixture
def prices(shop: Shop, dana: AppUser) -> dict[str, str]:
    """Dana is on Pro; three plans are sold."""
    set_webhook_secret(shop.project)
    made = {}
    for rank, (code, amount) in enumerate(PRICES.items()):
        plan = create_plan(shop.project, code=code, name=code.title(), rank=rank)
        made[code] = shop.price(amount)
        PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=made[code])
    buy(shop, dana, made["pro"], metadata={"plan_until_period_end": "pro", "plan_until": "1"})
    return made


def move(user: AppUser, price_id: str, behavior: str) -> str:
    answer = post(user, LEAF, {"new_price_id": price_id, "proration_behavior": behavior})
    assert answer.status_code == 200, answer.content
    return str(answer.json()["message"])


def mine(user: AppUser) -> tuple[str, str]:
    found = get(user, "my-subscription").json()
    return found["plan_code"], found["price_id"]


def renew(shop: Shop, outcome: str = "paid") -> None:
    row = Subscription.objects.for_project(shop.project).get()
    control(shop, f"subscriptions/{row.stripe_subscription_id}/renew", outcome=outcome)
    hear(shop)


def hear(shop: Shop) -> None:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])


def metadata(shop: Shop) -> dict[str, Any]:
    found = shop.objects("subscriptions")[0]["metadata"]
    return {name: value for name, value in found.items() if name.startswith("plan_until")}


# Works


def test_the_paid_plan_stays_until_the_next_period(shop: Shop, dana: AppUser, prices: dict[str, str]) -> None:
    assert metadata(shop) == {}
    assert "stays until the period ends" in move(dana, prices["maker"], "none")
    assert mine(dana) == ("pro", prices["maker"])
    move(dana, prices["starter"], "none")
    assert mine(dana) == ("pro", prices["starter"])
    for event in events_of(shop):
        deliver(shop, [event], process=False)
    process_all(shop.project)
    assert mine(dana) == ("pro", prices["starter"])
    assert check_invariants(project_id=shop.project.pk) == []
    renew(shop)
    assert mine(dana) == ("starter", prices["starter"])
    assert shop.objects("invoices")[0]["amount_paid"] == PRICES["starter"]
    assert check_invariants(project_id=shop.project.pk) == []


def test_who_comes_back_before_is_on_what_they_pay(shop: Shop, dana: AppUser, prices: dict[str, str]) -> None:
    move(dana, prices["maker"], "none")
    move(dana, prices["pro"], "none")
    assert (mine(dana), metadata(shop)) == (("pro", prices["pro"]), {})
    renew(shop)
    assert mine(dana) == ("pro", prices["pro"])


# Edge


@pytest.mark.parametrize("behavior", ["create_prorations", "always_invoice"])
def test_where_money_is_given_back_the_change_holds_at_once(
    shop: Shop, dana: AppUser, prices: dict[str, str], behavior: str
) -> None:
    assert "stays" not in move(dana, prices["maker"], behavior)
    assert (mine(dana), metadata(shop)) == (("maker", prices["maker"]), {})


def test_a_larger_plan_that_is_paid_for_begins_at_once(shop: Shop, dana: AppUser, prices: dict[str, str]) -> None:
    move(dana, prices["maker"], "create_prorations")
    assert "stays" not in move(dana, prices["pro"], "create_prorations")
    assert mine(dana) == ("pro", prices["pro"])


def test_a_larger_plan_without_proration_begins_when_it_is_paid(
    shop: Shop, dana: AppUser, prices: dict[str, str]
) -> None:
    move(dana, prices["maker"], "always_invoice")
    renew(shop)
    assert mine(dana) == ("maker", prices["maker"])
    for _ in range(2):
        assert "stays until the period ends" in move(dana, prices["pro"], "none")
        assert mine(dana) == ("maker", prices["pro"])
        move(dana, prices["maker"], "none")
        assert (mine(dana), metadata(shop)) == (("maker", prices["maker"]), {})
    move(dana, prices["pro"], "none")
    renew(shop, "declined")
    assert get(dana, "my-subscription").json()["status"] == "past_due"
    assert mine(dana) == ("maker", prices["pro"])
    owed = shop.objects("invoices")[0]
    assert (owed["total"], owed["status"]) == (PRICES["pro"], "open")
    shop.api("POST", f"invoices/{owed['id']}/pay", paid_out_of_band="true")
    hear(shop)
    assert mine(dana) == ("pro", prices["pro"])


def test_nothing_is_given_back_for_a_price_that_was_never_paid(
    shop: Shop, dana: AppUser, prices: dict[str, str]
) -> None:
    move(dana, prices["starter"], "always_invoice")
    renew(shop)
    before = len(shop.objects("invoiceitems"))
    move(dana, prices["pro"], "none")
    body = {"new_price_id": prices["maker"], "proration_behavior": "create_prorations"}
    seen = post(dana, "preview-update", body).json()
    assert (seen["proration_behavior"], seen["credit_cents"]) == ("none", 0)
    assert "stays" in move(dana, prices["maker"], "create_prorations")
    assert mine(dana) == ("starter", prices["maker"])
    move(dana, prices["starter"], "always_invoice")
    assert (mine(dana), metadata(shop)) == (("starter", prices["starter"]), {})
    assert len(shop.objects("invoiceitems")) == before
