"""Forced faults and the requests that met them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from ..dispatch import Dispatcher
from ..errors import StripeError
from ..faults import RATE_REASONS, FaultRefused
from ..rates import FIELDS
from ..resources import all_routes
from .place import Place, open_place, typed

REQUESTS_SHOWN = 200
KINDS = [
    ("status:401", "401: the key is rejected"),
    ("status:402", "402: the card is declined"),
    ("status:409", "409: the idempotency key is in use"),
    *((f"status:429:{reason}", f"429: too many requests ({reason})") for reason in RATE_REASONS),
    ("status:429:lock_timeout", "429: the object is locked"),
    ("limit:25", "429 beyond 25 requests a second"),
    ("status:400:idempotency_error", "400: same idempotency key, other parameters"),
    ("status:500", "500: Stripe failed"),
    ("status:503", "503: Stripe is unavailable"),
    ("reset", "The connection is cut, nothing happens"),
    ("hang", "Silence, nothing happens"),
    ("timeout_after_effect", "It happens, then silence"),
    ("reset_after_effect", "It happens, then the connection is cut"),
]
NOTICES = {
    "added": "The fault is in force.",
    "removed": "The fault is lifted.",
    "limited": "The limits are in force.",
    "measured": "Measuring anew.",
}


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the pages of faults and requests."""

    def faults_page(place: Place, **more: Any) -> str:
        rules = [rule for rule in dispatcher.faults.list(place.account) if rule["mode"] in (None, place.mode)]
        paths = sorted({f"{method} {path.replace('{id}', '*')}" for method, path, _ in all_routes()})
        values = {"match": "POST /v1/checkout/sessions", "do": "status:500", "nth": 1, "times": 1, "seconds": 30}
        return place.page(
            "faults",
            "faults",
            rules=rules,
            kinds=KINDS,
            paths=paths,
            rate=dispatcher.rates.shown(place.account),
            **{"values": values, **more},
        )

    _add_rates(pages, dispatcher, faults_page)
    _add_requests(pages, dispatcher)

    @pages.get("/accounts/<account>/<mode>/faults")
    def list_faults(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(dispatcher.store, account, mode)
        return faults_page(place, done=NOTICES.get(request.args.get("done", "")))

    @pages.post("/accounts/<account>/<mode>/faults")
    def add_fault(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(dispatcher.store, account, mode)
        fields: dict[str, Any] = dict(typed())
        wanted = {"account_id": account, "mode": mode, "match": fields.get("match"), "do": fields.get("do")}
        # A limit is not an incident that can be counted: it lasts until it is lifted.
        counted = () if str(wanted["do"]).startswith("limit:") else ("nth", "times", "seconds")
        for name in counted:
            text = fields.get(name, "")
            if text:
                wanted[name] = int(text) if text.isdigit() else text
        try:
            dispatcher.faults.add(wanted)
        except FaultRefused as error:
            return faults_page(place, error=str(error), values=fields), 400
        return redirect(place.url("list_faults", done="added"), 303)

    @pages.post("/accounts/<account>/<mode>/faults/<int:rule_id>/remove")
    def remove_fault(account: str, mode: str, rule_id: int) -> ResponseReturnValue:
        place = open_place(dispatcher.store, account, mode)
        dispatcher.faults.remove(rule_id)
        return redirect(place.url("list_faults", done="removed"), 303)


def _add_rates(pages: Blueprint, dispatcher: Dispatcher, faults_page: Callable[..., str]) -> None:
    @pages.post("/accounts/<account>/<mode>/rate")
    def limit_rate(account: str, mode: str) -> ResponseReturnValue:
        place, fields = open_place(dispatcher.store, account, mode), typed()
        wanted: dict[str, Any] = {}
        for name in FIELDS:
            text = fields.get(name, "")
            wanted[name] = (int(text) if text.isdigit() else text) if text else None
        try:
            dispatcher.rates.limit(account, wanted)
        except StripeError as error:
            return faults_page(place, error=error.message), 400
        return redirect(place.url("list_faults", done="limited"), 303)

    @pages.post("/accounts/<account>/<mode>/rate/reset")
    def measure_anew(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(dispatcher.store, account, mode)
        dispatcher.rates.reset(account)
        return redirect(place.url("list_faults", done="measured"), 303)


def _add_requests(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.get("/accounts/<account>/<mode>/requests")
    def list_requests(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(dispatcher.store, account, mode)
        entries = [entry for entry in dispatcher.log.list(account) if entry["livemode"] == place.ctx.livemode]
        return place.page("requests", "requests", rows=entries[: -REQUESTS_SHOWN - 1 : -1])
