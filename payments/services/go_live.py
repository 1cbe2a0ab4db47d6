"""Whether a project may sell in live mode: what is checked, and the moment in which it was opened.

Invariant: live mode sells nothing until every check was green at once. What turns red afterwards is shown and alerted, and stops
nobody who sells already.
"""

import datetime as dt
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass

import httpx
from django.conf import settings
from django.db.models.functions import Now

from accounts.models import User
from common.encryption import DecryptionError
from common.modes import LIVE
from entitlements.models import CreditPackPrice, PlanPrice
from licenses.models import LicenseProductPrice
from moderation.services.action_log import log_action
from payments.models import StripeCredentials, WebhookEvent
from payments.models.config import StripeCredentialsQuerySet
from payments.services.endpoint_creation import MANAGED, ROLLING
from payments.services.key_doctor import examine_key, lacks_essentials
from payments.services.webhook_address import webhook_url
from payments.services.webhook_endpoints import BY_HAND, check_endpoint
from payments.stripe_api import StripeNotConfigured
from projects.models import Project

PROBE_SECONDS_MAX = 10
PROBE_TYPE = "service.probe"
GOOD_ENDPOINTS = (MANAGED, ROLLING, BY_HAND)


@dataclass(frozen=True)
class Check:
    """One thing that must be right before live mode sells anything. `mend` says what to do when it is not."""

    name: str
    title: str
    ok: bool
    message: str
    mend: str = ""


@dataclass(frozen=True)
class GoLive:
    """Where a project stands. `opened_at` is None while live checkout is refused."""

    checks: list[Check]
    opened_at: dt.datetime | None

    @property
    def is_green(self) -> bool:
        """Whether every check is right now."""
        return all(check.ok for check in self.checks)


def read_go_live(*, project: Project) -> GoLive:
    """Say how the checks stand, as far as it is known here: Stripe is not asked. At most five queries."""
    row = _live(project).select_related("config").first()
    checks = [_check_keys(row), _check_endpoint(row), _check_probe(row), _check_goods(project)]
    return GoLive(checks, row.opened_at if row else None)


def try_to_open(*, project: Project, actor: User | None, reason: str = "") -> GoLive:
    """Look at everything anew and open live mode when all of it is right. Opened once, it stays open; why is in the action log.

    Raises: StripeUnavailable (503).
    """
    try:
        examine_key(project=project, mode=LIVE)
        check_endpoint(project=project, mode=LIVE)
        probe_address(project=project)
    except StripeNotConfigured:
        return read_go_live(project=project)
    found = read_go_live(project=project)
    if (
        found.is_green
        and found.opened_at is None
        and _live(project).filter(opened_at__isnull=True).update(opened_at=Now())
    ):
        log_action(
            action="live.open", subject=str(project.pk), actor=actor, reason=reason, project_id=project.pk, mode=LIVE
        )
        return read_go_live(project=project)
    return found


def probe_address(*, project: Project) -> str:
    """Send a signed event to the public address as Stripe would, and see that it arrives here; returns what went wrong, or "".

    The probe stays in the inbox as an ignored event. Raises: StripeNotConfigured (404).
    """
    row = _live(project).first()
    if row is None:
        raise StripeNotConfigured()
    problem = _probe(row)
    _live(project).update(probed_at=None if problem else Now())
    return problem


def _probe(row: StripeCredentials) -> str:
    try:
        secret = row.get_secret("webhook_secret")
    except DecryptionError:
        return "The stored webhook secret cannot be read."
    if not secret:
        return "There is no webhook secret to sign with."
    event_id = f"evt_probe_{uuid.uuid4().hex}"
    moment = int(time.time())
    body = json.dumps({
        "id": event_id, "object": "event", "type": PROBE_TYPE, "created": moment, "livemode": True,
        "api_version": settings.STRIPE_API_VERSION, "data": {"object": {"id": event_id, "object": "probe"}},
    }).encode()  # fmt: skip
    signature = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={moment},v1={signature}", "Content-Type": "application/json"}
    try:
        url = webhook_url(row.project_id, row.mode)
        answer = httpx.post(url, content=body, headers=headers, timeout=PROBE_SECONDS_MAX, follow_redirects=False)
    except httpx.HTTPError as error:
        return f"The public address did not answer ({type(error).__name__})."
    if answer.status_code != 200:
        return f"The public address answered {answer.status_code} to a signed event."
    arrived = WebhookEvent.objects.for_project(row.project_id).filter(mode=row.mode, event_id=event_id)
    return "" if arrived.exists() else "The public address answered, and the event did not arrive here."


def _live(project: Project) -> StripeCredentialsQuerySet:
    return StripeCredentials.objects.for_project(project).filter(mode=LIVE).exclude(secret_key="")


def _check_keys(row: StripeCredentials | None) -> Check:
    name, title = "keys", "Live keys"
    if row is None:
        return Check(name, title, False, "There is no live secret key.", "Save the live keys.")
    if not row.config.is_active:
        return Check(name, title, False, "Payments are switched off.", "Save the keys again to switch them on.")
    if row.diagnosed_at is None:
        return Check(name, title, False, "The key was not examined yet.", "Run the checks.")
    refused = next((one["message"] for one in row.diagnosis if one["permission"] == "Key" and not one["ok"]), "")
    if refused:
        return Check(name, title, False, refused, "Save a live key that Stripe takes.")
    if missing := lacks_essentials(row.diagnosis):
        return Check(
            name, title, False, f"The key lacks: {', '.join(missing)}.", "Give the key these permissions at Stripe."
        )
    return Check(name, title, True, f"Stripe takes {row.secret_key_masked}.")


def _check_endpoint(row: StripeCredentials | None) -> Check:
    name, title = "endpoint", "Webhook endpoint"
    status = row.webhook_status if row else ""
    if row is not None and status in GOOD_ENDPOINTS and not row.webhook_error:
        return Check(name, title, True, f"Stripe delivers to this service ({status}).")
    said = (row.webhook_error if row else "") or "There is no webhook endpoint for live events yet."
    return Check(name, title, False, said, "Check the webhook endpoint; it is made or mended at Stripe.")


def _check_probe(row: StripeCredentials | None) -> Check:
    name, title = "probe", "Signed probe"
    if row is not None and row.probed_at is not None:
        return Check(
            name, title, True, f"A signed event came through the public address at {row.probed_at:%Y-%m-%d %H:%M} UTC."
        )
    return Check(name, title, False, "No signed event has come through the public address yet.",
                 "Run the checks; PUBLIC_BASE_URL must lead here.")  # fmt: skip


def _check_goods(project: Project) -> Check:
    name, title = "plans", "Something to sell in live mode"
    plans = PlanPrice.objects.for_project(project).filter(
        mode=LIVE, active=True, plan__archived=False, plan__internal=False
    )
    if plans.exclude(stripe_price_id="", lookup_key="").filter(warning="").exists():
        return Check(name, title, True, "Plans have live prices.")
    if CreditPackPrice.objects.for_project(project).filter(mode=LIVE, active=True, pack__active=True).exists():
        return Check(name, title, True, "Credit packs have live prices.")
    if LicenseProductPrice.objects.for_project(project).filter(mode=LIVE, active=True, product__active=True).exists():
        return Check(name, title, True, "Licence products have live prices.")
    return Check(name, title, False, "Nothing has a live price at Stripe.",
                 "Copy the plans to live: manage.py setup_stripe PROJECT --promote.")  # fmt: skip
