"""Mails as a browser shows them: nothing is fetched, nothing sticks out at the side of a phone, links can be pressed."""

import pytest
from playwright.sync_api import Page

from notifications.services.brand import Look
from notifications.services.rendering import render_mail
from tests.browser.conftest import PHONE, keep_screenshot
from tests.notifications.mails import CUSTOMER_MAILS, OWNER_MAILS

pytestmark = pytest.mark.no_db

WINDOW, POCKET = {"width": 720, "height": 420}, PHONE | {"height": 420}
BRAND = Look("Acme", "hello@acme.example", color="#0f766e", footer_text="Acme GmbH, Example Street 1, Berlin")
REMINDERS = ("checkout_retry", "credits_low")


def html_of(name: str, *, is_test: bool = False) -> str:
    found = render_mail(
        template=name,
        context=(CUSTOMER_MAILS | OWNER_MAILS)[name],
        project_name="Acme",
        is_test=is_test,
        look=None if name in OWNER_MAILS else BRAND,
        unsubscribe_url="https://payments.example/mail/unsubscribe/token" if name in REMINDERS else "",
        to_owners=name in OWNER_MAILS,
    )
    return found.html


@pytest.mark.parametrize("page", [WINDOW, POCKET], ids=["desktop", "phone"], indirect=True)
def test_every_mail_fits_and_fetches_nothing(page: Page, request: pytest.FixtureRequest) -> None:
    is_phone = page.viewport_size == POCKET
    for name in CUSTOMER_MAILS | OWNER_MAILS:
        page.set_content(html_of(name, is_test=name == "receipt"))
        assert page.locator("h1").inner_text().strip(), name
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= (page.viewport_size or WINDOW)["width"], name
        for link in page.locator("a").all():
            box = link.bounding_box()
            assert box is not None and box["height"] >= 14, name
        keep_screenshot(page, f"mails/{name}{'-phone' if is_phone else ''}", whole=True)


@pytest.mark.parametrize("page", [WINDOW], ids=["desktop"], indirect=True)
def test_a_mail_is_read_in_the_dark(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_content(html_of("payment_failed"))
    colors = page.evaluate(
        """() => [document.querySelector('.card'), document.querySelector('h1')].map(one => {
            const style = getComputedStyle(one); return [style.backgroundColor, style.color] })"""
    )
    assert colors[0][0] == "rgb(24, 25, 27)" and colors[1][1] == "rgb(237, 238, 240)"
    keep_screenshot(page, "mails/payment_failed-dark", whole=True)
