"""Calls to Stripe whose answer was lost are settled in rounds, and one that cannot be settled keeps no other waiting."""

import datetime as dt
from typing import Any

import pytest

from payments.models import StripeIntent
from payments.services.intents import reconcile_open_intents
from payments.services.portal import CREATE_PORTAL_SESSION
from payments.services.subscription_changes import UPDATE
from projects.models import Project
from tests.cast import AppUser
from tests.payments.deliveries import purchase
from tests.payments.shop import Shop

NO_TIME = dt.timedelta(0)


def an_intent(project: Project, operation: str, target: str) -> StripeIntent:
    """Write a call whose outcome is open."""
    key = f"{operation}-{project.pk}-{target}"
    return StripeIntent.objects.create(
        project=project, mode="test", operation=operation, target=target, stripe_idempotency_key=key
    )


@pytest.mark.parametrize("is_odd", [False, True], ids=["without-keys", "odd"])
def test_what_cannot_be_settled_hides_no_other_call(
    shop: Shop, dana: AppUser, other_project: Any, is_odd: bool
) -> None:
    """Also one that nobody foresaw: its parameters name no price."""
    if is_odd:
        events = purchase(shop, dana, shop.price(1000))
        bought = next(one["data"]["object"] for one in events if one["type"] == "customer.subscription.created")
        stuck = an_intent(shop.project, UPDATE, bought["id"])
    else:
        stuck = an_intent(other_project, UPDATE, "sub_of_a_project_without_keys")
    later = an_intent(shop.project, CREATE_PORTAL_SESSION, "cus_later")
    # Other tests' calls may be open as well.
    for _ in range(StripeIntent.objects.filter(status="open").count() + 1):
        reconcile_open_intents(min_age=NO_TIME, batch=1)
    for row in (stuck, later):
        row.refresh_from_db()
    assert (later.status, stuck.status) == ("failed", "open")
    assert stuck.lease_until is None and stuck.error == ("KeyError" if is_odd else stuck.error) != ""
