"""The first thing that a newcomer does after `make run`: buy a plan in the demo shop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backoffice.demo_seed import DEMO_SHOPPER, seed_demo
from entitlements.services import ledger
from payments.models import Subscription, Transaction, WebhookEvent
from projects.models import EndUser, Project
from tests.browser.conftest import PHONE
from tests.live import LiveService, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.live(env={"DEMO": "true"})]

PRO_MONTHLY_CENTS = 2499


@pytest.fixture
def demo(live_service: LiveService, settings: pytest.Item, tmp_path: Path) -> Iterator[LiveService]:
    """A running demo, seeded as `make run` seeds it."""
    settings.VAR_DIR = tmp_path  # type: ignore[attr-defined]
    project = seed_demo()
    yield live_service
    # One slug in the whole database: the next test starts from nothing.
    Project.objects.filter(pk=project.pk).update(slug=f"demo-{project.pk}")


def pay(page: Page, card: str, *, button: str = "Subscribe") -> None:
    """Fill in the hosted checkout page and submit it."""
    page.get_by_label("Card number").fill(card)
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("Security code").fill("123")
    page.get_by_label("Name on card").fill("Ada Lovelace")
    page.get_by_label("Address line 1").fill("1 Main Street")
    page.get_by_label("Postal code").fill("10001")
    page.get_by_label("City").fill("New York")
    page.get_by_role("button", name=button).click()


@pytest.mark.timeout(120)
def test_a_newcomer_buys_a_plan_and_comes_back_to_what_the_service_knows(demo: LiveService, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{demo.url}/demo/")
    page.get_by_role("button", name="Buy Pro, 24.99 USD a month").click()
    pay(page, "4242424242424242")
    page.wait_for_url(f"{demo.url}/demo/return**")
    expect(page.get_by_role("heading", name="Thank you, that worked")).to_be_visible()
    expect(page.get_by_text("On Pro, status active")).to_be_visible()
    expect(page.get_by_role("row", name="24.99 USD succeeded")).to_have_count(1)

    project = Project.objects.get(slug="demo")
    assert Subscription.objects.for_project(project).get().status == "active"
    payment = Transaction.objects.for_project(project).get()
    assert (payment.status, payment.amount_cents, payment.currency) == ("succeeded", PRO_MONTHLY_CENTS, "usd")
    # The webhooks arrive too, and change nothing that the return page did not show.
    events = WebhookEvent.objects.for_project(project)
    wait_until(lambda: events.exists() and not events.unfinished().exists(), seconds=60, what="events processed")
    assert not events.filter(status="dead").exists()
    assert Transaction.objects.for_project(project).count() == 1

    page.goto(f"{demo.url}/demo/")
    page.get_by_role("button", name="Switch to Maker, 12.99 USD a month").click()
    expect(page.get_by_text("On Maker, status active")).to_be_visible()
    page.get_by_role("button", name="Manage it in the portal").click()
    expect(page.get_by_text("Maker").first).to_be_visible()

    page.goto(f"{demo.url}/demo/")
    page.get_by_role("button", name="Buy 100 credits, 4.99 USD").click()
    pay(page, "4242424242424242", button="Pay $4.99")
    page.wait_for_url(f"{demo.url}/demo/return**")
    expect(page.get_by_role("row", name="UTC 4.99 USD succeeded")).to_have_count(1)
    user = EndUser.objects.by_external_id(project, DEMO_SHOPPER).get()
    balance = ledger.read_balance(project_id=project.pk, mode="test", end_user_id=user.pk)
    assert balance.buckets["purchased"] == 100
    expect(page.get_by_text(f"Credits: {balance.available}.")).to_be_visible()
    assert errors == []
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    for path in ("/demo/", "/dev/mail"):
        page.goto(f"{demo.url}{path}")
        for box in ("document.documentElement", "document.querySelector('.scroll') || document.body"):
            assert page.evaluate(f"(box => box.scrollWidth - box.clientWidth)({box})") <= 0, (path, box)


@pytest.mark.timeout(120)
def test_a_declined_card_leaves_the_newcomer_on_the_checkout_with_stripes_words(demo: LiveService, page: Page) -> None:
    page.goto(f"{demo.url}/demo/")
    page.get_by_role("button", name="Buy Maker, 12.99 USD a month").click()
    pay(page, "4000000000000002")
    expect(page.get_by_text("Your card was declined.").first).to_be_visible()
    page.goto(f"{demo.url}/demo/")
    expect(page.get_by_text("No subscription yet.")).to_be_visible()
    assert not Subscription.objects.for_project(Project.objects.get(slug="demo")).filter(status="active").exists()


@pytest.mark.timeout(120)
def test_another_shopper_begins_with_nothing(demo: LiveService, page: Page) -> None:
    page.goto(f"{demo.url}/demo/")
    expect(page.get_by_role("heading", name="What the service knows about demo-shopper", exact=True)).to_be_visible()
    page.get_by_role("button", name="Begin again as another shopper").click()
    expect(page.get_by_role("heading", name="What the service knows about demo-shopper-")).to_be_visible()
    expect(page.get_by_text("No subscription yet.")).to_be_visible()
