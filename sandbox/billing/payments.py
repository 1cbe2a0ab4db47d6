"""Charges a card: makes the payment intent and the charge, and says how it came out. Notes events, emits none."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from .. import ids
from ..accounts import account_name
from ..errors import CardError
from ..events import Journal, changes
from ..fields import filled
from ..resources import balance
from ..store import Context, Tx
from . import bank_debits, cards, disputes

Object = dict[str, Any]

# A guess that gives plausible balances: 2.9 % and 30 minor units.
FEE_PERMILLE, FEE_FIXED = 29, 30


@dataclass(frozen=True)
class Attempt:
    """How a charge came out: kind is paid, processing (a bank takes its time), declined or requires_action."""

    kind: str
    intent: Object
    charge: Object | None = None
    error: CardError | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether nothing more is asked of the customer for now."""
        return self.kind in ("paid", "processing")


# What every new payment intent of this sandbox has in common.
BLANK_INTENT: Object = {
    "object": "payment_intent",
    "allowed_payment_method_types": None,
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "customer_account": None,
    "excluded_payment_method_types": None,
    "last_payment_error": None,
    "latest_charge": None,
    "managed_payments": None,
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {
        "card": {
            "installments": None,
            "mandate_options": None,
            "network": None,
            "request_three_d_secure": "automatic",
        }
    },
    "payment_method_types": ["card"],
    "processing": None,
    "review": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "requires_payment_method",
    "transfer_data": None,
    "transfer_group": None,
}


def new_intent(
    tx: Tx,
    ctx: Context,
    *,
    amount: int,
    currency: str,
    customer: str | None,
    description: str | None = None,
    metadata: Object | None = None,
    receipt_email: str | None = None,
    setup_future_usage: str | None = None,
    automatic_payment_methods: Object | None = None,
) -> Object:
    """Add a payment intent that waits for a payment method."""
    intent_id = ids.new_id("payment_intent")
    return tx.insert(
        ctx,
        filled(
            BLANK_INTENT,
            id=intent_id,
            amount=amount,
            automatic_payment_methods=automatic_payment_methods,
            client_secret=ids.client_secret(intent_id),
            created=ctx.now,
            currency=currency,
            customer=customer,
            description=description,
            livemode=ctx.livemode,
            metadata=metadata or {},
            receipt_email=receipt_email,
            setup_future_usage=setup_future_usage,
        ),
    )


def attempt(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    intent: Object,
    payment_method: Object,
    *,
    off_session: bool = False,
    authenticated: bool = False,
    forced: str | None = None,
) -> Attempt:
    """Charge an intent with a payment method.

    `authenticated` says that the cardholder has just confirmed; `forced` puts another behaviour in the place of
    the card's own (pay, or the code of a decline).
    """
    behaviour = forced or cards.behaviour_of(tx, ctx, payment_method)
    intent |= {"payment_method": payment_method["id"], "next_action": None, "last_payment_error": None}
    if behaviour.startswith("authenticate"):
        once = behaviour == "authenticate_once" and cards.is_authenticated(tx, ctx, payment_method)
        if not authenticated and not once:
            if off_session:
                return _declined(tx, ctx, journal, intent, payment_method, cards.DECLINES["authentication_required"])
            return _needs_action(tx, ctx, journal, intent)
        if authenticated:
            cards.remember_authentication(tx, ctx, payment_method)
        behaviour = behaviour.partition(":")[2] or "pay"
    if behaviour == "processing":
        return _processing(tx, ctx, journal, intent, payment_method)
    if behaviour != "pay":
        return _declined(tx, ctx, journal, intent, payment_method, cards.DECLINES[behaviour])
    return _paid(tx, ctx, journal, intent, payment_method)


def checkout_session_of(tx: Tx, ctx: Context, intent: Object) -> str | None:
    """Tell which checkout session an intent belongs to, if any."""
    session_id: str | None = tx.private(ctx, "payment_intent", intent["id"]).get("checkout_session")
    return session_id


def _needs_action(tx: Tx, ctx: Context, journal: Journal, intent: Object) -> Attempt:
    intent["status"] = "requires_action"
    session_id = checkout_session_of(tx, ctx, intent)
    page = f"c/pay/{session_id}/authenticate" if session_id else f"authenticate/{intent['id']}"
    intent["next_action"] = {
        "type": "redirect_to_url",
        "redirect_to_url": {
            "return_url": None,
            "url": f"{tx.store.public_url}/{page}",
        },
    }
    tx.save(ctx, intent)
    journal.add("payment_intent.requires_action", intent)
    return Attempt("requires_action", intent)


def _paid(tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object) -> Attempt:
    charge = tx.insert(ctx, _new_charge(tx, ctx, intent, payment_method))
    return _succeed(tx, ctx, journal, intent, charge, cards.card_of(tx, ctx, payment_method).later)


def _succeed(
    tx: Tx, ctx: Context, journal: Journal, intent: Object, charge: Object, later: str | None = None
) -> Attempt:
    charge |= {"amount_captured": charge["amount"], "captured": True, "paid": True, "status": "succeeded"}
    charge["outcome"] = _outcome("approved_by_network", "authorized", None, "Payment complete.", None)
    fee = charge["amount"] * FEE_PERMILLE // 1000 + FEE_FIXED
    entry = balance.record(
        tx,
        ctx,
        "charge",
        charge["amount"],
        charge["currency"],
        charge["id"],
        fee=fee,
        description=charge["description"],
    )
    charge["balance_transaction"] = entry["id"]
    tx.save(ctx, charge)
    intent |= {"status": "succeeded", "amount_received": intent["amount"], "latest_charge": charge["id"]}
    tx.save(ctx, intent)
    journal.add("charge.succeeded", charge)
    disputes.by_card(tx, ctx, journal, charge, later)
    journal.add("payment_intent.succeeded", intent)
    return Attempt("paid", intent, charge)


