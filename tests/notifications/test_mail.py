"""Mails: what they say, to whom they go, and that nothing in a name or a link breaks out of its place."""

import email
import email.policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import transaction

from common.ids import stripe_row_id
from notifications.models import OutboxRow
from notifications.services import mail as mails
from notifications.services.outbox import record_effect
from notifications.services.rendering import UnknownTemplate, render_mail
from notifications.services.running import carry_out_row, lease_due_rows
from payments.models import StripeCustomer
from projects.models import Project
from projects.services.projects import delete_project
from tests.cast import AppUser, Developer, add_member, create_developer
from tests.notifications.smtp import mail_server
from tests.payments.rows import create_end_user, stripe_id

TEMPLATES = (
    "payment_confirmed", "receipt", "payment_failed", "action_required", "subscription_canceled", "trial_ending",
    "checkout_retry", "card_expiring", "renewal_notice", "credits_purchased", "credits_low", "payment_refunded",
    "license_welcome", "license_invited", "license_granted", "license_revoked", "warning",
)  # fmt: skip
FULL: dict[str, Any] = {
    "plan_name": "Maker & Co",
    "amount_cents": 1250,
    "currency": "usd",
    "description": "One month",
    "receipt_url": "https://pay.example/receipt?a=1&b=2",
    "invoice_url": "https://pay.example/invoice",
    "invoice_pdf": "https://pay.example/invoice.pdf",
    "invoice_number": "A-1",
    "paid_at": "2026-11-21T10:00:00Z",
    "failure_message": "Your card was declined.",
    "next_attempt_at": 1_767_225_600,
    "ended_at": "2026-11-30T00:00:00+00:00",
    "trial_end": 1_767_225_600,
    "checkout_url": "https://pay.example/again",
    "card_brand": "visa",
    "card_last4": "4242",
    "expires": "12/2026",
    "renews_at": 1_767_225_600,
    "credits": 500,
    "pack_name": "Big & cheap",
    "credits_left": 4,
    "paid_amount": "30.00 USD",
    "refunded_at": "2026-11-21T10:00:00Z",
    "url": "https://app.example/more",
    "product_name": "Kit & kin",
    "github_username": "octocat",
    "repository": "acme/kit",
    "access_url": "https://payments.example/license-access?session=cs_1&token=x",
    "has_key": True,
    "because": "refund",
    "message": "Please do not share your account.",
}


def ask(project: Project, user: Any, template: str = "receipt", *, kind: str = "mail", **payload: Any) -> OutboxRow:
    """Record a mail as its cause would."""
    values = {"template": template, "to": None, "context": FULL} | payload
    with transaction.atomic():
        record_effect(
            project_id=project.pk,
            mode=payload.pop("mode", "test"),
            kind=kind,
            effect_key=f"{kind}:{template}:{stripe_id('in')}",
            payload=values,
            end_user_id=user.pk if user else None,
        )
    return OutboxRow.objects.for_project(project).latest("created_at")


def run(row: OutboxRow) -> OutboxRow:
    """Carry out one row and return it as it is afterwards."""
    (leased,) = [each for each in lease_due_rows(limit=1000) if each.pk == row.pk]
    carry_out_row(leased)
    row.refresh_from_db()
    return row


def bill(project: Project, user: Any, address: str, mode: str = "test", **more: Any) -> None:
    customer_id = stripe_id("cus")
    StripeCustomer.objects.create(
        id=stripe_row_id(project.pk, mode, customer_id),
        project=project,
        mode=mode,
        end_user=user,
        stripe_customer_id=customer_id,
        email=address,
        **more,
    )


def render(template: str, *, is_test: bool = False, **context: Any) -> Any:
    return render_mail(template=template, context=context, project_name="Acme", is_test=is_test)


