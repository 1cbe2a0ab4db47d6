"""Subscriptions that staff cancel or give free days, and users whose state is read from Stripe at once, against the stand-in."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import User
from entitlements.models import PlanPrice
from moderation.models import ActionLog
from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows
from payments.models import StripeCredentials, Subscription, Transaction
from payments.services.invariants import check_invariants
from payments.services.staff_subscriptions import (
    CANCEL_LATER,
    CANCEL_NOW,
    FREE_DAYS,
    STAFF_CHANGE,
    NotChangeable,
    StaffChange,
    request_staff_change,
)
from projects.models import Project
from tests.cast import AppUser, Developer, create_developer
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, get, post

DAY = 86_400


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription at 10.00 a month."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def ask(row: Subscription, actor: User, change: str, days: int = 0, key: uuid.UUID | None = None) -> OutboxRow:
    asked = StaffChange(key or uuid.uuid4(), change, "The customer asked.", days)
    request_staff_change(subscription=row, asked=asked, actor=actor)
    return OutboxRow.objects.for_project(row.project_id).get(effect_key__endswith=str(asked.key))


def carry_out(row: OutboxRow) -> OutboxRow:
    OutboxRow.objects.filter(pk=row.pk).update(next_attempt_at="2020-01-01T00:00Z", status="pending", lease_token=None)
    for leased in lease_due_rows(limit=500):
        if leased.pk == row.pk:
            carry_out_row(leased)
    row.refresh_from_db()
    return row


def at_stripe(shop: Shop, row: Subscription) -> dict[str, Any]:
    return shop.api("get", f"subscriptions/{row.stripe_subscription_id}")


def end_of(found: dict[str, Any]) -> int:
    return int(found["items"]["data"][0]["current_period_end"])


def test_free_days_put_the_next_payment_off_once_and_cancelling_follows(
    shop: Shop, bought: Subscription, alice: Developer
) -> None:
    paid_until, key = end_of(at_stripe(shop, bought)), uuid.uuid4()
    row = ask(bought, alice.user, FREE_DAYS, 7, key)
    assert ask(bought, alice.user, FREE_DAYS, 7, key).pk == row.pk
    line = ActionLog.objects.for_project(shop.project).get()
    assert (line.action, line.subject, line.actor_id, line.reason, line.details) == (
        "subscription.free_days", bought.stripe_subscription_id, alice.user.pk, "The customer asked.",
        {"change": "free_days", "days": 7},
    )  # fmt: skip
    # An answer that is lost, and a worker that tries again: seven days all the same.
    for _ in range(2):
        assert carry_out(row).status == "done", row.error
        assert end_of(at_stripe(shop, bought)) == paid_until + 7 * DAY
    bought.refresh_from_db()
    assert bought.current_period_end is not None
    assert (bought.status, int(bought.current_period_end.timestamp())) == ("trialing", paid_until + 7 * DAY)
    assert Transaction.objects.for_project(shop.project).filter(amount_cents__gt=0).count() == 1
    assert carry_out(ask(bought, alice.user, CANCEL_LATER)).status == "done"
    bought.refresh_from_db()
    assert (bought.status, bought.cancel_at_period_end) == ("trialing", True)
    for change, days in ((CANCEL_LATER, 0), (FREE_DAYS, 7)):
        with pytest.raises(NotChangeable):
            ask(bought, alice.user, change, days)
    now = ask(bought, alice.user, CANCEL_NOW)
    for _ in range(2):
        assert carry_out(now).status == "done", now.error
    bought.refresh_from_db()
    assert bought.status == "canceled" == at_stripe(shop, bought)["status"]
    with pytest.raises(NotChangeable):
        ask(bought, alice.user, CANCEL_NOW)
    assert OutboxRow.objects.for_project(shop.project).filter(kind=STAFF_CHANGE).count() == 3


@pytest.mark.parametrize(("moves", "then"), [(["small"], "small"), (["small", "large"], "large")])
def test_free_days_leave_the_plan_that_is_paid_for_until_they_end(
    shop: Shop, dana: AppUser, alice: Developer, moves: list[str], then: str
) -> None:
    """Also where the larger plan has to be paid first."""
    prices = {}
    for rank, (code, amount) in enumerate({"small": 500, "paid": 1000, "large": 2500}.items()):
        plan, prices[code] = create_plan(shop.project, code=code, rank=rank), shop.price(amount)
        PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=prices[code])
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, prices["paid"]))
    for code in moves:
        asked = {"new_price_id": prices[code], "proration_behavior": "none"}
        assert post(dana, "update-subscription", asked).status_code == 200
    row = Subscription.objects.for_project(shop.project).get()
    carried = carry_out(ask(row, alice.user, FREE_DAYS, 7))
    assert carried.status == "done", carried.error
    now = get(dana, "my-subscription").json()
    assert (now["plan_code"], now["price_id"], now["status"]) == ("paid", prices[then], "trialing")
    control(shop, f"subscriptions/{row.stripe_subscription_id}/renew", outcome="paid")
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])
    assert get(dana, "my-subscription").json()["plan_code"] == then
    assert check_invariants(project_id=shop.project.pk) == []


def test_support_reads_a_user_from_stripe_whose_events_never_came(shop: Shop, dana: AppUser) -> None:
    purchase(shop, dana, shop.price(1000))
    assert not Subscription.objects.for_project(shop.project).filter(status="active").exists()
    support = create_developer("support", is_staff=True).user
    support.groups.add(Group.objects.get(name="Support"))
    client = Client()
    client.force_login(support)
    path = reverse("backoffice:sync-user", args=[dana.end_user.pk, "test"])
    form = {"reason": "She says she paid", "request": str(uuid.uuid4())}
    asked = client.post(path, form)
    assert asked.status_code == 200 and 'name="confirmed"' in asked.content.decode()
    assert not ActionLog.objects.for_project(shop.project).exists()
    assert client.post(path, form | {"confirmed": "yes"}).status_code == 302
    row = Subscription.objects.for_project(shop.project).get()
    assert (row.status, row.end_user_id) == ("active", dana.end_user.pk)
    assert Transaction.objects.for_project(shop.project).get().status == "succeeded"
    line = ActionLog.objects.for_project(shop.project).get()
    assert (line.action, line.reason, line.actor_id) == ("stripe.read_now", "She says she paid", support.pk)
    # The subscription's own page says what Stripe says.
    page = reverse("admin:payments_subscription_sync", args=[row.pk])
    said = client.post(page, form | {"confirmed": "yes"}, follow=True).content.decode()
    assert "Stripe says: active." in said
    # Without keys the page says what is missing, and stays.
    StripeCredentials.objects.for_project(shop.project).delete()
    refused = client.post(path, form | {"confirmed": "yes"})
    assert refused.status_code == 200 and re.search(r"[Nn]ot (set up|configured)|no .*keys?", refused.content.decode())


def test_a_plan_is_given_and_taken_back_by_a_moderator_with_a_reason(acme: Project, dana: AppUser) -> None:
    from entitlements.models import Entitlement
    from tests.payments.rows import create_plan

    plan = create_plan(acme, internal=True, name="Friends")
    moderator = create_developer("moderator", is_staff=True).user
    moderator.groups.add(Group.objects.get(name="Moderator"))
    client = Client()
    client.force_login(moderator)
    path = reverse("backoffice:give-plan", args=[dana.end_user.pk, "test"])
    form = {"plan": plan.code, "reason": "A friend of the house", "request": str(uuid.uuid4())}
    assert "Put the user on Friends?" in client.post(path, form).content.decode()
    assert not Entitlement.objects.for_project(acme).exists()
    assert client.post(path, form | {"confirmed": "yes"}).status_code == 302
    held = Entitlement.objects.for_project(acme).get()
    assert (held.plan, held.is_given) == (plan, True)
    assert client.post(path, form | {"plan": "", "confirmed": "yes"}).status_code == 302
    held.refresh_from_db()
    assert not held.active
    assert list(ActionLog.objects.for_project(acme).order_by("at").values_list("action", "actor_id")) == [
        ("plan.give", moderator.pk), ("plan.take_back", moderator.pk),
    ]  # fmt: skip
