"""Mails through a provider's API: the address in EMAIL_URL says which, and what the provider refuses is told apart."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import MAIL_PROVIDERS, read_mail_settings
from projects.models import Project
from tests.cast import AppUser
from tests.notifications.test_mail import ask, run


class Postmark:
    """Answers as Postmark does. Source: https://postmarkapp.com/developer/api/email-api"""

    def __init__(self) -> None:
        """Take what comes."""
        self.seen: list[dict[str, Any]] = []
        self.answer: tuple[int, dict[str, Any]] = (200, {"ErrorCode": 0, "Message": "OK", "MessageID": "m-1"})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append({"token": self.headers["X-Postmark-Server-Token"], **body})
                status, answer = outer.answer
                text = json.dumps({"To": body["To"], **answer}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


def read(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    monkeypatch.setenv("EMAIL_URL", text)
    return read_mail_settings(environ.Env(), "EMAIL_URL", unsent_dir=tmp_path)


@pytest.fixture
def postmark(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Postmark]:
    """A provider on this machine, set by the address that an operator would write."""
    peer = Postmark()
    found = read(f"postmark://?server_token=tok-1&api_url={peer.url}", monkeypatch, tmp_path)
    for name, value in found.items():
        setattr(settings, name, value)
    yield peer
    peer.server.shutdown()
    peer.server.server_close()


def test_a_mail_goes_through_the_providers_api_with_its_headers(
    acme: Project, dana: AppUser, postmark: Postmark
) -> None:
    row = run(ask(acme, dana.end_user, "credits_low"))
    (sent,) = postmark.seen
    headers = {one["Name"]: one["Value"] for one in sent["Headers"]}
    assert row.status == "done" and (sent["token"], sent["To"]) == ("tok-1", dana.end_user.email)
    assert sent["TextBody"] and "<h1>" in sent["HtmlBody"] and headers["List-Unsubscribe-Post"]
    assert headers["Message-ID"] == f"<{row.pk}@testserver>"


def test_a_provider_in_trouble_is_tried_again_and_a_refused_recipient_is_not(
    acme: Project, dana: AppUser, postmark: Postmark
) -> None:
    postmark.answer = (503, {})
    row = run(ask(acme, dana.end_user))
    assert (row.status, row.attempts, row.result) == ("pending", 1, None) and "tok-1" not in row.error
    inactive = f"marked as inactive. Found inactive addresses: {dana.end_user.email}. Inactive recipients are ones that bounced."
    for message in (inactive, "worded in a way that is not known yet"):
        postmark.answer = (
            422,
            {"ErrorCode": 406, "Message": f"You tried to send to recipient(s) that have been {message}"},
        )
        row = run(ask(acme, dana.end_user))
        assert (row.status, row.attempts, row.result) == ("dead", 1, None)


@pytest.mark.no_db
@pytest.mark.parametrize("provider", sorted(MAIL_PROVIDERS))
def test_every_provider_can_be_set(
    provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, settings: Any
) -> None:
    from django.core.mail import get_connection

    keys = "&".join(f"{key}=v" for key in MAIL_PROVIDERS[provider])
    found = read(f"{provider}://?{keys}", monkeypatch, tmp_path)
    settings.ANYMAIL = found["ANYMAIL"]
    assert found["ANYMAIL"]["REQUESTS_TIMEOUT"] == 10
    connection: Any = get_connection(found["EMAIL_BACKEND"])
    assert connection.esp_name.lower() == provider


@pytest.mark.no_db
@pytest.mark.parametrize(
    "text",
    ["postmark://", "postmark://?server_token=", "mailgun://?api_key=CANARY", "postmark://?server_token=CANARY&typo=1",
     "postmark://CANARY@host?server_token=x", "pigeon://?api_key=CANARY"],
)  # fmt: skip
def test_an_incomplete_provider_stops_the_start_without_telling_its_keys(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL") as refusal:
        read(text, monkeypatch, tmp_path)
    assert "CANARY" not in str(refusal.value)
