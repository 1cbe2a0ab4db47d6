"""What a change of plan costs before it is made: Stripe computes it, and the date handed back makes the change cost that."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common import clock
from common.clock import from_unix
from common.errors import Conflict
from payments.services.kept_plans import terms_of_change
from payments.services.subscription_changes import (
    Change,
    StripeObject,
    as_refusal,
    begin_change,
    checked_proration_date,
    swapped,
    update_message,
    wanted_price,
)
from payments.stripe_api import StripeRefused, unix
from projects.models import EndUser, Project

# Source: https://docs.stripe.com/error-codes#invoice-upcoming-none
NO_UPCOMING_INVOICE = "invoice_upcoming_none"
NO_CHANGE = "The subscription has this price already."


class NoNextInvoice(Conflict):
    """409: the subscription ends before an invoice that could bill the change."""

    code = "no_next_invoice"
    detail = "The subscription ends with its period, and no invoice follows. Resume it first, or choose always_invoice."


@dataclass(frozen=True)
class PreviewLine:
    """One line of the invoice, before discounts and taxes that are added to it."""

    description: str
    amount_cents: int
    proration: bool
    period_start: dt.datetime | None
    period_end: dt.datetime | None


@dataclass(frozen=True)
class UpdatePreview:
    """What a change costs at once, or adds to the next invoice. Units: minor units of `currency`."""

    subscription_id: str
    price_id: str
    currency: str
    proration_behavior: str
    proration_date: dt.datetime
    amount_due_cents: int
    credit_cents: int
    subtotal_cents: int
    discount_cents: int
    tax_cents: int
    total_cents: int
    next_invoice_cents: int | None
    next_invoice_at: dt.datetime | None
    lines: tuple[PreviewLine, ...]
    message: str


def preview_update(
    *,
    project: Project,
    mode: str,
    end_user: EndUser,
    new_price_id: str = "",
    plan: str = "",
    interval: str = "",
    proration_behavior: str = "create_prorations",
    proration_date: dt.datetime | None = None,
) -> UpdatePreview:
    """Ask Stripe what update_subscription with the same arguments would cost; changes nothing.

    Raises: as update_subscription.  Source: https://docs.stripe.com/api/invoices/create_preview
    """
    change = begin_change(project, mode, end_user)
    item, price = wanted_price(change, new_price_id=new_price_id, plan=plan, interval=interval)
    at = checked_proration_date(proration_date, item) if proration_date else _now_within(change, item)
    terms = terms_of_change(
        project=project, mode=mode, current=change.current, price=price, proration_behavior=proration_behavior
    )
    details: dict[str, Any] = {"proration_behavior": terms.proration_behavior, "proration_date": at}
    unchanged = item["price"]["id"] == price["id"]
    if not unchanged:
        details |= swapped(item, price)
    invoice = _previewed(change, {} if unchanged else details)
    return _answer(change, invoice, item, price, behavior=terms.proration_behavior, at=at)


def _now_within(change: Change, item: StripeObject) -> int:
    """Return the moment that a change made now counts from: Stripe's own, which a test clock may have moved."""
    now = unix(clock.now())
    test_clock = change.current.get("test_clock")
    if test_clock:
        now = int(change.account.retrieve("test_helpers/test_clocks", str(test_clock))["frozen_time"])
    return min(max(now, int(item["current_period_start"])), int(item["current_period_end"]))


def _previewed(change: Change, details: dict[str, Any]) -> StripeObject:
    params: dict[str, Any] = {"subscription": change.id}
    if details:
        params["subscription_details"] = details
    try:
        return change.account.create("invoices/create_preview", params, idempotency_key=f"preview-{uuid.uuid4()}")
    except StripeRefused as error:
        if error.stripe_code == NO_UPCOMING_INVOICE:
            raise NoNextInvoice() from None
        raise as_refusal(error) from None


def _answer(
    change: Change, invoice: StripeObject, item: StripeObject, price: StripeObject, *, behavior: str, at: int
) -> UpdatePreview:
    unchanged = item["price"]["id"] == price["id"]
    now = not unchanged and _is_billed_at_once(invoice, item)
    total, due = int(invoice["total"]), int(invoice["amount_due"])
    return UpdatePreview(
        subscription_id=change.id,
        price_id=str(price["id"]),
        currency=str(invoice["currency"]).lower(),
        proration_behavior=behavior,
        proration_date=from_unix(at) or clock.now(),
        amount_due_cents=due if now else 0,
        credit_cents=max(-total, 0) if now else 0,
        subtotal_cents=int(invoice["subtotal"]),
        discount_cents=_sum(invoice.get("total_discount_amounts")),
        tax_cents=_sum(invoice.get("total_taxes") or invoice.get("total_tax_amounts")),
        total_cents=total,
        next_invoice_cents=None if now else due,
        next_invoice_at=None if now else from_unix(item["current_period_end"]),
        lines=tuple(_line(line) for line in invoice["lines"]["data"]),
        message=NO_CHANGE if unchanged else update_message(item["price"], price),
    )


def _is_billed_at_once(invoice: StripeObject, item: StripeObject) -> bool:
    """Say whether the preview is of the invoice that the change makes, and not of the next one.

    The next one has a line that is no proration: of the period after this one, or of what was used in this one.
    """
    end = item["current_period_end"]
    recurring = [line["period"] for line in invoice["lines"]["data"] if not _is_proration(line)]
    return not any(period["start"] >= end or period["end"] == end for period in recurring)


def _is_proration(line: StripeObject) -> bool:
    """Read the mark where it is since 2025-03-31, or where it was before."""
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration") or line.get("proration"))


def _line(line: StripeObject) -> PreviewLine:
    return PreviewLine(
        description=str(line.get("description") or ""),
        amount_cents=int(line["amount"]),
        proration=_is_proration(line),
        period_start=from_unix(line["period"]["start"]),
        period_end=from_unix(line["period"]["end"]),
    )


def _sum(amounts: Iterable[StripeObject] | None) -> int:
    return sum(int(entry["amount"]) for entry in amounts or [])
