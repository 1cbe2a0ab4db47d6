"""Disputes and early fraud warnings: what a cardholder's bank does to a charge after it was paid.

Recorded for the order of events and what stays as it is; the texts of reasons are from Stripe's documentation.
"""

from __future__ import annotations

from typing import Any

from .. import ids
from ..errors import StripeError
from ..events import Journal
from ..resources import balance
from ..store import Context, Tx

Object = dict[str, Any]

FEE = 1500
EVIDENCE_DAYS = 8
DECISION_SECONDS = 5
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
NETWORK_REASONS = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6.1", "general": "13.3"}
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip


def open_dispute(
    tx: Tx, ctx: Context, journal: Journal, charge: Object, *, reason: str = "fraudulent", inquiry: bool = False
) -> Object:
    """Dispute what is left of a charge. Raises: StripeError 400 (not paid, nothing left, disputed already)."""
    amount = charge["amount"] - charge["amount_refunded"]
    if not charge["paid"] or amount <= 0:
        raise StripeError(f"Charge {charge['id']} holds no money that could be disputed.")
    if of_charge(tx, ctx, charge["id"]):
        raise StripeError(f"Charge {charge['id']} is disputed already.")
    card = (charge["payment_method_details"] or {}).get("card") or {}
    dispute: Object = {
        "id": ids.new_id("dispute"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": ctx.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": (ctx.now // 86400 + EVIDENCE_DAYS + 1) * 86400 - 1,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "livemode": ctx.livemode,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card.get("brand", "visa"),
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": card.get("network") or "visa",
                "network_reason_code": NETWORK_REASONS.get(reason),
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
    tx.insert(ctx, dispute)
    charge["disputed"] = True
    tx.save(ctx, charge)
    journal.add("charge.dispute.created", dispute)
    if not inquiry:
        text = f"Chargeback withdrawal for {charge['id']}"
        _move(tx, ctx, dispute, -amount, "dispute", text, fee=FEE)
        journal.add("charge.dispute.funds_withdrawn", dispute)
    stop_warning(tx, ctx, journal, charge["id"])
    return dispute


def _move(tx: Tx, ctx: Context, dispute: Object, amount: int, category: str, text: str, *, fee: int = 0) -> None:
    entry = balance.record(
        tx,
        ctx,
        "adjustment",
        amount,
        dispute["currency"],
        dispute["id"],
        fee=fee,
        description=text,
        category=category,
    )
    dispute["balance_transactions"].append(entry)
    tx.save(ctx, dispute)


def of_charge(tx: Tx, ctx: Context, charge_id: str) -> Object | None:
    """Find the dispute of a charge."""
    found = tx.find_by(ctx, "dispute", "charge", charge_id)
    return found[-1] if found else None


def refuse_refund(tx: Tx, ctx: Context, charge: Object) -> None:
    """Keep what a bank has taken back from being refunded as well. Raises: StripeError 400."""
    dispute = of_charge(tx, ctx, charge["id"])
    if dispute is not None and not dispute["is_charge_refundable"]:
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )


def add_evidence(tx: Tx, ctx: Context, journal: Journal, dispute: Object, evidence: Object, *, submit: bool) -> None:
    """Keep evidence, and with `submit` send it to the bank, which decides a little later when told how."""
    require_open(dispute)
    before = {
        "evidence": {name: dispute["evidence"][name] for name in evidence},
        "evidence_details": {**dispute["evidence_details"]},
        "status": dispute["status"],
    }
    dispute["evidence"] |= {name: value or None for name, value in evidence.items()}
    dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"][name] for name in EVIDENCE)
    if submit:
        dispute["evidence_details"]["submission_count"] += 1
        dispute["status"] = {
            "needs_response": "under_review",
            "warning_needs_response": "warning_under_review",
        }.get(dispute["status"], dispute["status"])
        if (evidence.get("uncategorized_text") or "") in ("winning_evidence", "losing_evidence"):
            tx.schedule(ctx, "dispute", dispute["id"], ctx.now + DECISION_SECONDS)
    tx.save(ctx, dispute)
    journal.add("charge.dispute.updated", dispute, before)


def require_open(dispute: Object) -> None:
    """Refuse what is decided. Raises: StripeError 400."""
    if dispute["status"] not in OPEN:
        raise StripeError("This dispute is already closed")


def decide(tx: Tx, ctx: Context, dispute: Object) -> None:
    """Let the bank decide by the evidence, as Stripe's test texts for it have it."""
    tx.schedule(ctx, "dispute", dispute["id"], None)
    if dispute["status"] in OPEN:
        journal = Journal()
        close(tx, ctx, journal, dispute, won=dispute["evidence"]["uncategorized_text"] == "winning_evidence")
        journal.release(tx, ctx)


def close(tx: Tx, ctx: Context, journal: Journal, dispute: Object, *, won: bool) -> Object:
    """End a dispute: won gives the money back, though not the fee; an inquiry just ends. Raises: StripeError 400."""
    require_open(dispute)
    before: Object = {"status": dispute["status"]}
    inquiry = dispute["status"].startswith("warning_")
    dispute["status"] = "warning_closed" if inquiry else "won" if won else "lost"
    dispute["is_charge_refundable"] = inquiry or won
    tx.schedule(ctx, "dispute", dispute["id"], None)
    tx.save(ctx, dispute)
    if won and not inquiry:
        _move(tx, ctx, dispute, dispute["amount"], "dispute_reversal", f"Chargeback reversal for {dispute['charge']}")
        journal.add("charge.dispute.funds_reinstated", dispute)
    journal.add("charge.dispute.closed", dispute, before)
    return dispute


def warn(
    tx: Tx, ctx: Context, journal: Journal, charge: Object, *, fraud_type: str = "made_with_stolen_card"
) -> Object:
    """Pass on that the card's issuer thinks a charge is fraud. Raises: StripeError 400 for a charge not paid."""
    if not charge["paid"]:
        raise StripeError(f"Charge {charge['id']} has not been paid.")
    warning: Object = {
        "id": ids.new_id("radar.early_fraud_warning"),
        "object": "radar.early_fraud_warning",
        "actionable": not charge["disputed"] and not charge["refunded"],
        "charge": charge["id"],
        "created": ctx.now,
        "fraud_type": fraud_type,
        "livemode": ctx.livemode,
        "payment_intent": charge["payment_intent"],
    }
    tx.insert(ctx, warning)
    journal.add("radar.early_fraud_warning.created", warning)
    return warning


def stop_warning(tx: Tx, ctx: Context, journal: Journal, charge_id: str) -> None:
    """Note that nothing can be done any more about a warning: its charge is disputed or wholly refunded."""
    for warning in tx.find_by(ctx, "radar.early_fraud_warning", "charge", charge_id):
        if warning["actionable"]:
            warning["actionable"] = False
            tx.save(ctx, warning)
            journal.add("radar.early_fraud_warning.updated", warning, {"actionable": True})


def by_card(tx: Tx, ctx: Context, journal: Journal, charge: Object, later: str | None) -> None:
    """Do what a test card is for once it has paid: be disputed, inquired about or reported as fraud."""
    if later == "dispute":
        open_dispute(tx, ctx, journal, charge)
    elif later == "dispute_not_received":
        open_dispute(tx, ctx, journal, charge, reason="product_not_received")
    elif later == "inquiry":
        open_dispute(tx, ctx, journal, charge, inquiry=True)
    elif later == "fraud_warning":
        warn(tx, ctx, journal, charge)
