"""The account page: what is shown, and what changing, cancelling and keeping a plan do."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from common import clock
from entitlements.models import CreditEntry, Meter, Plan, TokenPeriod, TokenUse
from hosted.models import HostedPages
from hosted.services.charts import HEIGHT, TOP, draw_bars
from hosted.views.account import REASONS
from licenses.models import License
from payments.models import StripeIntent, Subscription
from payments.services.subscription_changes import FEEDBACK
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import give, spend
from tests.entitlements.metering import USAGE, event, hold, plan_with
from tests.entitlements.packs import create_pack
from tests.hosted.visitors import Visitor, hidden_of, price_of, sell, visit, words
from tests.licenses.licensing import license_in_hand
from tests.payments.rows import create_invoice, create_payment, create_plan, create_subscription
from tests.payments.shop import Shop, at_once, buy

QUERIES = 13


def subscribed(shop: Shop, user: AppUser, plan: Plan, interval: str = "month") -> Visitor:
    buy(shop, user, price_of(plan, interval).stripe_price_id)
    return visit(shop.project, user)


def two_plans(shop: Shop) -> tuple[Plan, Plan]:
    return sell(shop, "maker", month=1299, year=11691, rank=1), sell(shop, "pro", month=2499, rank=2)


def newest_invoice(shop: Shop) -> dict[str, Any]:
    return shop.objects("invoices")[0]


def pay_for_months(acme: Project, dana: AppUser) -> None:
    """Leave payments of more than a page, the newest with links that may be followed and with one that may not."""
    for number in range(12):
        at = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(days=number)
        create_payment(
            acme, end_user=dana.end_user, created_at=at, amount_cents=1000 + number, description=f"Paid {number}"
        )
    facts = {"end_user": dana.end_user, "created_at": clock.now()}
    create_payment(
        acme,
        **facts,
        currency="jpy",
        amount_cents=500,
        receipt_url="https://pay.stripe.com/r/1",
        invoice_pdf="https://pay.stripe.com/i.pdf",
    )
    create_payment(
        acme,
        **facts,
        currency="kwd",
        amount_cents=1250,
        refunded_amount_cents=250,
        status="partially_refunded",
        receipt_url="javascript:alert(1)",
    )


# Shown


def test_the_page_shows_what_is_hers_and_nothing_of_anybody_else(
    acme: Project, dana: AppUser, erin: AppUser, frank: AppUser, other_project: Project
) -> None:
    plan = create_plan(acme, name="Maker <i>")
    create_plan(acme, code="free", free=True, token_budget=1000)
    HostedPages.objects.create(project=acme, time_zone="Asia/Tokyo")
    ends = dt.datetime(2027, 1, 31, 20, 30, tzinfo=dt.UTC)
    create_subscription(acme, end_user=dana.end_user, plan=plan, current_period_end=ends, quantity=2)
    pay_for_months(acme, dana)
    create_payment(acme, mode="live", end_user=dana.end_user, description="In live mode")
    create_payment(acme, end_user=erin.end_user, description="Erins")
    create_payment(other_project, end_user=frank.end_user, description="Franks")
    create_subscription(acme, end_user=erin.end_user, plan=create_plan(acme, name="Erins plan"))
    give(dana, 50)
    give(erin, 7777)
    spend(dana, 12)
    create_pack(acme)

    here = visit(acme, dana)
    with CaptureQueriesContext(connection) as asked:
        answer = here.get("account")
    assert len(asked) <= QUERIES, [query["sql"][:100] for query in asked]
    page, text = answer.content.decode(), words(answer)
    assert (
        "Maker <i>" in text
        and "It renews on 1 February 2027, 05:30 JST" in text
        and "Times are shown in Asia/Tokyo" in text
    )
    assert "500 JPY" in text and "1.250 KWD" in text and "0.250 KWD given back" in text
    assert (
        'href="https://pay.stripe.com/r/1"' in page
        and 'href="https://pay.stripe.com/i.pdf"' in page
        and "javascript:" not in page
    )
    assert "38 to spend" in text and "Purchased credits 38" in text and "Credits spent in the last 30 days: 12" in text
    assert page.count("<rect") == 1 and "1,000 of 1,000 left" in text and "Buy credits" in text
    for other in ("In live mode", "Erins", "Franks", "7777"):
        assert other not in text
    assert "Paid 11" in text and "Paid 3" not in text and "Older payments" in text
    older = here.text("account?payments=2")
    assert "Paid 3" in older and "Paid 11" not in older and "Newer payments" in older and "Older payments" not in older
    for odd in ("0", "-1", "x", "٣", "9" * 400, "9" * 5000, "1000000"):
        assert here.get(f"account?payments={odd}").status_code == 200, odd
    assert "It renews" not in visit(acme, dana, mode="live").text("account")


def test_metered_use_and_licences_are_shown_and_a_licences_page_is_one_button_away(
    acme: Project, dana: AppUser, erin: AppUser
) -> None:
    create_plan(acme, code="free", free=True)
    for code, quota in (("searches", {"included": "100"}), ("storage", {"included": None})):
        Meter.objects.create(project=acme, code=code, name=code.capitalize(), unit="units", unit_amount=Decimal("1.5"))
        plan = plan_with(acme, {code: quota}, code=f"with-{code}") if code == "searches" else None
        if plan:
            hold(dana.end_user, plan)
    for who, quantity in ((dana, "120.5"), (erin, "7777")):
        body = {"events": [event(quantity=quantity)]}
        assert who.client.post(f"{USAGE}/events", body, content_type="application/json").status_code == 200
    mine, hers, elsewhere = (license_in_hand(acme) for _ in range(3))
    License.objects.filter(pk=mine.pk).update(end_user=dana.end_user)
    License.objects.filter(pk=hers.pk).update(end_user=erin.end_user, username="erins")
    License.objects.filter(pk=elsewhere.pk).update(end_user=dana.end_user, mode="live", username="lives")
    here = visit(acme, dana)
    with CaptureQueriesContext(connection) as asked:
        answer = here.get("account")
    text = words(answer)
    assert len(asked) <= QUERIES + 9, len(asked)
    assert "Searches : 120.5 of 100 units" in text and "20.5 beyond your plan" in text and "0.31 USD" in text
    assert "Storage" not in text and "7777" not in text and "7,777" not in text
    assert f"{mine.product.name} Invitation sent · mona at GitHub" in text
    assert "erins" not in text and "lives" not in text and "token=" not in answer.content.decode()
    opened = here.send("account", "license")
    assert opened.status_code == 303
    shown = Client().get(opened["Location"].removeprefix("http://testserver"))
    assert shown.status_code == 200 and "mona" in words(shown)
    form = hidden_of(here, "account", "license")
    for other in (hers.pk, elsewhere.pk, "x", ""):
        refused = here.client.post(here.path("license"), form | {"license": str(other)})
        assert refused.status_code == 404 and "Your account" in words(refused), other
    assert Visitor(acme).text("account", 401) and "Licences" not in visit(acme, erin, mode="live").text("account")


OVERDUE = {"status": "past_due", "past_due_since": clock.now()}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"status": "trialing", "trial_end": "2027-02-01T00:00:00Z"}, "Your free trial ends on 1 February 2027"),
        ({"cancel_at_period_end": True}, "Canceled. It ends on"),
        (OVERDUE, "5.00 USD is open. Access ends on"),
        (
            OVERDUE | {"past_due_since": clock.now() - dt.timedelta(days=9)},
            "Access has ended, and comes back once that is paid.",
        ),
        (OVERDUE | {"cancel_at_period_end": True}, "Canceled. It is not renewed after"),
        ({"status": "paused"}, "Your plan is paused."),
        ({"access_revoked_at": clock.now()}, "Access has ended because its payment was given back."),
        ({"status": "incomplete_expired"}, "See the plans"),
    ],
    ids=["trial", "canceled", "past_due", "grace is over", "past_due and canceled", "paused", "revoked", "ended"],
)
def test_each_state_of_a_plan_says_what_comes_next(
    acme: Project, dana: AppUser, fields: dict[str, Any], sentence: str
) -> None:
    row = create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme), **fields)
    create_invoice(
        acme,
        end_user=dana.end_user,
        subscription=row,
        status="open",
        amount_remaining_cents=500,
        hosted_invoice_url="https://invoice.stripe.com/i/1",
    )
    answer = visit(acme, dana).get("account")
    assert sentence in words(answer)
    assert ("https://invoice.stripe.com/i/1" in answer.content.decode()) == (fields.get("status") == "past_due")


def test_whoever_cancels_what_is_unpaid_is_told_that_it_is_still_to_be_paid(acme: Project, dana: AppUser) -> None:
    row = create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme))
    here = visit(acme, dana)
    assert "It stays yours until" in here.text("cancel")
    type(row).objects.filter(pk=row.pk).update(**OVERDUE)
    text = here.text("cancel")
    assert "What is open of it is still to be paid" in text and "stays yours" not in text


def test_bars_fill_the_height_and_small_ones_are_seen(acme: Project, dana: AppUser) -> None:
    chart = draw_bars([("a", 0), ("b", 1), ("c", 100_000)])
    assert [bar.height for bar in chart.bars] == [0.0, 2.0, HEIGHT - TOP]
    assert chart.bars[2].y == TOP and chart.total == 100_001 and [bar.label for bar in chart.used] == ["c", "b"]
    assert draw_bars([]).total == 0
    now = clock.now()
    for number, used in ((2, 300), (1, 0)):
        period = TokenPeriod.objects.create(
            project=acme,
            mode="test",
            end_user=dana.end_user,
            key=f"free:{number}",
            limit_tokens=1000,
            starts_at=now - dt.timedelta(days=31 * number),
        )
        if used:
            TokenUse.objects.create(
                project=acme, mode="test", period=period, era="e", used_tokens=used, journalled_at=now
            )
    give(dana, 5)
    spend(dana, 2)
    assert CreditEntry.objects.for_project(acme).exists()
    text = visit(acme, dana).text("account")
    assert "Tokens used in the last billing periods: 300" in text and "Credits spent in the last 30 days: 2" in text


# Changed


def test_an_upgrade_costs_exactly_what_was_shown(shop: Shop, dana: AppUser) -> None:
    maker, pro = two_plans(shop)
    here = subscribed(shop, dana, maker)
    page = f"change?price={price_of(pro).pk}"
    before = newest_invoice(shop)["id"]
    shown = here.text(page)
    due = re.search(r"Charged now ([\d.]+) USD", shown)
    asked = StripeIntent.objects.for_project(shop.project).filter(operation="update")
    assert due and newest_invoice(shop)["id"] == before and not asked.exists()
    done = here.send(page, "change")
    assert (done.status_code, done["Location"]) == (303, here.path("account?done=changed"))
    paid = newest_invoice(shop)
    assert paid["id"] != before and f"{paid['amount_paid'] / 100:.2f}" == due[1] and paid["status"] == "paid"
    text = words(here.client.get(done["Location"]))
    assert "Your plan has been changed." in text and "Pro · 24.99 USD a month" in text


def test_a_smaller_plan_begins_with_the_next_period_and_a_shorter_interval_at_once(
    shop: Shop, dana: AppUser, erin: AppUser
) -> None:
    maker, pro = two_plans(shop)
    here = subscribed(shop, dana, pro)
    page = f"change?price={price_of(maker).pk}"
    shown = here.text(page)
    assert "Charged now 0.00 USD" in shown and "Pro stays yours until" in shown and "nothing is charged now" in shown
    before = newest_invoice(shop)["id"]
    assert here.send(page, "change").status_code == 303 and newest_invoice(shop)["id"] == before
    text = here.text("account")
    assert "it becomes Maker for 12.99 USD a month" in text
    # Coming back costs nothing either.
    assert "Charged now 0.00 USD" in here.text(f"change?price={price_of(pro).pk}")

    there = subscribed(shop, erin, maker, "year")
    shown = there.text(page)
    assert "Kept for your next invoices" in shown and "Maker is yours at once" in shown


def test_what_was_not_shown_is_never_charged(shop: Shop, dana: AppUser, erin: AppUser, time_machine: Any) -> None:
    maker, pro = two_plans(shop)
    here, there = subscribed(shop, dana, maker), subscribed(shop, erin, maker)
    page, price = f"change?price={price_of(pro).pk}", str(price_of(pro).pk)
    theirs = re.search(r'name="quote" value="([^"]+)"', there.get(page).content.decode())
    mine = re.search(r'name="quote" value="([^"]+)"', here.get(page).content.decode())
    assert theirs and mine
    count = len(shop.objects("invoices"))
    changed = mine[1][:-2] + ("AA" if mine[1][-2:] != "AA" else "BB")
    for quote in (theirs[1], changed, "", "x" * 5000):
        answer = here.send(page, "change", quote=quote)
        assert answer.status_code == 409 and "has changed since you looked" in words(answer)
        assert "Pay " in words(answer)
    # A quote of one price is none for another.
    other = here.send(f"change?price={price_of(maker, 'year').pk}", "change", quote=mine[1])
    assert other.status_code == 409
    # Stripe computes something else now: a coupon was given meanwhile.
    coupon = shop.api("POST", "coupons", percent_off=50, duration="forever")["id"]
    ids = {row.end_user_id: row.stripe_subscription_id for row in Subscription.objects.for_project(shop.project)}
    shop.api("POST", f"subscriptions/{ids[dana.end_user.pk]}", **{"discounts[0][coupon]": coupon})
    stale = here.send(page, "change", quote=mine[1])
    assert stale.status_code == 409 and len(shop.objects("invoices")) == count
    assert (
        Subscription.objects.for_project(shop.project).filter(stripe_price_id=price_of(pro).stripe_price_id).count()
        == 0
    )
    # What was shown again holds; the second of two clicks says the same as the first.
    good = re.search(r'name="quote" value="([^"]+)"', stale.content.decode())
    assert good
    first = here.send(page, "change", quote=good[1])
    assert first.status_code == 303 and len(shop.objects("invoices")) == count + 1
    token = str(here.client.cookies["csrftoken"].value)
    again = here.client.post(here.path("change"), {"csrfmiddlewaretoken": token, "price": price, "quote": good[1]})
    assert (again.status_code, again["Location"]) == (303, here.path("account?done=changed"))
    assert len(shop.objects("invoices")) == count + 1


def test_of_many_clicks_one_changes_and_one_is_charged(shop: Shop, dana: AppUser) -> None:
    maker, pro = two_plans(shop)
    here = subscribed(shop, dana, maker)
    form = {"price": str(price_of(pro).pk), **hidden_of(here, f"change?price={price_of(pro).pk}", "change")}
    cookies = {name: morsel.value for name, morsel in here.client.cookies.items()}
    count = len(shop.objects("invoices"))

    def click(_: int) -> int:
        client = Client(enforce_csrf_checks=True)
        for name, value in cookies.items():
            client.cookies[name] = value
        return int(client.post(here.path("change"), form).status_code)

    statuses = at_once(4, click)
    assert 303 in statuses and set(statuses) <= {303, 409, 503}, statuses
    assert len(shop.objects("invoices")) == count + 1
    assert "Pro · 24.99 USD a month" in here.text("account")


def test_a_declined_card_leaves_the_plan_and_leads_to_another_card(shop: Shop, dana: AppUser) -> None:
    maker, pro = two_plans(shop)
    here = subscribed(shop, dana, maker)
    customer = shop.objects("customers")[0]["id"]
    bad = shop.api("POST", "payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    shop.api("POST", f"subscriptions/{shop.objects('subscriptions')[0]['id']}", default_payment_method=bad)
    answer = here.send(f"change?price={price_of(pro).pk}", "change")
    assert answer.status_code == 402 and "declined" in words(answer) and "Use another card" in words(answer)
    assert shop.objects("subscriptions")[0]["items"]["data"][0]["price"]["id"] == price_of(maker).stripe_price_id
    portal = here.client.post(
        here.path("portal"), {"csrfmiddlewaretoken": str(here.client.cookies["csrftoken"].value), "flow": "card"}
    )
    assert portal.status_code == 303 and portal["Location"].startswith("http")


# Cancelled and kept


def test_cancelling_tells_why_and_keeping_takes_it_back(shop: Shop, dana: AppUser) -> None:
    maker, _ = two_plans(shop)
    assert set(REASONS) == FEEDBACK
    here = subscribed(shop, dana, maker)
    for typed, text in (
        ({"reason": "nonsense"}, "Choose a reason, or none."),
        ({"comment": "x" * 501}, "Write at most 500 characters."),
    ):
        refused = here.send("cancel", "cancel", **typed)
        assert refused.status_code == 422 and text in words(refused) and "aria-describedby" in refused.content.decode()
    assert not shop.objects("subscriptions")[0]["cancel_at_period_end"]
    gone = here.send("cancel", "cancel", reason="too_expensive", comment="Ünits\r\n<b>")
    assert (gone.status_code, gone["Location"]) == (303, here.path("account?done=canceled"))
    found = shop.objects("subscriptions")[0]
    assert found["cancel_at_period_end"] and found["cancellation_details"]["feedback"] == "too_expensive"
    assert found["cancellation_details"]["comment"] == "Ünits\n<b>"
    text = here.text("account?done=canceled")
    assert "You can still keep it" in text and "Canceled. It ends on" in text and "Cancel plan" not in text
    assert here.get("cancel")["Location"] == here.path("account")
    kept = here.send("account", "resume")
    assert kept["Location"] == here.path("account?done=resumed")
    assert not shop.objects("subscriptions")[0]["cancel_at_period_end"] and "It renews on" in here.text("account")


def test_the_portal_and_credits_lead_to_stripe_and_back_here(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    here = visit(shop.project, dana)
    opened = here.send("account", "credits", wanted='value="small"')
    assert opened.status_code == 303
    paid = shop.pay(opened["Location"])
    text = words(here.client.get(paid.headers["location"].partition("testserver")[2], follow=True))
    assert "Thank you" in text and "100 to spend" in text
    portal = here.send("account", "portal")
    assert portal.status_code == 303
    assert shop.requests("/v1/billing_portal/sessions")
    token = str(here.client.cookies["csrftoken"].value)
    for pack in ("nonsense", "\0", "é" * 100, ""):
        refused = here.client.post(here.path("credits"), {"csrfmiddlewaretoken": token, "pack": pack})
        assert refused.status_code == 404 and "not on sale any more" in words(refused), pack


def test_without_a_plan_or_without_stripe_nothing_breaks(acme: Project, dana: AppUser) -> None:
    here = visit(acme, dana)
    text = here.text("account")
    assert "No plan" in text and "No payments yet." in text and "Credits" not in text
    token = str(here.client.cookies["csrftoken"].value)
    for action, status in (("resume", 404), ("portal", 404), ("cancel", 404)):
        answer = here.client.post(here.path(action), {"csrfmiddlewaretoken": token})
        assert answer.status_code in (status, 303), action
    assert here.get("cancel")["Location"] == here.path("account")
