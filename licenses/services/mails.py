"""The mails of a licence: welcome, invitation sent, access granted; and that it was taken back.

Invariants: each is sent once by itself, and again only when staff or the buyer ask; its stamp is written in the transaction that
marks the effect as done, which is after the mail server took it; the link in it is signed when it is sent and never stored.
"""

from collections.abc import Mapping
from typing import Any

from common import clock
from common.ids import uuid7
from licenses.models import License, LicenseState
from licenses.services.access_tokens import access_link, mint_access_token
from notifications.models import OutboxRow
from notifications.services.mail import send_mail
from notifications.services.outbox import EffectSkipped, record_effect

LICENSE_MAIL = "license_mail"
WELCOME, INVITED, GRANTED = "license_welcome", "license_invited", "license_granted"
REVOKED = "license_revoked"
STAMPS = {WELCOME: "welcome_sent_at", INVITED: "invitation_mail_sent_at", GRANTED: "access_mail_sent_at"}
# What a mail is still true of. A welcome is worth sending for as long as anybody holds the licence.
WORTH_SENDING = {
    WELCOME: (LicenseState.PENDING, LicenseState.USERNAME_SUBMITTED, LicenseState.INVITED, LicenseState.ACTIVE),
    INVITED: (LicenseState.INVITED,),
    GRANTED: (LicenseState.ACTIVE,),
    REVOKED: (LicenseState.REVOKED,),
}
# What Stripe's ids begin with. Sources: https://docs.stripe.com/api/refunds/object, https://docs.stripe.com/api/disputes/object
TAKEN_BY = {"re": "refund", "pyr": "refund", "du": "dispute", "dp": "dispute"}
OVERTAKEN = "The licence has moved on; this mail would not be true any more."


def mail_buyer(
    row: License, template: str, *, key: str, cause: str = "", skipped_because: str = "", **facts: str
) -> bool:
    """Record one of a licence's mails; False when this key was recorded before. `facts` are kept with it."""
    return record_effect(
        project_id=row.project_id,
        mode=row.mode,
        kind=LICENSE_MAIL,
        effect_key=f"mail:{template}:{row.pk}:{key}",
        payload=_payload(row, template) | facts,
        end_user_id=row.end_user_id,
        cause=cause,
        skipped_because=skipped_because,
    )


def mail_revoked(row: License, *, cause: str, skipped_because: str = "") -> bool:
    """Record the mail that a licence was taken back, once each time that it is. Call after it moved."""
    at = str(row.revoked_at)
    return mail_buyer(row, REVOKED, key=at, cause=cause, skipped_because=skipped_because, revoked_at=at)


def mail_again(row: License, *, cause: str) -> str:
    """Record a mail that somebody asks for, and return its name as things stand: what is sent is what fits then."""
    template = mail_of_state(row)
    record_effect(
        project_id=row.project_id,
        mode=row.mode,
        kind=LICENSE_MAIL,
        effect_key=f"mail:{template}:{row.pk}:again:{uuid7()}",
        payload=_payload(row, template) | {"asked_for": True},
        end_user_id=row.end_user_id,
        cause=cause,
    )
    return template


def mail_of_state(row: License) -> str:
    """Name the mail that fits where a licence stands: the welcome wherever something else than an open invitation is next."""
    if row.state == LicenseState.INVITED and row.invitation_ended_as:
        return WELCOME
    return {LicenseState.INVITED: INVITED, LicenseState.ACTIVE: GRANTED}.get(row.state, WELCOME)


def send_license_mail(row: OutboxRow) -> Mapping[str, Any]:
    """Send one of a licence's mails with what is true now. Raises: EffectSkipped; what the mail server raises is tried again."""
    found = License.objects.for_project(row.project_id).select_related("product")
    holder = found.filter(pk=row.payload.get("license")).first()
    template = str(row.payload.get("template") or "")
    if holder is not None and row.payload.get("asked_for"):
        template = mail_of_state(holder)
        # In memory too, so that the stamp is that of the mail which is sent.
        row.payload = {**row.payload, "template": template}
    if holder is None or holder.state not in WORTH_SENDING.get(template, ()):
        raise EffectSkipped(OVERTAKEN)
    if template == REVOKED and row.payload.get("revoked_at") != str(holder.revoked_at):
        # It was given back and taken anew, which another mail says.
        raise EffectSkipped(OVERTAKEN)
    token = mint_access_token(project_id=holder.project_id, license_id=holder.pk)
    payload = {
        **row.payload,
        "context": {
            "product_name": holder.product.name,
            "github_username": holder.username,
            "access_url": access_link(session_id=holder.stripe_session_id, token=token),
            "repository": holder.product.repository,
            "has_key": holder.product.activation_limit is not None,
            "because": _why_revoked(holder),
        },
    }
    # Only in memory: the row in the database keeps no link.
    return send_mail(OutboxRow(**_columns(row) | {"payload": payload}))


def stamp_license_mail(row: OutboxRow) -> None:
    """Stamp the licence of a mail that was taken: the first time only, so that a mail sent again keeps the first time."""
    stamp = STAMPS.get(str(row.payload.get("template") or ""))
    if stamp:
        rows = License.objects.for_project(row.project_id).filter(pk=row.payload.get("license"))
        rows.filter(**{f"{stamp}__isnull": True}).update(**{stamp: clock.now()})


def _why_revoked(row: License) -> str:
    """Say what took a licence as its mail has it; "" for what staff decided, and while nothing did."""
    return TAKEN_BY.get(row.revoked_because.partition("_")[0], "")


def _payload(row: License, template: str) -> dict[str, Any]:
    return {"template": template, "to": row.email or None, "license": str(row.pk), "context": {}}


def _columns(row: OutboxRow) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
