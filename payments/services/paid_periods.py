"""Which period an invoice has paid for: what is given once per period is given for paid ones only."""

from collections.abc import Iterable
from typing import Any

# Invoices that begin a period by themselves: their period ends at the moment when the paid one begins.
# Source: https://docs.stripe.com/api/invoices/object#invoice_object-period_end
BEGINNING = ("subscription_create", "subscription_cycle")
CHANGE = "subscription_update"


def latest_paid_period(invoices: Iterable[Any], current_period_start: int | None) -> int:
    """Return the begin of the latest period that these invoices have paid for; 0 when they paid for none.

    A period that begins with a change of interval counts when money was paid for it, so that going to and fro between intervals
    brings nothing. Units: seconds since 1970.
    """
    begins = [_paid_period(one, current_period_start) for one in invoices if isinstance(one, dict)]
    begin = max(begins, default=0)
    return min(begin, current_period_start) if current_period_start else begin


def _paid_period(invoice: dict[str, Any], current_period_start: int | None) -> int:
    if invoice.get("status") != "paid":
        return 0
    reason = invoice.get("billing_reason")
    if reason in BEGINNING:
        return int(invoice.get("period_end") or 0)
    restarts = current_period_start and current_period_start in (invoice.get("period_end"), invoice.get("created"))
    if reason == CHANGE and restarts and (invoice.get("amount_paid") or 0) > 0:
        return int(current_period_start or 0)
    return 0
