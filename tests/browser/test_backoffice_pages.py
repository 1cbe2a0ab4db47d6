"""The back office in chromium: charts that are drawn, light and dark, desktop and phone, and a task that is done by clicking."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from entitlements.services.credit_days import sum_credit_days
from payments.models import StripeCredentials
from tests.admin.desk import Desk, make_desk
from tests.admin.test_payments_pages import sign_in
from tests.browser.backoffice_web import cookie_of, running_web, signed_in_window
from tests.browser.conftest import keep_screenshot
from tests.payments.rows import create_payment, create_refund, create_subscription

pytestmark = [pytest.mark.browser]

# Pages of which the picture shows the first screen.
LONG = ("end-user", "preview")


@dataclass(frozen=True)
class Office:
    """The web part, a project with something of everything, and somebody of the staff who is signed in."""

    address: str
    desk: Desk
    cookie: dict[str, Any]
    pages: dict[str, str]


@pytest.fixture(scope="module")
def office(django_db_setup: None, django_db_blocker: Any) -> Iterator[Office]:
    """Made before the browser, whose event loop keeps this thread from the database."""
    with django_db_blocker.unblock(), running_web() as address:
        desk = make_desk("Acme")
        fill(desk)
        client = moderator(desk)
        user = reverse("backoffice:end-user-in-mode", args=[desk.user.pk, "test"])
        pages = {
            "dashboard": f"/admin/?mode=test&project={desk.project.pk}",
            "search": f"/admin/search/?q={desk.customer_id}",
            "end-user": user,
            "preview": f"{user}preview/",
            "event": reverse("backoffice:event", args=[desk.dead.pk]),
            "project": reverse("backoffice:project", args=[desk.project.pk]) + "?mode=test",
        }
        yield Office(address, desk, cookie_of(client, address), pages)


def fill(desk: Desk) -> None:
    """Let a month pass in the project."""
    now = timezone.now()
    for back in range(29):
        at = now - dt.timedelta(days=back)
        for number in range(1 + (back * 7) % 4):
            paid = create_payment(desk.project, amount_cents=1200 + 600 * ((back + number) % 3), created_at=at)
        if back % 6 == 1:
            create_refund(paid, created_at=at)
            create_payment(desk.project, status="failed", created_at=at)
        if back % 9 == 2:
            create_subscription(desk.project, status="canceled", ended_at=at)
    for status in ("active", "active", "trialing", "past_due"):
        create_subscription(desk.project, status=status, stripe_price_id="price_maker_month")
    findings = [
        {"permission": "Customers", "ok": True, "message": "May write.", "features": "Every purchase."},
        {"permission": "Charges and Refunds", "ok": False, "message": "Give the key “Charges and Refunds: write”.",
         "features": "Refunds by staff."},
    ]  # fmt: skip
    StripeCredentials.objects.filter(project=desk.project).update(diagnosis=findings, diagnosed_at=now)
    sum_credit_days()


def moderator(desk: Desk) -> Any:
    """Sign somebody in who may replay and refund."""
    return sign_in(group="Moderator")


@pytest.fixture(params=["light", "dark", "phone"])
def window(office: Office, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window of the moderator's. A script that breaks or a call to another host fails the test."""
    with signed_in_window(chromium, office.address, office.cookie, request.param) as page:
        yield page


def test_every_page_fits_and_its_charts_are_drawn(office: Office, window: Page, request: pytest.FixtureRequest) -> None:
    look = request.node.callspec.params["window"]
    for name, path in office.pages.items():
        answer = window.goto(office.address + path)
        assert answer is not None and answer.status == 200, name
        content = window.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert content[0] <= content[1], (name, content)
        if name == "dashboard":
            canvas = window.locator("canvas.chart").first
            expect(canvas).to_have_attribute("aria-label", re.compile("^Revenue in USD: .* refunded$"))
            inked = "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size > 3"
            assert window.evaluate(inked, canvas.element_handle())
        keep_screenshot(window, f"backoffice-{name}{'' if look == 'light' else f'-{look}'}", whole=name not in LONG)


@pytest.mark.parametrize("window", ["light"], indirect=True)
def test_a_dead_letter_is_replayed_from_the_dashboard_in_four_clicks(office: Office, window: Page) -> None:
    window.goto(office.address + office.pages["dashboard"])
    window.locator("a[href$='#dead']").click()
    window.get_by_role("link", name="customer.subscription.updated").first.click()
    expect(window.get_by_text("It was given up.")).to_be_visible()
    window.get_by_role("button", name="Replay").click()
    window.get_by_label("Why").fill("Mended upstream")
    window.get_by_role("button", name="Yes, do it").click()
    expect(window.get_by_text("1 event will be processed again.")).to_be_visible()
