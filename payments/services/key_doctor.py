"""Says which permissions a key lacks and what stops working without each; nothing is made or changed at Stripe.

A permission to write is asked for by a call that cannot succeed (it names nothing, or an object that does not exist): Stripe checks
permissions before it looks at what was asked for (inferred from its answers, not documented), so that 403 means that it is missing.
Source: https://docs.stripe.com/keys/restricted-api-keys
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from common.encryption import DecryptionError
from common.ids import uuid7
from common.logs import redact
from payments.models import StripeCredentials
from payments.stripe_api import (
    StripeAccount,
    StripeKeyRejected,
    StripeNotConfigured,
    StripePermissionMissing,
    StripeRefused,
    account_of,
)
from projects.models import Project

READ, WRITE = "read", "write"
NOBODY = "key_doctor_none"
RESTRICTED = "rk_"
MESSAGE_CHARS_MAX = 500


@dataclass(frozen=True)
class Need:
    """A permission as Stripe's Dashboard names it, what needs it, and a call that shows whether it is there."""

    permission: str
    level: str
    features: str
    ask: Callable[[StripeAccount], Any]


@dataclass(frozen=True)
class Finding:
    """Whether one permission is there; `message` says what to do when it is not."""

    permission: str
    ok: bool
    message: str
    features: str = ""


def _reads(path: str) -> Callable[[StripeAccount], Any]:
    return lambda account: account.list(path, {"limit": 1})


def _changes(path: str, prefix: str) -> Callable[[StripeAccount], Any]:
    asked = {"metadata": {"asked_by": "key doctor"}}
    return lambda account: account.update(path, prefix + NOBODY, asked, idempotency_key=f"key-doctor-{uuid7()}")


def _makes(path: str) -> Callable[[StripeAccount], Any]:
    return lambda account: account.create(path, {}, idempotency_key=f"key-doctor-{uuid7()}")


NEEDS = (
    Need("Customers", WRITE, "Every purchase: a customer is made for each buyer.", _changes("customers", "cus_")),
    Need("Checkout Sessions", WRITE, "Every purchase: checkout is opened by it.", _makes("checkout/sessions")),
    Need("Prices", READ, "Every purchase and the plans of subscriptions: the price is read.", _reads("prices")),
    Need("Products", WRITE, "Making products and prices (setup_stripe).", _changes("products", "prod_")),
    Need("Subscriptions", WRITE, "Plans: subscriptions are read after each event, changed, canceled and resumed.",
         _changes("subscriptions", "sub_")),
    Need("Invoices", WRITE, "Payments of subscriptions, previews of a change, and usage that is billed.",
         _changes("invoices", "in_")),
    Need("PaymentIntents", READ, "Payments: each is read after its event.", _reads("payment_intents")),
    Need("Charges and Refunds", WRITE, "Refunds by staff, receipts and how it was paid.", _makes("refunds")),
    Need("Disputes", READ, "Disputes: access is taken and given back by them.", _reads("disputes")),
    Need("Promotion Codes", READ, "Promotion codes typed in before checkout.", _reads("promotion_codes")),
    Need("Coupons", READ, "The discounts behind promotion codes.", _reads("coupons")),
    Need("Customer portal", WRITE, "The portal in which users manage their billing.", _makes("billing_portal/sessions")),
    Need("Events", READ, "Finding events that were never delivered (hourly).", _reads("events")),
    Need("Webhook Endpoints", WRITE, "Making and mending the webhook endpoint; without it, set it up by hand.",
         _changes("webhook_endpoints", "we_")),
    Need("Meter events", WRITE, "Usage that Stripe's meters bill.", _makes("billing/meter_events")),
)  # fmt: skip
# Without these nothing can be sold; the others switch single features off.
ESSENTIAL = frozenset(
    {"Key", "Customers", "Checkout Sessions", "Prices", "Subscriptions", "Invoices", "PaymentIntents"}
)


def examine_key(*, project: Project, mode: str) -> list[Finding]:
    """Ask Stripe for each permission, and keep what was found for the pages that show it.

    Raises: StripeNotConfigured (404), StripeUnavailable (503).
    """
    rows = StripeCredentials.objects.for_project(project).filter(mode=mode).exclude(secret_key="")
    row = rows.first()
    if row is None:
        raise StripeNotConfigured()
    findings = _examine(row)
    kept = [
        {"permission": one.permission, "ok": one.ok, "message": one.message, "features": one.features}
        for one in findings
    ]
    rows.filter(pk=row.pk, version=row.version).update(diagnosis=kept, diagnosed_at=Now())
    return findings


def lacks_essentials(diagnosis: list[dict[str, Any]]) -> list[str]:
    """Name the permissions that were missing and without which nothing can be sold."""
    return [one["permission"] for one in diagnosis if not one["ok"] and one["permission"] in ESSENTIAL]


def _examine(row: StripeCredentials) -> list[Finding]:
    try:
        account = account_of(row)
        is_restricted = row.get_secret("secret_key").startswith(RESTRICTED)
    except DecryptionError:
        return [Finding("Key", False, "The stored secret key cannot be read: save it again.", "Everything.")]
    needs = NEEDS if is_restricted else NEEDS[:1]
    findings = []
    for need in needs:
        try:
            findings.append(_ask(account, need))
        except StripeKeyRejected:
            return [Finding("Key", False, "Stripe rejects the secret key: save a new one.", "Everything.")]
    if not is_restricted:
        advice = (
            "A full secret key may do everything. A restricted key with the permissions of the documentation is safer."
        )
        return [Finding("Key", True, advice)]
    return [Finding("Key", True, "Stripe takes the restricted key."), *findings]


def _ask(account: StripeAccount, need: Need) -> Finding:
    name = need.permission
    try:
        need.ask(account)
    except StripePermissionMissing as error:
        said = redact(error.user_message)[:MESSAGE_CHARS_MAX]
        wanted = f"Give the key “{need.permission}: {need.level}” in Stripe's Dashboard. {said}".strip()
        return Finding(name, False, wanted, need.features)
    except StripeRefused:
        # Refused for what it asked for, and so not for who asked.
        pass
    return Finding(name, True, f"May {need.level}.", need.features)
