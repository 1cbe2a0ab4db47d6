"""Chromium, a service with all its processes, and a page of the app to come back to."""

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live import LiveService, running_service

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 20_000
# A busy machine needs longer than the usual 5 s, for instance for the first look at the API's document.
expect.set_options(timeout=PATIENCE_MS)
SCREENSHOTS = Path(__file__).resolve().parents[2] / "docs" / "screenshots"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's chromium. The module's tests use no ORM: Playwright keeps an event loop running in this thread."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        if os.environ.get("CI_STRICT") == "1":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh window. A page that breaks a script or asks another host for anything fails the test."""
    context = chromium.new_context(viewport=getattr(request, "param", DESKTOP), locale="en-US")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("request", lambda sent: _note_foreign(sent.url, problems))
    yield page
    context.close()
    assert problems == []


def _note_foreign(url: str, problems: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        problems.append(f"asked another host: {url}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, run_database: str, sandbox: Any) -> Iterator[LiveService]:
    """Web, worker and beat as processes, for all tests of the module."""
    with running_service(tmp_path_factory.mktemp("service"), sandbox.url) as running:
        yield running


class _App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><html lang=en><title>My first app</title><h1>Thank you</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def app_url() -> Iterator[str]:
    """The newcomer's app: it has one page, which thanks."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def takes_pictures() -> bool:
    """Whether this run is to take the documentation's pictures anew (`make pictures`)."""
    return os.environ.get("UPDATE_SCREENSHOTS") == "1"


def keep_screenshot(page: Page, name: str, *, whole: bool = False) -> None:
    """Write docs/screenshots/NAME.png when pictures are taken; otherwise leave them alone."""
    if takes_pictures():
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.evaluate("document.activeElement?.blur()")
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", full_page=whole)
