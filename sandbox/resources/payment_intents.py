"""Payment intents: one-time payments by API, and confirmation of what waits for its customer."""

from __future__ import annotations

import copy
from typing import Any

from ..billing import cards, payments, settlement
from ..errors import CardError, StripeError, invalid, not_simulated
from ..events import Journal, changes, emit
from ..fields import apply_simple, merged_metadata, money, required, smallest_charge, supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

CREATABLE = {
    "amount", "automatic_payment_methods", "confirm", "currency", "customer", "description", "error_on_requires_action",
    "mandate_data", "metadata", "off_session", "payment_method", "payment_method_types", "receipt_email", "return_url",
    "setup_future_usage",
}  # fmt: skip
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/payment_intents. Raises: CardError 402 when it is confirmed at once and declined."""
    supported(params, CREATABLE)
    amount = required(params, "amount")
    currency = str(required(params, "currency")).lower()
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    least = smallest_charge(currency)
    if amount < least:
        raise invalid(f"Amount must be at least {money(least, currency)} {currency}", "amount", "amount_too_small")
    customer = existing(tx, ctx, params["customer"]) if params.get("customer") else None
    automatic = params.get("automatic_payment_methods")
    intent = payments.new_intent(
        tx,
        ctx,
        amount=amount,
        currency=currency,
        customer=customer["id"] if customer else None,
        description=params.get("description"),
        metadata=merged_metadata({}, params.get("metadata")),
        receipt_email=params.get("receipt_email"),
        setup_future_usage=params.get("setup_future_usage"),
        automatic_payment_methods={"allow_redirects": "always", "enabled": True, **automatic} if automatic else None,
    )
    if params.get("payment_method_types"):
        if any(kind not in ("card", "sepa_debit") for kind in params["payment_method_types"]):
            raise not_simulated("payment_method_types")
        intent["payment_method_types"] = params["payment_method_types"]
        tx.save(ctx, intent)
    if params.get("payment_method"):
        _set_payment_method(tx, ctx, intent, params["payment_method"])
    emit(tx, ctx, "payment_intent.created", intent)
    return _confirm(tx, ctx, intent, params) if params.get("confirm") else intent


def _set_payment_method(tx: Tx, ctx: Context, intent: Object, wanted: str) -> Object:
    payment_method = cards.resolve(tx, ctx, wanted)
    owner = payment_method["customer"]
    if owner and owner != intent["customer"]:
        raise invalid(
            "The provided PaymentMethod belongs to a customer; include that customer to use it with this PaymentIntent.",
            "payment_method",
        )
    intent |= {"payment_method": payment_method["id"], "status": "requires_confirmation"}
    tx.save(ctx, intent)
    return payment_method


def _refuse_checkouts(tx: Tx, ctx: Context, intent: Object, verb: str) -> None:
    """Leave the intents of checkout sessions to their page. The wording is a guess."""
    if payments.checkout_session_of(tx, ctx, intent) and intent["status"] != "succeeded":
        raise StripeError(
            f"You cannot {verb} this PaymentIntent because it was created by a Checkout Session.",
            code="payment_intent_unexpected_state",
        )


def _confirm(tx: Tx, ctx: Context, intent: Object, params: Object) -> Object:
    if params.get("payment_method"):
        payment_method: Object | None = cards.resolve(tx, ctx, params["payment_method"])
    else:
        payment_method = tx.get(ctx, "payment_method", intent["payment_method"] or "")
    if payment_method is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
        )
    journal = Journal()
    result = payments.attempt(tx, ctx, journal, intent, payment_method, off_session=bool(params.get("off_session")))
    if result.kind == "requires_action" and params.get("error_on_requires_action"):
        raise CardError(
            "Your card was declined. This transaction requires authentication.",
            code="authentication_required",
            decline_code="authentication_not_handled",
        )
    _finish(tx, ctx, journal, result, payment_method)
    return result.intent


def _finish(tx: Tx, ctx: Context, journal: Journal, result: payments.Attempt, payment_method: Object) -> None:
    intent = result.intent
    if result.kind == "paid":
        if intent["customer"] and intent["setup_future_usage"] and not payment_method["customer"]:
            cards.attach_quietly(tx, ctx, journal, payment_method, intent["customer"])
        settlement.after_intent(tx, ctx, journal, intent)
    journal.release(tx, ctx, settlement.PAYMENT_ORDER)
    if result.kind == "declined":
        assert result.error is not None
        raise result.error


def confirm(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_intents/{id}/confirm. Raises: StripeError 400 (wrong state), CardError 402."""
    supported(params, {"error_on_requires_action", "off_session", "payment_method", "return_url", "receipt_email"})
    intent = find_one(tx, ctx, "payment_intent", id)
    _refuse_checkouts(tx, ctx, intent, "confirm")
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(intent, "confirm", "confirmed", CONFIRMABLE)
    return _confirm(tx, ctx, intent, params)


