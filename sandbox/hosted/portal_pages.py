"""The billing portal at /p/session/SESSION: plan, cancel, resume, switch price, card, invoices, deep links."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from ..billing import portal
from ..errors import StripeError, missing
from ..store import Store
from .card_form import read_card_form
from .checkout_pages import TEST_CARDS, is_web_address

# What the overview says after a step, by a word in its address: nobody can make it say something else.
NOTICES = {
    "canceled": "Your subscription has been canceled.",
    "resumed": "Your subscription will go on as before.",
    "updated": "Your plan has been updated.",
    "card": "Your payment method has been updated.",
    "details": "Your details have been updated.",
}

# Source: https://docs.stripe.com/api/subscriptions/object (cancellation_details.feedback)
FEEDBACK = {
    "too_expensive": "It's too expensive",
    "missing_features": "I need more features",
    "switched_service": "I found an alternative",
    "unused": "I no longer need it",
    "customer_service": "Customer service was less than expected",
    "too_complex": "Ease of use was less than expected",
    "low_quality": "Quality was less than expected",
    "other": "Other reason",
}
COMMENT_CHARACTERS_MAX = 500


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the portal routes."""
    _add_overview(pages, store)
    _add_cancel(pages, store)
    _add_update(pages, store)
    _add_payment_method(pages, store)


