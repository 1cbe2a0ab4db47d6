"""What the hosted checkout page does: show a session, take a card, ask for authentication, complete the session.

Since 2025-03-31 a subscription comes into being after its first payment: a declined card leaves neither a subscription
nor an invoice, and the session stays open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import clock, timeline
from ..accounts import account_name
from ..errors import CardError, StripeError, missing
from ..events import Journal
from ..resources import customers, promotion_codes
from ..store import Context, Store, Tx
from . import (
    bank_debits,
    cards,
    checkout_completion,
    checkout_details,
    checkout_setup,
    payments,
    session_totals,
    sessions,
    setups,
)

Object = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a payment attempt on the page came to: kind is 'paid', 'declined' or 'requires_action'.

    `message`, `code` and `decline_code` are Stripe's for declines; `redirect_url` is the success URL when paid.
    """

    kind: str
    message: str = ""
    code: str | None = None
    decline_code: str | None = None
    redirect_url: str | None = None


def _open(tx: Tx, session_id: str) -> tuple[Context, Object]:
    owner = tx.owner_of("checkout.session", session_id)
    if owner is None:
        raise missing("checkout.session", session_id)
    ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="page")
    session = tx.get(ctx, "checkout.session", session_id)
    if session is None:
        raise missing("checkout.session", session_id)
    return timeline.at_time_of(tx, ctx, session), session


def session_view(store: Store, session_id: str) -> Object:
    """Give what the page shows.

    Keys: account_name, livemode, status (open, complete, expired), mode (subscription, payment, setup), currency,
    amount_subtotal, amount_total, lines (each: description, quantity, unit_amount, amount_subtotal, amount_total,
    currency, interval or None, interval_count), customer_email (known and fixed, or None), billing_address_collection
    (auto, required), success_url and cancel_url (ids filled in; cancel_url may be None), trial_days (or None), needs_card (bool),
    awaiting_authentication (bool: a card waits for confirm_authentication).

    Raises: StripeError 404 for an unknown id.
    """
    with store.read() as tx:
        ctx, session = _open(tx, session_id)
        private = tx.private(ctx, "checkout.session", session_id)
        status = session["status"]
        if status == "open" and session["expires_at"] <= ctx.now:
            status = "expired"
        return {
            "account_name": account_name(tx, ctx.account_id),
            "livemode": ctx.livemode,
            "status": status,
            "mode": session["mode"],
            "currency": session["currency"],
            "amount_subtotal": session["amount_subtotal"],
            "amount_total": session["amount_total"],
            "lines": [_line_view(item) for item in private["line_items"]],
            "customer_email": sessions.known_email(tx, ctx, session),
            "billing_address_collection": session["billing_address_collection"] or "auto",
            "success_url": sessions.with_id(session["success_url"], session_id),
            "cancel_url": sessions.with_id(session["cancel_url"], session_id),
            "trial_days": private.get("trial_days"),
            "needs_card": needs_payment_method(tx, ctx, session),
            "amount_discount": (session["total_details"] or {}).get("amount_discount", 0),
            "amount_tax": (session["total_details"] or {}).get("amount_tax", 0),
            "asks": checkout_details.asked(tx, ctx, session),
            "tax_inclusive": any(
                item["amount_tax"] and item["price"]["tax_behavior"] == "inclusive" for item in private["line_items"]
            ),
            "taxed": session["automatic_tax"]["enabled"],
            "takes_debits": "sepa_debit" in session["payment_method_types"],
            "takes_codes": bool(session["allow_promotion_codes"]),
            "discount": _discount_view(tx, ctx, session),
            "awaiting_authentication": bool(private.get("awaiting")) and status == "open",
        }


def _discount_view(tx: Tx, ctx: Context, session: Object) -> Object | None:
    """Say which discount is on a session: what to call it, the code that was typed, and how much it takes off."""
    if not session["discounts"]:
        return None
    entry = session["discounts"][0]
    code = tx.get(ctx, "promotion_code", entry["promotion_code"] or "")
    coupon = tx.get(ctx, "coupon", code["promotion"]["coupon"] if code else entry["coupon"], deleted=True) or {}
    return {
        "name": coupon.get("name") or (code or {}).get("code") or coupon.get("id"),
        "code": code["code"] if code else None,
        "percent_off": coupon.get("percent_off"),
        "amount_off": coupon.get("amount_off"),
        "duration": coupon.get("duration"),
        "months": coupon.get("duration_in_months"),
    }


def _line_view(item: Object) -> Object:
    recurring = item["price"]["recurring"] or {}
    return {
        "description": item["description"],
        "quantity": item["quantity"],
        "unit_amount": item["price"]["unit_amount"],
        "amount_subtotal": item["amount_subtotal"],
        "amount_total": item["amount_total"],
        "currency": item["currency"],
        "interval": recurring.get("interval"),
        "interval_count": recurring.get("interval_count"),
    }


