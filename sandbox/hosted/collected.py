"""What a checkout page asks beside card and address: phone number, tax id, consent. Reads and judges the answers."""

from __future__ import annotations

import re
from typing import Any

from werkzeug.datastructures import MultiDict

from ..billing import tax_ids
from ..errors import StripeError
from .card_form import CardForm, clean

PHONE = re.compile(r"\+?[\d\s().-]{6,25}", re.ASCII)
# The kinds that the form offers: those of the largest markets; the API takes all.
TAX_ID_KINDS = {
    "au_abn": "Australia – ABN",
    "ca_bn": "Canada – BN",
    "eu_vat": "European Union – VAT",
    "in_gst": "India – GST",
    "jp_trn": "Japan – registration number",
    "no_vat": "Norway – VAT",
    "ch_vat": "Switzerland – VAT",
    "gb_vat": "United Kingdom – VAT",
    "us_ein": "United States – EIN",
}
FIELDS = ("phoneNumber", "businessName", "taxIdType", "taxId", "termsOfService", "promotions")


def read_answers(form: MultiDict[str, str], read: CardForm, asks: dict[str, Any]) -> dict[str, Any]:
    """Read the answers to what a session asks, and note beside the field what is missing or cannot be right."""
    read.values.update({name: clean(form.get(name, "")) for name in FIELDS})
    values = read.values
    answers: dict[str, Any] = {}
    if asks["phone"]:
        if not PHONE.fullmatch(values["phoneNumber"]):
            problem = "Your phone number is invalid." if values["phoneNumber"] else "Enter your phone number."
            read.errors["phoneNumber"] = problem
        answers["phone"] = re.sub(r"[\s().-]", "", values["phoneNumber"])
    if asks["tax_id"]:
        _read_tax_id(read, answers, needed=asks["tax_id"] == "required")
    if asks["terms"] and not values["termsOfService"]:
        read.errors["termsOfService"] = "Agree to the terms of service to go on."
    if asks["promotions"]:
        answers["promotions"] = bool(values["promotions"])
    return answers


def _read_tax_id(read: CardForm, answers: dict[str, Any], *, needed: bool) -> None:
    values = read.values
    if not (needed or values["taxId"] or values["businessName"]):
        return
    if not values["businessName"]:
        read.errors["businessName"] = "Enter the name of the business."
    if values["taxIdType"] not in TAX_ID_KINDS:
        read.errors["taxIdType"] = "Choose the kind of tax ID."
        return
    try:
        value = tax_ids.checked_value(values["taxIdType"], values["taxId"])
    except StripeError:
        read.errors["taxId"] = "Your tax ID is invalid." if values["taxId"] else "Enter the tax ID."
        return
    answers |= {"business_name": values["businessName"], "tax_id": {"type": values["taxIdType"], "value": value}}
