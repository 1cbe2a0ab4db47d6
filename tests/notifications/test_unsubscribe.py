"""Reminders can be turned off by the link in them, by a person or a mail program; mails about purchases cannot."""

import base64
import hashlib
import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from notifications.models import Brand, MailOptOut
from notifications.services.unsubscribing import UNSUBSCRIBED
from projects.models import Project
from projects.services.projects import delete_project
from tests.cast import AppUser
from tests.notifications.test_mail import ask, run


def link_in(sent: Any) -> str:
    """Return the path of the unsubscribe link of a mail, after checking that all three places have the same."""
    (header,) = re.findall(r"<http://[^/]+(/mail/unsubscribe/[^>]+)>", sent.extra_headers["List-Unsubscribe"])
    assert sent.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert header in sent.body and header in sent.alternatives[0][0]
    return str(header)


# Works


def test_a_person_unsubscribes_and_subscribes_again(acme: Project, dana: AppUser) -> None:
    run(ask(acme, dana.end_user, "credits_low"))
    (sent,) = mail.outbox
    path, client = link_in(sent), Client(enforce_csrf_checks=True)
    asked = client.get(path)
    assert asked.status_code == 200 and "Unsubscribe?" in asked.content.decode()
    assert not MailOptOut.objects.for_project(acme).exists(), "looking at the page must change nothing"
    assert "default-src 'none'" in asked["Content-Security-Policy"] and asked["Referrer-Policy"] == "no-referrer"
    done = client.post(path)
    assert "You are unsubscribed" in done.content.decode()
    for template in ("credits_low", "checkout_retry"):
        row = run(ask(acme, dana.end_user, template))
        assert (row.status, row.error) == ("skipped", UNSUBSCRIBED)
    assert "subscribed again" in client.post(path, {"action": "resume"}).content.decode()
    assert run(ask(acme, dana.end_user, "credits_low")).status == "done"


def test_the_pages_button_is_in_the_projects_colour_and_no_other_style_is_let_in(acme: Project, dana: AppUser) -> None:
    Brand.objects.create(project=acme, color="#ffd400")
    run(ask(acme, dana.end_user, "credits_low"))
    answer = Client().get(link_in(mail.outbox[0]))
    (style,) = re.findall("<style>(.*?)</style>", answer.content.decode())
    assert style == "button:not(.plain) { background: #ffd400; border-color: #ffd400; color: #111113; }"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}';" in answer["Content-Security-Policy"]
    unknown = Client().get("/mail/unsubscribe/nothing")
    assert "<style>" not in unknown.content.decode() and "style-src 'self';" in unknown["Content-Security-Policy"]


def test_a_mail_program_unsubscribes_with_one_click(acme: Project, dana: AppUser) -> None:
    run(ask(acme, dana.end_user, "checkout_retry"))
    path = link_in(mail.outbox[0])
    for _ in range(2):
        assert Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert MailOptOut.objects.for_project(acme).count() == 1


def test_mails_about_a_purchase_come_all_the_same_and_offer_no_link(acme: Project, dana: AppUser) -> None:
    run(ask(acme, dana.end_user, "credits_low"))
    Client().post(link_in(mail.outbox[0]))
    for template in ("receipt", "payment_failed", "renewal_notice", "trial_ending", "card_expiring"):
        assert run(ask(acme, dana.end_user, template)).status == "done"
    for sent in mail.outbox[1:]:
        assert "List-Unsubscribe" not in sent.extra_headers and "nsubscribe" not in sent.body


def test_the_wish_holds_for_one_project_mode_and_address_in_any_spelling(
    acme: Project, dana: AppUser, other_project: Project
) -> None:
    run(ask(acme, None, "credits_low", to="Buyer@Example.com"))
    Client().post(link_in(mail.outbox[0]))
    assert run(ask(acme, None, "credits_low", to="buyer@example.com")).status == "skipped"
    assert run(ask(acme, None, "credits_low", to="other@example.com")).status == "done"
    assert run(ask(acme, None, "credits_low", to="buyer@example.com", mode="live")).status == "done"
    assert run(ask(other_project, None, "credits_low", to="buyer@example.com")).status == "done"


def test_neither_the_link_nor_the_table_holds_the_address(acme: Project) -> None:
    run(ask(acme, None, "credits_low", to="buyer@example.com"))
    path = link_in(mail.outbox[0])
    Client().post(path)
    assert "buyer" not in path and "buyer" not in Client().get(path).content.decode()
    assert "buyer" not in str(MailOptOut.objects.for_project(acme).values().get())


# Refuses


@pytest.mark.parametrize("change", ["signature", "digest", "project", "nothing of it", "far too long"])
def test_a_link_that_was_not_made_here_changes_nothing(change: str, acme: Project, other_project: Project) -> None:
    run(ask(acme, None, "credits_low", to="buyer@example.com"))
    path = link_in(mail.outbox[0])
    token = path.rpartition("/")[2]
    forged = {
        "signature": token[:-1] + ("a" if token[-1] != "a" else "b"),
        "digest": token.replace(token.split(".")[2][:8], "0" * 8, 1),
        "project": token.replace(acme.pk.hex, other_project.pk.hex),
        "nothing of it": "x",
        "far too long": token * 9,
    }[change]
    for method in ("get", "post"):
        answer = getattr(Client(), method)(path.replace(token, forged))
        assert answer.status_code == 404 and "Unknown link" in answer.content.decode()
    assert not MailOptOut.objects.for_project(acme).exists()
    assert not MailOptOut.objects.for_project(other_project).exists()


def test_the_link_of_a_deleted_project_is_unknown(acme: Project) -> None:
    run(ask(acme, None, "credits_low", to="buyer@example.com"))
    path = link_in(mail.outbox[0])
    delete_project(project=acme)
    assert Client().post(path).status_code == 404