def apply_code(store: Store, session_id: str, typed: str) -> str | None:
    """Put the promotion code that was typed on a session (nothing typed takes it off); gives what is wrong with it."""
    with store.transaction() as tx:
        ctx, session = _open(tx, session_id)
        _require_open(ctx, session)
        private = tx.private(ctx, "checkout.session", session_id)
        if not typed.strip():
            session_totals.use_code(tx, ctx, session, private, None)
            return None
        code = promotion_codes.find_by_code(tx, ctx, typed)
        if code is None:
            return "This code is invalid."
        try:
            session_totals.use_code(tx, ctx, session, private, code)
        except StripeError as error:
            return error.message
    return None


def _require_open(ctx: Context, session: Object) -> None:
    if session["status"] == "complete":
        raise StripeError("This Checkout Session has already been completed.")
    if session["status"] != "open" or session["expires_at"] <= ctx.now:
        raise StripeError("This Checkout Session has expired.")


def pay_session(
    store: Store,
    session_id: str,
    card_number: str,
    exp_month: int,
    exp_year: int,
    cvc: str,
    name: str,
    email: str,
    address: dict[str, str | None],
    iban: str = "",
    answers: Object | None = None,
) -> Outcome:
    """Try a card (or with `iban` a bank account) on an open session.

    `address` has line1, line2, city, state, postal_code, country. Where the session needs no card, none may be given.
    `answers` are those to what the view's `asks` names: phone, business_name, tax_id (type, value), promotions.

    Raises: StripeError 404 (unknown id), 400 (expired or already completed session).
    """
    with store.transaction() as tx:
        ctx, session = _open(tx, session_id)
        _require_open(ctx, session)
        private = tx.private(ctx, "checkout.session", session_id)
        details = {
            "name": name or None,
            "email": sessions.known_email(tx, ctx, session) or email or None,
            "address": customers.address_of(address),
            **(answers or {}),
        }
        try:
            payment_method: Object | None = None
            if not card_number and not iban and not needs_payment_method(tx, ctx, session):
                pass
            elif iban:
                payment_method = bank_debits.new_payment_method(tx, ctx, iban, billing_details=details)
            else:
                payment_method = _new_card(tx, ctx, card_number, exp_month, exp_year, cvc, details)
        except CardError as error:
            return Outcome("declined", error.message, error.code, error.decline_code)
        except StripeError as error:
            return Outcome("bank_account", error.message, error.code)
        private["details"] = details
        if session["mode"] == "setup":
            assert payment_method is not None
            private.pop("awaiting", None)
            return _save_card(tx, ctx, session, private, payment_method, authenticated=False)
        try:
            # A code may have expired or been used up while the page was open.
            session_totals.sources_of(tx, ctx, session, private, tx.get(ctx, "customer", session["customer"] or ""))
        except StripeError as error:
            return Outcome("discount", error.message, error.code)
        # Another card takes the place of one that still waits for authentication.
        private.pop("awaiting", None)
        if payment_method is None:
            return _complete_without_card(tx, ctx, session, private)
        return _attempt(tx, ctx, session, private, payment_method, authenticated=False)


def _new_card(tx: Tx, ctx: Context, number: str, exp_month: int, exp_year: int, cvc: str, details: Object) -> Object:
    card = cards.by_number(number)
    cards.check_expiry(ctx, exp_month, exp_year, cvc)
    shown = {name: details[name] for name in ("name", "email", "address")}
    return cards.new_payment_method(tx, ctx, card, exp_month=exp_month, exp_year=exp_year, billing_details=shown)


def needs_payment_method(tx: Tx, ctx: Context, session: Object) -> bool:
    """Tell whether the page asks for a card: always, but where nothing is due and the session says `if_required`."""
    if session["mode"] == "setup":
        return True
    spared = session["mode"] == "subscription" and session["payment_method_collection"] == "if_required"
    return not spared or checkout_completion.amount_due(tx, ctx, session) > 0


def _complete_without_card(tx: Tx, ctx: Context, session: Object, private: Object) -> Outcome:
    customer = checkout_completion.customer_for(tx, ctx, session, private)
    checkout_completion.complete(tx, ctx, Journal(), session, private, customer, None, None, None)
    return Outcome("paid", redirect_url=sessions.with_id(session["success_url"], session["id"]))


