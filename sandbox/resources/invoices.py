"""Invoices: read, paid, voided, and previewed by doing the change and taking it back."""

from __future__ import annotations

from typing import Any

from ..billing import (
    cards,
    dunning,
    finalization,
    invoicing,
    lines,
    renewals,
    settlement,
    starting,
    subscribing,
    tax,
    updating,
)
from ..errors import StripeError, invalid, not_simulated
from ..events import Journal
from ..fields import merged_metadata, required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page, page_of
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

# What a preview may change on a subscription, and what it may say of one that does not exist yet.
PREVIEWED = {
    "billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "items", "proration_behavior", "proration_date",
    "trial_end",
}  # fmt: skip
PREVIEWED_START = PREVIEWED - {"proration_date"}


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/invoices: a draft over the customer's pending items."""
    supported(
        params,
        {"auto_advance", "automatic_tax", "collection_method", "currency", "customer", "default_payment_method", "description",
         "discounts", "metadata", "pending_invoice_items_behavior"},
    )  # fmt: skip
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise not_simulated("collection_method")
    customer = existing(tx, ctx, required(params, "customer"))
    card = params.get("default_payment_method")
    if card:
        card = cards.attached(tx, ctx, card, customer["id"], "default_payment_method")["id"]
    pending = [item for item in tx.find_by(ctx, "invoiceitem", "customer", customer["id"]) if item["invoice"] is None]
    if params.get("pending_invoice_items_behavior", "exclude") == "exclude":
        pending = []
    if (params.get("automatic_tax") or {}).get("enabled"):
        tax.require_location(customer)
    currency = params.get("currency") or (pending[0]["currency"] if pending else customer["currency"]) or "usd"
    journal = Journal()
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=currency,
        lines=[lines.line_of_item(ctx, item) for item in pending if item["currency"] == currency],
        billing_reason="manual",
        period=(ctx.now, ctx.now),
        auto_advance=bool(params.get("auto_advance", False)),
        metadata=merged_metadata({}, params.get("metadata")),
        automatic_tax=bool((params.get("automatic_tax") or {}).get("enabled")),
        discounts_wanted=params.get("discounts") or [],
    )
    if card:
        invoice["default_payment_method"] = card
        tx.save(ctx, invoice)
    dunning.plan(tx, ctx, invoice)
    journal.release(tx, ctx)
    return invoice


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/invoices/{id}."""
    return find_one(tx, ctx, "invoice", id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/invoices/{id}: metadata, description, auto_advance."""
    supported(params, {"auto_advance", "description", "metadata"})
    invoice = find_one(tx, ctx, "invoice", id)
    before = {**invoice}
    if "metadata" in params:
        invoice["metadata"] = merged_metadata(invoice["metadata"], params["metadata"])
    if "description" in params:
        invoice["description"] = params["description"] or None
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    if "auto_advance" in params and invoice["status"] == "draft":
        # An old draft that is let go waits no longer.
        invoice["automatically_finalizes_at"] = max(invoice["created"] + invoicing.DRAFT_SECONDS + 1, ctx.now)
    tx.save(ctx, invoice)
    dunning.plan(tx, ctx, invoice)
    journal = Journal()
    journal.add_updated("invoice.updated", before, invoice)
    journal.release(tx, ctx)
    return invoice


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/invoices/{id}: only drafts that belong to no subscription."""
    invoice = find_one(tx, ctx, "invoice", id)
    if invoice["status"] != "draft" or invoice["parent"]:
        raise StripeError("You can only delete draft invoices.")
    tx.mark_deleted(ctx, "invoice", id)
    for item in tx.find_by(ctx, "invoiceitem", "invoice", id):
        tx.save(ctx, {**item, "invoice": None})
    journal = Journal()
    journal.add("invoice.deleted", invoice)
    journal.release(tx, ctx)
    return {"id": id, "object": "invoice", "deleted": True}


def finalize(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/invoices/{id}/finalize."""
    supported(params, {"auto_advance"})
    invoice = find_one(tx, ctx, "invoice", id)
    if invoice["status"] != "draft":
        raise StripeError("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    customer = existing(tx, ctx, invoice["customer"])
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    journal = Journal()
    if finalization.obstacle(invoice, customer):
        error = finalization.fail(tx, ctx, journal, invoice)
        journal.release(tx, ctx)
        raise error
    finalization.clear(invoice)
    charge_at = max(ctx.now, invoice["created"] + invoicing.DRAFT_SECONDS)
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    if invoice["amount_due"] == 0:
        invoicing.mark_paid(tx, ctx, journal, invoice, None)
    elif invoice["auto_advance"]:
        # Collection goes on by itself when the hour of the draft is over.
        invoice["next_payment_attempt"] = charge_at
        tx.save(ctx, invoice)
    dunning.plan(tx, ctx, invoice)
    journal.release(tx, ctx)
    return invoice


def fail_finalization(tx: Tx, ctx: Context, invoice: Object) -> Object:
    """Let a draft's finalization fail, as it does when tax cannot be worked out. Raises: StripeError 400."""
    if invoice["status"] != "draft":
        raise StripeError(f"Only a draft can fail to be finalized. This invoice is {invoice['status']}.")
    journal = Journal()
    finalization.fail(tx, ctx, journal, invoice)
    journal.release(tx, ctx)
    return invoice


def pay(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/invoices/{id}/pay."""
    supported(params, {"off_session", "paid_out_of_band", "payment_method"})
    if params.get("paid_out_of_band"):
        return settlement.pay_outside(tx, ctx, find_one(tx, ctx, "invoice", id))
    return settlement.pay_invoice(tx, ctx, find_one(tx, ctx, "invoice", id), params.get("payment_method"))


def void(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/invoices/{id}/void: only open or uncollectible ones."""
    journal = Journal()
    invoice = invoicing.void(tx, ctx, journal, find_one(tx, ctx, "invoice", id))
    journal.release(tx, ctx)
    return invoice


def mark_uncollectible(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/invoices/{id}/mark_uncollectible: only open ones."""
    invoice = find_one(tx, ctx, "invoice", id)
    if invoice["status"] != "open":
        raise StripeError(f"You can only mark open invoices as uncollectible. This invoice is {invoice['status']}.")
    invoice |= {"status": "uncollectible", "auto_advance": False}
    invoice["status_transitions"]["marked_uncollectible_at"] = ctx.now
    tx.save(ctx, invoice)
    journal = Journal()
    journal.add("invoice.marked_uncollectible", invoice)
    journal.release(tx, ctx)
    return invoice


def list_lines(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/invoices/{id}/lines."""
    return page_of(find_one(tx, ctx, "invoice", id)["lines"]["data"], params, f"/v1/invoices/{id}/lines")


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/invoices."""
    supported(
        params,
        {"collection_method", "created", "customer", "limit", "starting_after", "ending_before", "status",
         "subscription"},
    )  # fmt: skip
    equal = {name: params.get(name) for name in ("collection_method", "customer", "status")}
    equal["parent.subscription_details.subscription"] = params.get("subscription")
    return page(tx, ctx, "invoice", params, "/v1/invoices", equal)


def create_preview(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/invoices/create_preview: the change is made, looked at and taken back, so the preview is exact."""
    supported(
        params, {"automatic_tax", "customer", "discounts", "preview_mode", "subscription", "subscription_details"}
    )
    details = params.get("subscription_details") or {}
    supported(details, PREVIEWED if params.get("subscription") else PREVIEWED_START, "subscription_details")
    if params.get("preview_mode", "next") != "next":
        raise not_simulated("preview_mode")
    # As if they were put on the subscription together with the change.
    wanted: Object = {name: params[name] for name in ("automatic_tax", "discounts") if name in params}
    wanted |= {name: value for name, value in details.items() if value is not None}
    callbacks = list(tx.after_commit)
    tx.execute("SAVEPOINT preview")
    try:
        if params.get("subscription"):
            invoice = _preview_change(tx, ctx, params["subscription"], wanted)
        else:
            invoice = _preview_start(tx, ctx, existing(tx, ctx, required(params, "customer")), wanted)
    finally:
        tx.execute("ROLLBACK TO preview")
        tx.execute("RELEASE preview")
        tx.after_commit[:] = callbacks
    return renewals.as_preview(invoice)


def _preview_change(tx: Tx, ctx: Context, subscription_id: str, wanted: Object) -> Object:
    subscription = referred(tx, ctx, "subscription", subscription_id, "subscription")
    if subscription["status"] in subscribing.TERMINAL:
        raise invalid(
            "You cannot preview the upcoming invoice for a canceled subscription.", code="invoice_upcoming_none"
        )
    before = subscription["latest_invoice"]
    if wanted:
        subscription = updating.update(tx, ctx, subscription, wanted)
    if subscription["latest_invoice"] != before:
        # The change bills at once: that invoice is what is asked for, as it would be before it is paid.
        made = tx.get(ctx, "invoice", subscription["latest_invoice"])
        assert made is not None
        return _as_draft(ctx, made)
    if subscription["cancel_at"] and subscription["cancel_at"] <= subscribing.period_of(subscription)[1]:
        raise invalid("No upcoming invoices for customer.", code="invoice_upcoming_none")
    return renewals.upcoming(tx, ctx, subscription)


def _as_draft(ctx: Context, invoice: Object) -> Object:
    invoice |= {
        "amount_paid": 0,
        "amount_remaining": invoice["amount_due"],
        "attempt_count": 0,
        "attempted": False,
        "effective_at": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "number": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
    }
    return invoice


def _preview_start(tx: Tx, ctx: Context, customer: Object, wanted: Object) -> Object:
    if wanted.get("billing_cycle_anchor") in ("now", "unchanged"):
        # What begins, begins now.
        wanted = {name: value for name, value in wanted.items() if name != "billing_cycle_anchor"}
    card = cards.new_payment_method(tx, ctx, cards.CARDS["4242424242424242"])
    card["customer"] = customer["id"]
    tx.save(ctx, card)
    made = starting.start(tx, ctx, customer, {**wanted, "default_payment_method": card["id"]})
    invoice = tx.get(ctx, "invoice", made["latest_invoice"])
    assert invoice is not None
    return _as_draft(ctx, invoice) | {"default_payment_method": None}


ROUTES = [
    ("POST", "/v1/invoices", create),
    ("GET", "/v1/invoices", list_all),
    ("POST", "/v1/invoices/create_preview", create_preview),
    ("GET", "/v1/invoices/{id}", retrieve),
    ("POST", "/v1/invoices/{id}", update),
    ("DELETE", "/v1/invoices/{id}", delete),
    ("GET", "/v1/invoices/{id}/lines", list_lines),
    ("POST", "/v1/invoices/{id}/finalize", finalize),
    ("POST", "/v1/invoices/{id}/mark_uncollectible", mark_uncollectible),
    ("POST", "/v1/invoices/{id}/pay", pay),
    ("POST", "/v1/invoices/{id}/void", void),
]
