"""Makes ids and keys with Stripe's prefixes and lengths, and tells an object's type from its id."""

from __future__ import annotations

import secrets
import string

ALPHABET = string.ascii_letters + string.digits

# Object type -> (prefix, number of random characters, what stands between prefix and random part).
SHAPES: dict[str, tuple[str, int, str]] = {
    "account": ("acct_", 15, "1"),
    "billing_portal.configuration": ("bpc_", 23, "1"),
    "billing_portal.session": ("bps_", 23, "1"),
    "charge": ("ch_", 23, "3"),
    "checkout.session": ("cs_", 57, ""),
    "customer": ("cus_", 14, ""),
    "customer_balance_transaction": ("cbtxn_", 23, "1"),
    "balance_transaction": ("txn_", 23, "3"),
    "billing.meter": ("mtr_", 23, "test_61"),
    "discount": ("di_", 23, "1"),
    "dispute": ("du_", 23, "1"),
    "event": ("evt_", 23, "1"),
    "invoice": ("in_", 23, "1"),
    "invoice_payment": ("inpay_", 23, "1"),
    "invoiceitem": ("ii_", 23, "1"),
    "item": ("li_", 23, "1"),
    "line_item": ("il_", 23, "1"),
    "payment_intent": ("pi_", 23, "3"),
    "payment_method": ("pm_", 23, "1"),
    "price": ("price_", 23, "1"),
    "product": ("prod_", 14, ""),
    "promotion_code": ("promo_", 23, "1"),
    "radar.early_fraud_warning": ("issfr_", 23, "1"),
    "refund": ("re_", 23, "3"),
    "setup_attempt": ("setatt_", 23, "1"),
    "setup_intent": ("seti_", 23, "1"),
    "subscription": ("sub_", 23, "1"),
    "subscription_item": ("si_", 14, ""),
    "tax_id": ("txi_", 23, "1"),
    "test_helpers.test_clock": ("clock_", 23, "1"),
    "webhook_endpoint": ("we_", 23, "1"),
}
TYPE_OF_PREFIX = {prefix: name for name, (prefix, _, _) in SHAPES.items()}


def random_text(length: int) -> str:
    """Give unguessable letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_id(object_type: str, *, livemode: bool = False) -> str:
    """Make an id that looks like Stripe's; checkout sessions carry their mode in it."""
    prefix, length, middle = SHAPES[object_type]
    if object_type == "checkout.session":
        middle = "live_a1" if livemode else "test_a1"
        length = 56
    return prefix + middle + random_text(length)


def type_of(object_id: str) -> str | None:
    """Tell the type of object from an id's prefix; None for ids that users choose."""
    head, separator, _ = object_id.partition("_")
    return TYPE_OF_PREFIX.get(head + separator)


def client_secret(object_id: str) -> str:
    """Make the client secret of an intent."""
    return f"{object_id}_secret_{random_text(25)}"


def signing_secret() -> str:
    """Make a webhook endpoint's signing secret."""
    return "whsec_" + random_text(32)


def api_key(kind: str, *, livemode: bool) -> str:
    """Make an API key: kind is 'sk', 'pk' or 'rk'."""
    return f"{kind}_{'live' if livemode else 'test'}_51{random_text(97)}"


def request_id() -> str:
    """Make the id that answers carry in Request-Id."""
    return "req_" + random_text(14)