def confirm_authentication(store: Store, session_id: str, success: bool) -> Outcome:
    """Finish the authentication that pay_session asked for; without success the session stays open and unpaid.

    Raises: StripeError 404 (unknown id), 400 (nothing to authenticate, expired or already completed session).
    """
    with store.transaction() as tx:
        ctx, session = _open(tx, session_id)
        _require_open(ctx, session)
        private = tx.private(ctx, "checkout.session", session_id)
        payment_method = tx.get(ctx, "payment_method", private.pop("awaiting", None) or "")
        if payment_method is None:
            raise StripeError("This Checkout Session is not waiting for authentication.")
        if success:
            again = _save_card if session["mode"] == "setup" else _attempt
            return again(tx, ctx, session, private, payment_method, authenticated=True)
        tx.save_private(ctx, "checkout.session", session_id, private)
        if session["mode"] == "setup":
            checkout_setup.fail_authentication(tx, ctx, session)
        intent = tx.get(ctx, "payment_intent", private.get("intent") or "")
        if intent is not None:
            journal = Journal()
            payments.fail_authentication(tx, ctx, journal, intent)
            journal.release(tx, ctx)
        message = (
            "We are unable to authenticate your payment method. Please choose a different payment method and try again."
        )
        return Outcome("declined", message, "payment_intent_authentication_failure")


def _attempt(
    tx: Tx, ctx: Context, session: Object, private: Object, payment_method: Object, *, authenticated: bool
) -> Outcome:
    journal = Journal()
    card = cards.card_of(tx, ctx, payment_method)
    goes_through = card.behaviour in ("pay", "processing") or (authenticated and ":" not in card.behaviour)
    due = checkout_completion.amount_due(tx, ctx, session)
    customer = checkout_completion.customer_for(tx, ctx, session, private) if goes_through else None
    charge: Object | None = None
    intent: Object | None = None
    if due == 0:
        if not card.attaches:
            error = cards.card_error(cards.DECLINES[card.behaviour])
            return Outcome("declined", error.message, error.code, error.decline_code)
        if not authenticated and card.behaviour.startswith("authenticate"):
            return _wait(tx, ctx, session, private, payment_method)
        customer = customer or checkout_completion.customer_for(tx, ctx, session, private)
        if customer is not None and session["mode"] == "subscription":
            setup = setups.new_intent(tx, ctx, journal, customer=customer["id"], payment_method=payment_method["id"])
            setups.attempt(tx, ctx, journal, setup, payment_method, authenticated=authenticated)
    else:
        intent = _intent(tx, ctx, journal, session, private, due, customer)
        result = payments.attempt(tx, ctx, journal, intent, payment_method, authenticated=authenticated)
        if result.kind == "declined":
            assert result.error is not None
            tx.save_private(ctx, "checkout.session", session["id"], private)
            journal.release(tx, ctx)
            return Outcome("declined", result.error.message, result.error.code, result.error.decline_code)
        if result.kind == "requires_action":
            journal.release(tx, ctx)
            return _wait(tx, ctx, session, private, payment_method)
        intent, charge = result.intent, result.charge
    checkout_completion.complete(tx, ctx, journal, session, private, customer, payment_method, intent, charge)
    return Outcome("paid", redirect_url=sessions.with_id(session["success_url"], session["id"]))


def _save_card(
    tx: Tx, ctx: Context, session: Object, private: Object, payment_method: Object, *, authenticated: bool
) -> Outcome:
    result = checkout_setup.attempt(tx, ctx, session, private, payment_method, authenticated=authenticated)
    if isinstance(result, CardError):
        tx.save_private(ctx, "checkout.session", session["id"], private)
        return Outcome("declined", result.message, result.code, result.decline_code)
    if result["status"] == "requires_action":
        return _wait(tx, ctx, session, private, payment_method)
    return Outcome("paid", redirect_url=sessions.with_id(session["success_url"], session["id"]))


def _wait(tx: Tx, ctx: Context, session: Object, private: Object, payment_method: Object) -> Outcome:
    private["awaiting"] = payment_method["id"]
    tx.save_private(ctx, "checkout.session", session["id"], private)
    return Outcome("requires_action", "Your bank asks you to confirm this payment.")


def _intent(
    tx: Tx, ctx: Context, journal: Journal, session: Object, private: Object, due: int, customer: Object | None
) -> Object:
    """Give the session's one intent; further attempts use it again."""
    customer_id = customer["id"] if customer else session["customer"]
    intent = tx.get(ctx, "payment_intent", private.get("intent") or "")
    data = private.get("payment_intent_data") or {}
    if intent is None:
        intent = payments.new_intent(
            tx,
            ctx,
            amount=due,
            currency=session["currency"],
            customer=customer_id,
            description="Subscription creation" if session["mode"] == "subscription" else data.get("description"),
            metadata=data.get("metadata"),
            receipt_email=data.get("receipt_email"),
            setup_future_usage="off_session" if session["mode"] == "subscription" else data.get("setup_future_usage"),
        )
        private["intent"] = intent["id"]
        tx.save_private(ctx, "payment_intent", intent["id"], {"checkout_session": session["id"]})
        journal.add("payment_intent.created", intent)
    intent |= {"customer": customer_id, "amount": due}
    return tx.save(ctx, intent)