class Links(HTMLParser):
    """Collects where a page's links lead and which elements it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.hrefs += [value or "" for name, value in attrs if name == "href"]


# Works


def test_a_mail_goes_to_where_the_user_is_billed_in_both_forms(acme: Project, dana: AppUser) -> None:
    bill(acme, dana.end_user, "billing@example.com")
    bill(acme, dana.end_user, "live@example.com", mode="live")
    row = run(ask(acme, dana.end_user))
    sent: Any
    (sent,) = mail.outbox
    assert (row.status, sent.to) == ("done", ["billing@example.com"])
    assert sent.subject == "[Test] Acme: receipt for invoice A-1"
    assert sent.from_email.startswith("Acme <") and "12.50 USD" in sent.body and "21 November 2026" in sent.body
    html, kind = sent.alternatives[0]
    assert kind == "text/html" and "12.50 USD" in html and "no money moved" in html
    assert row.result == {
        "message_id": f"<{row.pk}@testserver>", "to": ["billing@example.com"], "subject": sent.subject,
    }  # fmt: skip


def test_without_a_billing_address_the_apps_own_is_used_and_a_given_one_comes_first(
    acme: Project, dana: AppUser
) -> None:
    bill(acme, dana.end_user, "gone@example.com", deleted_at="2026-01-01T00:00:00Z")
    run(ask(acme, dana.end_user))
    run(ask(acme, dana.end_user, to="somebody@example.com"))
    assert [sent.to for sent in mail.outbox] == [[dana.end_user.email], ["somebody@example.com"]]


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_mail_says_what_it_knows_and_bears_what_it_does_not(template: str) -> None:
    full, bare = render(template, **FULL), render(template)
    for found in (full, bare):
        assert found.subject.startswith("Acme: ") and "\n" not in found.subject
        for part in (found.subject, found.text, found.html):
            assert not any(mark in part for mark in ("{{", "{%", "None", "&amp;amp;"))
        assert "\n\n\n" not in found.text and len(found.text) > 30
        assert "<h1>" in found.html and "prefers-color-scheme: dark" in found.html
        assert not {"script", "link", "img", "iframe"} & Links(found.html).tags
    assert "&" not in bare.text and "&amp;" not in full.text
    assert "Test" not in full.subject and "no money moved" not in full.text + full.html


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("receipt", ["12.50 USD", "https://pay.example/receipt?a=1&b=2", "A-1"]),
        ("payment_failed", ["12.50 USD", "declined", "https://pay.example/invoice", "1 January 2026"]),
        ("action_required", ["https://pay.example/invoice", "Maker & Co"]),
        ("subscription_canceled", ["Maker & Co", "30 November 2026"]),
        ("trial_ending", ["1 January 2026", "12.50 USD"]),
        ("checkout_retry", ["https://pay.example/again"]),
        ("card_expiring", ["Visa", "4242", "12/2026", "1 January 2026"]),
        ("renewal_notice", ["1 January 2026", "12.50 USD"]),
        ("payment_confirmed", ["Maker & Co", "12.50 USD"]),
        ("credits_purchased", ["500 credits", "Big & cheap", "12.50 USD"]),
        ("credits_low", ["4 credits", "https://app.example/more"]),
        ("payment_refunded", ["12.50 USD", "30.00 USD", "21 November 2026", "One month"]),
        ("license_welcome", ["Kit & kin", "license-access?session=cs_1&token=x", "licence key", "30 days"]),
        ("license_invited", ["Kit & kin", "octocat", "license-access?session=cs_1&token=x"]),
        ("license_granted", ["Kit & kin", "octocat", "license-access?session=cs_1&token=x"]),
        ("license_revoked", ["Kit & kin", "octocat", "was refunded", "licence key stops working"]),
        ("warning", ["Please do not share your account."]),
    ],
)
def test_what_each_mail_tells(template: str, told: list[str]) -> None:
    found = render(template, **FULL)
    assert [fact for fact in told if fact not in found.subject + found.text] == []
    assert ("because of your account at Acme" in found.html) == (template == "warning")


def test_amounts_follow_their_currency() -> None:
    assert "500 JPY" in render("receipt", amount_cents=500, currency="jpy").text
    assert "1.250 KWD" in render("receipt", amount_cents=1250, currency="kwd").text
    assert render("receipt", amount_cents=True, currency="usd").text.startswith("We received your payment.")


def test_an_alert_goes_to_the_owners_in_both_forms(acme: Project, alice: Developer, bob: Developer) -> None:
    carol = create_developer("carol")
    add_member(acme, carol, "owner")
    carol.user.is_active = False
    carol.user.save()
    context = {"amount_cents": 1250, "currency": "usd", "reason": "fraudulent", "dispute_id": "du_1"}
    trouble = {"invoice_id": "in_1", "amount_cents": 500, "currency": "eur", "error": None}
    run(ask(acme, None, "dispute_opened", kind="alert", context=context))
    run(ask(acme, None, "invoice_trouble", kind="alert", title="An invoice", context=trouble))
    first: Any
    first, second = mail.outbox
    assert first.to == second.to == [alice.user.email]
    assert "12.50 USD" in first.subject and "fraudulent" in first.body
    assert "because you look after" in first.alternatives[0][0]
    assert second.subject == "[Test] Acme: An invoice" and "Invoice id: in_1" in second.body
    assert "Amount: 5.00 EUR" in second.body and "cents" not in second.body


# Refuses


def test_a_user_without_an_address_is_skipped_with_the_reason(acme: Project) -> None:
    nobody = create_end_user(acme, email=None)
    bill(acme, nobody, "not an address\r\nBcc: victim@example.com")
    row = run(ask(acme, nobody))
    assert (row.status, row.error, mail.outbox) == ("skipped", mails.NO_ADDRESS, [])
    row = run(ask(acme, None))
    assert (row.status, mail.outbox) == ("skipped", [])


def test_mails_of_a_deleted_project_are_skipped(acme: Project, dana: AppUser) -> None:
    row = ask(acme, dana.end_user)
    delete_project(project=acme)
    assert (run(row).status, row.error, mail.outbox) == ("skipped", mails.PROJECT_GONE, [])


def test_an_unknown_mail_is_a_dead_letter_at_once(acme: Project, dana: AppUser) -> None:
    row = run(ask(acme, dana.end_user, "../../etc/passwd"))
    assert (row.status, row.attempts, mail.outbox) == ("dead", 1, [])
    with pytest.raises(UnknownTemplate):
        render("no_such_mail")


@pytest.mark.parametrize("breaker", ["\r\n", "\n", "\r", "\u2028", "\x00", "\x0b"], ids=repr)
def test_a_name_cannot_add_a_header_or_a_line(breaker: str, acme: Project, dana: AppUser, settings: Any) -> None:
    evil = f"Acme{breaker}Bcc: victim@example.com{breaker}{breaker}<b>hi</b>"
    Project.objects.filter(pk=acme.pk).update(name=evil.replace("\x00", "\x01"))
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        context = {"invoice_number": evil.replace("\x00", "\x01"), "description": evil.replace("\x00", "\x01")}
        row = run(ask(acme, dana.end_user, context=context))
    assert row.status == "done" and server.recipients == [dana.end_user.email]
    message = email.message_from_bytes(server.mails[0], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Bcc"] is None and message["Message-ID"] == f"<{row.pk}@testserver>"
    text = message.get_body(("plain",))
    assert text is not None and not any(line.startswith("Bcc:") for line in text.get_content().splitlines())


def test_html_in_names_is_text_and_links_that_lead_elsewhere_are_left_out() -> None:
    """S35: in every mail."""
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    names = {name: evil for name in FULL if isinstance(FULL[name], str) and not name.endswith(("url", "pdf"))}
    for template in TEMPLATES:
        found = render(template, **FULL | names, amount=evil)
        assert not {"script", "img"} & Links(found.html).tags
    for link in (
        "javascript:alert(1)",
        "data:text/html,x",
        "https:",
        "//evil",
        "file:///etc/passwd",
        "\x01javascript:x",
    ):
        urls = {name: link for name in FULL if name.endswith(("url", "pdf"))}
        for template in TEMPLATES:
            found = render(template, **FULL | urls)
            assert Links(found.html).hrefs == [] and link not in found.text


# Trouble


def test_a_mail_server_that_is_away_is_tried_again_and_nothing_is_stamped(
    acme: Project, dana: AppUser, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    row = run(ask(acme, dana.end_user))
    assert (row.status, row.attempts, row.done_at, row.result) == ("pending", 1, None, None)
    assert "ConnectionRefused" in row.error


def test_a_recipient_that_the_server_refuses_for_good_is_a_dead_letter(
    acme: Project, dana: AppUser, settings: Any
) -> None:
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        server.refusal = "550 no such mailbox"
        assert run(ask(acme, dana.end_user)).status == "dead"
        server.refusal = "451 later"
        assert run(ask(acme, dana.end_user)).status == "pending"
    assert server.mails == []


def test_without_a_mail_server_mails_are_files(acme: Project, dana: AppUser, settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    row = run(ask(acme, dana.end_user))
    (file,) = tmp_path.iterdir()
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert row.status == "done" and message["Message-ID"] == mails.message_id_of(row)
