"""Hands out everything that is kept about one end user, as one JSON document.

Invariant: every table that refers to an end user is in `HOLDINGS` (a test walks the models); no secret, lease or digest is in
the document, nor what staff noted or who of them did what.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import User
from backoffice.services.people.person import Person, read_person
from common import clock
from common.logs import redact, without_named_secrets
from entitlements.models import (
    CreditAccount,
    CreditReservation,
    CreditTransaction,
    CreditWallet,
    Entitlement,
    ProvisionedUser,
    TokenMark,
    TokenPeriod,
    UsageCharge,
    UsageEvent,
    UsagePeriod,
)
from hosted.models import HostedSession
from licenses.models import License, LicenseActivation, LicenseChange, LicenseSeat
from moderation.models import ActionLog, ReviewItem
from moderation.services.action_log import log_action
from notifications.models import OutboxRow
from payments import mirror
from payments.models import (
    CheckoutSession,
    CreditPurchase,
    Dispute,
    Invoice,
    LicensePurchase,
    Refund,
    StripeCustomer,
    StripeIntent,
    Subscription,
    SubscriptionChange,
    Transaction,
    Trial,
    WebhookEvent,
)
from payments.services.dead_letters import without_buyers_links
from payments.services.snapshot import without_client_secrets
from projects.models import EndUser

Rows = Callable[[Person], QuerySet[Any]]
CHUNK_ROWS = 500
# Columns that are ours and not about the person: leases, digests, keys of calls, and what staff noted for each other.
LEFT_OUT = frozenset(
    {
        "lease_token", "lease_until", "stripe_idempotency_key", "fingerprint", "key", "key_hash", "device_hash", "claim", "lane",
        "cause", "cause_key", "effect_key", "purchase_key", "wait_reason", "spend_reset_key", "spend_reset_done", "url", "link_id",
    }
)  # fmt: skip
REVIEW_SHOWN = ("id", "kind", "title", "status", "created_at", "resolved_at")
ACTION_SHOWN = ("id", "action", "at")


def _by_user(model: Any) -> Rows:
    return lambda person: model._default_manager.filter(project=person.project_id, end_user=person.end_user.pk)


def _through(model: Any, lookup: str) -> Rows:
    return lambda person: model._default_manager.filter(project=person.project_id, **{lookup: person.end_user.pk})


def _licensed(model: Any, lookup: str) -> Rows:
    return lambda person: model._default_manager.filter(
        project=person.project_id, **{f"{lookup}__in": person.license_ids}
    )


def events_of(person: Person) -> QuerySet[WebhookEvent]:
    """Return what Stripe sent about a person, as far as its bodies are kept."""
    about = Q(object_id__in=person.stripe_ids) | Q(root__in=person.stripe_ids)
    return WebhookEvent.objects.for_project(person.project_id).filter(about, emptied_at=None)


def reviews_of(person: Person) -> QuerySet[ReviewItem]:
    """Return the review items that are about a person or that they reported."""
    about = Q(end_user=person.end_user.pk) | Q(details__reported_by__id=str(person.end_user.pk))
    return ReviewItem.objects.for_project(person.project_id).filter(about)


HOLDINGS: Mapping[str, Rows] = {
    "end_user": lambda person: EndUser.objects.for_project(person.project_id).filter(pk=person.end_user.pk),
    "customers": _by_user(StripeCustomer),
    "subscriptions": _by_user(Subscription),
    "subscription_history": _through(SubscriptionChange, "subscription__end_user"),
    "payments": _by_user(Transaction),
    "invoices": _by_user(Invoice),
    "refunds": _through(Refund, "transaction__end_user"),
    "disputes": _through(Dispute, "transaction__end_user"),
    "checkouts": _by_user(CheckoutSession),
    "requests_to_stripe": _by_user(StripeIntent),
    "trials": _by_user(Trial),
    "credit_purchases": _by_user(CreditPurchase),
    "licence_purchases": _by_user(LicensePurchase),
    "licences": _licensed(License, "pk"),
    "licence_history": _licensed(LicenseChange, "license"),
    "licence_seats": _licensed(LicenseSeat, "license"),
    "licence_devices": _licensed(LicenseActivation, "license"),
    "entitlements": _by_user(Entitlement),
    "credit_wallets": _by_user(CreditWallet),
    "credit_accounts": _through(CreditAccount, "wallet__end_user"),
    "credit_history": _through(CreditTransaction, "wallet__end_user"),
    "credit_reservations": _through(CreditReservation, "wallet__end_user"),
    "token_periods": _by_user(TokenPeriod),
    "token_marks": _by_user(TokenMark),
    "usage_periods": _by_user(UsagePeriod),
    "usage_reports": _by_user(UsageEvent),
    "usage_billed": _by_user(UsageCharge),
    "litellm_users": _by_user(ProvisionedUser),
    "hosted_sessions": _by_user(HostedSession),
    "mails_and_effects": _by_user(OutboxRow),
    "stripe_events": events_of,
    "review_items": reviews_of,
    "actions": lambda person: ActionLog.objects.for_project(person.project_id).filter(subject=str(person.end_user.pk)),
}
SHOWN: Mapping[str, tuple[str, ...]] = {"review_items": REVIEW_SHOWN, "actions": ACTION_SHOWN}


def hand_out(*, end_user: EndUser, actor: User | None) -> Iterator[str]:
    """Log that a person's data are handed out, and return the pieces of the document."""
    with transaction.atomic():
        log_action(
            action="end_user.hand_out",
            subject=str(end_user.pk),
            actor=actor,
            project_id=end_user.project_id,
        )
    return _pieces(read_person(end_user))


def _pieces(person: Person) -> Iterator[str]:
    about = {
        "end_user_id": str(person.end_user.pk),
        "project_id": str(person.project_id),
        "made_at": clock.now().isoformat(),
    }
    yield json.dumps({"about": about})[:-1] + ', "tables": {'
    for number, (name, rows_of) in enumerate(HOLDINGS.items()):
        yield f"{', ' if number else ''}{json.dumps(name)}: ["
        for line, row in enumerate(_rows(name, rows_of(person))):
            yield (", " if line else "") + row
        yield "]"
    yield ', "stripe_mirror": ['
    for line, (kind, held) in enumerate(mirror.rows_about(person.stripe_ids)):
        yield (", " if line else "") + _as_json({"object": kind, "stripe_data": held})
    yield "]}}"


def _rows(name: str, rows: QuerySet[Any]) -> Iterator[str]:
    shown = SHOWN.get(name) or [
        one.attname
        for one in rows.model._meta.concrete_fields
        if one.attname not in LEFT_OUT and one.name not in LEFT_OUT
    ]
    for row in rows.order_by("pk").values(*shown).iterator(chunk_size=CHUNK_ROWS):
        yield _as_json(row)


def _as_json(value: Any) -> str:
    plain = json.loads(json.dumps(value, default=str))
    shown = without_named_secrets(None, without_buyers_links(without_client_secrets(plain)))
    return json.dumps(_redacted(shown), ensure_ascii=False)


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value
