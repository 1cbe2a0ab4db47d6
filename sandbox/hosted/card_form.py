"""Reads the card form: what was typed, and one message per field that cannot be right.

Only the form is judged here; whether a card pays is the billing code's answer. Card number and security code
are never sent back to the browser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from werkzeug.datastructures import MultiDict

from .countries import COUNTRIES

TEXT_CHARACTERS_MAX = 200
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
EXPIRY = re.compile(r"(\d{1,2})\s*/?\s*(\d{2}|\d{4})")

# Names of the fields, as the hosted page of Stripe itself has them, so that browser tests fit both.
KEPT_FIELDS = (
    "email",
    "cardExpiry",
    "billingName",
    "billingCountry",
    "billingAddressLine1",
    "billingAddressLine2",
    "billingLocality",
    "billingAdministrativeArea",
    "billingPostalCode",
)
ADDRESS_FIELDS = {
    "line1": "billingAddressLine1",
    "line2": "billingAddressLine2",
    "city": "billingLocality",
    "state": "billingAdministrativeArea",
    "postal_code": "billingPostalCode",
    "country": "billingCountry",
}


@dataclass
class CardForm:
    """A submitted form: `values` may be shown again, `errors` says what to mend by field."""

    values: dict[str, str]
    card_number: str
    cvc: str
    exp_month: int = 0
    exp_year: int = 0
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> dict[str, str | None]:
        """The billing address in Stripe's words; what was left empty is None."""
        return {name: self.values.get(form_name) or None for name, form_name in ADDRESS_FIELDS.items()}


def read_card_form(form: MultiDict[str, str], *, needs_email: bool, needs_address: bool) -> CardForm:
    """Read the form and note every field that is missing or cannot be right."""
    values = {name: clean(form.get(name, "")) for name in KEPT_FIELDS}
    read = CardForm(values, re.sub(r"[\s-]", "", form.get("cardNumber", "")), form.get("cardCvc", "").strip())
    if needs_email and not EMAIL.fullmatch(values["email"]):
        read.errors["email"] = "Enter a valid email address." if values["email"] else "Enter your email address."
    _check_number(read)
    _check_expiry(read)
    if not re.fullmatch(r"\d{3,4}", read.cvc, re.ASCII):
        read.errors["cardCvc"] = "Your card's security code is incomplete."
    if not values["billingName"]:
        read.errors["billingName"] = "Enter the name on the card."
    if values["billingCountry"] and values["billingCountry"] not in COUNTRIES:
        read.errors["billingCountry"] = "Choose a country from the list."
    if needs_address:
        _check_address(read)
    return read


def clean(text: str) -> str:
    """Take a typed line as it may be kept: printable, without blanks around it, of a reasonable length."""
    return "".join(character for character in text if character.isprintable()).strip()[:TEXT_CHARACTERS_MAX]


def _check_number(read: CardForm) -> None:
    if not read.card_number:
        read.errors["cardNumber"] = "Enter a card number."
    elif not re.fullmatch(r"\d+", read.card_number, re.ASCII):
        read.errors["cardNumber"] = "Your card number is invalid."
    elif len(read.card_number) < 13:
        read.errors["cardNumber"] = "Your card number is incomplete."
    elif len(read.card_number) > 19 or not _passes_luhn(read.card_number):
        read.errors["cardNumber"] = "Your card number is invalid."


def _passes_luhn(number: str) -> bool:
    total = 0
    for position, digit in enumerate(int(character) for character in reversed(number)):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _check_expiry(read: CardForm) -> None:
    match = re.fullmatch(EXPIRY.pattern, read.values["cardExpiry"], re.ASCII)
    if match is None or not 1 <= int(match[1]) <= 12:
        read.errors["cardExpiry"] = "Your card's expiration date is incomplete."
        return
    read.exp_month, read.exp_year = int(match[1]), int(match[2])
    if read.exp_year < 100:
        read.exp_year += 2000
    today = datetime.now(UTC)
    if (read.exp_year, read.exp_month) < (today.year, today.month):
        read.errors["cardExpiry"] = "Your card's expiration date is in the past."
    elif read.exp_year > today.year + 50:
        read.errors["cardExpiry"] = "Your card's expiration year is invalid."


def _check_address(read: CardForm) -> None:
    messages = {
        "billingCountry": "Choose your country.",
        "billingAddressLine1": "Enter your address.",
        "billingLocality": "Enter your city.",
        "billingPostalCode": "Enter your postal code.",
    }
    for name, message in messages.items():
        if not read.values[name]:
            read.errors.setdefault(name, message)
