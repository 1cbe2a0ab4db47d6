"""The pricing page: what anybody sees, what somebody who came in may buy, and what is said when that is refused."""

import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from common.money import money_text
from entitlements.models import Plan, PlanPrice
from hosted.models import HostedPages
from notifications.models import Brand
from notifications.services.brand import contrast
from payments.models import BillingPolicy, CheckoutSession, StripeCredentials, Subscription
from projects.models import Project
from tests.cast import AppUser
from tests.hosted.visitors import Visitor, price_of, sell, visit, words
from tests.payments.rows import create_subscription, follow_subscription
from tests.payments.shop import Shop

QUERIES_OF_A_STRANGER, QUERIES_OF_A_USER = 4, 8


def plans(shop: Shop) -> tuple[Plan, Plan]:
    Plan.objects.create(project=shop.project, code="free", name="Free", free=True, credits_per_day=3)
    maker = sell(shop, "maker", month=1299, year=11691, rank=1, features={"runs": "standard", "code_export": True})
    pro = sell(shop, "pro", month=2499, year=23990, rank=2, trial_days=14, credits_per_day=40)
    return maker, pro


def priced(
    project: Project, code: str, cents: int, *, currency: str = "usd", interval: str = "month", **fields: Any
) -> Plan:
    """Have a plan on sale without asking Stripe."""
    plan, _ = Plan.objects.get_or_create(project=project, code=code, defaults={"name": code.capitalize(), **fields})
    price = {"interval": interval, "amount_cents": cents, "currency": currency}
    PlanPrice.objects.create(
        project=project, plan=plan, mode="test", stripe_price_id=f"price_{plan.pk.hex}{currency}", **price
    )
    return plan


def buy(here: Visitor, plan: Plan, interval: str = "month", page: str = "", **typed: str) -> Any:
    page = page or f"pricing?interval={interval}"
    return here.send(page, "pricing", wanted=str(price_of(plan, interval).pk), **typed)


def test_anybody_sees_the_plans_in_the_projects_look_and_where_to_sign_in(
    acme: Project, other_project: Project
) -> None:
    Plan.objects.create(project=acme, code="free", name="Free <b>plan</b>", free=True, credits_per_day=3)
    priced(acme, "maker", 1299, rank=1, features={"runs": "standard", "code_export": True, "hidden": False})
    priced(acme, "pro", 2499, rank=2, trial_days=14)
    priced(acme, "staff", 500, internal=True)
    priced(acme, "old", 500, archived=True)
    priced(other_project, "theirs", 900)
    Brand.objects.create(
        project=acme, color="#ffd400", logo_url="https://cdn.acme.example/logo.png", footer_text="Acme GmbH\nBerlin"
    )
    HostedPages.objects.create(
        project=acme, sign_in_url="https://app.example/sign-in?x=1#top", return_url="https://app.example/home"
    )
    here = Visitor(acme)
    here.get("pricing")
    with CaptureQueriesContext(connection) as asked:
        answer = here.get("pricing")
    assert len(asked) <= QUERIES_OF_A_STRANGER, [query["sql"][:90] for query in asked]
    text, page = words(answer), answer.content.decode()
    assert "Free <b>plan</b>" in text and "12.99 USD a month" in text and "14 days free, then 24.99 USD a month" in text
    assert "Runs: standard" in text and "Code export" in text and "Hidden" not in text and "3 credits each day" in text
    assert all(word not in text for word in ("Staff", "Old", "Theirs", "Choose")) and "<form" not in page
    assert "Test mode" in text and "Acme GmbH" in text
    target = "https://app.example/sign-in?x=1&amp;hosted_page=pricing&amp;hosted_interval=month&amp;hosted_plan=pro#top"
    assert target in page and 'href="https://app.example/home"' in page
    assert 'src="https://cdn.acme.example/logo.png"' in page
    assert "img-src 'self' https://cdn.acme.example;" in answer["Content-Security-Policy"]
    assert not answer.cookies
    style = here.get("brand.css")
    assert (
        style["Content-Type"].startswith("text/css")
        and "--brand: #ffd400; --brand-ink: #111113" in style.content.decode()
    )
    # Yellow bars are not seen on white: there they are darker, and as they are in the dark.
    light, dark = re.findall("--brand-bars: (#[0-9a-f]{6});", style.content.decode())
    assert light != dark == "#ffd400" and contrast(light, "#ffffff") >= 3
    live = Visitor(acme, "live").text("pricing")
    assert "Test mode" not in live and "12.99" not in live and "Free" in live
    for path in (f"/hosted/{acme.slug}/both/pricing", "/hosted/nowhere/live/pricing", "/hosted/%00/live/pricing"):
        assert here.client.get(path).status_code == 404
    assert here.client.post(here.path("pricing"), {"action": "buy"}).status_code in (401, 403)


