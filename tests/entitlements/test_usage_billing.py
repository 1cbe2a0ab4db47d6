"""A period that is over becomes charges, and charges become lines of an invoice or events of a billing meter: each once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from common import clock
from entitlements.models import Meter, Plan, UsageCharge, UsagePeriod, UsageTotal
from entitlements.services.overage import close_ended_periods
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from notifications.services.rendering import render_mail
from payments.models import Invoice, StripeCredentials
from payments.services.usage_billing import meter_value
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.bills import (
    HOUR,
    QUOTAS,
    bills,
    charges,
    counted,
    ended_period,
    forget_keys,
    fresh,
    lines_of,
    metered,
    run_bills,
    subscribed,
    turn,
)
from tests.entitlements.metering import event, hold, plan_with, report, rows_of, summary
from tests.payments.deliveries import control, deliver
from tests.payments.shop import Shop, at_once


def test_what_goes_beyond_the_plan_is_shown_and_then_on_the_invoice_of_the_renewal_to_the_cent(
    shop: Shop, maker: Plan, dana: AppUser, acme_server: AppServer, time_machine: Any
) -> None:
    subscribed(shop, dana, maker)
    report(acme_server, dana.user_id, event("searches", "150.5"), event("tokens", 1917), event("api_calls", 10**6))
    told = summary(dana)
    assert told["billable"] is True
    # 50.5 searches at 1 cent are 50.5, 917 tokens at 0.006 are 5.502; each line is rounded half up. API calls have no quota.
    shown = {one["meter"]: (one["overage"], one["overage_amount_cents"]) for one in told["meters"]}
    assert shown == {"api_calls": ("0", 0), "searches": ("50.5", 51), "tokens": ("917", 6)}
    assert told["overage_totals"] == [{"currency": "usd", "amount_cents": 57}]

    subscription = turn(shop, time_machine)
    assert close_ended_periods() >= 1
    pending = summary(acme_server, dana.user_id)["charges"]
    assert [(one["meter"], one["amount_cents"], one["status"]) for one in pending] == [
        ("searches", 51, "pending"),
        ("tokens", 6, "pending"),
    ]
    assert run_bills(shop.project) == ["done"]
    draft = shop.api("GET", f"invoices/{subscription['latest_invoice']}")
    assert (draft["status"], draft["total"]) == ("draft", 1057)

    turn(shop, time_machine, "payment")
    paid = shop.api("GET", f"invoices/{subscription['latest_invoice']}")
    assert (paid["status"], paid["amount_paid"], paid["billing_reason"]) == ("paid", 1057, "subscription_cycle")
    lines = {line["description"].partition(":")[0]: line for line in paid["lines"]["data"]}
    assert (lines["Searches"]["amount"], lines["Tokens"]["amount"]) == (51, 6)
    assert "50.5 beyond the 100 included" in lines["Searches"]["description"]
    invoice = Invoice.objects.for_project(shop.project).get(stripe_invoice_id=paid["id"])
    assert invoice.amount_paid_cents == 1057
    billed = summary(acme_server, dana.user_id)["charges"]
    assert {(one["status"], one["invoice_id"]) for one in billed} == {("billed", paid["id"])}
    # Nothing is done a second time, and the new period begins with nothing.
    assert close_ended_periods() == 0
    assert run_bills(shop.project) == ["done"]
    assert len(lines_of(shop)) == 2
    assert summary(acme_server, dana.user_id)["overage_totals"] == []


def test_without_overage_or_a_subscription_nothing_is_billed(
    acme: Project, acme_server: AppServer, dana: AppUser, erin: AppUser, time_machine: Any
) -> None:
    start = dt.datetime(2026, 11, 3, tzinfo=dt.UTC)
    time_machine.move_to(start + HOUR)
    free = plan_with(acme, {"searches": 1}, free=True)
    hold(dana.end_user, plan_with(acme, QUOTAS, rank=1), since=start)
    report(acme_server, dana.user_id, event("searches", "100"))
    report(acme_server, erin.user_id, event("searches", "500"))
    assert summary(acme_server, erin.user_id)["overage_totals"] == []
    time_machine.move_to(start + dt.timedelta(days=40))
    assert close_ended_periods() >= 2
    assert rows_of(acme)[2:] == (2, 0)
    assert not bills(acme).exists()
    assert {row.plan_id for row in UsagePeriod.objects.for_project(acme).filter(subscription_id="")} == {free.pk}


def test_a_period_takes_reports_until_its_grace_is_over(acme: Project, dana: AppUser) -> None:
    now = clock.now()
    row = UsagePeriod.objects.create(
        project=acme, mode="test", end_user=dana.end_user, starts_at=now - HOUR, ends_at=now - dt.timedelta(minutes=14)
    )
    close_ended_periods(moment=now)
    row.refresh_from_db()
    assert row.closed_at is None
    close_ended_periods(moment=now + dt.timedelta(minutes=2))
    row.refresh_from_db()
    assert row.closed_at == now + dt.timedelta(minutes=2)


def test_the_rate_is_the_plans_own_where_it_has_one_and_too_little_is_not_billed(acme: Project, dana: AppUser) -> None:
    plan = plan_with(
        acme,
        {
            "searches": {"included": 10, "unit_amount": "2.25"},
            "tokens": {"included": 0, "block_at_percent": "never"},
            "api_calls": {"included": "unlimited"},
        },
    )
    now = clock.now()
    period = UsagePeriod.objects.create(
        project=acme, mode="test", end_user=dana.end_user, plan=plan, subscription_id="sub_x",
        starts_at=now - 3 * HOUR, ends_at=now - HOUR,
    )  # fmt: skip
    for meter in Meter.objects.for_project(acme):
        period.totals.create(project=acme, mode="test", meter=meter, used=Decimal(14), events=1)
    close_ended_periods()
    found = charges(acme)
    assert (found["searches"].amount_cents, found["searches"].status) == (9, "pending")
    assert (found["tokens"].amount_cents, found["tokens"].status) == (0, "waived")
    assert set(found) == {"searches", "tokens"}
    assert period.charges.get(meter__code="tokens").note.startswith("It comes to less")


def test_usage_beyond_all_measure_keeps_no_period_open(
    acme: Project, acme_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    rates = {"searches": "9999999999.9999999999", "tokens": "1"}
    plan = plan_with(
        acme,
        {code: {"included": "0.000001", "block_at_percent": "never", "unit_amount": rates[code]} for code in rates},
    )
    now = clock.now()
    periods = [
        UsagePeriod.objects.create(
            project=acme, mode="test", end_user=user.end_user, plan=plan, subscription_id="sub_x",
            starts_at=now - 3 * HOUR, ends_at=now - hours * HOUR,
        )
        for user, hours in ((dana, 2), (erin, 1))
    ]  # fmt: skip
    for period, quantity in zip(periods, (Decimal(10**20), Decimal(3)), strict=True):
        for meter in Meter.objects.for_project(acme).filter(code__in=rates):
            period.totals.create(project=acme, mode="test", meter=meter, used=quantity, events=1)
    close_ended_periods()
    found = {(one.period_id, one.meter.code): one.amount_cents for one in UsageCharge.objects.for_project(acme)}
    assert found[periods[0].pk, "searches"] == found[periods[0].pk, "tokens"] == 2**63 - 1
    # Whose period ended later is billed, too.
    assert found[periods[1].pk, "tokens"] == 3

    hold(dana.end_user, plan, since=now - HOUR, until=now + HOUR)
    report(acme_server, dana.user_id, event("searches", "999999999999"))
    UsageTotal.objects.for_project(acme).filter(period__closed_at=None).update(used=Decimal(10**20))
    told = {one["meter"]: one for one in summary(dana)["meters"]}["searches"]
    assert (told["percent"], told["overage_amount_cents"] > 10**29) == (1e28, True)


def test_two_rounds_at_once_close_a_period_once(acme: Project, dana: AppUser, caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_with(acme, QUOTAS)
    now = clock.now()
    meter = Meter.objects.for_project(acme).get(code="searches")
    for number in range(4):
        period = UsagePeriod.objects.create(
            project=acme, mode="test", end_user=dana.end_user, plan=plan, subscription_id="sub_x",
            starts_at=now - (10 - number) * HOUR, ends_at=now - (9 - number) * HOUR,
        )  # fmt: skip
        period.totals.create(project=acme, mode="test", meter=meter, used=Decimal(101), events=1)
    at_once(6, lambda number: close_ended_periods())
    assert UsageCharge.objects.for_project(acme).count() == 4
    assert bills(acme).count() == 4
    # They share the work: none runs into what another has done.
    assert "usage_period_not_closed" not in caplog.text


def test_a_line_whose_answer_was_lost_is_found_and_not_made_again(
    shop: Shop, maker: Plan, dana: AppUser, short_patience: None, settings: Any
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    subscribed(shop, dana, maker)
    ended_period(shop, dana, maker)
    close_ended_periods()
    shop.fault("POST /v1/invoiceitems", "timeout_after_effect", seconds=2)
    assert run_bills(shop.project) == ["pending"]
    assert len(shop.objects("invoiceitems")) == 1
    assert charges(shop.project)["searches"].status == "pending"
    forget_keys(shop)
    assert run_bills(shop.project) == ["done"]
    (item,) = shop.objects("invoiceitems")
    charge = charges(shop.project)["searches"]
    # The subscription's own draft is none here: the line waits for its next invoice.
    assert (charge.status, charge.stripe_object_id, item["amount"]) == ("pending", item["id"], 50)
    assert item["invoice"] is None
    assert item["parent"]["subscription_details"]["subscription"] == shop.objects("subscriptions")[0]["id"]


def test_a_line_that_was_refused_before_its_effect_is_sent_under_the_same_key(
    shop: Shop, maker: Plan, dana: AppUser, settings: Any
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    subscribed(shop, dana, maker)
    ended_period(shop, dana, maker)
    close_ended_periods()
    shop.fault("POST /v1/invoiceitems", "reset")
    assert run_bills(shop.project) == ["pending"]
    assert run_bills(shop.project) == ["done"]
    sent = [one for one in shop.requests("/v1/invoiceitems") if one["method"] == "POST"]
    assert len(sent) == 2
    assert len({one["idempotency_key"] for one in sent}) == 1
    assert len(shop.objects("invoiceitems")) == 1


def test_a_draft_that_was_finalized_meanwhile_leaves_the_line_to_the_next_invoice(
    shop: Shop, maker: Plan, dana: AppUser, acme_server: AppServer, time_machine: Any
) -> None:
    subscribed(shop, dana, maker)
    report(acme_server, dana.user_id, event("searches", "120"))
    subscription = turn(shop, time_machine)
    close_ended_periods()
    period = UsagePeriod.objects.for_project(shop.project).get(closed_at__isnull=False)
    period.bill_to = subscription["latest_invoice"]
    period.save()
    shop.api("POST", f"invoices/{subscription['latest_invoice']}/finalize")
    assert run_bills(shop.project) == ["done"]
    (item,) = lines_of(shop)
    assert (item["amount"], item["invoice"]) == (20, None)
    period.refresh_from_db()
    assert period.bill_to == "renewal"


def test_a_meter_at_stripe_gets_the_overage_as_one_event(
    shop: Shop, maker: Plan, dana: AppUser, settings: Any, short_patience: None
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    subscribed(shop, dana, maker)
    meter_id = metered(shop)
    ended_period(shop, dana, maker, searches="112.25")
    close_ended_periods()
    shop.fault("POST /v1/billing/meter_events", "timeout_after_effect", seconds=2)
    assert run_bills(shop.project) == ["pending"]
    assert charges(shop.project)["searches"].sent_at is not None
    assert run_bills(shop.project) == ["done"]
    assert counted(shop, meter_id) == 12.25
    charge = charges(shop.project)["searches"]
    assert (charge.status, charge.method, charge.amount_cents) == ("billed", "meter_event", 12)
    assert shop.objects("invoiceitems") == []


def test_an_event_of_a_meter_that_may_have_counted_long_ago_is_left_to_a_person(
    shop: Shop, maker: Plan, dana: AppUser, settings: Any, short_patience: None
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    subscribed(shop, dana, maker)
    meter_id = metered(shop)
    ended_period(shop, dana, maker, searches="105")
    close_ended_periods()
    shop.fault("POST /v1/billing/meter_events", "timeout_after_effect", seconds=2)
    run_bills(shop.project)
    UsageCharge.objects.for_project(shop.project).update(sent_at=clock.now() - dt.timedelta(hours=24))
    assert run_bills(shop.project) == ["dead"]
    assert counted(shop, meter_id) == 5
    item = ReviewItem.objects.for_project(shop.project).get(kind=ReviewItem.Kind.DEAD_LETTER)
    assert "usage_bill" in str(item.details) + item.title + item.subject


def test_a_meter_that_stripe_does_not_know_is_a_dead_letter_that_can_be_replayed(
    shop: Shop, maker: Plan, dana: AppUser
) -> None:
    subscribed(shop, dana, maker)
    Meter.objects.for_project(shop.project).filter(code="searches").update(stripe_event_name="searches")
    ended_period(shop, dana, maker, searches="105")
    close_ended_periods()
    assert run_bills(shop.project) == ["dead"]
    assert charges(shop.project)["searches"].sent_at is None
    meter_id = metered(shop)
    bills(shop.project).update(status="pending", attempts=0)
    assert run_bills(shop.project) == ["done"]
    assert counted(shop, meter_id) == 5


def test_a_bill_waits_for_a_key_that_works(shop: Shop, maker: Plan, dana: AppUser) -> None:
    subscribed(shop, dana, maker)
    ended_period(shop, dana, maker)
    close_ended_periods()
    keys = StripeCredentials.objects.for_project(shop.project).filter(mode="test")
    kept = keys.get()
    keys.update(secret_key="")
    assert run_bills(shop.project) == ["pending"]
    assert bills(shop.project).get().wait_reason == "config_error"
    kept.save()
    assert run_bills(shop.project) == ["done"]
    assert charges(shop.project)["searches"].stripe_object_id == lines_of(shop)[0]["id"]


def test_test_mode_never_bills_live_and_a_user_without_a_customer_is_not_billed(
    shop: Shop, maker: Plan, dana: AppUser, erin: AppUser
) -> None:
    subscribed(shop, dana, maker)
    ended_period(shop, dana, maker)
    # The same subscription's id in the other mode leads to nobody.
    ended_period(shop, erin, maker, mode="live", subscription_id="sub_nobody")
    close_ended_periods()
    assert sorted(run_bills(shop.project)) == ["done", "skipped"]
    assert len(shop.objects("invoiceitems")) == 1
    assert shop.objects("invoiceitems", live=True) == []
    waived = UsageCharge.objects.for_project(shop.project).get(mode="live")
    assert (waived.status, waived.note) == ("waived", "Stripe has no customer to bill it to.")


@pytest.mark.no_db
@pytest.mark.parametrize(
    ("quantity", "value"),
    [("5", "5"), ("12.25", "12.25"), ("0.000001", "0.000001"), ("1234567890123.456789", "1234567890123.46")],
    ids=["whole", "decimals", "small", "many_digits"],
)
def test_a_meters_value_has_at_most_fifteen_digits(quantity: str, value: str) -> None:
    assert meter_value(Decimal(quantity)) == value


def test_usage_of_a_plan_that_was_deleted_is_not_billed(acme: Project, dana: AppUser) -> None:
    plan = plan_with(acme, QUOTAS)
    now = clock.now()
    period = UsagePeriod.objects.create(
        project=acme, mode="test", end_user=dana.end_user, plan=plan, subscription_id="sub_x",
        starts_at=now - 3 * HOUR, ends_at=now - HOUR,
    )  # fmt: skip
    meter = Meter.objects.for_project(acme).get(code="searches")
    period.totals.create(project=acme, mode="test", meter=meter, used=Decimal(500), events=1)
    plan.delete()
    close_ended_periods()
    # Nobody knows any more what was included, so nothing is billed beyond it.
    assert charges(acme) == {}


def test_the_notice_of_a_renewal_tells_what_will_be_billed_besides(
    shop: Shop, maker: Plan, dana: AppUser, acme_server: AppServer, time_machine: Any
) -> None:
    subscription = subscribed(shop, dana, maker)
    report(acme_server, dana.user_id, event("searches", "1350"), event("tokens", "10"))
    control(shop, f"subscriptions/{subscription['id']}/advance", to="upcoming")
    deliver(shop, fresh(shop))
    mails = OutboxRow.objects.for_project(shop.project).filter(kind="mail")
    notice = mails.get(payload__template="renewal_notice")
    assert notice.payload["context"]["overage"] == [{"name": "Searches", "amount": "12.50 USD"}]
    rendered = render_mail(
        template="renewal_notice", context=notice.payload["context"], project_name="Acme", is_test=True
    )
    assert "Searches: 12.50 USD" in rendered.text
    assert "Searches, beyond your plan so far" in rendered.html
