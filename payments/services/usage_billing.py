"""Bills closed periods of usage: lines of an invoice, or events of Stripe's billing meters (docs/usage.md).

Invariants: where a period's charges go is committed before Stripe is asked the first time, so that a repeat asks for the same under
the same key; a line is looked for by its charge before it is made; an event of a meter whose answer was lost is only repeated while
Stripe still knows its identifier; a charge is billed when an invoice holds its line, and one that waits is looked after until then.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.db import transaction

from common import clock
from common.errors import ApiError
from entitlements.models import UsageCharge, UsagePeriod
from entitlements.services.overage import USAGE_BILL, charges_to_bill
from entitlements.services.quotas import plain
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, record_effect
from payments.models import StripeCustomer, Subscription
from payments.models.billing import ENDED_STATUSES
from payments.services.effects import waiting_for_keys
from payments.services.objects.customer import CUSTOMERS, PAYMENT_METHODS
from payments.services.objects.subscription import SUBSCRIPTIONS, cancel_time, period_edge
from payments.services.rate_budget import background_calls
from payments.stripe_api import (
    StripeAccount,
    StripeKeyRejected,
    StripeObjectMissing,
    StripeRefused,
    stripe_account,
    unix,
)
from projects.models import Project

logger = logging.getLogger(__name__)

Method = UsageCharge.Method
Status = UsageCharge.Status

INVOICE_ITEMS, INVOICES, METER_EVENTS = "invoiceitems", "invoices", "billing/meter_events"
# Where charges go: the subscription's next invoice, an invoice of their own, else the id of a draft.
RENEWAL, OWN = "renewal", "own"
RENEWING_STATUSES = ("active", "trialing", "past_due")
# A renewal that is further away is not waited for: a yearly payer pays for usage by the month.
RENEWAL_WITHIN = dt.timedelta(days=35)
# Stripe keeps an event's identifier for a day at the least. Source: https://docs.stripe.com/api/billing/meter-event/create
IDENTIFIER_LIFETIME = dt.timedelta(hours=23)
# Source: https://docs.stripe.com/changelog/dahlia/2026-04-22/billing-meter-event-values-validation
METER_DIGITS_MAX = 15
CHARGE_KEY, PERIOD_KEY, CURRENCY_KEY = "usage_charge", "usage_period", "usage_currency"
NOBODY = "Stripe has no customer to bill it to."
TOO_LITTLE = "It comes to less than half of the smallest coin."


class MeterEventUnknown(ApiError):
    """Whether Stripe counted an event of a meter cannot be found out any more. A person has to look."""

    status_code = 502
    code = "meter_event_unknown"
    detail = (
        "Stripe did not answer whether it counted this usage, and cannot be asked again. Compare the meter at Stripe."
    )


@dataclass(frozen=True)
class Bill:
    """A closed period's charges on their way to Stripe."""

    account: StripeAccount
    period: UsagePeriod
    customer_id: str
    charges: Sequence[UsageCharge]


@background_calls()
def bill_usage(row: OutboxRow) -> Mapping[str, Any]:
    """Carry out one period's bill; what an attempt before this one has done is found and kept.

    Raises: EffectWaits without a key that works, EffectSkipped, StripeFailure, MeterEventUnknown.
    Source: https://docs.stripe.com/api/invoiceitems/create
    """
    charges = charges_to_bill(project_id=row.project_id, mode=row.mode, period_id=row.payload["period_id"])
    if not charges:
        raise EffectSkipped("All of this period is billed.")
    period = charges[0].period
    customer_id = _customer_of(period)
    if not customer_id:
        for charge in charges:
            _settle(charge, Status.WAIVED, note=NOBODY)
        raise EffectSkipped(NOBODY)
    with waiting_for_keys(row):
        bill = Bill(stripe_account(row.project_id, row.mode), period, customer_id, charges)
        if not period.bill_to:
            _decide(period, _where_to(bill))
        elif period.bill_to == RENEWAL and _has_ended(bill):
            # No invoice is going to take what waits for one.
            _decide(period, OWN)
        return _on_an_own_invoice(bill) if period.bill_to == OWN else _with_the_subscription(bill)


