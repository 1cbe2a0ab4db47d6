"""The back office in chromium: charts that are drawn, light and dark, desktop and phone, and a task that is done by clicking."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from notifications.services.unsubscribing import unsubscribe_url
from tests.admin.desk import Desk, make_desk
from tests.admin.test_payments_pages import sign_in
from tests.browser.accessibility import shuts_out
from tests.browser.backoffice_web import cookie_of, name_person, running_web, signed_in_window
from tests.browser.conftest import keep_screenshot, takes_pictures
from tests.browser.office_pages import fill, let_staff_change, main_pages, more_pages, pictured_lists
from tests.browser.test_hosted_pages import axe

pytestmark = [pytest.mark.browser]
__all__ = ["axe"]

# Pages of which the picture shows the first screen: whole they are larger than 200 kB.
LONG = ("end-user", "project")
# Beside the main pages: a list, a record, a form, and what is asked before money moves.
EXAMINED = ("list-payments", "payment", "account", "refund")


@dataclass(frozen=True)
class Office:
    """The web part, a project with something of everything, and somebody of the staff who is signed in."""

    address: str
    desk: Desk
    cookie: dict[str, Any]
    pages: dict[str, str]
    more: dict[str, str]
    unsubscribe: str


@pytest.fixture(scope="module")
def office(django_db_setup: None, django_db_blocker: Any) -> Iterator[Office]:
    """Made before the browser, whose event loop keeps this thread from the database."""
    with django_db_blocker.unblock(), running_web() as address:
        desk = make_desk("Acme")
        fill(desk)
        client = name_person(sign_in(group="Admin"), "Grace Miller")
        unsubscribe = unsubscribe_url(project_id=desk.project.pk, mode="test", address="dana@example.com")
        more = more_pages(desk)
        if takes_pictures():
            let_staff_change(desk, client)
            more |= pictured_lists()
        yield Office(address, desk, cookie_of(client, address), main_pages(desk), more, unsubscribe)


@pytest.fixture(params=["light", "dark", "phone"])
def window(office: Office, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window of the Admin's. A script that breaks or a call to another host fails the test."""
    with signed_in_window(chromium, office.address, office.cookie, request.param) as page:
        yield page


@pytest.mark.node
def test_every_page_fits_and_shuts_nobody_out_and_its_charts_are_drawn(
    office: Office, window: Page, axe: str, request: pytest.FixtureRequest
) -> None:
    look = request.node.callspec.params["window"]
    suffix = "" if look == "light" else f"-{look}"
    # Forms and lists stick out where there is little room: the phone looks at all of them, and so does whoever takes pictures.
    seen = office.more if look == "phone" or takes_pictures() else {name: office.more[name] for name in EXAMINED}
    pages = {**office.pages, **seen}
    for name, path in pages.items():
        answer = window.goto(office.address + path)
        assert answer is not None and answer.status == (404 if name == "nothing-here" else 200), name
        content = window.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert content[0] <= content[1], (name, content)
        if name == "dashboard":
            canvas = window.locator("canvas.chart").first
            expect(canvas).to_have_attribute("aria-label", re.compile("^Revenue in USD: .* refunded$"))
            inked = "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size > 3"
            assert window.evaluate(inked, canvas.element_handle())
        keep_screenshot(window, f"backoffice-{name}{suffix}", whole=name in office.pages and name not in LONG)
        if look != "phone" and (name in office.pages or name in EXAMINED):
            assert shuts_out(window, axe) == [], name
    window.context.clear_cookies()
    window.goto(f"{office.address}/admin/")
    expect(window.locator('input[type="password"]')).to_be_visible()
    keep_screenshot(window, f"backoffice-sign-in{suffix}")
    window.goto(office.unsubscribe)
    expect(window.get_by_role("button")).to_have_css("background-color", "rgb(15, 118, 110)")
    keep_screenshot(window, f"unsubscribe{suffix}")


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


@pytest.mark.parametrize("window", ["light"], indirect=True)
def test_the_menus_field_lists_people_as_one_types_and_enter_opens_the_search(office: Office, window: Page) -> None:
    """From any page: its list is a list, and no page within the page."""
    window.goto(office.address + office.pages["event"])
    field = window.get_by_label("Search people and pages").first
    field.press_sequentially(office.desk.user.external_id[:-1])
    listed = window.locator("#search-results")
    expect(listed.get_by_role("link", name=re.compile(office.desk.user.external_id))).to_be_visible()
    expect(window.locator("h1")).to_have_count(1)
    keep_screenshot(window, "backoffice-menu-search", whole=False)
    field.press("Enter")
    expect(window).to_have_url(re.compile(rf"/admin/end-users/{office.desk.user.pk}/"))