def test_switching_the_interval_and_the_currency_shows_that_price(acme: Project) -> None:
    for code, rank, month in (("maker", 1, 1000), ("pro", 2, 2000)):
        priced(acme, code, month, rank=rank)
    yearly = Plan.objects.for_project(acme).get(code="pro")
    PlanPrice.objects.create(
        project=acme,
        plan=yearly,
        mode="test",
        interval="year",
        amount_cents=18_000,
        currency="usd",
        stripe_price_id="price_y",
    )
    for currency, cents in (("jpy", 1500), ("kwd", 3250)):
        priced(acme, "maker", cents, currency=currency)
    here = Visitor(acme)
    monthly, yearly_page = here.text("pricing"), here.text("pricing?interval=year")
    assert "20.00 USD a month" in monthly and "save up to 25%" in monthly
    # A plan without a price a year shows what it has.
    assert "180.00 USD a year" in yearly_page and "10.00 USD a month" in yearly_page
    assert "25% less than twelve months" in yearly_page
    assert "1,500 JPY a month" in here.text("pricing?currency=jpy") and "Pro" not in here.text("pricing?currency=jpy")
    assert "3.250 KWD a month" in here.text("pricing?currency=kwd")
    for odd in (
        "pricing?interval=decade&currency=%00",
        "pricing?currency=eur",
        "pricing?code=%00%1b",
        "pricing?code=" + "x" * 4000,
    ):
        assert "20.00 USD a month" in here.text(odd)


def test_a_purchase_opens_the_checkout_once_and_returns_to_the_account(shop: Shop, dana: AppUser) -> None:
    maker, pro = plans(shop)
    here = visit(shop.project, dana, page="pricing")
    here.get("pricing")
    with CaptureQueriesContext(connection) as asked:
        text = here.text("pricing")
    assert len(asked) <= QUERIES_OF_A_USER, [query["sql"][:90] for query in asked]
    assert "Free Your plan" in text and "Choose Maker" in text and "Try Pro free" in text
    assert "12.99 USD a month" in text and "103" not in text

    first = buy(here, maker)
    assert first.status_code == 303 and "/c/pay/" in first["Location"], first.content[:300]
    # A second click gets the same page.
    assert buy(here, maker)["Location"] == first["Location"]
    row = CheckoutSession.objects.for_project(shop.project).get()
    assert row.request["success_url"] == f"http://testserver{here.path('return')}?session_id={{CHECKOUT_SESSION_ID}}"
    assert row.request["cancel_url"].endswith(here.path("pricing?interval=month&currency=usd"))
    paid = shop.pay(first["Location"])
    assert paid.status_code == 303
    back = here.client.get(paid.headers["location"].partition("testserver")[2], follow=True)
    text = words(back)
    assert back.status_code == 200 and "Thank you. Your purchase is complete." in text
    assert "Maker · 12.99 USD a month" in text and "It renews on" in text and "UTC" in text
    assert "Change to Pro" in here.text("pricing") and "Maker Your plan" in here.text("pricing")
    # Bought in another tab meanwhile.
    old = here.client.post(here.path("pricing"), {"csrfmiddlewaretoken": csrf(here), "price": str(price_of(pro).pk)})
    assert (old.status_code, old["Location"]) == (303, here.path("account?done=already_subscribed"))


def csrf(here: Visitor) -> str:
    return str(here.client.cookies["csrftoken"].value)


def test_a_trial_is_given_as_it_was_promised_and_never_a_second_time(shop: Shop, dana: AppUser) -> None:
    _, pro = plans(shop)
    here = visit(shop.project, dana)
    opened = buy(here, pro)
    assert (
        CheckoutSession.objects.for_project(shop.project).get().request["subscription_data"]["trial_period_days"] == 14
    )
    shop.pay(opened["Location"])
    session_id = CheckoutSession.objects.for_project(shop.project).get().stripe_session_id
    assert here.client.get(here.path(f"return?session_id={session_id}"))["Location"].endswith("?done=bought")
    text = here.text("account")
    assert "Your free trial ends on" in text and "then 24.99 USD a month is charged" in text
    Subscription.objects.for_project(shop.project).update(status="canceled")
    follow_subscription(Subscription.objects.for_project(shop.project).get())
    shown = here.text("pricing")
    assert "days free" not in shown and "Choose Pro" in shown
    refused = here.client.post(
        here.path("pricing"), {"csrfmiddlewaretoken": csrf(here), "price": str(price_of(pro).pk), "trial": "yes"}
    )
    assert refused.status_code == 400 and "You have had your free trial already" in words(refused)


