"""What the hosted portal page does: show a customer's subscriptions and invoices, cancel, resume, switch price.

A session is good for 5 minutes until it is first used, then for an hour after its last use.
"""

from __future__ import annotations

from typing import Any

from .. import clock, timeline
from ..accounts import account_name
from ..errors import CardError, StripeError, invalid, missing
from ..events import Journal, changes, emit
from ..lookup import retrieve as find_one
from ..store import Context, Store, Tx
from . import cancellation, cards, discounts, lines, portal_settings, setups, subscribing, updating
from .catalog import cost, is_metered

Object = dict[str, Any]

UNUSED_SECONDS = 5 * 60
IDLE_SECONDS = 3600
MAX_INVOICES = 24
SHOWN_STATUSES = ("active", "trialing", "past_due", "unpaid", "paused")


def _open(tx: Tx, portal_session_id: str) -> tuple[Context, Object]:
    """Find a session that has not lapsed. Raises: StripeError 404."""
    owner = tx.owner_of("billing_portal.session", portal_session_id)
    if owner is None:
        raise missing("billing_portal.session", portal_session_id)
    ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="page")
    session = tx.get(ctx, "billing_portal.session", portal_session_id)
    ctx = timeline.at_time_of(tx, ctx, session)
    used_at = tx.private(ctx, "billing_portal.session", portal_session_id).get("last_used_at")
    good_until = used_at + IDLE_SECONDS if used_at else (session or {}).get("created", 0) + UNUSED_SECONDS
    if session is None or good_until < ctx.now:
        raise missing("billing_portal.session", portal_session_id)
    return ctx, session


def open_session(tx: Tx, portal_session_id: str) -> tuple[Context, Object]:
    """Read a session that has not lapsed. Raises: StripeError 404."""
    return _open(tx, portal_session_id)


def _use(tx: Tx, portal_session_id: str) -> tuple[Context, Object]:
    ctx, session = _open(tx, portal_session_id)
    tx.save_private(ctx, "billing_portal.session", portal_session_id, {"last_used_at": ctx.now})
    return ctx, session


def _configuration(tx: Tx, ctx: Context, session: Object) -> Object:
    return find_one(tx, ctx, "billing_portal.configuration", session["configuration"])


def portal_view(store: Store, portal_session_id: str) -> Object:
    """Give what the page shows.

    Keys: account_name, livemode, return_url (or None), customer (id, email, name), cancel_mode (at_period_end,
    immediately), features and profile (the configuration's), flow (the session's flow or None), payment_method (brand, last4,
    exp_month, exp_year; or None), can_update_card, subscriptions (each: id, status, description, quantity, amount (of
    all of it; None for usage), unit_amount, price_text, currency, interval, interval_count, price_id, current_period_end,
    cancel_at, cancel_at_period_end, can_cancel, can_resume, can_change_quantity, switch_prices (each: id, description,
    unit_amount, price_text, currency, interval, interval_count)), discounts (each: name, percent_off, amount_off,
    duration, months)), invoices newest first (each: id, number, created, total, amount_due, currency, status,
    hosted_invoice_url, invoice_pdf).

    Raises: StripeError 404 for an unknown or lapsed session.
    """
    with store.transaction() as tx:
        ctx, session = _use(tx, portal_session_id)
        customer = find_one(tx, ctx, "customer", session["customer"])
        configuration = _configuration(tx, ctx, session)
        subscriptions = tx.find_by(ctx, "subscription", "customer", customer["id"])
        invoices = tx.find_by(ctx, "invoice", "customer", customer["id"])
        shown = (
            "id",
            "number",
            "created",
            "total",
            "amount_due",
            "currency",
            "status",
            "hosted_invoice_url",
            "invoice_pdf",
        )
        return {
            "account_name": account_name(tx, ctx.account_id),
            "livemode": ctx.livemode,
            "return_url": session["return_url"],
            "customer": {name: customer[name] for name in ("id", "email", "name")},
            "cancel_mode": configuration["features"]["subscription_cancel"]["mode"],
            "features": configuration["features"],
            "profile": configuration["business_profile"],
            "flow": session["flow"],
            "payment_method": _card_view(tx, ctx, customer, subscriptions),
            "can_update_card": configuration["features"]["payment_method_update"]["enabled"],
            "subscriptions": [
                _subscription_view(tx, ctx, configuration, each)
                for each in reversed(subscriptions)
                if each["status"] in SHOWN_STATUSES
            ],
            "invoices": [
                {name: invoice[name] for name in shown}
                for invoice in reversed(invoices[-MAX_INVOICES:])
                if invoice["status"] != "draft"
            ],
        }


