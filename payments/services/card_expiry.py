"""Tells users that the card which renewals are charged to expires before the next one, once for each card and expiry month.

Stripe has no event for it, so it is looked for daily in what the events of customers and payment methods left here.
Source: https://docs.stripe.com/billing/revenue-recovery/customer-emails#expiring-card
"""

import datetime as dt

from django.db import transaction
from django.db.models import F, Min, OuterRef, Subquery
from django.db.models.fields.json import KT

from common import clock
from notifications.services.outbox import record_effect
from payments.models import StripeCustomer, Subscription
from payments.services.effects import MAIL

NOTICE = dt.timedelta(days=30)
# Whose renewals are still going to be charged.
RENEWING_STATUSES = ("active", "trialing", "past_due")
CAUSE = "card_expiry"


def tell_of_expiring_cards() -> int:
    """Record a mail for each card that expires within 30 days and before the next renewal; returns how many are new."""
    now = clock.now()
    renewals = Subscription.objects.filter(
        project=OuterRef("project"),
        mode=OuterRef("mode"),
        stripe_customer_id=OuterRef("stripe_customer_id"),
        status__in=RENEWING_STATUSES,
        cancel_at__isnull=True,
        current_period_end__gte=now,
    ).values("stripe_customer_id")
    nearest = renewals.annotate(nearest=Min("current_period_end")).values("nearest")
    # Every project's customers: this is a task of the service itself, and each row is told of in its own project.
    customers = StripeCustomer.objects.annotate(expires=KT("billing__payment_method__expires")).filter(
        deleted_at__isnull=True,
        end_user__isnull=False,
        project__deleted_at__isnull=True,
        expires__lte=f"{now + NOTICE:%Y-%m}",
    )
    found = customers.annotate(renews_at=Subquery(nearest), card=F("billing__payment_method"))
    return sum(_tell(row) for row in found.filter(renews_at__isnull=False).iterator(chunk_size=500))


def valid_until(expires: str) -> dt.datetime:
    """Return the moment from which a card is no longer taken: the end of its month, 2026-12 → 1 January 2027."""
    year, month = (int(part) for part in expires.split("-"))
    return dt.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=dt.UTC)


def _tell(row: StripeCustomer) -> bool:
    card: dict[str, str] = row.card  # type: ignore[attr-defined]
    renews_at: dt.datetime = row.renews_at  # type: ignore[attr-defined]
    ends = valid_until(card["expires"])
    if ends > renews_at or ends > clock.now() + NOTICE:
        return False
    year, month = card["expires"].split("-")
    context = {
        "card_brand": card["brand"],
        "card_last4": card["last4"],
        "expires": f"{month}/{year}",
        "renews_at": renews_at.isoformat(),
    }
    with transaction.atomic():
        return record_effect(
            project_id=row.project_id,
            mode=row.mode,
            kind=MAIL,
            effect_key=f"mail:card_expiring:{card['id']}:{card['expires']}",
            payload={"template": "card_expiring", "to": None, "context": context},
            end_user_id=row.end_user_id,
            cause=CAUSE,
        )
