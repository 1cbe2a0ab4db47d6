"""A licence in the browser, without JavaScript: from the checkout to the code and back, and each way in which that goes wrong."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import transaction
from playwright.sync_api import Browser, Dialog, Page, expect

from backoffice.demo_seed import seed_demo
from common import clock
from licenses.models import GitHubConnection, License
from licenses.services.usernames import record_invitation
from notifications.models import OutboxRow
from payments.models import LicensePurchase, StripeCredentials
from projects.models import Project
from tests.browser.conftest import DESKTOP, PATIENCE_MS, PHONE, keep_screenshot
from tests.browser.test_demo_shop import pay
from tests.licenses.licensing import license_in_hand, link_of
from tests.live import LiveService, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.live(env={"DEMO": "true"}), pytest.mark.timeout(240)]

MINUTE_MS = 60_000
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "licences.md"


@pytest.fixture
def demo(live_service: LiveService, settings: Any, tmp_path: Path) -> Iterator[Project]:
    """A running demo, seeded as `make run` seeds it."""
    settings.VAR_DIR = tmp_path
    settings.GITHUB_API_BASE = f"{settings.STRIPE_API_BASE}/_github"
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1"]
    project = seed_demo()
    yield project
    Project.objects.filter(pk=project.pk).update(slug=f"demo-{project.pk}")


@pytest.fixture
def window(chromium: Browser) -> Iterator[Page]:
    """A window in which no script runs."""
    context = chromium.new_context(viewport=DESKTOP, locale="en-US", java_script_enabled=False)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def heading(page: Page, name: str) -> None:
    """Wait for a view, which comes by itself where something is under way."""
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible(timeout=MINUTE_MS)


def in_both_lights(page: Page, name: str) -> None:
    """Of views that are asked for here alone; those of every other view are in test_license_accessibility.py."""
    keep_screenshot(page, f"license-{name}")
    page.emulate_media(color_scheme="dark")
    keep_screenshot(page, f"license-{name}-dark")
    page.emulate_media(color_scheme="light")


def pictures(page: Page, name: str) -> None:
    keep_screenshot(page, f"license-{name}")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    keep_screenshot(page, f"license-{name}-phone")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


def switch(settings: Any, project: Project, what: str, **body: Any) -> Any:
    """Use a switch of the stand-in for the organisation of the demo."""
    org = GitHubConnection.objects.for_project(project).get(mode="test").organization
    url = f"{settings.STRIPE_API_BASE}/_sandbox/api/github/organizations/{org}{what}"
    answer = httpx.post(url, json=body, timeout=20)
    assert answer.status_code < 300, answer.text
    return answer


def person(settings: Any, login: str) -> str:
    httpx.post(f"{settings.STRIPE_API_BASE}/_sandbox/api/github/users", json={"login": login}, timeout=20)
    return login


def members(settings: Any, project: Project) -> str:
    org = GitHubConnection.objects.for_project(project).get(mode="test").organization
    found = httpx.get(f"{settings.STRIPE_API_BASE}/_sandbox/api/github/organizations/{org}", timeout=20).json()
    return str([found["teams"], found["invitations"]])


def pending_license(project: Project, **fields: Any) -> License:
    """Have a licence that was paid just now, without the way through the checkout."""
    row = license_in_hand(project)
    values = {"state": "pending", "revision": 0, "username": "", "github_user_id": None, "invitation_ended_as": ""}
    License.objects.filter(pk=row.pk).update(**values | fields)
    return License.objects.get(pk=row.pk)


def address(url: str, row: License, token: str = "") -> str:
    return f"{url}/license-access?session={row.stripe_session_id}&token={token or link_of(row)}"


def submit(page: Page, username: str) -> None:
    page.get_by_label("GitHub username").fill(username)
    page.get_by_role("button", name="Send me the invitation").click()


def mailed(url: str, subject: str) -> bool:
    return subject in httpx.get(f"{url}/dev/mail", timeout=20).text


def welcome_link(page: Page, url: str) -> str:
    """Read the mail that comes after the payment, and return the link that is in it."""
    wait_until(lambda: mailed(url, "your licence of Demo kit"), seconds=60, what="the welcome mail")
    page.goto(f"{url}/dev/mail")
    page.get_by_role("link", name=re.compile("your licence of Demo kit")).first.click()
    text = page.locator("body").inner_text()
    link = re.search(r"https?://\S+/license-access\?\S+", text)
    assert link, text
    return link[0]


def refund(settings: Any, project: Project, row: License) -> None:
    """Give the money back in Stripe's dashboard."""
    keys = StripeCredentials.objects.for_project(project).get(mode="test")
    answer = httpx.post(
        f"{settings.STRIPE_API_BASE}/v1/refunds",
        data={"payment_intent": row.payment_intent_id},
        auth=(keys.get_secret("secret_key"), ""),
        timeout=20,
    )
    assert answer.status_code == 200, answer.text


