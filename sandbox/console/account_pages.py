"""Accounts, their objects, and one object with its buttons and events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .. import accounts, clock, redelivery
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..store import Store, Tx
from . import views
from .actions import ACTIONS, carry_out, offered
from .place import Place, open_place, place_of, typed

NAME_LENGTH_MAX = 200
RECENT = 10
# Answers that hold a secret which is shown this once.
SHOWS_SECRET = "roll"
LABELS = {(action.object_type, action.name): action.label for action in ACTIONS}


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the pages of accounts and objects."""
    _add_accounts(pages, dispatcher.store)
    _add_objects(pages, dispatcher)


def _add_accounts(pages: Blueprint, store: Store) -> None:
    @pages.get("", strict_slashes=False)
    def show_accounts() -> ResponseReturnValue:
        return render_template("console/accounts.html", rows=_account_rows(store), tab="", base=request.host_url)

    @pages.post("/accounts")
    def create_account() -> ResponseReturnValue:
        name = typed().get("name", "")
        if not 1 <= len(name) <= NAME_LENGTH_MAX:
            error = f"A name has 1 to {NAME_LENGTH_MAX} characters."
            page = render_template(
                "console/accounts.html", rows=_account_rows(store), tab="", base=request.host_url, error=error
            )
            return page, 400
        made = accounts.create_account(store, name, clock.now())
        return render_template("console/account_made.html", made=made, tab="", base=request.host_url), 201

    @pages.get("/accounts/<account>/<mode>")
    def show_overview(account: str, mode: str) -> ResponseReturnValue:
        with store.read() as tx:
            place = place_of(tx, account, mode)
            events, _ = views.list_rows(tx, place.ctx, "event")
            return place.page(
                "overview",
                "overview",
                counts=views.count_types(tx, place.ctx),
                events=events[:RECENT],
                endpoints=[views.row_of(endpoint) for endpoint in tx.find(place.ctx, "webhook_endpoint")],
                keys=[key for key in views.keys_of(tx, account) if key["mode"] == mode],
                base=request.host_url,
            )


def _account_rows(store: Store) -> list[dict[str, Any]]:
    with store.read() as tx:
        numbers = {
            row["account"]: row["number"]
            for row in tx.execute("SELECT account, count(*) AS number FROM objects WHERE deleted = 0 GROUP BY account")
        }
        rows = accounts.list_accounts(tx)
    return [{**row, "objects": numbers.get(row["account_id"], 0)} for row in reversed(rows)]


def _add_objects(pages: Blueprint, dispatcher: Dispatcher) -> None:
    store = dispatcher.store

    @pages.get("/accounts/<account>/<mode>/objects")
    def list_objects(account: str, mode: str) -> ResponseReturnValue:
        with store.read() as tx:
            place = place_of(tx, account, mode)
            counts = views.count_types(tx, place.ctx)
            wanted = request.args.get("type") or next(
                (name for name, _ in counts if name == "subscription"), counts[0][0] if counts else ""
            )
            before = request.args.get("before", type=int)
            rows, following = views.list_rows(tx, place.ctx, wanted, before=before)
        return place.page(
            "objects", "objects", counts=counts, wanted=wanted, rows=rows, following=following, before=before
        )

    @pages.get("/accounts/<account>/<mode>/find")
    def find(account: str, mode: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        wanted = request.args.get("id", "").strip()
        return redirect(place.url("show_object", object_id=wanted) if wanted else place.url("list_objects"), 303)

    @pages.get("/accounts/<account>/<mode>/objects/<object_id>")
    def show_object(account: str, mode: str, object_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            place = place_of(tx, account, mode)
            return _object_page(tx, place, object_id, pressed=request.args.get("done", ""))

    @pages.post("/accounts/<account>/<mode>/objects/<object_id>/<action>")
    def act(account: str, mode: str, object_id: str, action: str) -> ResponseReturnValue:
        place = open_place(store, account, mode)
        with store.read() as tx:
            found = views.find_object(tx, place.ctx, object_id)
        if found is None:
            raise StripeError(f"There is no {object_id} here.", http_status=404)
        try:
            result = carry_out(store, dispatcher.router, place.ctx, found[0]["object"], object_id, action, typed())
        except StripeError as error:
            with store.read() as tx:
                return _object_page(tx, place, object_id, error=error.message), error.http_status
        if action == SHOWS_SECRET:
            with store.read() as tx:
                return _object_page(tx, place, object_id, pressed=action, secret=result["secret"])
        return redirect(place.url("show_object", object_id=object_id, done=action), 303)


def _object_page(tx: Tx, place: Place, object_id: str, *, pressed: str = "", **notes: Any) -> str:
    found = views.find_object(tx, place.ctx, object_id)
    if found is None:
        raise StripeError(f"There is no {object_id} in this account and mode.", http_status=404)
    obj, is_deleted = found
    is_event = obj["object"] == "event"
    label = LABELS.get((obj["object"], pressed))
    return place.page(
        "object",
        "events" if is_event else "objects",
        obj=obj,
        row=views.row_of(obj),
        is_deleted=is_deleted,
        body=views.body_html(obj, place.account, place.mode),
        actions=[] if is_deleted else offered(obj),
        events=[] if is_event else views.events_about(tx, place.ctx, object_id),
        deliveries=redelivery.list_deliveries(tx, place.account, event_id=object_id) if is_event else [],
        list_url=url_for("console.list_objects", account=place.account, mode=place.mode, type=obj["object"]),
        done=f"Done: {label}." if label else None,
        **notes,
    )