def unexpected_state(intent: Object, verb: str, participle: str, allowed: tuple[str, ...]) -> StripeError:
    """Make the error that names the statuses in which something could be done."""
    return StripeError(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
        f"with one of the following statuses may be {participle}: {', '.join(allowed)}.",
        code="payment_intent_unexpected_state",
    )


def authenticate(tx: Tx, ctx: Context, intent_id: str, *, success: bool) -> Object:
    """Let the cardholder pass or fail the authentication that an intent waits for. Raises: StripeError 400."""
    intent = find_one(tx, ctx, "payment_intent", intent_id)
    _refuse_checkouts(tx, ctx, intent, "authenticate")
    if intent["status"] != "requires_action":
        raise unexpected_state(intent, "authenticate", "authenticated", ("requires_action",))
    journal = Journal()
    if not success:
        payments.fail_authentication(tx, ctx, journal, intent)
        journal.release(tx, ctx)
        return intent
    payment_method = tx.get(ctx, "payment_method", intent["payment_method"])
    assert payment_method is not None
    result = payments.attempt(tx, ctx, journal, intent, payment_method, authenticated=True)
    _finish(tx, ctx, journal, result, payment_method)
    return result.intent


def cancel(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_intents/{id}/cancel."""
    supported(params, {"cancellation_reason"})
    intent = find_one(tx, ctx, "payment_intent", id)
    _refuse_checkouts(tx, ctx, intent, "cancel")
    if intent["status"] not in CANCELABLE:
        raise unexpected_state(intent, "cancel", "canceled", CANCELABLE)
    intent |= {
        "status": "canceled",
        "canceled_at": ctx.now,
        "cancellation_reason": params.get("cancellation_reason"),
        "next_action": None,
    }
    tx.save(ctx, intent)
    emit(tx, ctx, "payment_intent.canceled", intent)
    return intent


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_intents/{id}: Stripe has no event for it."""
    supported(params, {"amount", "description", "metadata", "payment_method", "receipt_email"})
    intent = find_one(tx, ctx, "payment_intent", id)
    before = copy.deepcopy(intent)
    if "amount" in params and intent["status"] not in CONFIRMABLE:
        raise unexpected_state(intent, "update", "updated", CONFIRMABLE)
    apply_simple(intent, params, ("amount", "description", "receipt_email"))
    if "metadata" in params:
        intent["metadata"] = merged_metadata(intent["metadata"], params["metadata"])
    if params.get("payment_method"):
        _set_payment_method(tx, ctx, intent, params["payment_method"])
    if changes(before, intent):
        tx.save(ctx, intent)
    return intent


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/payment_intents/{id}."""
    return find_one(tx, ctx, "payment_intent", id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/payment_intents."""
    supported(params, {"created", "customer", "limit", "starting_after", "ending_before"})
    return page(tx, ctx, "payment_intent", params, "/v1/payment_intents", {"customer": params.get("customer")})


ROUTES = [
    ("POST", "/v1/payment_intents", create),
    ("GET", "/v1/payment_intents", list_all),
    ("GET", "/v1/payment_intents/{id}", retrieve),
    ("POST", "/v1/payment_intents/{id}", update),
    ("POST", "/v1/payment_intents/{id}/confirm", confirm),
    ("POST", "/v1/payment_intents/{id}/cancel", cancel),
]
