"""Overage is billed once and paid: what no renewal bills gets an invoice of its own, and a restored backup bills nothing again."""

import datetime as dt
from typing import Any

import pytest

from common import clock
from entitlements.models import Plan, UsageCharge
from entitlements.services.overage import close_ended_periods
from payments.services.usage_billing import follow_waiting_lines
from tests.cast import AppUser
from tests.entitlements.bills import (
    bills,
    charges,
    counted,
    ended_period,
    forget_keys,
    fresh,
    go_back,
    metered,
    own_invoices,
    paid_of,
    run_bills,
    subscribed,
    turn,
)
from tests.payments.deliveries import control, deliver
from tests.payments.shop import Shop


@pytest.mark.parametrize("how", ["line", "own_invoice", "meter_event"])
def test_a_restored_backup_bills_nothing_a_second_time(shop: Shop, maker: Plan, dana: AppUser, how: str) -> None:
    subscription = subscribed(shop, dana, maker)
    meter_id = metered(shop) if how == "meter_event" else ""
    if how == "own_invoice":
        shop.api("DELETE", f"subscriptions/{subscription['id']}")
    period = ended_period(shop, dana, maker)
    close_ended_periods()
    assert run_bills(shop.project) == ["done"]
    before = charges(shop.project)["searches"]
    go_back(period)
    # Stripe forgets keys after a day; the identifiers of a meter's events, it does not forget so soon.
    forget_keys(shop)
    close_ended_periods()
    assert run_bills(shop.project) == ["done"]
    after = charges(shop.project)["searches"]
    assert (after.pk, after.status, after.stripe_object_id) == (before.pk, before.status, before.stripe_object_id)
    if how == "meter_event":
        assert counted(shop, meter_id) == 50
    else:
        assert len(shop.objects("invoiceitems")) == 1
        assert len(own_invoices(shop)) == (how == "own_invoice")


@pytest.mark.parametrize("how", ["ended", "ends_with_its_period", "yearly"])
def test_what_no_renewal_will_bill_gets_an_invoice_of_its_own(
    shop: Shop, maker: Plan, dana: AppUser, how: str, settings: Any, short_patience: None
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    if how == "yearly":
        maker.prices.update(stripe_price_id=shop.price(10000, interval="year"))
    subscription = subscribed(shop, dana, maker)
    if how == "ended":
        shop.api("DELETE", f"subscriptions/{subscription['id']}")
    if how == "ends_with_its_period":
        shop.api("POST", f"subscriptions/{subscription['id']}", cancel_at_period_end="true")
    ended_period(shop, dana, maker, searches="350")
    close_ended_periods()
    shop.fault("POST /v1/invoices", "timeout_after_effect", seconds=2)
    assert run_bills(shop.project) == ["pending"]
    assert charges(shop.project)["searches"].status == "pending"
    forget_keys(shop)
    assert run_bills(shop.project) == ["done"]
    invoices = own_invoices(shop)
    assert [(one["total"], one["auto_advance"], one["status"]) for one in invoices] == [(250, True, "draft")]
    assert len(shop.objects("invoiceitems")) == 1
    assert charges(shop.project)["searches"].stripe_invoice_id == invoices[0]["id"]
    # Checkout left the card on the subscription; the customer has no default.
    customer = shop.api("GET", f"customers/{invoices[0]['customer']}")
    assert customer["invoice_settings"]["default_payment_method"] is None
    control(shop, f"subscriptions/{subscription['id']}/advance", seconds=2 * 3600)
    assert paid_of(shop, invoices[0]["id"]) == ("paid", 250)


def test_without_a_card_on_the_subscription_the_newest_pays_or_the_customers_default(
    shop: Shop, maker: Plan, dana: AppUser
) -> None:
    subscription = subscribed(shop, dana, maker)
    customer_id = subscription["customer"]
    shop.api("POST", f"subscriptions/{subscription['id']}", default_payment_method="")
    shop.api("DELETE", f"subscriptions/{subscription['id']}")
    newest = shop.api("POST", "payment_methods/pm_card_visa/attach", customer=customer_id)["id"]
    ended_period(shop, dana, maker, searches="350")
    close_ended_periods()
    assert run_bills(shop.project) == ["done"]
    assert own_invoices(shop)[0]["default_payment_method"] == newest
    shop.api("POST", f"customers/{customer_id}", **{"invoice_settings[default_payment_method]": newest})
    now = clock.now()
    ended_period(shop, dana, maker, starts_at=now - dt.timedelta(days=70), ends_at=now - dt.timedelta(days=40))
    close_ended_periods()
    assert run_bills(shop.project) == ["done", "done"]
    # Stripe takes the default that holds when it collects.
    assert sorted(one["default_payment_method"] or "" for one in own_invoices(shop)) == ["", newest]


def waiting_line(shop: Shop, dana: AppUser, maker: Plan) -> UsageCharge:
    """Leave a charge behind whose line waits for the subscription's next invoice."""
    subscribed(shop, dana, maker)
    ended_period(shop, dana, maker)
    close_ended_periods()
    assert run_bills(shop.project) == ["done"]
    charge = charges(shop.project)["searches"]
    (line,) = shop.objects("invoiceitems")
    assert (charge.status, charge.stripe_object_id, charge.stripe_invoice_id) == ("pending", line["id"], "")
    return charge


def follow(shop: Shop) -> int:
    """Look after lines that wait; returns how many looks are recorded in all."""
    follow_waiting_lines()
    assert set(run_bills(shop.project)) == {"done"}
    return int(bills(shop.project).count())


def test_a_line_that_waits_when_its_subscription_ends_gets_an_invoice_of_its_own(
    shop: Shop, maker: Plan, dana: AppUser, settings: Any, short_patience: None
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    waiting_line(shop, dana, maker)
    # While the subscription runs, one look a day changes nothing.
    assert (follow(shop), follow(shop)) == (2, 2)
    assert charges(shop.project)["searches"].status == "pending"
    subscription = shop.objects("subscriptions")[0]
    shop.api("DELETE", f"subscriptions/{subscription['id']}")
    deliver(shop, fresh(shop))
    shop.fault("POST /v1/invoices", "timeout_after_effect", seconds=2)
    follow_waiting_lines()
    assert sorted(run_bills(shop.project)) == ["done", "done", "pending"]
    forget_keys(shop)
    assert follow(shop) == 3
    (invoice,) = own_invoices(shop)
    (line,) = shop.objects("invoiceitems")
    charge = charges(shop.project)["searches"]
    assert (charge.status, charge.stripe_object_id, charge.stripe_invoice_id) == ("billed", line["id"], invoice["id"])
    control(shop, f"subscriptions/{subscription['id']}/advance", seconds=2 * 3600)
    assert paid_of(shop, invoice["id"]) == ("paid", 50)
    assert follow(shop) == 3


def test_a_line_that_waits_is_billed_when_the_renewals_invoice_holds_it(
    shop: Shop, maker: Plan, dana: AppUser, time_machine: Any
) -> None:
    waiting_line(shop, dana, maker)
    subscription = turn(shop, time_machine)
    assert follow(shop) == 2
    charge = charges(shop.project)["searches"]
    assert (charge.status, charge.stripe_invoice_id) == ("billed", subscription["latest_invoice"])
    assert own_invoices(shop) == []
