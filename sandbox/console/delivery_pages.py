"""Events and their deliveries: what was sent, what was answered, and sending again in any order."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from .. import delivery, disorder, redelivery
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..store import Store
from . import views
from .api import REPLAY_MAX, wanted_number, wanted_order
from .place import open_place, place_of, typed

STATES = ("pending", "sending", "succeeded", "failed", "lost", "canceled")
# What the address may say was just done; nothing else from an address is shown.
NOTICES = {
    "held": "Deliveries are held back.",
    "released": "Deliveries go on, in the order you chose.",
    "replayed": "The events are on their way again.",
    "disordered": "From now on deliveries go astray as you chose.",
    "ordered": "From now on deliveries arrive as they should.",
}


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the pages of events and deliveries."""
    store = dispatcher.store
    _add_sending(pages, store)
    _add_disorder(pages, store)

    @pages.get("/accounts/<account>/<mode>/events")
    def list_events(account: str, mode: str) -> ResponseReturnValue:
        kind = request.args.get("kind", "").strip()
        with store.read() as tx:
            place = place_of(tx, account, mode)
            before = request.args.get("before", type=int)
            rows, following = views.list_rows(tx, place.ctx, "event", before=before, kind=kind)
        return place.page("events", "events", rows=rows, following=following, kind=kind, before=before)

    @pages.get("/accounts/<account>/<mode>/deliveries")
    def list_deliveries(account: str, mode: str) -> ResponseReturnValue:
        state = request.args.get("state", "")
        with store.read() as tx:
            place = place_of(tx, account, mode)
            found = redelivery.list_deliveries(tx, account, state=state if state in STATES else None, limit=200)
            held_for_all = delivery.is_paused(tx)
            held = held_for_all or disorder.is_held(tx, account, place.ctx.livemode)
            astray = disorder.shown(tx, account)
        rows = [row for row in found if row["livemode"] == place.ctx.livemode]
        notice = NOTICES.get(request.args.get("done", ""))
        return place.page(
            "deliveries", "deliveries", rows=rows, state=state, states=STATES, held=held, done=notice,
            orders=redelivery.ORDERS, held_for_all=held_for_all, astray=astray,
        )  # fmt: skip

    @pages.get("/accounts/<account>/<mode>/deliveries/<int:delivery_id>")
    def show_delivery(account: str, mode: str, delivery_id: int) -> ResponseReturnValue:
        with store.read() as tx:
            place = place_of(tx, account, mode)
            found = redelivery.delivery_of(tx, delivery_id)
        if found is None or (found["account"], found["livemode"]) != (account, place.ctx.livemode):
            raise StripeError(f"There is no delivery {delivery_id} in this account and mode.", http_status=404)
        body = views.body_html(views.parsed(found["body"]), account, mode)
        return place.page("delivery", "deliveries", row=found, body=body)


def _add_sending(pages: Blueprint, store: Store) -> None:
    @pages.post("/accounts/<account>/<mode>/deliveries/hold")
    def hold(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        if typed().get("whose") == "all":
            delivery.set_paused(store, True)
        else:
            with store.transaction() as tx:
                disorder.hold(tx, account, (place.ctx.livemode,))
        return redirect(place.url("list_deliveries", done="held"), 303)

    @pages.post("/accounts/<account>/<mode>/deliveries/release")
    def release(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        order, gap = wanted_order({"order": typed().get("order", "recorded")})
        with store.transaction() as tx:
            whose = None if delivery.is_paused(tx) else account
            redelivery.release(tx, order=order, gap_seconds=gap, account_id=whose, modes=(place.ctx.livemode,))
            disorder.let_go(tx, account, (place.ctx.livemode,))
        return redirect(place.url("list_deliveries", done="released"), 303)

    @pages.post("/accounts/<account>/<mode>/deliveries/replay")
    def replay(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        fields = typed()
        order, gap = wanted_order({"order": fields.get("order", "recorded")})
        last = wanted_number(fields, "last", 20, REPLAY_MAX)
        with store.transaction() as tx:
            redelivery.replay(tx, place.ctx, last=last, order=order, gap_seconds=gap)
        return redirect(place.url("list_deliveries", done="replayed"), 303)


def _add_disorder(pages: Blueprint, store: Store) -> None:
    @pages.post("/accounts/<account>/<mode>/deliveries/disorder")
    def cause_disorder(account: str, mode: str) -> ResponseReturnValue:
        place, fields = open_place(store, account, mode), typed()
        wanted = {
            "drop": _share(fields, "drop"),
            "duplicate": _share(fields, "duplicate"),
            "late_seconds": _figure(fields, "late_seconds"),
            "seed": int(_figure(fields, "seed")),
            "mode": mode,
        }
        with store.transaction() as tx:
            disorder.cause(tx, account, disorder.checked(wanted))
        return redirect(place.url("list_deliveries", done="disordered"), 303)

    @pages.post("/accounts/<account>/<mode>/deliveries/order")
    def end_disorder(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        with store.transaction() as tx:
            disorder.end(tx, account)
        return redirect(place.url("list_deliveries", done="ordered"), 303)


def _figure(fields: dict[str, str], name: str) -> float:
    try:
        return float(fields.get(name) or 0)
    except ValueError:
        raise StripeError(f"{name} must be a number", param=name) from None


def _share(fields: dict[str, str], name: str) -> float:
    """Read a share that was typed in per cent."""
    return _figure(fields, name) / 100
