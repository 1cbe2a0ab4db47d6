"""A change of plan in two steps: what it costs is shown and signed, and confirmed it costs exactly that or does not happen.

Invariant: nobody is charged another amount than the one that they saw; what a form brings back is believed only as far as we signed
it, for this user, and only while Stripe still computes the same.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from common.errors import Conflict
from entitlements.models import PlanPrice
from hosted.models import HostedSession
from hosted.services.offers import what_is_named
from payments.models import Subscription
from payments.services.subscription_changes import update_subscription
from payments.services.subscription_preview import NO_CHANGE, UpdatePreview, preview_update

SALT = "hosted-change"
LIFETIME = dt.timedelta(minutes=30)
AT_ONCE, NEXT_PERIOD = "always_invoice", "none"
QUOTE_CHARS_MAX = 2048


class QuoteChanged(Conflict):
    """409: what was shown does not hold any more; look again."""

    code = "quote_changed"
    detail = "What this change costs has changed since you looked. This is what it costs now."


@dataclass(frozen=True)
class Quote:
    """What a change costs, and the signed text that confirms it."""

    price: PlanPrice
    preview: UpdatePreview
    signed: str

    @property
    def begins_later(self) -> bool:
        """Whether the plan that is paid for stays until the period ends."""
        return self.preview.proration_behavior == NEXT_PERIOD


def quote_change(*, session: HostedSession, price: PlanPrice, subscription: Subscription | None) -> Quote:
    """Ask Stripe what moving to a price costs now; changes nothing. Raises: as preview_update."""
    behavior = _behavior(price, subscription)
    preview = preview_update(**_whose(session), **_wanted(price), proration_behavior=behavior)
    return Quote(price, preview, _signer().sign_object(_content(session, price, preview)))


def confirm_change(*, session: HostedSession, price: PlanPrice, signed: str) -> str:
    """Move the subscription as it was shown, at the moment that it was shown for; returns what to tell.

    Raises: QuoteChanged (409) when it would cost something else now; as update_subscription.
    """
    shown = _read(signed)
    behavior, at = str(shown.get("behavior")), dt.datetime.fromtimestamp(int(shown.get("date") or 0), tz=dt.UTC)
    terms: dict[str, Any] = {"proration_behavior": behavior, "proration_date": at}
    now = preview_update(**_whose(session), **_wanted(price), **terms)
    if now.message == NO_CHANGE:
        # The second of two clicks: the first one has done it.
        return now.message
    if _content(session, price, now) != shown:
        raise QuoteChanged()
    return update_subscription(**_whose(session), **_wanted(price), **terms).message


def _behavior(price: PlanPrice, subscription: Subscription | None) -> str:
    """Say when a change begins: a smaller plan with the next period, a larger one now, paid to the day.

    Another interval begins a period of its own at Stripe, so that the rest of the present one is given back now or never.
    """
    if subscription is None or subscription.plan is None:
        return AT_ONCE
    rows = PlanPrice.objects.for_project(price.project_id).filter(mode=price.mode)
    paid = rows.filter(stripe_price_id=subscription.stripe_price_id).first()
    same_interval = paid is not None and paid.interval == price.interval
    return NEXT_PERIOD if same_interval and price.plan.rank < subscription.plan.rank else AT_ONCE


def _whose(session: HostedSession) -> dict[str, Any]:
    return {"project": session.project, "mode": session.mode, "end_user": session.end_user}


def _wanted(price: PlanPrice) -> dict[str, Any]:
    named = what_is_named(price)
    return {"new_price_id": named["price_id"]} if "price_id" in named else named


def _content(session: HostedSession, price: PlanPrice, preview: UpdatePreview) -> dict[str, Any]:
    """Write down everything that somebody agrees to. Units: minor units of `currency`; Unix seconds."""
    return {
        "user": session.end_user_id.hex,
        "mode": session.mode,
        "price": price.pk.hex,
        "subscription": preview.subscription_id,
        "behavior": preview.proration_behavior,
        "date": int(preview.proration_date.timestamp()),
        "currency": preview.currency,
        "due": preview.amount_due_cents,
        "credit": preview.credit_cents,
        "next": preview.next_invoice_cents,
    }


def _read(signed: str) -> dict[str, Any]:
    if len(signed) > QUOTE_CHARS_MAX:
        raise QuoteChanged()
    try:
        content = _signer().unsign_object(signed, max_age=LIFETIME)
    except (SignatureExpired, BadSignature, ValueError):
        raise QuoteChanged() from None
    return dict(content)


def _signer() -> TimestampSigner:
    return TimestampSigner(sep=".", salt=SALT, algorithm="sha256")
