"""The admin in a thread of the test's own process, and people who are signed in there, for pages that need no worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page

from accounts.models import User
from config.wsgi import application
from tests.browser.conftest import DESKTOP, PATIENCE_MS, PHONE


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def running_web(app: Any = application) -> Iterator[str]:
    """Answer requests while the block lasts; gives the address."""
    server = make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = settings.PUBLIC_BASE_URL
    settings.PUBLIC_BASE_URL = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield settings.PUBLIC_BASE_URL
    finally:
        settings.PUBLIC_BASE_URL = before
        server.shutdown()
        server.server_close()


def cookie_of(client: Client, address: str) -> dict[str, Any]:
    """Return the cookie of a signed-in test client, for a browser."""
    name = settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": address}


@contextmanager
def signed_in_window(chromium: Browser, address: str, cookie: dict[str, Any], look: str) -> Iterator[Page]:
    """Open a window that is light, dark or a phone's. A script that breaks or a call to another host fails the test."""
    looks = {"viewport": PHONE if look == "phone" else DESKTOP, "locale": "en-US"}
    context = chromium.new_context(**looks, color_scheme="dark" if look == "dark" else "light")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([cookie])  # type: ignore[list-item]
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith((address, "data:")) else problems.append(sent.url))
    yield page
    context.close()
    assert problems == []


def name_person(client: Client, name: str) -> Client:
    """Give whoever is signed in a name that one can read on a picture."""
    person = User.objects.get(pk=client.session["_auth_user_id"])
    person.full_name, person.email = name, f"{name.split()[0].lower()}-{person.email[:4]}@example.com"
    person.save()
    return client