def _processing(tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object) -> Attempt:
    bank_debits.check_currency(intent["currency"])
    charge = tx.insert(ctx, _new_charge(tx, ctx, intent, payment_method))
    intent |= {"status": "processing", "latest_charge": charge["id"]}
    tx.save(ctx, intent)
    _, seconds = bank_debits.outcome_of(tx, ctx, payment_method)
    tx.schedule(ctx, "payment_intent", intent["id"], ctx.now + seconds)
    journal.add("charge.pending", charge)
    journal.add("payment_intent.processing", intent)
    return Attempt("processing", intent, charge)


def end_processing(
    tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object, *, failed: bool
) -> None:
    """Let a debit that was under way be paid or fail."""
    charge = tx.get(ctx, "charge", intent["latest_charge"])
    assert charge is not None
    if not failed:
        _succeed(tx, ctx, journal, intent, charge)
        return
    charge |= {
        "failure_code": bank_debits.FAILURE_CODE,
        "failure_message": bank_debits.FAILURE_MESSAGE,
        "status": "failed",
    }
    tx.save(ctx, charge)
    intent |= {
        "last_payment_error": {
            "charge": charge["id"],
            "code": bank_debits.FAILURE_CODE,
            "message": bank_debits.FAILURE_MESSAGE,
            "payment_method": copy.deepcopy(payment_method),
            "type": "invalid_request_error",
        },
        "payment_method": None,
        "status": "requires_payment_method",
    }
    tx.save(ctx, intent)
    journal.add("charge.failed", charge)
    journal.add("payment_intent.payment_failed", intent)


def _declined(
    tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object, decline: cards.Decline
) -> Attempt:
    charge = _new_charge(tx, ctx, intent, payment_method)
    charge |= {
        "failure_code": decline.code,
        "failure_message": decline.message,
        "outcome": _outcome(
            "declined_by_network",
            "issuer_declined",
            decline.decline_code,
            "The bank did not return any further details with this decline.",
            decline.advice_code,
        ),
        "receipt_url": None,
        "status": "failed",
    }
    tx.insert(ctx, charge)
    error = cards.card_error(decline, charge=charge["id"])
    intent |= {"status": "requires_payment_method", "latest_charge": charge["id"], "payment_method": None}
    last_error = {key: value for key, value in error.body()["error"].items() if key != "request_log_url"}
    intent["last_payment_error"] = {**last_error, "payment_method": copy.deepcopy(payment_method)}
    tx.save(ctx, intent)
    error.extra["payment_intent"] = copy.deepcopy(intent)
    error.extra["payment_method"] = copy.deepcopy(payment_method)
    journal.add("charge.failed", charge)
    journal.add("payment_intent.payment_failed", intent)
    return Attempt("declined", intent, charge, error)


def fail_authentication(tx: Tx, ctx: Context, journal: Journal, intent: Object) -> Object:
    """Note that the cardholder did not pass authentication: the intent waits for another payment method."""
    payment_method = tx.get(ctx, "payment_method", intent["payment_method"] or "")
    intent |= {"status": "requires_payment_method", "next_action": None, "payment_method": None}
    intent["last_payment_error"] = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://docs.stripe.com/error-codes/payment-intent-authentication-failure",
        "message": "We are unable to authenticate your payment method. Please choose a different payment method and "
        "try again.",
        "payment_method": payment_method,
        "type": "invalid_request_error",
    }
    tx.save(ctx, intent)
    journal.add("payment_intent.payment_failed", intent)
    return intent


def _outcome(status: str, kind: str, reason: str | None, message: str, advice_code: str | None) -> Object:
    return {
        "advice_code": advice_code,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": status,
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 7,
        "seller_message": message,
        "type": kind,
    }


def _new_charge(tx: Tx, ctx: Context, intent: Object, payment_method: Object) -> Object:
    charge_id = ids.new_id("charge")
    details = (
        bank_debits.charge_details(payment_method)
        if bank_debits.is_debit(payment_method)
        else {"card": _card_details(intent, payment_method["card"]), "type": "card"}
    )
    return {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": payment_method["billing_details"],
        "calculated_statement_descriptor": account_name(tx, ctx.account_id).upper()[:22] or None,
        "captured": False,
        "created": ctx.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": ctx.livemode,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": payment_method["id"],
        "payment_method_details": details,
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"{tx.store.public_url}/receipts/{charge_id}",
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending",
        "transfer_data": None,
        "transfer_group": None,
    }


def _card_details(intent: Object, card: Object) -> Object:
    shared = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        **{name: card[name] for name in shared},
        "amount_authorized": intent["amount"],
        "authorization_code": "123456",
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": ids.random_text(15).upper(),
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "regulated_status": card["regulated_status"],
        "three_d_secure": None,
        "transaction_link_id": None,
        "wallet": None,
    }


def late_capture(tx: Tx, ctx: Context, journal: Journal, charge: Object) -> None:
    """Note the charge.updated with which an asynchronous capture brings the balance transaction."""
    before = {**charge, "balance_transaction": None, "receipt_url": None}
    journal.add("charge.updated", charge, changes(before, charge))
