"""SEPA direct debit, the delayed payment method of this sandbox: the bank says days later whether it pays.

Test account numbers and their delays: https://docs.stripe.com/testing#sepa-direct-debit. That a subscription is active
while its first debit is under way is documented; other delayed methods are not here.
"""

from __future__ import annotations

from typing import Any

from .. import ids
from ..errors import StripeError, invalid
from ..store import Context, Tx

Object = dict[str, Any]

DAYS_SECONDS = 5 * 24 * 3600
MINUTES_SECONDS = 3 * 60
# Account number -> (how it comes out, after how many seconds by itself).
IBANS = {
    "AT611904300234573201": ("succeeds", DAYS_SECONDS),
    "DE89370400440532013000": ("succeeds", DAYS_SECONDS),
    "AT321904300235473204": ("succeeds", MINUTES_SECONDS),
    "DE08370400440532013003": ("succeeds", MINUTES_SECONDS),
    "AT861904300235473202": ("fails", DAYS_SECONDS),
    "DE62370400440532013001": ("fails", DAYS_SECONDS),
    "AT051904300235473205": ("fails", MINUTES_SECONDS),
    "DE78370400440532013004": ("fails", MINUTES_SECONDS),
}
FAILURE_CODE, FAILURE_MESSAGE = "insufficient_funds", "The customer's account has insufficient funds."


def is_debit(payment_method: Object) -> bool:
    """Tell a bank account from a card."""
    return bool(payment_method["type"] == "sepa_debit")


def check_iban(typed: str, param: str = "sepa_debit[iban]") -> str:
    """Read an account number. Raises: StripeError 400 when it is none of the test ones."""
    iban = "".join(typed.split()).upper()
    if iban not in IBANS:
        raise invalid(
            "The IBAN you provided is invalid; in a sandbox only test account numbers work.", param, "invalid_iban"
        )
    return iban


def new_payment_method(
    tx: Tx, ctx: Context, typed: str, *, billing_details: Object | None = None, metadata: Object | None = None
) -> Object:
    """Add a bank account that is not attached to anyone yet. Raises: StripeError 400."""
    iban = check_iban(typed)
    details = billing_details or {}
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("payment_method"),
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": {
                "address": details.get("address")
                or {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None},
                "email": details.get("email"),
                "name": details.get("name"),
                "phone": details.get("phone"),
                "tax_id": None,
            },
            "created": ctx.now,
            "customer": None,
            "customer_account": None,
            "livemode": ctx.livemode,
            "metadata": metadata or {},
            "sepa_debit": {
                "bank_code": iban[4:12] if iban.startswith("DE") else iban[4:9],
                "branch_code": "",
                "country": iban[:2],
                "fingerprint": f"sandbox{iban[-9:]}",
                "generated_from": {"charge": None, "setup_attempt": None},
                "last4": iban[-4:],
            },
            "type": "sepa_debit",
        },
        private={"iban": iban},
    )


def outcome_of(tx: Tx, ctx: Context, payment_method: Object) -> tuple[str, int]:
    """Tell how a debit will come out and after how many seconds."""
    return IBANS[tx.private(ctx, "payment_method", payment_method["id"])["iban"]]


def charge_details(payment_method: Object) -> Object:
    """Show the account on a charge."""
    account = payment_method["sepa_debit"]
    shared = ("bank_code", "branch_code", "country", "fingerprint", "last4")
    return {
        "sepa_debit": {**{name: account[name] for name in shared}, "mandate": None},
        "type": "sepa_debit",
    }


def check_currency(currency: str) -> None:
    """Refuse what cannot be debited. Raises: StripeError 400."""
    if currency != "eur":
        raise StripeError(
            f"The payment method type `sepa_debit` is invalid for the currency `{currency}`. It supports: eur.",
            param="payment_method_types",
        )
