"""The review queue, exports and the pages about one person in chromium: light, dark and on a phone, nothing that sticks out."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from tests import cast
from tests.browser.accessibility import shuts_out
from tests.browser.backoffice_web import cookie_of, running_web, signed_in_window
from tests.browser.conftest import keep_screenshot
from tests.browser.test_hosted_pages import axe

pytestmark = [pytest.mark.browser, pytest.mark.node]
__all__ = ["axe"]

# The queue, an item, and a deed on it, asked for and asked once more.
EXAMINED = ("queue", "item", "act", "act-confirm")


@dataclass(frozen=True)
class Office:
    """The web part, items in a project's queue, and somebody of the role Admin who is signed in."""

    address: str
    cookie: dict[str, Any]
    pages: dict[str, str]
    act: str
    user: str


@pytest.fixture(scope="module")
def office(django_db_setup: None, django_db_blocker: Any) -> Iterator[Office]:
    """Made before the browser, whose event loop keeps this thread from the database."""
    with django_db_blocker.unblock(), running_web() as address:
        from django.contrib.auth.models import Group
        from django.test import Client

        from accounts.models import User
        from backoffice.services.exports.listings import Wanted
        from backoffice.services.exports.making import request_export
        from moderation.models import ReviewItem
        from moderation.services.review import assign_review_item, note_review_item
        from tests.moderation.test_review_actions import open_item
        from tests.payments.rows import create_end_user, create_payment

        acme = cast.create_project(cast.create_developer("alice"), "Acme")
        user = create_end_user(acme, external_id="user_2043", email="erin@example.com")
        payment = create_payment(acme, end_user=user, amount_cents=2499)
        boss = User.objects.create_user(
            f"grace-{uuid.uuid4().hex[:6]}@example.com", "x" * 12, is_staff=True, full_name="Grace Miller"
        )
        boss.groups.add(Group.objects.get(name="Admin"))
        told = {
            "category": "abuse",
            "text": "Sells access to her account in the forum.",
            "reference": payment.payment_intent_id,
        }
        item = open_item(acme, title="Abuse was reported", end_user_id=user.pk, subject="post-812", details=told)
        for kind, title in (
            ("dispute", "24.99 USD disputed (fraudulent)"),
            ("failed_payments", "6 payments of user_2043 failed within a day"),
            ("odd_credit_use", "user_2043 used 6000 credits within an hour, 120 times the usual"),
            ("dead_letter", "invoice.paid could not be processed"),
        ):
            open_item(acme, kind=kind, title=title, end_user_id=user.pk)
        assign_review_item(item=item, to=boss, actor=boss, reason="Mine.")
        note_review_item(item=item, text="Asked the app's owner for the forum's link.", actor=boss)
        ready = request_export(actor=boss, wanted=Wanted("payments", acme.pk), file_format="xlsx")
        client = Client()
        client.force_login(boss)
        queue = reverse("admin:moderation_reviewitem_changelist")
        pages = {
            "queue": f"{queue}?of_project={acme.pk}",
            "item": reverse("admin:moderation_reviewitem_change", args=[item.pk]),
            "exports": reverse("admin:backoffice_export_changelist"),
            "export-add": reverse("admin:backoffice_export_add"),
            "export": reverse("admin:backoffice_export_change", args=[ready.pk]),
            "ban": reverse("backoffice:ban-user", args=[user.pk]),
            "anonymise": reverse("backoffice:anonymise-user", args=[create_end_user(acme, external_id="user_77").pk]),
        }
        assert ReviewItem.objects.for_project(acme).count() == 5
        yield Office(address, cookie_of(client, address), pages, f"{queue}{item.pk}/act/", str(user.pk))


@pytest.fixture(params=["light", "dark", "phone"])
def window(office: Office, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window of the Admin's. A script that breaks or a call to another host fails the test."""
    with signed_in_window(chromium, office.address, office.cookie, request.param) as page:
        yield page


def test_every_page_fits_and_a_deed_asks_before_it_is_done(
    office: Office, window: Page, axe: str, request: pytest.FixtureRequest
) -> None:
    look = request.node.callspec.params["window"]

    def looked_at(name: str) -> None:
        content = window.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert content[0] <= content[1], (name, content)
        keep_screenshot(window, f"review-{name}{'' if look == 'light' else f'-{look}'}", whole=name != "item")
        if look != "phone" and name in EXAMINED:
            assert shuts_out(window, axe) == [], name

    for name, path in office.pages.items():
        answer = window.goto(office.address + path)
        assert answer is not None and answer.status == 200, name
        looked_at(name)
    window.goto(office.address + office.act)
    window.get_by_label("What", exact=True).select_option("warn")
    window.get_by_label("To the user").fill("Please do not sell access to your account.")
    window.get_by_label("Why, or the note").fill("Seen in the forum.")
    looked_at("act")
    window.get_by_role("button", name="Go on").click()
    expect(window.get_by_role("button", name="Yes, do it")).to_be_visible()
    expect(window.get_by_text("Reason: Seen in the forum.")).to_be_visible()
    looked_at("act-confirm")