def _customer_of(period: UsagePeriod) -> str:
    """Return who pays: the subscription's customer, else the end user's."""
    rows = Subscription.objects.for_project(period.project_id).in_mode(period.mode)
    found = rows.filter(stripe_subscription_id=period.subscription_id).values_list("stripe_customer_id", flat=True)
    customer_id = found.first()
    if customer_id:
        return str(customer_id)
    customers = StripeCustomer.objects.for_project(period.project_id).filter(
        mode=period.mode, end_user_id=period.end_user_id, deleted_at__isnull=True
    )
    return str(customers.values_list("stripe_customer_id", flat=True).first() or "")


def _where_to(bill: Bill) -> str:
    """Choose the invoice: the renewal's while it is a draft, the next one, or one of their own where none is near."""
    try:
        found = bill.account.retrieve(SUBSCRIPTIONS, bill.period.subscription_id)
    except StripeObjectMissing:
        return OWN
    if found["status"] in ENDED_STATUSES or found["status"] not in RENEWING_STATUSES:
        return OWN
    wanted = {"customer": bill.customer_id, "subscription": bill.period.subscription_id, "status": "draft", "limit": 1}
    drafts = bill.account.list(INVOICES, wanted)["data"]
    if drafts:
        return str(drafts[0]["id"])
    renews_at = period_edge(found, "current_period_end")
    if cancel_time(found) or renews_at is None or renews_at > unix(clock.now() + RENEWAL_WITHIN):
        return OWN
    return RENEWAL


def _has_ended(bill: Bill) -> bool:
    try:
        return bill.account.retrieve(SUBSCRIPTIONS, bill.period.subscription_id)["status"] in ENDED_STATUSES
    except StripeObjectMissing:
        return True


def _decide(period: UsagePeriod, bill_to: str) -> None:
    """Commit where a period's charges go, before anything is sent there."""
    period.bill_to = bill_to
    period.save(update_fields=["bill_to"])


def _with_the_subscription(bill: Bill) -> dict[str, Any]:
    made = _lines_made(bill)
    for charge in bill.charges:
        if charge.method == Method.METER_EVENT:
            _count_at_stripe(bill, charge)
        else:
            line = made.get(str(charge.pk)) or _add_line_to_renewal(bill, charge)
            _note_line(charge, line)
    return {"bill_to": bill.period.bill_to, "charges": len(bill.charges)}


def _on_an_own_invoice(bill: Bill) -> dict[str, Any]:
    """Bill what no renewal will: every charge as a line, since no invoice will ask the meters again."""
    made = _lines_made(bill)
    lines: list[tuple[UsageCharge, dict[str, Any]]] = []
    for charge in bill.charges:
        if charge.sent_at is not None:
            # It was sent to its meter before the subscription ended, and may have counted.
            _count_at_stripe(bill, charge)
            continue
        charge.method = Method.INVOICE_ITEM
        line = _freed(bill, made.get(str(charge.pk)))
        if line is not None and line.get("invoice"):
            _note_line(charge, line)
        elif charge.amount_cents == 0:
            _settle(charge, Status.WAIVED, note=TOO_LITTLE)
        else:
            lines.append((charge, line or _add_line(bill, charge)))
    invoices = {currency: _own_invoice(bill, currency) for currency in sorted({one.currency for one, _ in lines})}
    for charge, line in lines:
        _settle(charge, Status.BILLED, {**line, "invoice": invoices[charge.currency]["id"]})
    return {"bill_to": OWN, "charges": len(lines), "invoices": [found["id"] for found in invoices.values()]}


def _freed(bill: Bill, line: dict[str, Any] | None) -> dict[str, Any] | None:
    """Take back a line that waits for a subscription's invoice; None when there is none any more.

    A line cannot be moved. One that an invoice holds meanwhile stays there.
    """
    of_subscription = ((line or {}).get("parent") or {}).get("subscription_details")
    if line is None or line.get("invoice") or not of_subscription:
        return line
    try:
        bill.account.delete(INVOICE_ITEMS, str(line["id"]))
    except StripeObjectMissing:
        return None
    except StripeRefused:
        found = bill.account.retrieve(INVOICE_ITEMS, str(line["id"]))
        if found.get("invoice"):
            return found
        raise
    return None


def _since(bill: Bill) -> int:
    """Say from when on something was made for a period. Not from its closing: a restored backup closes it a second time."""
    return unix(bill.period.ends_at - dt.timedelta(days=1))