def _card_view(tx: Tx, ctx: Context, customer: Object, subscriptions: list[Object]) -> Object | None:
    """Show the card that pays next: the newest running subscription's own, else the customer's default."""
    running = [each for each in subscriptions if each["status"] in SHOWN_STATUSES]
    payment_method = cards.default_of(tx, ctx, customer, running[-1] if running else None)
    if payment_method is None or payment_method["type"] != "card":
        return None
    return {name: payment_method["card"][name] for name in ("brand", "last4", "exp_month", "exp_year")}


def _price_view(tx: Tx, ctx: Context, price: Object) -> Object:
    return {
        "id": price["id"],
        "description": lines.product_name(tx, ctx, price),
        "unit_amount": price["unit_amount"],
        "price_text": lines.unit_price(price),
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
    }


def _subscription_view(tx: Tx, ctx: Context, configuration: Object, subscription: Object) -> Object:
    item = subscription["items"]["data"][0]
    price = _price_view(tx, ctx, item["price"])
    ending = subscription["cancel_at"] is not None
    may_cancel = configuration["features"]["subscription_cancel"]["enabled"]
    prices = [] if ending else portal_settings.switchable_prices(tx, ctx, configuration, subscription)
    return {
        **{name: value for name, value in price.items() if name != "id"},
        "id": subscription["id"],
        "price_id": price["id"],
        "status": subscription["status"],
        "quantity": item.get("quantity"),
        "amount": None if is_metered(item["price"]) else cost(tx, ctx, item["price"], item["quantity"]),
        "current_period_end": item["current_period_end"],
        "cancel_at": subscription["cancel_at"],
        "cancel_at_period_end": subscription["cancel_at_period_end"],
        "can_cancel": may_cancel and not ending,
        "can_resume": ending,
        "can_change_quantity": portal_settings.is_quantity_open(configuration, subscription),
        "switch_prices": [_price_view(tx, ctx, each) for each in prices],
        "discounts": [
            {
                "name": coupon["name"] or coupon["id"],
                "percent_off": coupon["percent_off"],
                "amount_off": coupon["amount_off"],
                "duration": coupon["duration"],
                "months": coupon["duration_in_months"],
            }
            for _, coupon in discounts.running(tx, ctx, subscription["discounts"])
        ],
    }


def _own_subscription(tx: Tx, ctx: Context, session: Object, subscription_id: str) -> Object:
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["customer"] != session["customer"]:
        raise missing("subscription", subscription_id)
    if subscription["status"] in subscribing.TERMINAL:
        raise StripeError("This subscription has already ended.")
    return subscription


def open_subscription(tx: Tx, portal_session_id: str, subscription_id: str) -> tuple[Context, Object, Object]:
    """Use a session to reach a configuration and one of its customer's subscriptions. Raises: StripeError 400, 404."""
    ctx, session = _use(tx, portal_session_id)
    return ctx, _configuration(tx, ctx, session), _own_subscription(tx, ctx, session, subscription_id)