def press_the_guides_button_twice(chromium: Browser, url: str, shop: str, project: Project) -> None:
    """Show the guide's button on a page of the seller's own: it leads to one checkout."""
    guide = re.search(r"```html\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert guide is not None
    html = guide[1].replace("https://payments.example", url).replace("?test_mode=false", "")
    page = chromium.new_page()
    said: list[str] = []

    def hear(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", hear)
    page.goto(shop)
    page.set_content(html.replace("my-shop", project.slug))
    page.get_by_role("button", name="Buy the kit").dblclick()
    page.wait_for_url("**/c/pay/cs_test_**")
    page.close()
    assert said == [] and LicensePurchase.objects.for_project(project).count() == 1


def test_from_the_checkout_to_the_code_and_back(
    demo: Project, live_service: LiveService, app_url: str, chromium: Browser, window: Page, settings: Any
) -> None:
    press_the_guides_button_twice(chromium, live_service.url, app_url, demo)
    shop = chromium.new_page()
    shop.goto(f"{live_service.url}/demo/")
    shop.get_by_role("button", name="Buy Demo kit, lifetime licence, 49.00 USD").click()
    shop.get_by_label("Email").fill("buyer@demo.example")
    pay(shop, "4242424242424242", button="Pay $49.00")
    shop.wait_for_url(f"{live_service.url}/license-access**")
    heading(shop, "Which GitHub account is yours?")
    shop.close()

    link = welcome_link(window, live_service.url)
    window.goto(link)
    heading(window, "Which GitHub account is yours?")
    pictures(window, "pending")
    submit(window, "nobody-has-this-name")
    expect(window.get_by_text("GitHub knows no user nobody-has-this-name")).to_be_visible(timeout=MINUTE_MS)
    in_both_lights(window, "unknown-username")
    login = person(settings, "octocat")
    submit(window, login)
    heading(window, "Accept the invitation")
    pictures(window, "invited")
    with window.context.expect_page() as opened:
        window.get_by_role("link", name="Open the invitation at GitHub").click()
    invitation = opened.value
    invitation.get_by_role("button", name=re.compile(rf"^Join \S+ as {login}$")).click()
    invitation.close()
    window.get_by_role("button", name="I have accepted it").click()
    heading(window, "Access granted")
    expect(window.get_by_text("git clone")).to_be_visible()
    pictures(window, "active")
    wait_until(lambda: mailed(live_service.url, "you have access"), seconds=60, what="the mail about the access")
    window.get_by_role("button", name="Show my licence key").click()
    expect(window.locator("#license-key")).to_contain_text("lk_")
    keep_screenshot(window, "license-key")
    window.goto(link)
    expect(window.get_by_role("button", name="Replace the key")).to_be_visible()

    row = License.objects.for_project(demo).get()
    refund(settings, demo, row)
    wait_until(lambda: License.objects.get(pk=row.pk).state == "revoked", seconds=60, what="the licence is revoked")
    window.goto(link)
    heading(window, "This licence was revoked")
    keep_screenshot(window, "license-revoked")
    wait_until(lambda: login not in members(settings, demo), seconds=60, what="the member is removed")


def test_whose_link_it_is_and_whether_it_still_opens(
    demo: Project, live_service: LiveService, window: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = pending_license(demo), pending_license(demo, email="somebody@example.com")
    url = live_service.url
    for bad in (
        f"{url}/license-access?session={mine.stripe_session_id}",
        address(url, theirs, link_of(mine)),
        address(url, mine, link_of(mine)[:-2]),
        address(url, mine, "garbage"),
    ):
        answer = httpx.get(bad, timeout=20)
        assert answer.status_code in (401, 404), bad
        assert "kit" not in answer.text and "buyer@" not in answer.text and "GitHub username" not in answer.text
    window.goto(f"{url}/license-access?session={mine.stripe_session_id}")
    heading(window, "Open the link from your mail")
    window.goto(address(url, theirs, link_of(mine)))
    heading(window, "This link does not open a licence")
    keep_screenshot(window, "license-unknown")
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: 1_600_000_000)
        old = link_of(mine)
    window.goto(address(url, mine, old))
    heading(window, "This link has expired")
    in_both_lights(window, "expired-link")
    window.get_by_role("button", name="Send me a new link").click()
    expect(window.get_by_text("a new one is on its way")).to_be_visible()
    wait_until(
        lambda: "licence of" in httpx.get(f"{url}/dev/mail", timeout=20).text, seconds=60, what="a mail with a new link"
    )


def test_two_tabs_a_member_and_an_expired_invitation(
    demo: Project, live_service: LiveService, chromium: Browser, window: Page, settings: Any
) -> None:
    url, number = live_service.url, demo.pk.hex[-6:]
    first, second = person(settings, f"tab-one-{number}"), person(settings, f"tab-two-{number}")
    row = pending_license(demo)
    other = window.context.new_page()
    for tab in (window, other):
        tab.goto(address(url, row))
    submit(window, first)
    heading(window, "Accept the invitation")
    submit(other, second)
    expect(other.get_by_role("alert")).to_contain_text(f"{first} was given for this licence already")
    expect(other.get_by_role("button", name=f"Use {second} instead")).to_be_visible()
    in_both_lights(other, "two-tabs")
    assert second not in members(settings, demo)
    other.close()

    switch(settings, demo, "/advance", seconds=7 * 86400 + 60)
    window.get_by_role("button", name="I have accepted it").click()
    heading(window, "The invitation has expired")
    pictures(window, "expired")
    window.get_by_role("button", name="Invite me again").click()
    heading(window, "Accept the invitation")
    window.get_by_role("button", name="Use another GitHub account").click()
    window.get_by_label("GitHub username").fill(second)
    keep_screenshot(window, "license-change")
    window.get_by_role("button", name="Change the account").click()
    heading(window, "Accept the invitation")
    wait_until(lambda: first not in members(settings, demo), seconds=60, what="the first one's invitation is withdrawn")

    member = person(settings, f"member-{number}")
    team = GitHubConnection.objects.for_project(demo).get(mode="test").team_slug
    switch(settings, demo, "/members", login=member, role="member", teams=[team])
    window.goto(address(url, pending_license(demo)))
    submit(window, member)
    heading(window, "Access granted")


def test_what_keeps_an_invitation_waiting_is_shown(
    demo: Project, live_service: LiveService, window: Page, settings: Any
) -> None:
    url = live_service.url
    switch(settings, demo, "/faults", match="PUT *", do="status:422", times=1)
    window.goto(address(url, pending_license(demo)))
    submit(window, person(settings, f"later-{demo.pk.hex[-6:]}"))
    heading(window, "The invitation could not be sent")
    pictures(window, "failed")
    window.get_by_role("button", name="Try again").click()
    heading(window, "Accept the invitation")
    for name, title, waits in (
        ("waiting", "Waiting for ", {"wait_reason": "github_connection"}),
        ("slow", "GitHub does not answer", {"attempts": 2}),
    ):
        row = pending_license(
            demo, state="username_submitted", revision=1, username="octocat", username_submitted_at=clock.now()
        )
        with transaction.atomic():
            record_invitation(row, cause="test")
            rows = OutboxRow.objects.for_project(demo).filter(payload__license=str(row.pk))
            rows.update(next_attempt_at=clock.now() + dt.timedelta(hours=1), **waits)
        window.goto(address(url, row))
        expect(window.get_by_role("heading", level=1)).to_contain_text(title)
        pictures(window, name)
