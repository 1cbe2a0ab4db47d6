"""A card that expires before the renewal that it is to pay: one mail per card and expiry month."""

import datetime as dt
from typing import Any

import pytest
import time_machine

from common.ids import stripe_row_id
from notifications.models import OutboxRow
from payments.models import StripeCustomer
from payments.services.card_expiry import tell_of_expiring_cards, valid_until
from projects.models import Project
from tests.cast import AppUser
from tests.payments.rows import create_subscription, stripe_id

TODAY = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def customer(project: Project, user: Any, expires: str | None, **more: Any) -> StripeCustomer:
    customer_id = stripe_id("cus")
    card = {"id": stripe_id("pm"), "type": "card", "brand": "visa", "last4": "4242", "expires": expires}
    values = {"mode": "test", "billing": {"payment_method": card}, "end_user": user} | more
    row_id = stripe_row_id(project.pk, values["mode"], customer_id)
    return StripeCustomer.objects.create(id=row_id, project=project, stripe_customer_id=customer_id, **values)


def subscribe(row: StripeCustomer, days: int, **more: Any) -> None:
    values = {"mode": row.mode, "end_user": row.end_user, "current_period_end": TODAY + dt.timedelta(days=days)} | more
    create_subscription(row.project, stripe_customer_id=row.stripe_customer_id, **values)


def mails(project: Project) -> list[OutboxRow]:
    with time_machine.travel(TODAY, tick=False):
        tell_of_expiring_cards()
    return list(OutboxRow.objects.for_project(project).filter(kind="mail"))


def test_a_mail_is_recorded_once_for_a_card_and_month(acme: Project, dana: AppUser) -> None:
    row = customer(acme, dana.end_user, "2026-11")
    subscribe(row, 20)
    assert len(mails(acme)) == 1
    (mail,) = mails(acme)
    card = row.billing["payment_method"]
    assert (mail.effect_key, mail.end_user) == (f"mail:card_expiring:{card['id']}:2026-11", dana.end_user)
    assert mail.payload["context"] | {"renews_at": ""} == {
        "card_brand": "visa", "card_last4": "4242", "expires": "11/2026", "renews_at": "",
    }  # fmt: skip
    card["expires"] = "2026-12"
    StripeCustomer.objects.filter(pk=row.pk).update(billing=row.billing)
    assert len(mails(acme)) == 1, "the new month is not over before the renewal"


@pytest.mark.parametrize(
    ("expires", "days", "more"),
    [
        ("2026-12", 20, {}),  # valid until the year ends
        ("2027-03", 400, {}),  # too early to speak of it
        ("2026-11", 20, {"cancel_at": TODAY + dt.timedelta(days=20)}),
        ("2026-11", 20, {"status": "canceled"}),
        ("2026-11", -1, {}),
        (None, 20, {}),
    ],
)
def test_who_is_not_told(acme: Project, dana: AppUser, expires: str | None, days: int, more: dict[str, Any]) -> None:
    subscribe(customer(acme, dana.end_user, expires), days, **more)
    assert mails(acme) == []


def test_a_customer_without_a_subscription_a_user_or_that_is_gone_is_not_told(acme: Project, dana: AppUser) -> None:
    customer(acme, dana.end_user, "2026-11", deleted_at=TODAY)
    subscribe(customer(acme, None, "2026-11"), 20)
    row = customer(acme, dana.end_user, "2026-11", mode="live")
    subscribe(row, 20, mode="test")
    assert mails(acme) == []


def test_a_card_that_expired_already_and_one_that_pays_after_the_trial(
    acme: Project, dana: AppUser, erin: AppUser
) -> None:
    subscribe(customer(acme, dana.end_user, "2025-01"), 5, status="past_due", trial_end=TODAY - dt.timedelta(days=400))
    subscribe(customer(acme, erin.end_user, "2026-11"), 12, status="trialing", trial_end=TODAY + dt.timedelta(days=12))
    assert len(mails(acme)) == 2


def test_the_month_of_a_card_is_its_last() -> None:
    assert valid_until("2026-12") == dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    assert valid_until("2026-01") == dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
