"""The demo's mailbox: what was sent can be read, HTML runs nothing, no other file is opened; outside the demo there is none."""

from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from notifications.services.rendering import render_mail

pytestmark = pytest.mark.no_db


@pytest.fixture
def files(settings: Any, tmp_path: Path) -> Path:
    """Where mails are kept."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    return tmp_path


def send(subject: str, html: str = "") -> None:
    message = EmailMultiAlternatives(subject, "The text.", "a@example.com", ["dana@example.com"])
    if html:
        message.attach_alternative(html, "text/html")
    message.send()


@pytest.mark.urls("tests.notifications.demo_urls")
def test_mails_are_listed_and_shown_in_both_forms(files: Path) -> None:
    found = render_mail(template="receipt", context={"amount": "1.00 USD"}, project_name="Acme", is_test=True)
    send(found.subject, found.html)
    (file,) = files.iterdir()
    listing = Client().get("/dev/mail").content.decode()
    assert "[Test] Acme: receipt" in listing and "dana@example.com" in listing and f"/dev/mail/{file.name}" in listing
    shown = Client().get(f"/dev/mail/{file.name}").content.decode()
    assert "The text." in shown and "Receipt&lt;/h1&gt;" in shown
    # Links open in a tab of their own, and nothing runs: without allow-scripts and allow-same-origin.
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox" srcdoc=' in shown


@pytest.mark.urls("tests.notifications.demo_urls")
def test_html_of_a_mail_stays_in_its_frame(files: Path) -> None:
    evil = '"></iframe><script>alert(1)</script>'
    send(f"Hello {evil}", evil)
    (file,) = files.iterdir()
    for path in ("/dev/mail", f"/dev/mail/{file.name}"):
        assert "<script>" not in Client().get(path).content.decode()


@pytest.mark.urls("tests.notifications.demo_urls")
def test_only_mails_are_opened(files: Path) -> None:
    (files / "secret.txt").write_text("CANARY")
    (files / "20260101-000000-1.txt").write_text("CANARY")
    for name in ("secret.txt", "..%2Fsecret.txt", "20260101-000000-1.txt", "20260101-000000-2.log", "x.log"):
        answer = Client().get(f"/dev/mail/{name}")
        assert answer.status_code == 404 and "CANARY" not in answer.content.decode()
    assert "CANARY" not in Client().get("/dev/mail").content.decode()


@pytest.mark.urls("tests.notifications.demo_urls")
def test_the_mailbox_is_found_with_a_slash_at_its_end(files: Path) -> None:
    answer = Client().get("/dev/mail/")
    assert (answer.status_code, answer["Location"]) == (302, "/dev/mail")


@pytest.mark.urls("tests.notifications.demo_urls")
def test_an_empty_or_missing_mailbox_says_so(files: Path, settings: Any) -> None:
    assert "None yet" in Client().get("/dev/mail").content.decode()
    settings.EMAIL_FILE_PATH = str(files / "none")
    assert "None yet" in Client().get("/dev/mail").content.decode()


def test_outside_the_demo_there_is_no_mailbox(files: Path) -> None:
    for path in ("/dev/mail", "/dev/mail/20260101-000000-2.log"):
        assert Client().get(path).status_code == 404
