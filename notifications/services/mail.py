"""Carries out rows of kind `mail` (to an end user) and `alert` (to a project's owners, or to named addresses).

Invariant: a row is done only after the mail server has taken the mail. A worker that dies between the two sends it once more, with
the same Message-ID (docs/adr/0017-mail-at-least-once.md).
"""

import uuid
from collections.abc import Callable
from email.utils import formataddr
from smtplib import SMTPRecipientsRefused
from typing import Any
from urllib.parse import urlsplit

from anymail.exceptions import AnymailInvalidAddress, AnymailRecipientsRefused
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email

from common.modes import TEST
from notifications.models import OutboxRow
from notifications.services.brand import Look, default_from_address, look_of
from notifications.services.lines import one_line
from notifications.services.outbox import EffectSkipped
from notifications.services.rendering import RenderedMail, UnknownTemplate, render_mail
from notifications.services.unsubscribing import (
    OPTIONAL_MAILS,
    UNSUBSCRIBED,
    is_unsubscribed,
    unsubscribe_url,
)
from notifications.templatetags.mail_text import money
from projects.models import EndUser, Membership, Project, Role

MAIL, ALERT = "mail", "alert"
NO_ADDRESS = "No usable e-mail address is known."
NO_OWNER = "The project has no owner who could be told."
TAKEN_STATUSES = {"sent", "queued"}
PROJECT_GONE = "The project was deleted."
# Finds the address that Stripe bills a user at: apps above this one know it.
BillingAddress = Callable[[uuid.UUID, str, uuid.UUID], str]
# Finds the address of whoever made a payment, by its PaymentIntent.
PayerAddress = Callable[[uuid.UUID, str, str], str]

_billing_address: BillingAddress | None = None
_payer_address: PayerAddress | None = None


class Undeliverable(Exception):
    """No mail will ever reach this recipient; trying again does not help."""

    retryable = False


def register_billing_address(find: BillingAddress) -> None:
    """Say who knows where a user (project, mode, end user) is billed; once per process, in `AppConfig.ready`."""
    global _billing_address
    _billing_address = find


def register_payer_address(find: PayerAddress) -> None:
    """Say who knows who made a payment (project, mode, PaymentIntent); once per process, in `AppConfig.ready`."""
    global _payer_address
    _payer_address = find


def send_mail(row: OutboxRow) -> dict[str, Any]:
    """Send a mail to an end user. Payload: `template`, `context`, `to` (null = wherever the user is billed).

    With `payment_intent_id` it is about that payment, and goes to whoever made it.

    Raises: EffectSkipped, UnknownTemplate; whatever the mail server raises is tried again.
    """
    project = _project_of(row)
    address = _usable(str(row.payload.get("to") or "")) or _address_of_payer(row) or _address_of_user(row)
    if not address:
        raise EffectSkipped(NO_ADDRESS)
    template, link = str(row.payload.get("template") or ""), ""
    if template in OPTIONAL_MAILS:
        if is_unsubscribed(project_id=project.pk, mode=row.mode, address=address):
            raise EffectSkipped(UNSUBSCRIBED)
        link = unsubscribe_url(project_id=project.pk, mode=row.mode, address=address)
    look = look_of(project)
    rendered = render_mail(
        template=template,
        context=_context_of(row),
        project_name=project.name,
        is_test=row.mode == TEST,
        look=look,
        unsubscribe_url=link,
    )
    return _hand_over(row, look, [address], rendered, link)


def send_alert(row: OutboxRow) -> dict[str, Any]:
    """Tell a project's owners, or the addresses in `to`. Payload: `template` or `title`, `text`, `context`.

    Raises: EffectSkipped, UnknownTemplate; whatever the mail server raises is tried again.
    """
    project = _project_of(row)
    addresses = _told_of_alerts(row, project)
    if not addresses:
        raise EffectSkipped(NO_OWNER)
    # An alert is the service's own word: it bears the project's name and not its brand.
    look = Look(from_name=one_line(project.name)[:100], from_address=default_from_address())
    return _hand_over(row, look, addresses, _render_alert(row, project.name))


def _told_of_alerts(row: OutboxRow, project: Project) -> list[str]:
    named = row.payload.get("to")
    if isinstance(named, list):
        return sorted({address for each in named if (address := _usable(str(each)))})
    owners = Membership.objects.for_project(project).filter(role=Role.OWNER, user__is_active=True)
    return sorted({address for email in owners.values_list("user__email", flat=True) if (address := _usable(email))})


