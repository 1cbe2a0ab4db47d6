"""What `make run` invites a newcomer to click first: a few clicks to an active subscription."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from config.embedded import free_port
from tests.browser.conftest import DESKTOP, PHONE, keep_screenshot, takes_pictures
from tests.live import wait_until
from tests.servers import migrate_cluster

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.no_db, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@pytest.fixture(scope="module")
def start_url() -> Iterator[str]:
    """Run what `make run` runs, and read its output as the newcomer does."""
    # Not under pytest's own folder: PostgreSQL runs as another user there when root runs the tests, and each pytest that
    # starts closes that folder to other users.
    directory = Path(tempfile.mkdtemp(prefix="payments-demo-"))
    output = directory / "output"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    ports = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port())}
    # tests/runtime/test_run.py starts with nothing; here the pages count.
    migrate_cluster(directory / "var" / "postgres")
    with output.open("wb") as sink:
        process = psutil.Popen(
            [sys.executable, "-m", "config.run"],
            cwd=ROOT,
            env=kept | ports | {"VAR_DIR": str(directory / "var")},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: "READY " in output.read_text() or process.poll() is not None, seconds=START_SECONDS, what="READY"
        )
        link = re.search(r"Start here:\s+(\S+)", output.read_text())
        assert link, output.read_text()
        yield link[1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


def has_limits(page: Page) -> bool:
    """Load the stand-in's page again and say whether the shopper has the plan's limits there."""
    page.reload()
    return page.get_by_role("row").filter(has_text="demo-shopper").filter(has_text="maker").count() == 1


def test_a_newcomer_clicks_the_printed_address_and_has_a_plan(start_url: str, page: Page) -> None:
    page.goto(start_url)
    expect(page.get_by_text("No subscription yet")).to_be_visible()
    keep_screenshot(page, "demo", whole=True)
    if takes_pictures():
        page.emulate_media(color_scheme="dark")
        keep_screenshot(page, "demo-dark", whole=True)
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        keep_screenshot(page, "demo-phone-dark", whole=True)
        page.emulate_media(color_scheme="light")
        keep_screenshot(page, "demo-phone", whole=True)
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    # Click 1: buy. Click 2: have the test card filled in. Then the address, and click 3: subscribe.
    page.get_by_role("button", name=re.compile(r"^Buy ")).first.click()
    page.get_by_text("Test cards").first.click()
    page.get_by_role("button", name=re.compile(r"^Fill in 4242")).first.click()
    page.get_by_label("Country or region").select_option("US")
    page.get_by_label("Address line 1").fill("1 Main Street")
    page.get_by_label("Postal code").fill("62701")
    page.get_by_label("City").fill("Springfield")
    page.get_by_role("button", name=re.compile(r"^(Subscribe|Start trial)$")).click()

    expect(page.get_by_role("heading", name="Thank you, that worked")).to_be_visible()
    expect(page.locator(".status")).to_have_text(re.compile("active|trialing"))
    expect(page.get_by_role("cell", name="succeeded")).to_be_visible()
    keep_screenshot(page, "demo-thank-you", whole=True)
    page.get_by_role("link", name="LiteLLM", exact=True).click()
    page.get_by_role("link", name="Demo shop").click()
    wait_until(lambda: has_limits(page), seconds=30, what="the shopper's limits at the stand-in for LiteLLM")
    keep_screenshot(page, "litellm-users")


def test_the_portal_is_one_click_away_and_leads_back(start_url: str, page: Page) -> None:
    page.goto(start_url)
    page.get_by_role("button", name="Manage it in the portal").click()
    expect(page.get_by_role("heading", name="Manage your billing")).to_be_visible()
    page.get_by_role("link", name="Cancel plan").click()
    page.get_by_role("button", name="Cancel plan").click()
    page.get_by_role("link", name="Return").click()
    page.wait_for_url(start_url)

    def ends() -> bool:
        page.reload()
        return any(", ends " in text for text in page.locator("p.lead").all_inner_texts())

    wait_until(ends, seconds=30, what="the shop knows that the plan ends", interval=1)


def test_the_documentation_opens_without_another_host(start_url: str, page: Page) -> None:
    page.goto(start_url.replace("/demo/", "/docs"))
    expect(page.get_by_text("/api/v1/auth/login").first).to_be_visible()
    keep_screenshot(page, "docs")

    def seen() -> bool:
        # The page draws the operations that one scrolls to.
        page.mouse.wheel(0, 800)
        return page.get_by_text("my-subscription").count() > 0

    wait_until(seen, seconds=30, what="an operation further down")


def test_the_printed_support_and_admin_pages_ask_for_a_sign_in(start_url: str, page: Page) -> None:
    page.goto(start_url.replace("/demo/", "/admin/"))
    expect(page.locator('input[type="password"]')).to_be_visible()
