"""Test clocks: what lies ahead on each, and going there."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from .. import control_time
from ..dispatch import Dispatcher
from ..errors import StripeError
from .place import Place, open_place, typed

NOTICES = {"advanced": "The clock has been moved.", "made": "The customer lives on a test clock now."}
WORDS = {
    "next": "whatever comes first",
    "renewal": "next renewal",
    "trial_end": "end of a trial",
    "trial_will_end": "announcement of a trial's end",
    "upcoming": "announcement of an invoice",
    "payment": "next renewal and its payment",
    "finalization": "finalization of a draft",
    "retry": "next retry of a payment",
    "end": "planned end",
    "expiry": "expiry of an incomplete one",
    "pending_update_expiry": "expiry of a pending change",
    "collection_resumes": "end of a pause",
    "session_expiry": "expiry of a checkout",
}
STEPS = [("3600", "1 hour"), ("86400", "1 day"), ("604800", "1 week")]


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the page of test clocks."""
    store = dispatcher.store

    def clocks_page(place: Place, **more: Any) -> str:
        with store.read() as tx:
            clocks = [
                {**clock, "ahead": _ahead(clock["agenda"])}
                for clock in control_time.clocks_of(tx, place.account)
                if clock["livemode"] == place.ctx.livemode
            ]
            free = [customer for customer in tx.find(place.ctx, "customer") if not customer.get("test_clock")][:-51:-1]
        return place.page("clocks", "clocks", clocks=clocks, customers=free, words=WORDS, steps=STEPS, **more)

    @pages.get("/accounts/<account>/<mode>/clocks")
    def list_clocks(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        return clocks_page(place, done=NOTICES.get(request.args.get("done", "")))

    @pages.post("/accounts/<account>/<mode>/clocks/<clock_id>/advance")
    def advance_clock(account: str, mode: str, clock_id: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        with store.read() as tx:
            if tx.get(place.ctx, control_time.timeline.CLOCK, clock_id) is None:
                raise StripeError(f"There is no clock {clock_id} in this account and mode.", http_status=404)
        fields = typed()
        wish: dict[str, Any] = {"to": fields["to"]} if "to" in fields else {}
        if fields.get("seconds", "").isdigit():
            wish["seconds"] = int(fields["seconds"])
        try:
            control_time.advance(store, clock_id, wish)
        except (control_time.TimeRefused, StripeError) as error:
            return clocks_page(place, error=str(error)), 400
        return redirect(place.url("list_clocks", done="advanced"), 303)

    @pages.post("/accounts/<account>/<mode>/clocks")
    def put_on_clock(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        customer = typed().get("customer", "")
        with store.read() as tx:
            known = tx.get(place.ctx, "customer", customer)
        if known is None:
            return clocks_page(place, error="Choose a customer."), 400
        try:
            control_time.put_on_clock(store, customer)
        except StripeError as error:
            return clocks_page(place, error=error.message), error.http_status
        return redirect(place.url("list_clocks", done="made"), 303)


def _ahead(agenda: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the first of each kind of thing that lies ahead, soonest first."""
    first: dict[str, dict[str, Any]] = {}
    for entry in sorted(agenda, key=lambda each: int(each["at"])):
        first.setdefault(entry["event"], entry)
    return list(first.values())
