"""What the checkout page asks about its customer beside the card: kept on the customer and on the session."""

from __future__ import annotations

import copy
from typing import Any

from ..events import Journal
from ..store import Context, Tx
from . import tax_ids

Object = dict[str, Any]


def asks_for_tax_id(tx: Tx, ctx: Context, session: Object) -> bool:
    """Tell whether the page asks for a tax id: only customers who have none yet are asked."""
    if not session["tax_id_collection"]["enabled"]:
        return False
    return not session["customer"] or not tx.find_by(ctx, "tax_id", "customer", session["customer"])


def asked(tx: Tx, ctx: Context, session: Object) -> Object:
    """Give what the page asks for: phone, tax_id ('', 'optional', 'required'), terms and promotions."""
    wants = session["consent_collection"] or {}
    tax_id = ""
    if asks_for_tax_id(tx, ctx, session):
        tax_id = "optional" if session["tax_id_collection"]["required"] == "never" else "required"
    return {
        "phone": session["phone_number_collection"]["enabled"],
        "tax_id": tax_id,
        "terms": wants.get("terms_of_service") == "required",
        "promotions": wants.get("promotions") == "auto",
    }


def keep(tx: Tx, ctx: Context, journal: Journal, private: Object, customer: Object) -> None:
    """Write what was typed into a customer, where the session lets it; the caller saves the customer.

    An address and a name that are known stay unless `customer_update` says otherwise; a phone number is always kept.
    """
    details = private["details"]
    is_new = bool(private.get("new_customer"))
    for name, behavior in private.get("customer_update", {}).items():
        if behavior == "auto" and name in ("address", "name") and details.get(name):
            customer[name] = details[name]
    if details.get("phone"):
        customer["phone"] = details["phone"]
    if details.get("business_name") and (is_new or private.get("customer_update", {}).get("name") == "auto"):
        customer["name"] = details["business_name"]
    if details.get("tax_id"):
        tax_ids.new_tax_id(tx, ctx, customer, details["tax_id"]["type"], details["tax_id"]["value"], journal)


def keep_now(tx: Tx, ctx: Context, journal: Journal, private: Object, customer: Object) -> None:
    """Do the same for a session that changes nothing else about its customer: saves it, with its event."""
    before = copy.deepcopy(customer)
    keep(tx, ctx, journal, private, customer)
    tx.save(ctx, customer)
    journal.add_updated("customer.updated", before, customer)


def note_on(session: Object, private: Object, customer: Object | None) -> None:
    """Write what was typed into a session that is being completed."""
    details = private["details"]
    wants = session["consent_collection"]
    session |= {
        "collected_information": {"business_name": None, "individual_name": None, "shipping_details": None},
        "consent": None,
        "customer_details": {
            "address": details["address"],
            "business_name": None,
            "email": details["email"],
            "individual_name": None,
            "name": details.get("business_name") or details["name"],
            "phone": details.get("phone"),
            "tax_exempt": customer["tax_exempt"] if customer else "none",
            "tax_ids": [details["tax_id"]] if details.get("tax_id") else [],
        },
    }
    if wants:
        news = ("opt_in" if details.get("promotions") else "opt_out") if wants["promotions"] == "auto" else None
        terms = "accepted" if wants["terms_of_service"] == "required" else None
        session["consent"] = {"promotions": news, "terms_of_service": terms}