def test_a_promotion_code_is_carried_to_the_checkout_and_refused_at_its_field(shop: Shop, dana: AppUser) -> None:
    maker, _ = plans(shop)
    coupon = shop.api("POST", "coupons", percent_off=20, duration="once")["id"]
    promotion = shop.api(
        "POST", "promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": coupon, "code": "SAVE20"}
    )
    here = visit(shop.project, dana)
    kept = here.send("pricing?interval=year", "pricing", wanted='value="code"', promo_code=" SAVE20 ")
    assert (kept.status_code, kept["Location"]) == (303, here.path("pricing?interval=year&currency=usd&code=SAVE20"))
    page = kept["Location"].rpartition("/")[2]
    assert "It is taken off at the checkout" in here.text(page)
    opened = buy(here, maker, "year", page=page)
    assert opened.status_code == 303
    row = CheckoutSession.objects.for_project(shop.project).get()
    assert row.request["discounts"] == [{"promotion_code": promotion["id"]}]

    refused = buy(here, maker, page="pricing?code=NOSUCH")
    shown = refused.content.decode()
    assert refused.status_code == 400 and "There is no such promotion code." in shown
    assert 'aria-invalid="true" aria-describedby="promo_code_note"' in shown and 'value="NOSUCH"' in shown
    assert CheckoutSession.objects.for_project(shop.project).count() == 1
    BillingPolicy.objects.create(project=shop.project, allow_promotion_codes=False)
    assert "Promotion code" not in here.text("pricing?code=SAVE20")


def test_a_subscribers_currency_stays_and_a_plan_that_waits_is_marked(acme: Project, dana: AppUser) -> None:
    maker, pro = priced(acme, "maker", 1000, currency="eur", rank=1), priced(acme, "pro", 2000, currency="eur", rank=2)
    priced(acme, "maker", 1100, rank=1)
    subscription = create_subscription(
        acme,
        end_user=dana.end_user,
        plan=pro,
        stripe_price_id=PlanPrice.objects.get(plan=maker, currency="eur").stripe_price_id,
    )
    assert subscription.current_period_end
    here = visit(acme, dana)
    text = here.text("pricing?currency=usd")
    assert money_text(1000, "eur") in text and "USD" not in text and "Stay on Pro" in text
    assert f"Maker From {subscription.current_period_end.day} " in text and "Pro Your plan" in text
    account = here.text("account")
    assert "it becomes Maker for 10.00 EUR a month" in account


def test_what_is_not_on_sale_or_somebody_elses_is_not_sold(shop: Shop, dana: AppUser, other_project: Project) -> None:
    maker, _ = plans(shop)
    theirs = priced(other_project, "theirs", 900)
    here = visit(shop.project, dana)
    here.get("pricing")
    wanted = [str(price_of(theirs).pk), "nonsense", str(maker.pk), ""]
    PlanPrice.objects.filter(plan=maker, interval="year").update(active=False)
    wanted.append(str(PlanPrice.objects.get(plan=maker, interval="year").pk))
    for price_id in wanted:
        answer = here.client.post(here.path("pricing"), {"csrfmiddlewaretoken": csrf(here), "price": price_id})
        assert answer.status_code == 404 and "not on sale any more" in words(answer), price_id
        assert here.get(f"change?price={price_id}").status_code == 404
    assert not CheckoutSession.objects.for_project(shop.project).exists()


def test_live_mode_sells_only_once_its_checks_were_green_and_keeps_its_own_books(shop: Shop, dana: AppUser) -> None:
    plan = sell(shop, "maker", month=1299)
    live = shop.price(1500, live=True)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="live", stripe_price_id=live, amount_cents=1500)
    here = visit(shop.project, dana, mode="live")
    assert "15.00 USD a month" in here.text("pricing") and "12.99" not in here.text("pricing")
    StripeCredentials.objects.for_project(shop.project).filter(mode="live").update(opened_at=None)
    closed = here.send("pricing", "pricing", wanted='value="buy"')
    assert closed.status_code == 409 and "Payments are not switched on here yet" in words(closed)
    StripeCredentials.objects.for_project(shop.project).filter(mode="live").update(opened_at=clock.now())
    opened = here.send("pricing", "pricing", wanted='value="buy"')
    assert opened.status_code == 303
    shop.pay(opened["Location"])
    session_id = CheckoutSession.objects.for_project(shop.project).get(mode="live").stripe_session_id
    assert here.client.get(here.path(f"return?session_id={session_id}"))["Location"].endswith("?done=bought")
    assert "Maker · 15.00 USD a month" in here.text("account")
    other = visit(shop.project, dana)
    assert "No plan" in other.text("account") and "15.00" not in other.text("account")
    # The other mode's session shows nothing of this one's checkout.
    assert other.client.get(other.path(f"return?session_id={session_id}"))["Location"] == other.path("account")
