"""The hosted checkout page at /c/pay/SESSION and the authentication step of cards that ask for one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..billing import checkout, recovering
from ..errors import StripeError
from ..store import Store
from .card_form import CardForm, read_card_form
from .collected import TAX_ID_KINDS, read_answers
from .countries import COUNTRIES

AUTHENTICATION_FAILED = (
    "We are unable to authenticate your payment method. Please choose a different payment method and try again."
)

CARD_FIELDS = ("cardNumber", "cardExpiry", "cardCvc", "billingName")
CODE_CHARACTERS_MAX = 500
IBAN_CHARACTERS_MAX = 50

# Shown on the page, so that a newcomer needs no other page to try it.
TEST_CARDS = (
    ("4242 4242 4242 4242", "Pays"),
    ("4000 0000 0000 0002", "Is declined"),
    ("4000 0000 0000 9995", "Has insufficient funds"),
    ("4000 0025 0000 3155", "Asks for authentication"),
)


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the checkout routes."""
    _add_small_steps(pages, store)

    @pages.get("/c/pay/<session_id>")
    def show_checkout(session_id: str) -> ResponseReturnValue:
        view = checkout.session_view(store, session_id)
        if view["status"] != "open":
            return _closed_page(view)
        values = {"email": view["customer_email"] or "", "billingCountry": "US"}
        return _checkout_page(session_id, view, values, {})

    @pages.post("/c/pay/<session_id>")
    def pay(session_id: str) -> ResponseReturnValue:
        view = checkout.session_view(store, session_id)
        if view["status"] != "open":
            return _closed_answer(view)
        form = read_card_form(
            _with_known_email(request.form, view),
            needs_email=True,
            needs_address=view["billing_address_collection"] == "required",
        )
        answers = read_answers(request.form, form, view["asks"])
        iban = request.form.get("iban", "").strip()[:IBAN_CHARACTERS_MAX] if view["takes_debits"] else ""
        if iban or not view["needs_card"]:
            for name in ("cardNumber", "cardExpiry", "cardCvc") if iban else CARD_FIELDS:
                form.errors.pop(name, None)
        if form.errors:
            return _checkout_page(session_id, view, form.values, form.errors), 400
        return _try_card(store, session_id, view, form, iban, answers)

    @pages.get("/c/pay/<session_id>/authenticate")
    def show_authentication(session_id: str) -> ResponseReturnValue:
        view = checkout.session_view(store, session_id)
        if view["status"] != "open":
            return _closed_page(view)
        if not view["awaiting_authentication"]:
            return redirect(url_for("hosted.show_checkout", session_id=session_id), 303)
        return render_template("hosted/authenticate.html", session_id=session_id, view=view)

    @pages.post("/c/pay/<session_id>/authenticate")
    def authenticate(session_id: str) -> ResponseReturnValue:
        view = checkout.session_view(store, session_id)
        if view["status"] != "open":
            return _closed_answer(view)
        if not view["awaiting_authentication"]:
            return redirect(url_for("hosted.show_checkout", session_id=session_id), 303)
        outcome = _unless_closed(
            store,
            session_id,
            lambda: checkout.confirm_authentication(store, session_id, request.form.get("result") == "complete"),
        )
        if outcome.kind == "paid":
            return _success(outcome, view)
        values = {"email": view["customer_email"] or "", "billingCountry": "US"}
        errors = {"cardNumber": outcome.message or AUTHENTICATION_FAILED}
        return _checkout_page(session_id, checkout.session_view(store, session_id), values, errors), 402


def _add_small_steps(pages: Blueprint, store: Store) -> None:
    @pages.get("/r/<session_id>")
    def recover_checkout(session_id: str) -> ResponseReturnValue:
        return redirect(url_for("hosted.show_checkout", session_id=recovering.recover(store, session_id)), 303)

    @pages.post("/c/pay/<session_id>/promotion-code")
    def apply_code(session_id: str) -> ResponseReturnValue:
        view = checkout.session_view(store, session_id)
        if view["status"] != "open" or not view["takes_codes"]:
            return _closed_answer(view)
        typed = "" if request.form.get("remove") else request.form.get("promotionCode", "")[:CODE_CHARACTERS_MAX]
        wrong = checkout.apply_code(store, session_id, typed)
        if wrong is None:
            return redirect(url_for("hosted.show_checkout", session_id=session_id), 303)
        values = {"email": view["customer_email"] or "", "billingCountry": "US", "promotionCode": typed}
        return _checkout_page(session_id, view, values, {"promotionCode": wrong}), 400


