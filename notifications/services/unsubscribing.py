"""Who wants no mails but those about their own purchases, and the link that says so (docs/mail.md).

Invariant: only mails of OPTIONAL_MAILS can be turned off. The link names a project, a mode and a digest of the address; it shows
nobody an address, needs no sign-in and never ends, as RFC 8058 wants it.
"""

import hashlib
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from common.errors import NotFound
from common.modes import LIVE, TEST
from notifications.models import MailOptOut
from projects.models import Project, ProjectOwnedQuerySet

# Not about something that was bought, owed or is about to be charged: a reminder of an unfinished purchase, and of buying more.
OPTIONAL_MAILS = frozenset({"checkout_retry", "credits_low"})
UNSUBSCRIBED = "The recipient unsubscribed from mails like this one."
TOKEN_CHARS_MAX = 300
_signer = Signer(salt="notifications.unsubscribe")


class UnknownLink(NotFound):
    """404: the link was not made here, or its project is gone."""

    code = "unknown_link"
    detail = "This link is not one of ours, or its project does not exist any more."


@dataclass(frozen=True)
class Subscriber:
    """Somebody's address at a project, in a mode, as a digest."""

    project: Project
    mode: str
    digest: str


def digest_of(project_id: uuid.UUID, address: str) -> str:
    """Return what is kept of an address: a digest that another project's would not match."""
    return hashlib.sha256(f"{project_id}:{address.strip().lower()}".encode()).hexdigest()


def is_unsubscribed(*, project_id: uuid.UUID, mode: str, address: str) -> bool:
    """Say whether an address wants no optional mails. One query."""
    rows = MailOptOut.objects.for_project(project_id).filter(mode=mode)
    return rows.filter(address_digest=digest_of(project_id, address)).exists()


def unsubscribe_url(*, project_id: uuid.UUID, mode: str, address: str) -> str:
    """Return the address of the page on which a recipient unsubscribes."""
    token = _signer.sign(f"{project_id.hex}.{mode}.{digest_of(project_id, address)}")
    return settings.PUBLIC_BASE_URL + reverse("unsubscribe", args=[token])


def read_link(token: str) -> Subscriber:
    """Return whom a link is for. Raises UnknownLink (404)."""
    try:
        if len(token) > TOKEN_CHARS_MAX:
            raise UnknownLink
        project_id, mode, digest = _signer.unsign(token).split(".")
        project = Project.objects.existing().filter(pk=uuid.UUID(project_id)).first()
    except (BadSignature, ValueError) as error:
        raise UnknownLink from error
    if project is None or mode not in (TEST, LIVE):
        raise UnknownLink
    return Subscriber(project, mode, digest)


def is_opted_out(subscriber: Subscriber) -> bool:
    """Say whether somebody has unsubscribed."""
    return _rows(subscriber).exists()


def opt_out(subscriber: Subscriber) -> None:
    """Send somebody no optional mails any more; twice is the same as once."""
    row = MailOptOut(project=subscriber.project, mode=subscriber.mode, address_digest=subscriber.digest)
    MailOptOut.objects.bulk_create([row], ignore_conflicts=True)


def opt_in(subscriber: Subscriber) -> None:
    """Send somebody optional mails again."""
    _rows(subscriber).delete()


def _rows(subscriber: Subscriber) -> ProjectOwnedQuerySet:
    rows = MailOptOut.objects.for_project(subscriber.project).filter(mode=subscriber.mode)
    return rows.filter(address_digest=subscriber.digest)
