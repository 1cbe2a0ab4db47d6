"""Drafts that cannot be finalized: what stands in the way, and how an invoice tells it."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError
from ..events import Journal
from ..store import Context, Tx
from . import tax

Object = dict[str, Any]


def obstacle(invoice: Object, customer: Object) -> StripeError | None:
    """Give what stands in the way of finalizing a draft: automatic tax needs to know where the customer is."""
    if not invoice["automatic_tax"]["enabled"]:
        return None
    try:
        tax.require_location(customer)
    except StripeError as error:
        return error
    return None


def fail(tx: Tx, ctx: Context, journal: Journal, invoice: Object) -> StripeError:
    """Note on a draft that it could not be finalized, with its event; it waits until someone finalizes it."""
    error = StripeError(
        "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate "
        "tax.",
        code="customer_tax_location_invalid",
    )
    # What was noted stays, also when the caller is refused.
    error.keep_effects = True
    invoice |= {"automatically_finalizes_at": None, "last_finalization_error": error.body()["error"]}
    if invoice["automatic_tax"]["enabled"]:
        invoice["automatic_tax"]["status"] = "requires_location_inputs"
    tx.save(ctx, invoice)
    tx.schedule(ctx, "invoice", invoice["id"], None)
    journal.add("invoice.finalization_failed", invoice)
    return error


def clear(invoice: Object) -> None:
    """Forget that an invoice could not be finalized: nothing stands in the way any more."""
    invoice["last_finalization_error"] = None
    if invoice["automatic_tax"]["enabled"]:
        invoice["automatic_tax"]["status"] = "complete"
