"""The portal's page for the customer's own details, where the configuration allows it."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from ..billing import portal, portal_customer, tax_ids
from ..errors import StripeError
from ..store import Store
from .card_form import ADDRESS_FIELDS, EMAIL, TEXT_CHARACTERS_MAX
from .checkout_pages import is_web_address
from .collected import TAX_ID_KINDS
from .countries import COUNTRIES
from .portal_pages import done


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the routes of the customer's details."""

    @pages.get("/p/session/<session_id>/customer")
    def show_customer(session_id: str) -> ResponseReturnValue:
        known = portal_customer.current(store, session_id)
        values = {name: known[name] or "" for name in ("email", "name", "phone")}
        for name, form_name in ADDRESS_FIELDS.items():
            values[form_name] = (known["address"] or {}).get(name) or ""
        return _page(store, session_id, values, {})

    @pages.post("/p/session/<session_id>/customer")
    def update_customer(session_id: str) -> ResponseReturnValue:
        names = ("email", "name", "phone", "taxIdType", "taxId", *ADDRESS_FIELDS.values())
        values = {name: request.form.get(name, "").strip()[:TEXT_CHARACTERS_MAX] for name in names}
        fields = portal_customer.allowed(portal.portal_view(store, session_id)["features"])
        errors = {}
        if "email" in fields and not EMAIL.fullmatch(values["email"]):
            errors["email"] = "Enter a valid email address."
        if "address" in fields and values["billingCountry"] and values["billingCountry"] not in COUNTRIES:
            errors["billingCountry"] = "Choose a country from the list."
        tax_id = {"type": values["taxIdType"], "value": values["taxId"]} if values["taxId"] else None
        if "tax_id" in fields and tax_id:
            errors |= _tax_id_problem(tax_id)
        if errors:
            return _page(store, session_id, values, errors), 400
        address = {name: values[form_name] for name, form_name in ADDRESS_FIELDS.items() if values[form_name]}
        portal_customer.change(store, session_id, {**values, "address": address, "tax_id": tax_id})
        return done(session_id, portal.portal_view(store, session_id), "details")


def _tax_id_problem(tax_id: dict[str, str]) -> dict[str, str]:
    if tax_id["type"] not in TAX_ID_KINDS:
        return {"taxIdType": "Choose the kind of tax ID."}
    try:
        tax_ids.checked_value(tax_id["type"], tax_id["value"])
    except StripeError:
        return {"taxId": "Your tax ID is invalid."}
    return {}


def _page(store: Store, session_id: str, values: dict[str, str], errors: dict[str, str]) -> str | Response:
    view = portal.portal_view(store, session_id)
    fields = portal_customer.allowed(view["features"])
    if not fields:
        return redirect(url_for("hosted.show_portal", session_id=session_id, done="nothing"), 303)
    return_url = view["return_url"] if is_web_address(view["return_url"]) else None
    return render_template(
        "hosted/customer.html",
        session_id=session_id,
        view=view,
        return_url=return_url,
        fields=fields,
        values=values,
        errors=errors,
        countries=COUNTRIES,
        tax_id_kinds=TAX_ID_KINDS,
        tax_ids=portal_customer.current(store, session_id)["tax_ids"],
    )
