"""What the hosted checkout page does: show a session, take a card, ask for authentication, complete the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..store import Store


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


def session_view(store: Store, session_id: str) -> dict[str, Any]:
    """Give what the page shows.

    Keys: account_name, livemode, status (open, complete, expired), mode (subscription, payment), currency,
    amount_subtotal, amount_total, lines (each: description, quantity, unit_amount, amount_total, currency,
    interval or None, interval_count), customer_email (known and fixed, or None), billing_address_collection
    (auto, required), success_url and cancel_url (ids filled in; cancel_url may be None), trial_days (or None),
    awaiting_authentication (bool: a card waits for confirm_authentication).

    Raises: StripeError 404 for an unknown id.
    """
    raise NotImplementedError


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
) -> Outcome:
    """Try a card on an open session; `address` has line1, line2, city, state, postal_code, country.

    Raises: StripeError 404 (unknown id), 400 (expired or already completed session).
    """
    raise NotImplementedError


def confirm_authentication(store: Store, session_id: str, success: bool) -> Outcome:
    """Finish the authentication that pay_session asked for; without success the session stays open and unpaid."""
    raise NotImplementedError
