"""The hosted pages in the browser: bought, looked at, changed, cancelled and kept, by everybody, in the light and in the dark."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import override_settings
from playwright.sync_api import Page, expect

from backoffice.demo_seed import seed_demo
from common import clock
from entitlements.models import Meter, Plan
from entitlements.services import ledger
from entitlements.services.quotas import set_quotas
from entitlements.services.usage import SERVER, UsageReport, report_usage
from hosted.models import HostedPages
from licenses.models import License
from notifications.models import Brand
from payments.models import Transaction
from projects.models import EndUser, Project
from projects.services.api_keys import create_api_key
from tests.browser.conftest import DESKTOP, PHONE, keep_screenshot
from tests.browser.test_demo_shop import pay
from tests.browser.test_sandbox_accessibility import check
from tests.licenses.licensing import license_in_hand
from tests.live import LiveService, running_service, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(240)]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "hosted-pages.md"
AXE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .map((found) => [found.impact, found.id, found.nodes.map((node) => node.html.slice(0, 160))])"""


@dataclass(frozen=True)
class Seller:
    """A running service with a project that sells, and the key of the app's server."""

    service: LiveService
    project: Project
    key: str

    def link(self, user_id: str, **more: str) -> str:
        """Ask for a link as the app's server does."""
        answer = httpx.post(
            f"{self.service.url}/api/v1/payments/hosted-links",
            json={"user_id": user_id, "email": f"{user_id}@example.com", **more},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    def page(self, name: str) -> str:
        return f"{self.service.url}/hosted/{self.project.slug}/test/{name}"


@pytest.fixture(scope="module")
def seller(
    tmp_path_factory: pytest.TempPathFactory, run_database: str, sandbox: Any, django_db_blocker: Any, app_url: str
) -> Iterator[Seller]:
    """The demo as `make run` seeds it, for all tests of the module. Trials are left to the largest plan."""
    directory = tmp_path_factory.mktemp("hosted")
    with running_service(directory, sandbox.url, env={"DEMO": "true"}) as service, django_db_blocker.unblock():
        opened = {"OUTGOING_ALLOWED_HOSTS": ["127.0.0.1"], "GITHUB_API_BASE": f"{sandbox.url}/_github"}
        with override_settings(PUBLIC_BASE_URL=service.url, VAR_DIR=directory, **opened):
            project = seed_demo()
        Plan.objects.for_project(project).filter(code__in=["maker", "pro"]).update(trial_days=0)
        Brand.objects.create(project=project, color="#0f766e", footer_text="Demo GmbH, Example Street 1, Berlin")
        HostedPages.objects.create(
            project=project,
            sign_in_url=f"{app_url}/sign-in",
            return_url=f"{app_url}/home",
            time_zone="Europe/Berlin",
        )
        _, key = create_api_key(
            project=project, created_by=project.memberships.get(role="owner").user, name="hosted", is_test_mode=True
        )
        yield Seller(service, project, key)
        Project.objects.filter(pk=project.pk).update(slug=f"demo-{project.pk}")


@pytest.fixture(scope="session")
def axe(node: Path) -> str:
    """Return axe-core's script."""
    return (Path(__file__).resolve().parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js").read_text()


# One picture in the light and one in the dark; of the pages that are seen most, wide and on a phone.
SEEN_MOST = ("pricing", "account")


def examine(page: Page, axe: str, name: str) -> None:
    """Let axe look at the page in the light and in the dark, let it fit a phone, and keep pictures."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        suffix = "" if scheme == "light" else "-dark"
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        if suffix or name in SEEN_MOST:
            keep_screenshot(page, f"hosted-{name}-phone{suffix}", whole=True)
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.evaluate(axe)
        assert page.evaluate(AXE) == [], (name, scheme)
        if not suffix or name in SEEN_MOST:
            keep_screenshot(page, f"hosted-{name}{suffix}", whole=True)
    page.emulate_media(color_scheme="light")


def spend_for_weeks(project: Project, user_id: str) -> None:
    """Leave something to be drawn."""
    user = EndUser.objects.by_external_id(project, user_id).get()
    wallet: Any = {"project_id": project.pk, "mode": "test", "end_user_id": user.pk}
    for days in range(27, 0, -1):
        at = clock.now() - dt.timedelta(days=days)
        ledger.grant_credits(**wallet, bucket="bonus", amount=60, key=f"seen:{user.pk}:{days}", at=at)
        ledger.spend_credits(**wallet, amount=5 + days * 7 % 48, key=f"used:{user.pk}:{days}", at=at)


def use_and_own_more(project: Project, user_id: str) -> None:
    """Leave metered use that goes beyond the plan, and a licence."""
    user = EndUser.objects.by_external_id(project, user_id).get()
    whose: dict[str, Any] = {"project_id": project.pk, "mode": "test", "end_user_id": user.pk}
    Meter.objects.create(project=project, code="searches", name="Searches", unit_amount=Decimal("1.5"))
    set_quotas(plan=Plan.objects.for_project(project).get(code="maker"), quotas={"searches": {"included": "1000"}})
    report_usage(**whose, reports=[UsageReport("searches", Decimal(1234), "seen")], reporter=SERVER)
    held = license_in_hand(project)
    License.objects.filter(pk=held.pk).update(end_user=user, email=f"{user_id}@example.com")


def send_a_page_of_before(page: Page, axe: str) -> None:
    """Send a form whose token the browser has lost meanwhile, and read what to do."""
    page.context.clear_cookies(name="csrftoken")
    page.get_by_role("button", name="Cards, address and invoices at Stripe").click()
    expect(page.get_by_role("heading", name="Open the page anew")).to_be_visible()
    examine(page, axe, "stale")
    page.get_by_role("main").get_by_role("link", name="Your account").click()


def choose_maker(seller: Seller, page: Page, axe: str) -> None:
    """Switch to and fro, mistype a promotion code, buy, and come back."""
    page.get_by_role("link", name="Yearly").click()
    expect(page.get_by_text("116.91 USD a year")).to_be_visible()
    page.get_by_role("link", name="Monthly").click()
    page.get_by_label("Promotion code").fill("NOSUCH")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Choose Maker").click()
    expect(page.get_by_role("alert")).to_have_text("There is no such promotion code.")
    expect(page.get_by_label("Promotion code")).to_have_attribute("aria-invalid", "true")
    examine(page, axe, "promotion-code")
    page.get_by_label("Promotion code").fill("")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Choose Maker").click()
    pay(page, "4242424242424242")
    page.wait_for_url(seller.page("account?done=bought"))


def test_a_plan_is_bought_changed_for_what_was_shown_cancelled_and_kept(
    seller: Seller, page: Page, axe: str, app_url: str
) -> None:
    link = seller.link("dana", page="pricing")
    page.goto(link)
    page.wait_for_url(seller.page("pricing"))
    spend_for_weeks(seller.project, "dana")
    expect(page.get_by_text("Signed in as dana@example.com")).to_be_visible()
    expect(page.get_by_text("3 days free, then 39.99 USD a month")).to_be_visible()
    choose_maker(seller, page, axe)
    expect(page.get_by_text("Maker · 12.99 USD a month")).to_be_visible()
    expect(page.get_by_text(re.compile(r"It renews on .+, \d\d:\d\d CES?T"))).to_be_visible()
    expect(page.get_by_text("Credits spent in the last 30 days")).to_be_visible()
    use_and_own_more(seller.project, "dana")
    page.reload()
    expect(page.get_by_text("234 beyond your plan")).to_be_visible()
    expect(page.locator(".chart rect").first).to_have_css("fill", "rgb(15, 118, 110)")
    examine(page, axe, "account")
    page.get_by_role("button", name=re.compile("^Open ")).click()
    page.wait_for_url(re.compile("/license-access"))
    page.goto(seller.page("account"))
    send_a_page_of_before(page, axe)

    page.get_by_role("link", name="Change plan").click()
    expect(page.get_by_text("Your plan", exact=True)).to_be_visible()
    examine(page, axe, "pricing")
    page.get_by_role("link", name="Change to Pro").click()
    due = page.locator("#due-now").inner_text()
    examine(page, axe, "change")
    page.get_by_role("button", name=f"Pay {due} and change").click()
    page.wait_for_url(seller.page("account?done=changed"))
    expect(page.get_by_text("Pro · 24.99 USD a month")).to_be_visible()
    paid = Transaction.objects.for_project(seller.project).filter(status="succeeded").order_by("created_at", "id")
    wait_until(lambda: paid.count() == 2, seconds=60, what="the payment of the change")
    assert [f"{row.amount_cents / 100:.2f} USD" for row in paid] == ["12.99 USD", due]
    page.reload()
    expect(page.get_by_role("row").filter(has_text=due)).to_have_count(1)

    page.get_by_role("link", name="Cancel plan").click()
    page.get_by_label("It is too expensive").check()
    page.get_by_label(re.compile("Anything else")).fill("Back in spring.")
    examine(page, axe, "cancel")
    page.get_by_role("button", name="Cancel my plan").click()
    page.wait_for_url(seller.page("account?done=canceled"))
    expect(page.get_by_text("Canceled. It ends on")).to_be_visible()
    page.get_by_role("button", name="Keep my plan").click()
    page.wait_for_url(seller.page("account?done=resumed"))
    expect(page.get_by_text(re.compile("It renews on"))).to_be_visible()
    page.get_by_role("button", name="Cards, address and invoices at Stripe").click()
    expect(page.get_by_text("Pro").first).to_be_visible()
    page.get_by_role("link", name="Return").click()
    page.wait_for_url(seller.page("account"))
    for name in ("account", "pricing", "cancel"):
        check(page, seller.page(name))
    page.goto(link)
    page.wait_for_url(seller.page("pricing"))
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{app_url}/home")


def test_a_stranger_comes_by_the_documented_button_and_is_shown_where_to_sign_in(
    seller: Seller, page: Page, axe: str, app_url: str
) -> None:
    snippet = DOCUMENT.read_text().partition("```html\n")[2].partition("```")[0]
    here = snippet.replace("https://pay.example.com/hosted/acme/live", seller.page("").rstrip("/"))
    assert here != snippet
    page.goto(app_url)
    page.set_content(f"<!doctype html><html lang=en><title>App</title><main><h1>App</h1>{here}</main>")
    button = page.get_by_role("link", name="See plans and prices")
    assert button.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(15, 118, 110)"
    button.click()
    page.wait_for_url(seller.page("pricing"))
    target = page.get_by_role("link", name="Sign in to choose Pro").get_attribute("href")
    assert target == f"{app_url}/sign-in?hosted_page=pricing&hosted_interval=month&hosted_plan=pro"
    examine(page, axe, "pricing-stranger")
    page.goto(seller.page("account"))
    expect(page.get_by_role("heading", name="Sign in to see your account")).to_be_visible()
    used = seller.link("erin")
    httpx.get(used, timeout=20)
    page.goto(used)
    expect(page.get_by_role("heading", name="This link has been used already")).to_be_visible()
    examine(page, axe, "link-used")
