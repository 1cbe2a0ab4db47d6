"""Three roles in chromium: what each is offered, and a deed with its limit, its question and its reason, done by clicking."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from projects.models import Role
from tests.admin.test_payments_pages import sign_in
from tests.browser.backoffice_web import cookie_of, name_person, running_web
from tests.browser.conftest import DESKTOP, PATIENCE_MS, PHONE, keep_screenshot
from tests.payments.actors import create_project
from tests.payments.rows import create_end_user, create_payment, create_plan, create_subscription

pytestmark = [pytest.mark.browser]


@dataclass(frozen=True)
class Office:
    """The web part, the pages of a subscription and a payment, and who is signed in."""

    address: str
    subscription: str
    payment: str
    cookies: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def office(django_db_setup: None, django_db_blocker: Any) -> Iterator[Office]:
    """Made before the browser, whose event loop keeps this thread from the database."""
    with django_db_blocker.unblock(), running_web() as address:
        project, other = create_project("Quandor"), create_project("Zephyrin")
        user = create_end_user(project, external_id="user_2043", email="dana@example.com")
        row = create_subscription(project, end_user=user, plan=create_plan(project))
        payment = create_payment(project, end_user=user, subscription=row, amount_cents=25_000)
        create_payment(other)
        people = {
            "moderator": name_person(sign_in(group="Moderator"), "Mark Moore"),
            "support": sign_in(group="Support"),
            "developer": sign_in(project=project, role=Role.DEVELOPER),
            "stranger": sign_in(project=other, role=Role.OWNER),
        }
        yield Office(
            address,
            reverse("admin:payments_subscription_change", args=[row.pk]),
            reverse("admin:payments_transaction_change", args=[payment.pk]),
            {name: cookie_of(client, address) for name, client in people.items()},
        )


@pytest.fixture
def window(office: Office, chromium: Browser) -> Iterator[Any]:
    """Open windows of one person after the other; a script that breaks fails the test."""
    opened, problems = [], []

    def of(name: str) -> Page:
        context = chromium.new_context(viewport=DESKTOP, locale="en-US")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([office.cookies[name]])  # type: ignore[list-item]
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        return page

    yield of
    for context in opened:
        context.close()
    assert problems == []


def offered(page: Page, office: Office, path: str) -> set[str]:
    """Return which of the deeds the page offers."""
    answer = page.goto(office.address + path)
    assert answer is not None and answer.status == 200
    names = ("Refund", "Cancel", "Give free days", "Read from Stripe now")
    return {name for name in names if page.get_by_role("link", name=name, exact=True).count()}


def pictures(page: Page, name: str) -> None:
    # The theme looks at what the reader prefers when a page opens; this one is filled in.
    for dark, suffix in ((True, "-dark"), (False, "")):
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        keep_screenshot(page, f"backoffice-{name}{suffix}")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1], (name, width)
    keep_screenshot(page, f"backoffice-{name}-phone")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


def test_each_role_is_offered_what_it_may_do(office: Office, window: Any) -> None:
    of_subscription = {"Cancel", "Give free days", "Read from Stripe now"}
    for name, subscription, payment in (
        ("moderator", of_subscription, {"Refund"}),
        ("support", {"Read from Stripe now"}, set()),
        ("developer", of_subscription, set()),
    ):
        page = window(name)
        assert offered(page, office, office.subscription) == subscription, name
        assert offered(page, office, office.payment) == payment, name
    page = window("stranger")
    page.goto(office.address + office.payment)
    assert "25" not in page.locator("main, body").first.inner_text() or page.url.rstrip("/").endswith("/admin")
    page.goto(office.address + "/admin/payments/transaction/")
    assert "Quandor" not in page.content() and "Zephyrin" in page.content()


def test_a_moderator_meets_the_limit_and_gives_free_days_by_clicking(office: Office, window: Any) -> None:
    page = window("moderator")
    page.goto(office.address + office.payment)
    page.get_by_role("link", name="Refund", exact=True).click()
    page.get_by_label("The customer keeps it").check()
    page.get_by_label("Why").fill("Did not like it")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("at most 100.00 USD of one payment")).to_be_visible()
    pictures(page, "refund-limit")
    page.get_by_label("Amount").fill("20")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Yes, refund 20.00 USD").click()
    expect(page.get_by_text("20.00 USD is going back")).to_be_visible()
    page.goto(office.address + office.subscription)
    page.get_by_role("link", name="Give free days", exact=True).click()
    page.get_by_label("Free days").fill("7")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("This field is required.")).to_be_visible()
    page.get_by_label("Why").fill("Sorry for the outage")
    pictures(page, "free-days")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Give 7 free days?")).to_be_visible()
    page.get_by_role("button", name="Yes, do it").click()
    expect(page.get_by_text("This is being done at Stripe")).to_be_visible()