def _render_alert(row: OutboxRow, project_name: str) -> RenderedMail:
    """Render an alert with its own template, or as a list of what is known about it."""
    is_test, context = row.mode == TEST, _context_of(row)
    template = str(row.payload.get("template") or "")
    if template:
        try:
            return render_mail(
                template=template, context=context, project_name=project_name, is_test=is_test, to_owners=True
            )
        except UnknownTemplate:
            pass
    title = str(row.payload.get("title") or template.replace("_", " ") or "something needs attention")
    told = [("What happened", row.payload["text"])] if row.payload.get("text") else []
    amount = money(context.get("amount_cents"), context.get("currency"))
    if amount:
        context = {"amount": amount} | {
            name: context[name] for name in context if name not in ("amount_cents", "currency")
        }
    known = [(name.replace("_", " ").capitalize(), value) for name, value in context.items() if value not in ("", None)]
    values = {"about": title, "facts": [list(fact) for fact in told + known], "url": row.payload.get("url") or ""}
    return render_mail(template="alert", context=values, project_name=project_name, is_test=is_test, to_owners=True)


def message_id_of(row: OutboxRow) -> str:
    """Return the Message-ID of a row's mail: the same each time, so that a second copy can be told from a second mail."""
    return f"<{row.pk}@{urlsplit(settings.PUBLIC_BASE_URL).hostname or 'localhost'}>"


def _project_of(row: OutboxRow) -> Project:
    project = Project.objects.existing().filter(pk=row.project_id).first()
    if project is None:
        raise EffectSkipped(PROJECT_GONE)
    return project


def _context_of(row: OutboxRow) -> dict[str, Any]:
    context = row.payload.get("context")
    return context if isinstance(context, dict) else {}


def _address_of_payer(row: OutboxRow) -> str:
    """Return the address of whoever made the payment that a mail is about; "" when it is about none."""
    payment_intent_id = str(row.payload.get("payment_intent_id") or "")
    if not payment_intent_id or _payer_address is None:
        return ""
    return _usable(_payer_address(row.project_id, row.mode, payment_intent_id))


def _address_of_user(row: OutboxRow) -> str:
    """Return where a user is billed, else the address that the app knows; "" when there is neither."""
    if row.end_user_id is None:
        return ""
    billed = _billing_address(row.project_id, row.mode, row.end_user_id) if _billing_address else ""
    if _usable(billed):
        return billed
    users = EndUser.objects.for_project(row.project_id).filter(pk=row.end_user_id)
    return _usable(users.values_list("email", flat=True).first() or "")


def _usable(address: str) -> str:
    """Return an address that a mail can go to, "" for anything else: one with a line break would write headers."""
    try:
        validate_email(address)
    except ValidationError:
        return ""
    return address if one_line(address) == address else ""


def _hand_over(
    row: OutboxRow, look: Look, addresses: list[str], rendered: RenderedMail, unsubscribe_link: str = ""
) -> dict[str, Any]:
    headers = {"Message-ID": message_id_of(row), "Auto-Submitted": "auto-generated"}
    if unsubscribe_link:
        # One click, no page: https://datatracker.ietf.org/doc/html/rfc8058
        headers |= {
            "List-Unsubscribe": f"<{unsubscribe_link}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    message = EmailMultiAlternatives(
        subject=rendered.subject,
        body=rendered.text,
        from_email=formataddr((look.from_name, look.from_address)),
        to=addresses,
        reply_to=[look.reply_to] if look.reply_to else None,
        headers=headers,
    )
    if rendered.html:
        message.attach_alternative(rendered.html, "text/html")
    try:
        taken = message.send()
    except SMTPRecipientsRefused as error:
        raise _judged(error) from None
    except (AnymailRecipientsRefused, AnymailInvalidAddress):
        raise Undeliverable("the mail provider refuses the recipient") from None
    if taken != 1:
        raise ConnectionError("the mail server took nothing")
    _check_provider_took(message)
    return {"message_id": message_id_of(row), "to": addresses, "subject": rendered.subject}


def _check_provider_took(message: EmailMultiAlternatives) -> None:
    """Refuse a provider's answer that names nobody whom the mail goes to. A mail server has no such answer.

    An answer that is not understood is no "sent": a person looks, since trying again might send the mail twenty times.
    Source: https://anymail.dev/en/stable/sending/anymail_additions/#anymail.message.AnymailStatus
    """
    told = getattr(message, "anymail_status", None)
    if told is not None and not (told.status or set()) & TAKEN_STATUSES:
        raise Undeliverable("the mail provider did not say that it took the mail")


def _judged(error: SMTPRecipientsRefused) -> Exception:
    """Tell a mailbox that does not exist from one that is busy. Source: https://datatracker.ietf.org/doc/html/rfc5321#section-4.2.1"""
    for_good = all(code >= 500 for code, _ in error.recipients.values())
    return Undeliverable("the mail server refuses the recipient") if for_good else error
