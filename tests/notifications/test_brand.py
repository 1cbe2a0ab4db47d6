"""A project's brand: mails bear it, nothing in it breaks out of its place, and nobody sends in a name that is not theirs."""

import email
import email.policy
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from accounts.models import User
from notifications.models import Brand
from notifications.services.brand import Senders, ink_on, look_of, problem_of
from projects.models import Membership, Project, Role
from tests.cast import AppUser, Developer, create_developer
from tests.notifications.smtp import mail_server
from tests.notifications.test_mail import ask, run

BRAND: dict[str, str] = {
    "from_name": "Acme Shop",
    "from_address": "hello@shop.example",
    "reply_to": "help@acme.example",
    "color": "#ffd400",
    "logo_url": "https://acme.example/logo.png",
    "footer_text": "Acme GmbH\nExample Street 1",
}


def sign_in(developer: Developer) -> Client:
    developer.user.is_staff = True
    developer.user.save()
    client = Client()
    client.force_login(developer.user)
    return client


# Works


def test_mails_bear_the_brand(acme: Project, dana: AppUser, settings: Any) -> None:
    settings.MAIL_FROM_DOMAINS = {acme.slug: {"shop.example"}}
    Brand.objects.create(project=acme, **BRAND)
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        assert run(ask(acme, dana.end_user)).status == "done"
    sent: Any = email.message_from_bytes(server.mails[0], policy=email.policy.default)
    assert (sent["From"], sent["Reply-To"]) == ("Acme Shop <hello@shop.example>", "help@acme.example")
    html = sent.get_body(("html",)).get_content()
    assert 'src="https://acme.example/logo.png"' in html and "Acme GmbH<br>Example Street 1" in html
    # Dark writing on a light button.
    assert "background:#ffd400" in html and "color:#111113" in html
    assert "Acme GmbH\nExample Street 1" in sent.get_body(("plain",)).get_content().replace("\r\n", "\n")


def test_a_project_without_a_brand_has_the_defaults(acme: Project, dana: AppUser) -> None:
    run(ask(acme, dana.end_user))
    sent: Any = mail.outbox[0]
    assert sent.from_email == f"{acme.name} <payments@localhost>" and sent.reply_to == []
    assert "#3358d4" in sent.alternatives[0][0] and "<img" not in sent.alternatives[0][0]


def test_a_developer_sets_the_brand_of_their_project_in_the_admin(acme: Project, bob: Developer, settings: Any) -> None:
    settings.MAIL_FROM_DOMAINS = {str(acme.pk): {"shop.example"}}
    client, form = sign_in(bob), {"project": str(acme.pk), **BRAND, "color": "#FFD400"}
    page = client.get(reverse("admin:notifications_brand_add")).content.decode()
    assert "payments@localhost, or an address of a domain" in page
    added = client.post(reverse("admin:notifications_brand_add"), form)
    assert added.status_code == 302, added.content.decode()[:2000]
    row = Brand.objects.for_project(acme).get()
    assert {name: getattr(row, name) for name in BRAND} == BRAND and row.staff_from_address == ""
    page = client.get(reverse("admin:notifications_brand_change", args=[row.pk])).content.decode()
    assert "payments@localhost, any address of shop.example" in page
    changed = client.post(reverse("admin:notifications_brand_change", args=[row.pk]), {**BRAND, "from_name": "Other"})
    row.refresh_from_db()
    assert changed.status_code == 302 and row.from_name == "Other"


@pytest.mark.parametrize(
    ("color", "ink"), [("#000000", "#ffffff"), ("#ffffff", "#111113"), ("#3358d4", "#ffffff"), ("#ffd400", "#111113")]
)
@pytest.mark.no_db
def test_writing_on_a_button_can_be_read(color: str, ink: str) -> None:
    assert ink_on(color) == ink


# Refuses


@pytest.mark.no_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from_name", "Acme\r\nBcc: victim@example.com"),
        ("from_name", "Acme\u2028x"),
        ("from_name", "evil\u202egnp.exe"),
        ("reply_to", "help@acme.example\nBcc: victim@example.com"),
        ("reply_to", "nobody"),
        ("from_address", "ceo@bank.example"),
        ("from_address", "a@evil.localhost"),
        ("from_address", "a@localhost.evil"),
        ("from_address", "a@evil.shop.example"),
        ("from_address", "ceo@localhost"),
        ("color", "red;}body{display:none"),
        ("color", "#fff"),
        ("logo_url", "javascript:alert(1)"),
        ("logo_url", "http://acme.example/logo.png"),
        ("logo_url", 'https://acme.example/"onload=x'),
        ("logo_url", "data:image/png;base64,AAAA"),
        ("logo_url", "https://user:pass@acme.example/logo.png"),  # pragma: allowlist secret
        ("footer_text", "a\x00b"),
        ("footer_text", "x" * 501),
        ("footer_text", "x\n" * 9),
    ],
)
def test_what_would_break_out_of_its_place_is_refused(field: str, value: str) -> None:
    senders = Senders(frozenset({"shop.example"}), frozenset({"payments@localhost"}))
    assert problem_of(field, value, senders)
    assert problem_of(field, BRAND[field], senders) == ""


