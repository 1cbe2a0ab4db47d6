"""What Stripe's Dashboard sets: keys, restricted ones among them, and how failed payments are tried again."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from .. import accounts, permissions
from ..billing import preferences
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..store import Tx
from . import views
from .place import Place, open_place, place_of, typed

NOTICES = {"expired": "The key is not accepted any more.", "saved": "Saved."}
AFTER_RETRIES = {
    "cancel": "cancel the subscription",
    "unpaid": "mark the subscription as unpaid",
    "past_due": "leave the subscription past due",
}


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the page of an account's settings and what its forms do."""
    store = dispatcher.store

    @pages.get("/accounts/<account>/<mode>/settings")
    def show_settings(account: str, mode: str) -> ResponseReturnValue:
        with store.read() as tx:
            place = place_of(tx, account, mode)
            return _page(tx, place, done=NOTICES.get(request.args.get("done", "")))

    @pages.post("/accounts/<account>/<mode>/keys")
    def make_key(account: str, mode: str) -> ResponseReturnValue:
        place, fields = open_place(store, account, mode), typed()
        granted = {name: fields[name] for name in permissions.NAMES if fields.get(name) in ("read", "write")}
        with store.transaction() as tx:
            if not granted:
                error = "Give the key at least one permission."
                return _page(tx, place, error=error, granted=granted), 400
            made = accounts.create_restricted_key(tx, account, granted, livemode=place.ctx.livemode)
            return _page(tx, place, made=made, granted=granted), 201

    @pages.post("/accounts/<account>/<mode>/keys/<int:number>/expire")
    def expire_key(account: str, mode: str, number: int) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        with store.transaction() as tx:
            changed = tx.execute(
                "UPDATE api_keys SET expired = 1 WHERE rowid = ? AND account = ? AND livemode = ?",
                (number, account, int(place.ctx.livemode)),
            ).rowcount
        if not changed:
            raise StripeError("There is no such key in this account and mode.", http_status=404)
        return redirect(place.url("show_settings", done="expired"), 303)

    @pages.post("/accounts/<account>/<mode>/billing")
    def save_billing(account: str, mode: str) -> ResponseReturnValue:
        place, fields = open_place(store, account, mode), typed()
        try:
            with store.transaction() as tx:
                preferences.set_preferences(tx, account, _wanted(fields))
        except (preferences.PreferenceRefused, StripeError) as error:
            with store.read() as tx:
                return _page(tx, place, error=str(error), billing=fields), 400
        return redirect(place.url("show_settings", done="saved"), 303)


def _wanted(fields: dict[str, str]) -> dict[str, Any]:
    try:
        hours = [float(word) for word in fields.get("retry_hours", "").replace(",", " ").split()]
        days = int(fields.get("upcoming_days", ""))
    except ValueError:
        raise StripeError("Hours and days must be numbers.") from None
    return {"retry_hours": hours, "after_retries": fields.get("after_retries"), "upcoming_days": days}


def _page(tx: Tx, place: Place, **more: Any) -> str:
    kept = preferences.as_json(preferences.preferences_of(tx, place.account))
    billing = {**kept, "retry_hours": ", ".join(f"{hours:g}" for hours in kept["retry_hours"])}
    keys = [key for key in views.keys_of(tx, place.account) if key["mode"] == place.mode]
    values = {"billing": billing, "granted": {}, **more}
    return place.page("settings", "settings", keys=keys, names=permissions.NAMES, after_retries=AFTER_RETRIES, **values)
