"""What the hosted portal page does: show a customer's subscriptions and invoices, cancel, resume, switch price."""

from __future__ import annotations

from typing import Any

from ..store import Store


def portal_view(store: Store, portal_session_id: str) -> dict[str, Any]:
    """Give what the page shows.

    Keys: account_name, livemode, return_url (or None), customer (id, email, name), cancel_mode (at_period_end,
    immediately), features (the configuration's), flow (the session's flow or None), subscriptions (each: id, status,
    description, quantity, unit_amount, currency, interval, interval_count, price_id, current_period_end, cancel_at,
    cancel_at_period_end, can_cancel, can_resume, switch_prices (each: id, description, unit_amount, currency,
    interval, interval_count)), invoices newest first (each: id, number, created, total, amount_due, currency, status,
    hosted_invoice_url, invoice_pdf).

    Raises: StripeError 404 for an unknown or lapsed session.
    """
    raise NotImplementedError


def portal_cancel(
    store: Store,
    portal_session_id: str,
    subscription_id: str,
    *,
    at_period_end: bool | None = None,
    feedback: str | None = None,
    comment: str | None = None,
) -> dict[str, Any]:
    """Cancel as the configuration says (or as asked) and give the subscription. Raises: StripeError 400, 404."""
    raise NotImplementedError


def portal_resume(store: Store, portal_session_id: str, subscription_id: str) -> dict[str, Any]:
    """Undo a cancellation that has not taken effect. Raises: StripeError 400, 404."""
    raise NotImplementedError


def portal_switch_price(store: Store, portal_session_id: str, subscription_id: str, price_id: str) -> dict[str, Any]:
    """Move the subscription's item to another price with the configuration's proration. Raises: StripeError."""
    raise NotImplementedError