def test_a_domain_is_one_projects_and_the_operators_own_is_staffs(
    acme: Project, bob: Developer, charlie: Developer, other_project: Project, settings: Any
) -> None:
    settings.MAIL_FROM_DOMAINS = {acme.slug: {"shop.example"}}
    add = reverse("admin:notifications_brand_add")
    for client, project, sender in (
        (sign_in(charlie), other_project, "hello@shop.example"),
        (sign_in(charlie), other_project, "security@localhost"),
        (sign_in(bob), acme, "security@localhost"),
    ):
        refused = client.post(add, {"project": str(project.pk), "from_address": sender})
        assert "sent from these only: payments@localhost" in refused.content.decode()
        assert not Brand.objects.for_project(project).exists()
        # Nor when it stands in the row already.
        row = Brand.objects.create(project=project, from_address=sender)
        assert look_of(project).from_address == "payments@localhost"
        row.delete()
    # What staff chose stays when a developer changes something else, and is no leave for another address.
    staff = Client()
    staff.force_login(User.objects.create_superuser("senders@payments.example", "x" * 12))
    assert staff.post(add, {"project": str(acme.pk), "from_address": "Acme@localhost"}).status_code == 302
    row = Brand.objects.for_project(acme).get()
    page, client = reverse("admin:notifications_brand_change", args=[row.pk]), sign_in(bob)
    assert client.post(page, {"from_address": "security@localhost"}).status_code == 200
    assert client.post(page, {"from_address": "Acme@localhost", "from_name": "Other"}).status_code == 302
    assert (look_of(acme).from_address, look_of(acme).from_name) == ("Acme@localhost", "Other")
    # Elsewhere staff choose no more freely than the operator's settings.
    assert staff.post(page, {"from_address": "ceo@bank.example"}).status_code == 200
    assert staff.post(page, {"from_address": ""}).status_code == 302
    assert client.post(page, {"from_address": "acme@localhost"}).status_code == 200


def test_a_row_that_was_written_by_hand_is_not_believed(acme: Project, dana: AppUser) -> None:
    Brand.objects.create(
        project=acme,
        from_name="Acme\r\nBcc: victim@example.com",
        from_address="ceo@bank.example",
        reply_to="x\r\nBcc: victim@example.com",
        color="red;}",
        logo_url="javascript:alert(1)",
    )
    look = look_of(acme)
    assert (look.from_name, look.from_address, look.reply_to) == (acme.name, "payments@localhost", "")
    assert (look.color, look.logo_url) == ("#3358d4", "")
    run(ask(acme, dana.end_user))
    sent: Any = mail.outbox[0]
    assert "victim" not in str(sent.message()) and "javascript" not in sent.alternatives[0][0]


def test_html_in_a_brand_is_text(acme: Project, dana: AppUser) -> None:
    evil = "<script>alert(1)</script>"
    Brand.objects.create(project=acme, footer_text=evil, from_name=evil)
    run(ask(acme, dana.end_user))
    sent: Any = mail.outbox[0]
    assert "<script" not in sent.alternatives[0][0]


def test_nobody_sets_another_projects_brand_or_sends_in_anothers_name(
    acme: Project, charlie: Developer, other_project: Project
) -> None:
    row = Brand.objects.create(project=acme, from_name="Acme")
    client, add = sign_in(charlie), reverse("admin:notifications_brand_add")
    assert client.post(add, {"project": str(acme.pk), "from_name": "Mine"}).status_code == 200
    change = client.post(reverse("admin:notifications_brand_change", args=[row.pk]), {"from_name": "Mine"})
    assert change.status_code in (302, 403, 404)
    refused = client.post(add, {"project": str(other_project.pk), "from_address": "ceo@bank.example"})
    assert "sent from these only" in refused.content.decode()
    row.refresh_from_db()
    assert row.from_name == "Acme" and Brand.objects.count() >= 1
    assert not Brand.objects.for_project(other_project).exists()


def test_a_viewer_reads_and_changes_nothing(acme: Project) -> None:
    viewer = create_developer("victor")
    Membership.objects.create(project=acme, user=viewer.user, role=Role.VIEWER)
    row = Brand.objects.create(project=acme, from_name="Acme")
    client = sign_in(viewer)
    page = reverse("admin:notifications_brand_change", args=[row.pk])
    assert client.get(page).status_code == 200 and client.post(page, {"from_name": "Mine"}).status_code == 403
    row.refresh_from_db()
    assert row.from_name == "Acme"