def portal_cancel(
    store: Store,
    portal_session_id: str,
    subscription_id: str,
    *,
    at_period_end: bool | None = None,
    feedback: str | None = None,
    comment: str | None = None,
) -> Object:
    """Cancel as the configuration says (or as asked) and give the subscription. Raises: StripeError 400, 404."""
    with store.transaction() as tx:
        ctx, session = _use(tx, portal_session_id)
        settings = _configuration(tx, ctx, session)["features"]["subscription_cancel"]
        if not settings["enabled"]:
            raise StripeError("Cancellation is not available here.")
        subscription = _own_subscription(tx, ctx, session, subscription_id)
        details = {"feedback": feedback, "comment": comment}
        if at_period_end is None:
            at_period_end = settings["mode"] == "at_period_end"
        if at_period_end:
            wanted = {"cancel_at_period_end": True, "cancellation_details": details}
            return updating.update(tx, ctx, subscription, wanted)
        prorate = settings["proration_behavior"] != "none"
        return cancellation.end_now(tx, ctx, subscription, details=details, prorate=prorate)


def portal_resume(store: Store, portal_session_id: str, subscription_id: str) -> Object:
    """Undo a cancellation that has not taken effect. Raises: StripeError 400, 404."""
    with store.transaction() as tx:
        ctx, session = _use(tx, portal_session_id)
        subscription = _own_subscription(tx, ctx, session, subscription_id)
        if subscription["cancel_at"] is None:
            raise StripeError("This subscription is not set to end.")
        return updating.update(tx, ctx, subscription, {"cancel_at_period_end": False})


def portal_switch_price(store: Store, portal_session_id: str, subscription_id: str, price_id: str) -> Object:
    """Move the subscription's item to another price with the configuration's proration. Raises: StripeError."""
    with store.transaction() as tx:
        ctx, session = _use(tx, portal_session_id)
        configuration = _configuration(tx, ctx, session)
        subscription = _own_subscription(tx, ctx, session, subscription_id)
        allowed = portal_settings.switchable_prices(tx, ctx, configuration, subscription)
        if price_id not in {price["id"] for price in allowed}:
            raise invalid("This price is not available here.", "price")
        wanted = {
            "items": [{"id": subscription["items"]["data"][0]["id"], "price": price_id}],
            "proration_behavior": configuration["features"]["subscription_update"]["proration_behavior"],
        }
        return updating.update(tx, ctx, subscription, wanted)


def portal_update_card(
    store: Store, portal_session_id: str, card_number: str, exp_month: int, exp_year: int, cvc: str, name: str
) -> Object:
    """Make another card the customer's default and that of its subscriptions. Raises: CardError 402, StripeError 404."""
    with store.transaction() as tx:
        ctx, session = _use(tx, portal_session_id)
        if not _configuration(tx, ctx, session)["features"]["payment_method_update"]["enabled"]:
            raise StripeError("The payment method cannot be changed here.")
        card = cards.by_number(card_number)
        cards.check_expiry(ctx, exp_month, exp_year, cvc)
        if not card.attaches:
            error: CardError = cards.card_error(cards.DECLINES[card.behaviour])
            raise error
        payment_method = cards.new_payment_method(
            tx, ctx, card, exp_month=exp_month, exp_year=exp_year, billing_details={"name": name or None}
        )
        journal = Journal()
        setup = setups.new_intent(tx, ctx, journal, customer=session["customer"], payment_method=payment_method["id"])
        # The page stands for the cardholder's bank as well.
        setups.attempt(tx, ctx, journal, setup, payment_method, authenticated=True)
        journal.release(tx, ctx)
        customer = find_one(tx, ctx, "customer", session["customer"])
        old = customer["invoice_settings"]["default_payment_method"]
        customer["invoice_settings"]["default_payment_method"] = payment_method["id"]
        tx.save(ctx, customer)
        emit(tx, ctx, "customer.updated", customer, {"invoice_settings": {"default_payment_method": old}})
        for subscription in tx.find_by(ctx, "subscription", "customer", customer["id"]):
            if subscription["default_payment_method"] and subscription["status"] not in subscribing.TERMINAL:
                after = {**subscription, "default_payment_method": payment_method["id"]}
                tx.save(ctx, after)
                emit(tx, ctx, "customer.subscription.updated", after, changes(subscription, after))
        return payment_method