def _lines_made(bill: Bill) -> dict[str, dict[str, Any]]:
    """Find the lines that an attempt before this one has made, by their charges."""
    found: dict[str, dict[str, Any]] = {}
    since = _since(bill)
    for line in bill.account.iterate(INVOICE_ITEMS, {"customer": bill.customer_id}):
        metadata = line.get("metadata") or {}
        if metadata.get(CHARGE_KEY):
            found[metadata[CHARGE_KEY]] = line
        if line.get("date", since) < since:
            break
    return found


def _add_line_to_renewal(bill: Bill, charge: UsageCharge) -> dict[str, Any]:
    """Add a line to the renewal's draft; when that was finalized meanwhile, to the invoice after it."""
    if bill.period.bill_to == RENEWAL:
        return _add_line(bill, charge, subscription=bill.period.subscription_id)
    try:
        return _add_line(bill, charge, invoice=bill.period.bill_to)
    except StripeRefused as refusal:
        logger.info("The draft %s takes no more lines (%s); the next invoice does.", bill.period.bill_to, refusal)
    _decide(bill.period, RENEWAL)
    return _add_line(bill, charge, subscription=bill.period.subscription_id)


def _add_line(bill: Bill, charge: UsageCharge, **where: str) -> dict[str, Any]:
    params = {
        "customer": bill.customer_id,
        "amount": charge.amount_cents,
        "currency": charge.currency,
        "description": describe(charge),
        "period": {"start": unix(bill.period.starts_at), "end": unix(bill.period.ends_at)},
        "metadata": _metadata(bill) | {CHARGE_KEY: str(charge.pk)},
        **where,
    }
    # The key names where it goes as well: a key stands for one set of parameters.
    key = f"usage-{charge.pk}-{bill.period.bill_to}"
    return bill.account.create(INVOICE_ITEMS, params, idempotency_key=key)


def _own_invoice(bill: Bill, currency: str) -> dict[str, Any]:
    """Make the invoice that takes up the lines that wait, or find the one that an attempt before this one has made."""
    metadata = _metadata(bill) | {CURRENCY_KEY: currency}
    since = _since(bill)
    for invoice in bill.account.iterate(INVOICES, {"customer": bill.customer_id, "created": {"gte": since}}):
        told = invoice.get("metadata") or {}
        if told.get(PERIOD_KEY) == metadata[PERIOD_KEY] and told.get(CURRENCY_KEY) == currency:
            return invoice
    params = {
        "customer": bill.customer_id,
        "currency": currency,
        "auto_advance": True,
        **_card_of(bill),
        "pending_invoice_items_behavior": "include",
        "metadata": metadata,
    }
    # The card is a part of what is asked for: a key stands for one set of parameters.
    key = f"usage-invoice-{bill.period.pk}-{currency}-{params.get('default_payment_method', '')}"
    return bill.account.create(INVOICES, params, idempotency_key=key)


def _card_of(bill: Bill) -> dict[str, str]:
    """Name what pays an invoice of their own: checkout puts a card on the subscription, and the customer's default stays empty.

    The subscription's card, else the customer's default (Stripe takes it by itself), else the card that was attached last.
    Source: https://docs.stripe.com/api/invoices/create#create_invoice-default_payment_method
    """
    try:
        card = bill.account.retrieve(SUBSCRIPTIONS, bill.period.subscription_id).get("default_payment_method")
    except StripeObjectMissing:
        card = None
    attached = list(bill.account.iterate(PAYMENT_METHODS, {"customer": bill.customer_id}))
    if card and any(one["id"] == card for one in attached):
        return {"default_payment_method": str(card)}
    customer = bill.account.retrieve(CUSTOMERS, bill.customer_id)
    if (customer.get("invoice_settings") or {}).get("default_payment_method") or not attached:
        return {}
    return {"default_payment_method": str(max(attached, key=lambda one: int(one.get("created") or 0))["id"])}


