"""The four plan sets, each lived through: installed by name, bought, renewed by the clock, changed, ended.

Stripe's deliveries come shuffled and twice, by a seed. What a user has is asked over HTTP, in the words of product and contract.
"""

import datetime as dt
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from common import clock
from common.clock import from_unix
from entitlements.models import CreditTransaction, TokenPeriod
from notifications.models import OutboxRow
from payments.models import Invoice, Transaction
from payments.services.invariants import check_invariants
from tests.cast import AppUser, Developer
from tests.entitlements.packs import CREDITS, buy_pack, create_pack
from tests.entitlements.provisioned import World
from tests.litellm import create_proxy
from tests.payments.deliveries import control, events_of, process_all, send, set_webhook_secret, stored
from tests.payments.shop import CANCEL_URL, SUCCESS_URL, Shop, get, post

# A whole life each, some of it waiting for the next second of Stripe's time.
pytestmark = pytest.mark.timeout(600)

MEGA = 1_000_000


@dataclass
class Member:
    """A user of an app that sells a plan set, their time, and how badly the post works."""

    shop: Shop
    user: AppUser
    clock_file: Path
    chance: random.Random
    subscription_id: str = ""

    def install(self, preset: str) -> None:
        """Install a plan set by name and make its prices at Stripe."""
        slug = self.shop.project.slug
        call_command("apply", preset=preset, project=slug, stdout=io.StringIO())
        call_command("setup_stripe", slug, mode="test", stdout=io.StringIO())

    def ask_for(self, plan: str, **more: Any) -> Any:
        """Ask for a checkout of a plan."""
        body = {"plan": plan, "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL} | more
        return post(self.user, "checkout-session", body)

    def buy(self, plan: str, **more: Any) -> None:
        """Pay for a plan on Stripe's page."""
        opened = self.ask_for(plan, **more)
        assert opened.status_code == 200, opened.content
        assert self.shop.pay(opened.json()["checkout_url"]).status_code == 303
        self.subscription_id = self.shop.objects("subscriptions", status="all")[0]["id"]
        self.hear()

    def move(self, plan: str, behavior: str) -> None:
        """Change to another plan."""
        answer = post(self.user, "update-subscription", {"plan": plan, "proration_behavior": behavior})
        assert answer.status_code == 200, answer.content
        self.hear()

    def cancel(self) -> None:
        """Cancel at the end of the period."""
        answer = post(self.user, "cancel-subscription", {"cancel_immediately": False})
        assert answer.status_code == 200, answer.content
        self.hear()

    def wait_for(self, event: str) -> None:
        """Let time pass at Stripe and here until something happens to the subscription."""
        moved = control(self.shop, f"subscriptions/{self.subscription_id}/advance", to=event)
        now = from_unix(moved["frozen_time"])
        assert now is not None
        self.clock_file.write_text((now + dt.timedelta(minutes=1)).isoformat())
        self.hear()

    def hear(self) -> None:
        """Have what happened delivered: some of it twice, in any order, some before the rest is there."""
        known = set(stored(self.shop.project).values_list("event_id", flat=True))
        events = [event for event in events_of(self.shop) if event["id"] not in known]
        events += [event for event in events if self.chance.random() < 0.5]
        self.chance.shuffle(events)
        pause = self.chance.randint(0, len(events))
        for number, event in enumerate(events):
            if number == pause:
                process_all(self.shop.project)
            assert send(self.shop.project, event).status_code == 200
        process_all(self.shop.project)

    def has(self) -> dict[str, Any]:
        """Ask what the user is entitled to."""
        answer = get(self.user, "my-entitlements")
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    def limits(self, *names: str) -> tuple[Any, ...]:
        """Return the plan, and these of its limits."""
        found = self.has()
        return (found["plan"], *(found["limits"][name] for name in names))

    def paid(self) -> list[int]:
        """The amounts of the subscription's payments, in order of time."""
        rows = Transaction.objects.for_project(self.shop.project).filter(subscription__isnull=False)
        return list(rows.filter(status="succeeded").order_by("created_at", "id").values_list("amount_cents", flat=True))

    def settle_up(self) -> None:
        """Check every invariant, and that no event was given up."""
        assert check_invariants(project_id=self.shop.project.pk) == []
        assert not stored(self.shop.project).exclude(status__in=["processed", "ignored"]).exists()
        invoices = Invoice.objects.for_project(self.shop.project)
        receipts = OutboxRow.objects.for_project(self.shop.project).filter(effect_key__startswith="mail:receipt:")
        assert receipts.count() == Transaction.objects.for_project(self.shop.project).count()
        assert not invoices.filter(status="open").exists()


IN_TWO_ORDERS = pytest.mark.parametrize("member", ["in one order", "in another"], indirect=True)


@pytest.fixture
def member(
    request: pytest.FixtureRequest, shop: Shop, dana: AppUser, settings: Any, tmp_path: Path
) -> Iterator[Member]:
    """Dana, whose app hears of everything in some order."""
    set_webhook_secret(shop.project)
    settings.CLOCK_FILE = str(tmp_path / "now")
    yield Member(shop, dana, tmp_path / "now", random.Random(getattr(request, "param", "in some order")))


def test_gateway(member: Member, alice: Developer, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    shop = member.shop
    member.install("gateway")
    proxy = World(shop.project, alice, member.user, create_proxy(shop.sandbox.url))
    proxy.connect()
    names = ("compute_budget_cents", "compute_budget_duration", "tokens_per_minute", "requests_per_minute")

    def everywhere() -> tuple[Any, ...]:
        """The plan, its limits here, and what the proxy enforces."""
        proxy.run()
        return member.limits(*names), proxy.limits()

    free = (("free", 100, "1d", 100_000, 10), (1, "1d", 100_000, 10))
    pro = (("pro", 1000, "1d", 500_000, 60), (10, "1d", 500_000, 60))
    enterprise = (("enterprise", 5000, "1d", 2 * MEGA, 120), (50, "1d", 2 * MEGA, 120))
    assert member.limits(*names) == free[0]
    refused = member.ask_for("sovereign")
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "plan_not_for_sale")
    member.buy("pro")
    assert everywhere() == pro
    member.wait_for("payment")
    assert (everywhere(), member.paid()) == (pro, [2900, 2900])
    member.move("enterprise", "always_invoice")
    assert everywhere() == enterprise
    member.move("pro", "none")
    assert everywhere() == enterprise
    member.wait_for("payment")
    assert (everywhere(), member.paid()[-1]) == (pro, 2900)
    member.cancel()
    assert everywhere() == pro
    member.wait_for("end")
    assert everywhere() == free
    assert set(proxy.states()) == {"done"}
    member.settle_up()


def test_three_six_nine(member: Member) -> None:
    member.install("three-six-nine")

    def runs() -> tuple[Any, ...]:
        found = member.has()
        return found["plan"], found["features"].get("runs"), found["plan_active"]

    assert runs() == ("free", None, False)
    member.buy("starter")
    assert runs() == ("starter", "limited", True)
    member.wait_for("payment")
    assert (runs(), member.paid()) == (("starter", "limited", True), [300, 300])
    member.move("enterprise", "always_invoice")
    assert runs() == ("enterprise", "unlimited", True)
    member.move("pro", "none")
    assert runs() == ("enterprise", "unlimited", True)
    member.wait_for("payment")
    assert (runs(), member.paid()[-1]) == (("pro", "priority", True), 600)
    member.cancel()
    assert runs() == ("pro", "priority", True)
    member.wait_for("end")
    assert runs() == ("free", None, False)
    member.settle_up()


@IN_TWO_ORDERS
def test_credits(member: Member) -> None:
    shop, user = member.shop, member.user
    member.install("credits")
    create_pack(shop.project, credits=100, cents=500)

    def balance() -> tuple[Any, ...]:
        """The plan, its size of files, and the credits of the day and those that were bought."""
        buckets = member.has()["credits"]["buckets"]
        return (*member.limits("file_size_mb"), buckets.get("plan_daily", 0), buckets.get("purchased", 0))

    def spend(amount: int) -> None:
        answer = user.client.post(f"{CREDITS}/spend", {"amount": amount}, content_type="application/json")
        assert answer.status_code == 200, answer.content

    assert balance() == ("free", 10, 10, 0)
    buy_pack(shop, user)
    member.hear()
    spend(15)
    assert balance() == ("free", 10, 0, 95)
    member.buy("maker", trial=True)
    assert member.paid() == []
    member.wait_for("payment")
    assert (balance(), member.paid()) == (("maker", 50, 30, 95), [1299])
    spend(30)
    member.wait_for("payment")
    assert (balance(), member.paid()) == (("maker", 50, 30, 95), [1299, 1299])
    member.move("agency", "always_invoice")
    assert member.limits("credits_per_day", "file_size_mb") == ("unlimited", 500, 500)
    member.move("pro", "none")
    assert member.limits("credits_per_day", "file_size_mb") == ("unlimited", 500, 500)
    member.wait_for("payment")
    assert (balance(), member.paid()[-1]) == (("pro", 200, 100, 95), 2499)
    member.cancel()
    assert balance() == ("pro", 200, 100, 95)
    member.wait_for("end")
    assert balance() == ("free", 10, 10, 95)
    days = CreditTransaction.objects.for_project(shop.project).filter(kind="daily").values_list("created_at", flat=True)
    assert len({day.date() for day in days}) == len(days)
    member.settle_up()


@IN_TWO_ORDERS
def test_token_budget(member: Member) -> None:
    shop, user = member.shop, member.user
    member.install("token-budget")

    def budget() -> tuple[Any, ...]:
        """The plan, and the budget as the counter has it."""
        found = user.client.get("/api/v1/payments/tokens/budget").json()
        return member.limits()[0], found["limit"], found["used"]

    def consume(tokens: int) -> int:
        body = {"tokens": tokens}
        return int(
            user.client.post("/api/v1/payments/tokens/consume", body, content_type="application/json").status_code
        )

    assert (budget(), consume(1)) == (("free", 0, 0), 429)
    member.buy("standard")
    assert (budget(), consume(MEGA), consume(1)) == (("standard", MEGA, 0), 200, 429)
    for event in events_of(shop):
        assert send(shop.project, event | {"id": f"{event['id']}again"}).status_code == 200
    process_all(shop.project)
    assert budget() == ("standard", MEGA, MEGA)
    member.wait_for("payment")
    assert (budget(), consume(10), member.paid()) == (("standard", MEGA, 0), 200, [2000, 2000])
    granted = TokenPeriod.objects.filter(project=shop.project, subscription_id=member.subscription_id)
    assert granted.count() == 2
    member.cancel()
    assert budget() == ("standard", MEGA, 10)
    member.wait_for("end")
    assert (budget()[:2], consume(1)) == (("free", 0), 429)
    assert granted.count() == 2 and clock.now() > granted.latest("starts_at").starts_at
    member.settle_up()
