"""Setup intents: cards that are saved without being charged."""

from __future__ import annotations

import copy
from typing import Any

from ..billing import cards, pending_setup, setups
from ..errors import StripeError, invalid, not_simulated
from ..events import Journal, changes
from ..fields import apply_simple, merged_metadata, required, supported
from ..lookup import no_such, referred
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

CREATABLE = {
    "automatic_payment_methods", "confirm", "customer", "description", "metadata", "payment_method",
    "payment_method_types", "return_url", "usage", "use_stripe_sdk",
}  # fmt: skip
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def find_one(tx: Tx, ctx: Context, intent_id: str) -> Object:
    """Read a setup intent. Raises: StripeError 404."""
    intent = tx.get(ctx, "setup_intent", intent_id)
    if intent is None:
        raise no_such(tx, ctx, "setup_intent", intent_id, "intent", 404)
    return intent


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/setup_intents. Raises: CardError 402 when it is confirmed at once and declined."""
    supported(params, CREATABLE)
    if any(kind != "card" for kind in params.get("payment_method_types") or []):
        raise not_simulated("payment_method_types")
    customer = existing(tx, ctx, params["customer"]) if params.get("customer") else None
    payment_method = _payment_method(tx, ctx, params, customer["id"] if customer else None)
    automatic = params.get("automatic_payment_methods")
    journal = Journal()
    intent = setups.new_intent(
        tx,
        ctx,
        journal,
        customer=customer["id"] if customer else None,
        usage=params.get("usage", "off_session"),
        payment_method=payment_method["id"] if payment_method else None,
        metadata=merged_metadata({}, params.get("metadata")),
        description=params.get("description") or None,
        automatic_payment_methods={"allow_redirects": "always", **automatic} if automatic else None,
    )
    if params.get("confirm"):
        return _confirm(tx, ctx, journal, intent, payment_method)
    journal.release(tx, ctx)
    return intent


def _payment_method(tx: Tx, ctx: Context, params: Object, customer: str | None) -> Object | None:
    if not params.get("payment_method"):
        return None
    payment_method = cards.resolve(tx, ctx, params["payment_method"])
    if payment_method["customer"] and payment_method["customer"] != customer:
        raise invalid(
            "The provided PaymentMethod belongs to a customer; include that customer to use it with this SetupIntent.",
            "payment_method",
        )
    return payment_method


def _confirm(tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object | None) -> Object:
    if payment_method is None:
        raise _unexpected(intent, "confirm", "it's missing a payment method. Update the SetupIntent with one first.")
    error = setups.attempt(tx, ctx, journal, intent, payment_method)
    pending_setup.settle(tx, ctx, journal, intent)
    journal.release(tx, ctx)
    if error is not None:
        raise error
    return intent


def _unexpected(intent: Object, verb: str, why: str = "") -> StripeError:
    why = why or f"it has a status of {intent['status']}."
    return StripeError(
        f"You cannot {verb} this SetupIntent because {why}",
        code="setup_intent_unexpected_state",
        extra={"setup_intent": intent},
    )


def confirm(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/setup_intents/{id}/confirm. Raises: StripeError 400 (wrong state), CardError 402."""
    supported(params, {"payment_method", "return_url", "use_stripe_sdk"})
    intent = find_one(tx, ctx, id)
    _refuse_checkouts(tx, ctx, intent, "confirm")
    if intent["status"] not in OPEN:
        raise _unexpected(intent, "confirm")
    payment_method = _payment_method(tx, ctx, params, intent["customer"])
    payment_method = payment_method or tx.get(ctx, "payment_method", intent["payment_method"] or "")
    return _confirm(tx, ctx, Journal(), intent, payment_method)


def _refuse_checkouts(tx: Tx, ctx: Context, intent: Object, verb: str) -> None:
    """Leave the intent of a checkout session to its page. The wording is a guess. Raises: StripeError 400."""
    if tx.private(ctx, "setup_intent", intent["id"]).get("checkout_session") and intent["status"] in OPEN:
        raise StripeError(
            f"You cannot {verb} this SetupIntent because it was created by a Checkout Session.",
            code="setup_intent_unexpected_state",
        )


def authenticate(tx: Tx, ctx: Context, intent_id: str, *, success: bool) -> Object:
    """Let the cardholder pass or fail the authentication that an intent waits for. Raises: StripeError 400."""
    intent = find_one(tx, ctx, intent_id)
    _refuse_checkouts(tx, ctx, intent, "authenticate")
    if intent["status"] != "requires_action":
        raise _unexpected(intent, "authenticate")
    journal = Journal()
    payment_method = tx.get(ctx, "payment_method", intent["payment_method"])
    assert payment_method is not None
    if success:
        setups.attempt(tx, ctx, journal, intent, payment_method, authenticated=True)
        pending_setup.settle(tx, ctx, journal, intent)
    else:
        setups.fail_authentication(tx, ctx, journal, intent)
    journal.release(tx, ctx)
    return intent


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/setup_intents/{id}: Stripe has no event for it."""
    supported(params, {"customer", "description", "metadata", "payment_method"})
    intent = find_one(tx, ctx, id)
    before = copy.deepcopy(intent)
    apply_simple(intent, params, ("description",))
    if "metadata" in params:
        intent["metadata"] = merged_metadata(intent["metadata"], params["metadata"])
    if params.get("customer"):
        intent["customer"] = existing(tx, ctx, params["customer"])["id"]
    if params.get("payment_method"):
        if intent["status"] not in OPEN:
            raise _unexpected(intent, "update")
        payment_method = _payment_method(tx, ctx, params, intent["customer"])
        assert payment_method is not None
        intent |= {"payment_method": payment_method["id"], "status": "requires_confirmation", "next_action": None}
    if changes(before, intent):
        tx.save(ctx, intent)
    return intent


def cancel(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/setup_intents/{id}/cancel."""
    supported(params, {"cancellation_reason"})
    intent = find_one(tx, ctx, id)
    _refuse_checkouts(tx, ctx, intent, "cancel")
    if intent["status"] not in OPEN:
        raise _unexpected(intent, "cancel")
    intent |= {
        "status": "canceled",
        "cancellation_reason": params.get("cancellation_reason"),
        "next_action": None,
    }
    tx.save(ctx, intent)
    journal = Journal()
    journal.add("setup_intent.canceled", intent)
    journal.release(tx, ctx)
    return intent


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/setup_intents/{id}."""
    return find_one(tx, ctx, id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/setup_intents."""
    supported(params, {"created", "customer", "limit", "starting_after", "ending_before", "payment_method"})
    equal = {name: params.get(name) for name in ("customer", "payment_method")}
    return page(tx, ctx, "setup_intent", params, "/v1/setup_intents", equal)


def list_attempts(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/setup_attempts: of one setup intent."""
    supported(params, {"created", "limit", "setup_intent", "starting_after", "ending_before"})
    intent = referred(tx, ctx, "setup_intent", required(params, "setup_intent"), "setup_intent")
    return page(tx, ctx, "setup_attempt", params, "/v1/setup_attempts", {"setup_intent": intent["id"]})


ROUTES = [
    ("POST", "/v1/setup_intents", create),
    ("GET", "/v1/setup_intents", list_all),
    ("GET", "/v1/setup_intents/{id}", retrieve),
    ("POST", "/v1/setup_intents/{id}", update),
    ("POST", "/v1/setup_intents/{id}/confirm", confirm),
    ("POST", "/v1/setup_intents/{id}/cancel", cancel),
    ("GET", "/v1/setup_attempts", list_attempts),
]