def _try_card(
    store: Store, session_id: str, view: dict[str, Any], form: CardForm, iban: str, answers: dict[str, Any]
) -> ResponseReturnValue:
    outcome = _unless_closed(
        store,
        session_id,
        lambda: checkout.pay_session(
            store,
            session_id,
            form.card_number,
            form.exp_month,
            form.exp_year,
            form.cvc,
            form.values["billingName"],
            form.values["email"],
            form.address,
            iban,
            answers,
        ),
    )
    if outcome.kind == "requires_action":
        return redirect(url_for("hosted.show_authentication", session_id=session_id), 303)
    if outcome.kind == "paid":
        return _success(outcome, view)
    field = {"discount": "promotionCode", "bank_account": "iban"}.get(outcome.kind, "cardNumber")
    return _checkout_page(session_id, view, form.values, {field: outcome.message}), 402


def _unless_closed(store: Store, session_id: str, attempt: Any) -> checkout.Outcome:
    """Run an attempt; when another submit of the same page was quicker, its success is this one's as well."""
    try:
        outcome: checkout.Outcome = attempt()
    except StripeError as error:
        view = checkout.session_view(store, session_id)
        if error.http_status == 400 and view["status"] == "complete":
            return checkout.Outcome("paid", redirect_url=view["success_url"])
        raise
    return outcome


def _success(outcome: checkout.Outcome, view: dict[str, Any]) -> ResponseReturnValue:
    target = outcome.redirect_url or view["success_url"]
    if not is_web_address(target):
        title = "Card saved" if view["mode"] == "setup" else "Payment complete"
        return render_template("hosted/message.html", title=title, message="You can close this page.")
    return redirect(target, 303)


def _closed_answer(view: dict[str, Any]) -> ResponseReturnValue:
    """Answer a submit that came after the session closed: a second click leads where the first one led."""
    if view["status"] == "complete" and is_web_address(view["success_url"]):
        return redirect(view["success_url"], 303)
    return _closed_page(view)


def _closed_page(view: dict[str, Any]) -> ResponseReturnValue:
    if view["status"] == "complete":
        title, message = "You're all done here", f"This checkout with {view['account_name']} has been completed."
        link = {"url": view["success_url"], "text": f"Return to {view['account_name']}"}
    else:
        title = "This checkout has expired"
        message = f"The link is no longer active. Go back to {view['account_name']} to start again."
        link = {"url": view["cancel_url"], "text": f"Return to {view['account_name']}"}
    if not is_web_address(link["url"]):
        link = {}
    return render_template("hosted/message.html", title=title, message=message, link=link, view=view)


def _with_known_email(form: MultiDict[str, str], view: dict[str, Any]) -> MultiDict[str, str]:
    """Put the customer's known address in place: the page shows it and does not let it change."""
    if not view["customer_email"]:
        return form
    filled = MultiDict(form)
    filled["email"] = view["customer_email"]
    return filled


def _checkout_page(session_id: str, view: dict[str, Any], values: dict[str, str], errors: dict[str, str]) -> str:
    return render_template(
        "hosted/checkout.html",
        session_id=session_id,
        view=view,
        values=values,
        errors=errors,
        countries=COUNTRIES,
        tax_id_kinds=TAX_ID_KINDS,
        test_cards=TEST_CARDS,
        cancel_url=view["cancel_url"] if is_web_address(view["cancel_url"]) else None,
    )


def is_web_address(url: str | None) -> bool:
    """Say whether a link may be offered: http and https only."""
    if not url:
        return False
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False