def _count_at_stripe(bill: Bill, charge: UsageCharge) -> None:
    """Send a charge's quantity to the meter at Stripe, whose price then makes the amount.

    Its time is now, so that it falls into a period that is still going to be billed.
    Source: https://docs.stripe.com/api/billing/meter-event/create
    """
    sent_before = charge.sent_at
    if sent_before is not None and clock.now() - sent_before > IDENTIFIER_LIFETIME:
        raise MeterEventUnknown()
    if sent_before is None:
        _note_sent(charge, clock.now())
    identifier = f"usage-{charge.pk}"
    params = {
        "event_name": charge.meter.stripe_event_name,
        "identifier": identifier,
        "payload": {"stripe_customer_id": bill.customer_id, "value": meter_value(charge.overage)},
    }
    try:
        bill.account.create(METER_EVENTS, params, idempotency_key=identifier)
    except (StripeRefused, StripeKeyRejected) as refusal:
        # The identifier is this charge's alone: whoever used it, in the time before a restored backup too, has sent the same.
        counted = isinstance(refusal, StripeRefused) and refusal.param == "identifier"
        if not counted:
            # It was not counted: nothing is open.
            _note_sent(charge, sent_before)
            raise
    _settle(charge, Status.BILLED, {"id": identifier})


def follow_waiting_lines() -> int:
    """Record a look at each period whose lines wait for a subscription's invoice: daily, and whenever the subscription moves on.

    Returns how many were recorded. When the subscription has ended, the lines get an invoice of their own.
    """
    waiting = UsageCharge.objects.filter(status=Status.PENDING).exclude(stripe_object_id="")
    periods = UsagePeriod.objects.filter(pk__in=waiting.values("period"), project__in=Project.objects.existing())
    recorded = 0
    for period in periods.order_by("ends_at"):
        rows = Subscription.objects.for_project(period.project_id).in_mode(period.mode)
        found = rows.filter(stripe_subscription_id=period.subscription_id).first()
        begins = found.current_period_start if found else None
        state = f"{found.status if found else 'gone'}:{unix(begins) if begins else ''}"
        with transaction.atomic():
            recorded += record_effect(
                project_id=period.project_id,
                mode=period.mode,
                kind=USAGE_BILL,
                effect_key=f"{USAGE_BILL}:{period.pk}:{state}:{clock.now():%Y-%m-%d}",
                payload={"period_id": str(period.pk)},
                end_user_id=period.end_user_id,
                cause=f"usage until {period.ends_at:%Y-%m-%d} waits for an invoice",
                lane=f"{USAGE_BILL}:{period.end_user_id}",
            )
    return recorded


def meter_value(quantity: Decimal) -> str:
    """Write a quantity as a meter takes it: at most 15 digits that mean something."""
    places = METER_DIGITS_MAX - 1 - quantity.adjusted()
    return plain(quantity.quantize(Decimal(1).scaleb(-min(places, 6)), ROUND_HALF_UP))


def describe(charge: UsageCharge) -> str:
    """Say on the invoice what a line is for: Searches: 1,250 beyond the 1,000 included, 1 Nov 2026 – 1 Dec 2026."""
    begin, end = charge.period.starts_at, charge.period.ends_at
    dates = f"{begin.day} {begin:%b %Y} – {end.day} {end:%b %Y}"
    note = f" ({charge.note[:1].lower()}{charge.note[1:].rstrip('.')})" if charge.note else ""
    return f"{charge.meter.name}: {_grouped(charge.overage)} beyond the {_grouped(charge.included)} included, {dates}{note}"


def _grouped(number: Decimal) -> str:
    whole, point, rest = plain(number).partition(".")
    return f"{int(whole):,}{point}{rest}"


def _metadata(bill: Bill) -> dict[str, str]:
    return {
        "project_id": str(bill.period.project_id),
        "end_user_id": str(bill.period.end_user_id),
        PERIOD_KEY: str(bill.period.pk),
    }


def _note_sent(charge: UsageCharge, sent_at: dt.datetime | None) -> None:
    charge.sent_at = sent_at
    charge.save(update_fields=["sent_at"])


def _note_line(charge: UsageCharge, line: Mapping[str, Any]) -> None:
    """Commit where a charge's line is: billed once an invoice holds it, waiting until then."""
    _settle(charge, Status.BILLED if line.get("invoice") else Status.PENDING, line)


def _settle(charge: UsageCharge, status: str, made: Mapping[str, Any] | None = None, *, note: str = "") -> None:
    """Commit what became of a charge."""
    charge.status = status
    charge.note = note or charge.note
    if made is not None:
        charge.stripe_object_id = str(made["id"])
        charge.stripe_invoice_id = str(made.get("invoice") or "")
        charge.billed_at = clock.now() if status == Status.BILLED else None
    charge.save(
        update_fields=["status", "note", "method", "stripe_object_id", "stripe_invoice_id", "billed_at"],
    )
