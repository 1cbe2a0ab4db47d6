"""Test cards and payment methods: what each number or pm_card_* name does when it is attached, charged or authenticated.

Source: https://docs.stripe.com/testing. Most texts of declines are from memory; see docs/sandbox.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .. import ids
from ..errors import CardError, StripeError, invalid
from ..events import Journal, emit
from ..lookup import no_such
from ..store import Context, Tx

Object = dict[str, Any]

DECLINED = "Your card was declined."


@dataclass(frozen=True)
class Decline:
    """How a refusal is worded."""

    code: str
    decline_code: str
    message: str
    advice_code: str = "try_again_later"


DECLINES = {
    "generic_decline": Decline("card_declined", "generic_decline", DECLINED),
    "insufficient_funds": Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "lost_card": Decline("card_declined", "lost_card", DECLINED, "do_not_try_again"),
    "stolen_card": Decline("card_declined", "stolen_card", DECLINED, "do_not_try_again"),
    "card_velocity_exceeded": Decline(
        "card_declined",
        "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    "fraudulent": Decline("card_declined", "fraudulent", DECLINED, "do_not_try_again"),
    "expired_card": Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again"),
    "incorrect_cvc": Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
    "processing_error": Decline(
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "authentication_required": Decline(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
        "confirm_card_data",
    ),
}


@dataclass(frozen=True)
class Card:
    """A test card.

    `behaviour` is pay, authenticate_once, authenticate_always, authenticate: and a key of DECLINES (what happens after
    it), or a key of DECLINES. `later` is what happens once it has paid: dispute, dispute_not_received, inquiry,
    fraud_warning, or to its refunds: refund_pending, refund_fails.
    """

    number: str
    behaviour: str = "pay"
    attaches: bool = True
    brand: str = "visa"
    funding: str = "credit"
    later: str | None = None


def _declining(number: str, behaviour: str) -> Card:
    return Card(number, behaviour, attaches=False)


CARDS = {
    card.number: card
    for card in (
        Card("4242424242424242"),
        Card("4000056655665556", funding="debit"),
        Card("5555555555554444", brand="mastercard"),
        Card("5200828282828210", brand="mastercard", funding="debit"),
        Card("5105105105105100", brand="mastercard", funding="prepaid"),
        Card("378282246310005", brand="amex"),
        Card("6011111111111117", brand="discover"),
        Card("3056930009020004", brand="diners"),
        Card("3566002020360505", brand="jcb"),
        Card("6200000000000005", brand="unionpay"),
        Card("4000000000000077"),
        _declining("4100000000000019", "fraudulent"),
        _declining("4000000000000002", "generic_decline"),
        _declining("4000000000009995", "insufficient_funds"),
        _declining("4000000000009987", "lost_card"),
        _declining("4000000000009979", "stolen_card"),
        _declining("4000000000000069", "expired_card"),
        _declining("4000000000000127", "incorrect_cvc"),
        _declining("4000000000000119", "processing_error"),
        _declining("4000000000006975", "card_velocity_exceeded"),
        Card("4000000000000341", "generic_decline"),
        Card("4000002500003155", "authenticate_once"),
        Card("4000002760003184", "authenticate_always"),
        Card("4000003800000446", "authenticate_once"),
        Card("4000000000003220", "authenticate_always"),
        Card("4000000000003063", "authenticate_always"),
        Card("4000000000003055"),
        Card("4000008400001629", "authenticate:generic_decline"),
        Card("4000008260003178", "authenticate:insufficient_funds"),
        Card("4000000000000259", later="dispute"),
        Card("4000000000002685", later="dispute_not_received"),
        Card("4000000000001976", later="inquiry"),
        Card("4000000000005423", later="fraud_warning"),
        Card("4000000000007726", later="refund_pending"),
        Card("4000000000005126", later="refund_fails"),
    )
}

DEBIT = Card("", "processing")

# Names that the API takes instead of numbers, without their pm_card_ / tok_ start.
NAMES = {
    "visa": "4242424242424242",
    "us": "4242424242424242",
    "visa_debit": "4000056655665556",
    "mastercard": "5555555555554444",
    "mastercard_debit": "5200828282828210",
    "mastercard_prepaid": "5105105105105100",
    "amex": "378282246310005",
    "discover": "6011111111111117",
    "diners": "3056930009020004",
    "jcb": "3566002020360505",
    "unionpay": "6200000000000005",
    "bypassPending": "4000000000000077",
    "chargeDeclinedFraudulent": "4100000000000019",
    "radarBlock": "4100000000000019",
    "chargeDeclined": "4000000000000002",
    "visa_chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "visa_chargeDeclinedLostCard": "4000000000009987",
    "visa_chargeDeclinedStolenCard": "4000000000009979",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
    "visa_chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "chargeCustomerFail": "4000000000000341",
    "authenticationRequiredOnSetup": "4000002500003155",
    "authenticationRequiredSetupForOffSession": "4000003800000446",
    "authenticationRequiredChargeDeclinedInsufficientFunds": "4000008260003178",
    "threeDSecure2Required": "4000000000003220",
    "threeDSecureRequired": "4000000000003063",
    "threeDSecureOptional": "4000000000003055",
    "threeDSecureRequiredChargeDeclined": "4000008400001629",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "createDisputeInquiry": "4000000000001976",
    "createIssuerFraudRecord": "4000000000005423",
    "pendingRefund": "4000000000007726",
    "refundFail": "4000000000005126",
    "authenticationRequired": "4000002760003184",
}


def card_error(decline: Decline, **extra: Any) -> CardError:
    """Make the 402 for a decline."""
    decline_code = decline.decline_code if decline.code in ("card_declined", "authentication_required") else None
    return CardError(
        decline.message, code=decline.code, decline_code=decline_code, advice_code=decline.advice_code, **extra
    )


def named(name: str) -> Card | None:
    """Find the card behind pm_card_* or tok_*."""
    for start in ("pm_card_", "tok_"):
        if name.startswith(start):
            number = NAMES.get(name[len(start) :])
            return CARDS[number] if number else None
    return None


def by_number(number: str) -> Card:
    """Find the card behind a number as typed. Raises: CardError for numbers that are wrong or not test cards."""
    digits = "".join(character for character in number if character.isdigit())
    if digits in CARDS:
        return CARDS[digits]
    if not _passes_luhn(digits):
        raise CardError("Your card number is incorrect.", code="incorrect_number", param="number")
    raise CardError(
        "Your card was declined. Your request was in test mode, but used a non test (live) card. "
        "For a list of valid test cards, visit: https://stripe.com/docs/testing.",
        code="card_declined",
        decline_code="test_mode_live_card",
    )


def _passes_luhn(digits: str) -> bool:
    if not 12 <= len(digits) <= 19:
        return False
    total = 0
    for index, character in enumerate(reversed(digits)):
        value = int(character) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def check_expiry(ctx: Context, exp_month: int, exp_year: int, cvc: str | None) -> None:
    """Refuse impossible or past dates and malformed security codes. Raises: CardError."""
    from_now = (exp_year * 12 + exp_month) - (1970 * 12 + 1) - int(ctx.now / 2629746)
    if not 1 <= exp_month <= 12:
        raise CardError("Your card's expiration month is invalid.", code="invalid_expiry_month", param="exp_month")
    if from_now < 0 or from_now > 50 * 12:
        raise CardError("Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year")
    if cvc is not None and not (cvc.isdigit() and len(cvc) in (3, 4)):
        raise CardError("Your card's security code is invalid.", code="invalid_cvc", param="cvc")


def new_payment_method(
    tx: Tx,
    ctx: Context,
    card: Card,
    *,
    exp_month: int = 12,
    exp_year: int = 2034,
    billing_details: Object | None = None,
    metadata: Object | None = None,
) -> Object:
    """Add a payment method that is not attached to anyone yet."""
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
            "card": {
                "brand": card.brand,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "country": "US",
                "display_brand": card.brand,
                "exp_month": exp_month,
                "exp_year": exp_year,
                "fingerprint": f"sandbox{card.number[-9:]}",
                "funding": card.funding,
                "generated_from": None,
                "last4": card.number[-4:],
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": ctx.now,
            "customer": None,
            "customer_account": None,
            "livemode": ctx.livemode,
            "metadata": metadata or {},
            "type": "card",
        },
        private={"number": card.number},
    )


def card_of(tx: Tx, ctx: Context, payment_method: Object) -> Card:
    """Tell which test card stands behind a payment method; a bank account is a card that takes its time."""
    if payment_method["type"] != "card":
        return DEBIT
    return CARDS[tx.private(ctx, "payment_method", payment_method["id"])["number"]]


def behaviour_of(tx: Tx, ctx: Context, payment_method: Object) -> str:
    """Tell what a charge would meet: what the card is for, unless its last month has passed."""
    if payment_method["type"] != "card":
        return DEBIT.behaviour
    card = payment_method["card"]
    if (card["exp_year"], card["exp_month"]) < (
        datetime.fromtimestamp(ctx.now, UTC).year,
        datetime.fromtimestamp(ctx.now, UTC).month,
    ):
        return "expired_card"
    return card_of(tx, ctx, payment_method).behaviour


def is_authenticated(tx: Tx, ctx: Context, payment_method: Object) -> bool:
    """Tell whether this payment method has been through authentication once."""
    return bool(tx.private(ctx, "payment_method", payment_method["id"]).get("authenticated"))


def remember_authentication(tx: Tx, ctx: Context, payment_method: Object) -> None:
    """Keep that the cardholder authenticated once."""
    private = tx.private(ctx, "payment_method", payment_method["id"])
    tx.save_private(ctx, "payment_method", payment_method["id"], {**private, "authenticated": True})


def resolve(tx: Tx, ctx: Context, wanted: str, param: str = "payment_method") -> Object:
    """Read a payment method, or make one from a test name. Raises: StripeError 400 resource_missing."""
    card = named(wanted)
    if card is not None:
        return new_payment_method(tx, ctx, card)
    found = tx.get(ctx, "payment_method", wanted)
    if found is None:
        raise no_such(tx, ctx, "payment_method", wanted, param, 400)
    return found


def attach(tx: Tx, ctx: Context, wanted: str, customer_id: str, param: str = "payment_method") -> Object:
    """Attach to a customer, with its event. Raises: CardError 402 for cards that refuse it, StripeError 400."""
    payment_method = resolve(tx, ctx, wanted, param)
    card = card_of(tx, ctx, payment_method)
    if not card.attaches:
        refusal = card_error(DECLINES[card.behaviour])
        refusal.keep_effects = False
        raise refusal
    if payment_method["customer"] == customer_id:
        return payment_method
    if payment_method["customer"]:
        raise invalid("The payment method you provided has already been attached to a customer.")
    payment_method["customer"] = customer_id
    tx.save(ctx, payment_method)
    emit(tx, ctx, "payment_method.attached", payment_method)
    return payment_method


def attach_quietly(tx: Tx, ctx: Context, journal: Journal, payment_method: Object, customer_id: str) -> None:
    """Attach a card that was just charged or saved, noting the event for later."""
    if payment_method["customer"] == customer_id:
        return
    payment_method["customer"] = customer_id
    tx.save(ctx, payment_method)
    journal.add("payment_method.attached", payment_method)


def attached(tx: Tx, ctx: Context, wanted: str, customer_id: str, param: str) -> Object:
    """Read a payment method that must be attached to this customer. Raises: StripeError 400."""
    if named(wanted) is not None:
        return attach(tx, ctx, wanted, customer_id, param)
    found = tx.get(ctx, "payment_method", wanted)
    if found is None:
        raise no_such(tx, ctx, "payment_method", wanted, param, 400)
    if found["customer"] != customer_id:
        raise StripeError(
            f"The customer does not have a payment method with the ID {wanted}. The payment method must be attached "
            "to the customer.",
            code="resource_missing",
            param=param,
        )
    return found


def default_of(tx: Tx, ctx: Context, customer: Object, subscription: Object | None = None) -> Object | None:
    """Find what a renewal would charge: the subscription's payment method, else the customer's default."""
    wanted = (subscription or {}).get("default_payment_method") or customer["invoice_settings"][
        "default_payment_method"
    ]
    return tx.get(ctx, "payment_method", wanted) if wanted else None