def _add_overview(pages: Blueprint, store: Store) -> None:
    @pages.get("/p/session/<session_id>")
    def show_portal(session_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        word = request.args.get("done")
        target = None if word else _flow_target(session_id, view)
        if target:
            return redirect(target, 303)
        return _page("portal.html", session_id, view, notice=NOTICES.get(word or ""))

    @pages.post("/p/session/<session_id>/subscriptions/<subscription_id>/resume")
    def resume_subscription(session_id: str, subscription_id: str) -> ResponseReturnValue:
        try:
            portal.portal_resume(store, session_id, subscription_id)
        except StripeError as error:
            return refused(store, session_id, error)
        return done(session_id, portal.portal_view(store, session_id), "resumed")


def _add_cancel(pages: Blueprint, store: Store) -> None:
    @pages.get("/p/session/<session_id>/subscriptions/<subscription_id>/cancel")
    def show_cancel(session_id: str, subscription_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        subscription = _subscription(view, subscription_id)
        if not subscription["can_cancel"]:
            return redirect(url_for("hosted.show_portal", session_id=session_id, done="nothing"), 303)
        return _page("cancel.html", session_id, view, subscription=subscription, feedback=FEEDBACK)

    @pages.post("/p/session/<session_id>/subscriptions/<subscription_id>/cancel")
    def cancel_subscription(session_id: str, subscription_id: str) -> ResponseReturnValue:
        feedback = request.form.get("feedback")
        comment = request.form.get("comment", "").strip()[:COMMENT_CHARACTERS_MAX]
        try:
            portal.portal_cancel(
                store,
                session_id,
                subscription_id,
                feedback=feedback if feedback in FEEDBACK else None,
                comment=comment or None,
            )
        except StripeError as error:
            return refused(store, session_id, error)
        return done(session_id, portal.portal_view(store, session_id), "canceled")


def _add_update(pages: Blueprint, store: Store) -> None:
    @pages.get("/p/session/<session_id>/subscriptions/<subscription_id>/update")
    def show_update(session_id: str, subscription_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        subscription = _subscription(view, subscription_id)
        return _page("switch.html", session_id, view, subscription=subscription, chosen=request.args.get("price"))

    @pages.post("/p/session/<session_id>/subscriptions/<subscription_id>/update")
    def update_subscription(session_id: str, subscription_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        subscription = _subscription(view, subscription_id)
        price_id = request.form.get("price", "")
        if price_id not in {price["id"] for price in subscription["switch_prices"]}:
            problem = "Choose the plan to change to."
            page = _page("switch.html", session_id, view, subscription=subscription, chosen=None, refusal=problem)
            return page, 400
        try:
            portal.portal_switch_price(store, session_id, subscription_id, price_id)
        except StripeError as error:
            page = _page(
                "switch.html", session_id, view, subscription=subscription, chosen=price_id, refusal=error.message
            )
            return page, error.http_status
        return done(session_id, portal.portal_view(store, session_id), "updated")


def _add_payment_method(pages: Blueprint, store: Store) -> None:
    @pages.get("/p/session/<session_id>/payment-method")
    def show_payment_method(session_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        if not view["can_update_card"]:
            return redirect(url_for("hosted.show_portal", session_id=session_id, done="nothing"), 303)
        return _page("payment_method.html", session_id, view, values={}, errors={}, test_cards=TEST_CARDS)

    @pages.post("/p/session/<session_id>/payment-method")
    def update_payment_method(session_id: str) -> ResponseReturnValue:
        view = portal.portal_view(store, session_id)
        form = read_card_form(MultiDict(request.form), needs_email=False, needs_address=False)
        status = 400
        if not form.errors:
            try:
                portal.portal_update_card(
                    store,
                    session_id,
                    form.card_number,
                    form.exp_month,
                    form.exp_year,
                    form.cvc,
                    form.values["billingName"],
                )
                return done(session_id, portal.portal_view(store, session_id), "card")
            except StripeError as error:
                form.errors["cardNumber"], status = error.message, error.http_status
        page = _page(
            "payment_method.html", session_id, view, values=form.values, errors=form.errors, test_cards=TEST_CARDS
        )
        return page, status


def _page(template: str, session_id: str, view: dict[str, Any], **context: Any) -> str:
    return_url = view["return_url"] if is_web_address(view["return_url"]) else None
    profile = view["profile"]
    named = (("Terms of service", profile["terms_of_service_url"]), ("Privacy policy", profile["privacy_policy_url"]))
    links = [(label, address) for label, address in named if is_web_address(address)]
    return render_template(
        f"hosted/{template}", session_id=session_id, view=view, return_url=return_url, links=links, **context
    )


def _subscription(view: dict[str, Any], subscription_id: str) -> dict[str, Any]:
    for subscription in view["subscriptions"]:
        if subscription["id"] == subscription_id:
            found: dict[str, Any] = subscription
            return found
    raise missing("subscription", subscription_id)


def _flow_target(session_id: str, view: dict[str, Any]) -> str | None:
    """Find the page that the session's flow_data links to; a finished flow leads to the overview."""
    flow = view["flow"]
    if not flow:
        return None
    details = flow.get(flow["type"]) or {}
    subscription_id = details.get("subscription")
    known = {subscription["id"]: subscription for subscription in view["subscriptions"]}
    if flow["type"] == "customer_update":
        return url_for("hosted.show_customer", session_id=session_id)
    if flow["type"] == "payment_method_update":
        return url_for("hosted.show_payment_method", session_id=session_id)
    if flow["type"] == "subscription_cancel" and known.get(subscription_id, {}).get("can_cancel"):
        return url_for("hosted.show_cancel", session_id=session_id, subscription_id=subscription_id)
    if flow["type"] == "subscription_update" and subscription_id in known:
        return url_for("hosted.show_update", session_id=session_id, subscription_id=subscription_id)
    if flow["type"] == "subscription_update_confirm" and subscription_id in known:
        price_id = next((item.get("price") for item in details.get("items") or []), None)
        return url_for("hosted.show_update", session_id=session_id, subscription_id=subscription_id, price=price_id)
    return None


def done(session_id: str, view: dict[str, Any], word: str) -> ResponseReturnValue:
    """Go where the flow says after its last step, else to the overview with a notice."""
    completion = (view["flow"] or {}).get("after_completion") or {}
    if completion.get("type") == "redirect":
        target = str((completion.get("redirect") or {}).get("return_url"))
        if is_web_address(target):
            return redirect(target, 303)
    if completion.get("type") == "hosted_confirmation":
        message = (completion.get("hosted_confirmation") or {}).get("custom_message") or NOTICES[word]
        return render_template("hosted/message.html", title="Done", message=message)
    return redirect(url_for("hosted.show_portal", session_id=session_id, done=word), 303)


def refused(store: Store, session_id: str, error: StripeError) -> ResponseReturnValue:
    """Show the overview with the reason why a step was refused."""
    view = portal.portal_view(store, session_id)
    return _page("portal.html", session_id, view, refusal=error.message), error.http_status
