"""Makes a webhook endpoint in the customer's Stripe account, once, and keeps the secret that Stripe shows only then.

Invariants: the call's row with its idempotency key is committed before Stripe is called, so that a lost answer is asked for
again with the same key and no second endpoint appears; the secret is saved in the transaction that settles the call; an
endpoint whose secret could not be kept is deleted, since nobody could ever verify what it delivers.
"""

import datetime as dt
import logging
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from common.encryption import DecryptionError
from payments.models import StripeCredentials, StripeIntent
from payments.secret_cache import forget_secrets
from payments.services.intent_rows import IntentOutcome, StripeObject, carry_out, claim_intent, settle_intent
from payments.services.webhook_secrets import replace_webhook_secret
from payments.stripe_api import StripeAccount, StripeFailure, StripeNotConfigured, StripeObjectMissing, account_of

logger = logging.getLogger(__name__)

CREATE_ENDPOINT = "webhook_endpoint"
ENDPOINTS = "webhook_endpoints"
TARGET = "endpoint"
# Stripe may forget an idempotency key after a day. Source: https://docs.stripe.com/api/idempotent_requests
KEY_LIFETIME = dt.timedelta(hours=24)
# An endpoint must want something. This never happens to an account that no OAuth application is connected to, so that a new
# endpoint stays silent until every process has learnt its secret.
QUIET_EVENTS = ["account.application.deauthorized"]
MANAGED = "managed"
ROLLING = "rolling"


class EndpointOutcome(IntentOutcome):
    """Keeps the new endpoint and its secret in the transaction that settles the call, if the credentials still want it."""

    def __init__(self, intent: StripeIntent, row: StripeCredentials) -> None:
        super().__init__(intent)
        self._row_id = row.pk
        self._account_id = row.stripe_account_id
        self.kept = False

    def succeeded(self, answer: StripeObject) -> None:
        with transaction.atomic():
            rows = StripeCredentials.objects.for_project(self.intent.project_id).filter(pk=self._row_id)
            row = rows.select_for_update(no_key=True).first()
            if row is not None and self._is_wanted(row):
                _keep_endpoint(row, answer, self.intent.params)
                self.kept = True
            super().succeeded(answer)

    def _is_wanted(self, row: StripeCredentials) -> bool:
        """Say whether nothing came between: another account, another endpoint, a secret that was put in by hand."""
        replaced = self.intent.params["replaces"]
        if row.stripe_account_id != self._account_id or row.webhook_endpoint_id != replaced:
            return False
        return bool(replaced) or not row.webhook_secret


def create_endpoint(
    row: StripeCredentials,
    account: StripeAccount,
    *,
    url: str,
    events: list[str],
    replaces_living: bool,
    keep_seconds: int,
) -> bool:
    """Make an endpoint and keep it; False when the credentials changed meanwhile, and then there is none more than before.

    `replaces_living`: the one before still delivers, so this one starts silent and is switched on afterwards.
    Raises: StripeFailure, CallInProgress (503).
    """
    nonce = uuid.uuid4().hex
    params: dict[str, Any] = {
        "url": url,
        "enabled_events": QUIET_EVENTS if replaces_living and keep_seconds else events,
        "replaces": row.webhook_endpoint_id,
        "replaces_living": replaces_living,
        "keep_seconds": keep_seconds,
        "nonce": nonce,
    }
    intent = claim_intent(
        project=row.project,
        mode=row.mode,
        end_user=None,
        operation=CREATE_ENDPOINT,
        target=TARGET,
        params=params,
        keep_open_params=True,
    )
    if intent.params["nonce"] == nonce:
        # Whoever held the call before has finished meanwhile, perhaps with an endpoint.
        now = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk).first()
        if now is None or (now.webhook_endpoint_id, now.version) != (row.webhook_endpoint_id, row.version):
            settle_intent(intent, status=StripeIntent.Status.FAILED, error="the credentials changed before it was sent")
            return False
    elif StripeIntent.objects.filter(pk=intent.pk, created_at__lt=Now() - KEY_LIFETIME).exists():
        settle_intent(intent, status=StripeIntent.Status.UNKNOWN, error="no answer within a day")
        return False
    return _carry_out_creation(row, account, intent)


def resume_creation(intent: StripeIntent) -> None:
    """Ask again, with the same key, for the answer of a call that was lost. The caller holds the intent."""
    usable = StripeCredentials.objects.for_project(intent.project_id).usable().filter(mode=intent.mode)
    row = usable.exclude(secret_key="").select_related("project").first()
    if row is None:
        raise StripeNotConfigured()
    _carry_out_creation(row, account_of(row), intent)


def drop_endpoint(account: StripeAccount, endpoint_id: str) -> bool:
    """Delete an endpoint; False when Stripe could not be asked. One that is gone already is fine."""
    try:
        account.delete(ENDPOINTS, endpoint_id)
    except StripeObjectMissing:
        return True
    except StripeFailure as error:
        logger.warning("webhook_endpoint_not_deleted endpoint=%s error=%s", endpoint_id, error)
        return False
    return True


def account_or_none(row: StripeCredentials) -> StripeAccount | None:
    """Return the account that stored credentials open; None when they open none."""
    try:
        return account_of(row)
    except (StripeNotConfigured, DecryptionError):
        return None


def _carry_out_creation(row: StripeCredentials, account: StripeAccount, intent: StripeIntent) -> bool:
    outcome = EndpointOutcome(intent, row)
    marks = {"project_id": str(row.project_id), "mode": row.mode, "managed_by": "payments", "intent": str(intent.pk)}
    params = {
        "url": intent.params["url"],
        "enabled_events": intent.params["enabled_events"],
        "api_version": settings.STRIPE_API_VERSION,
        "description": "Made and looked after by the payments service.",
        "metadata": marks,
    }

    def send() -> StripeObject:
        return account.create(ENDPOINTS, params, idempotency_key=intent.stripe_idempotency_key)

    def delete_what_appeared() -> StripeObject | None:
        # Its secret was in the answer that never came, and Stripe shows it nowhere else.
        for endpoint in account.iterate(ENDPOINTS):
            if (endpoint.get("metadata") or {}).get("intent") == marks["intent"]:
                account.delete(ENDPOINTS, endpoint["id"])
        return None

    made = carry_out(outcome, send=send, find_effect=delete_what_appeared)
    forget_secrets(row.project_id)
    if not outcome.kept:
        drop_endpoint(account, str(made["id"]))
    return outcome.kept


def _keep_endpoint(row: StripeCredentials, endpoint: StripeObject, params: dict[str, Any]) -> None:
    keep = dt.timedelta(seconds=params["keep_seconds"])
    if params["replaces_living"]:
        replace_webhook_secret(row, endpoint["secret"], keep=keep)
        row.previous_webhook_endpoint_id = params["replaces"] if keep else ""
    else:
        if row.previous_webhook_endpoint_id:
            # The endpoint that is replaced is gone, and the one before it still delivers: its secret stays instead.
            row.set_secret("webhook_secret", "")
        replace_webhook_secret(row, endpoint["secret"])
    row.webhook_endpoint_id = str(endpoint["id"])
    row.webhook_status = ROLLING if params["replaces_living"] and keep else MANAGED
    row.webhook_error = ""
    row.webhook_checked_at = Now()
    row.version += 1
    row.save()
