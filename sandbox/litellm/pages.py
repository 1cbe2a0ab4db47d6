"""The stand-in's page: which users there are, what they may use and have used, and two buttons that try it.

Invariant: it shows no key (except once, when a proxy is made), works without JavaScript and takes orders from itself only.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .. import clock
from ..console.guard import add_guard
from ..errors import StripeError
from ..store import Store, Tx
from . import state
from .state import Proxy

NAME_LENGTH_MAX = 200
TRY_COST = 1.0
BY_HAND_BUDGET = 1000
DONE = {"spent": "One dollar more was used up.", "changed": "The budget was changed, as somebody at LiteLLM might."}


def add_routes(routes: Blueprint, store: Store) -> None:
    """Add the pages."""
    add_guard(routes, lambda path: path.rstrip("/") == "/_litellm" or path.startswith("/_litellm/_proxies"))

    @routes.get("/_litellm", strict_slashes=False)
    def show_proxies() -> ResponseReturnValue:
        return _proxies_page(store)

    @routes.post("/_litellm/_proxies")
    def make_proxy() -> ResponseReturnValue:
        name = request.form.get("name", "").strip()
        if not 1 <= len(name) <= NAME_LENGTH_MAX:
            return _proxies_page(store, error=f"A name has 1 to {NAME_LENGTH_MAX} characters."), 400
        with store.transaction() as tx:
            proxy, key = state.create_proxy(tx, name)
        return _proxies_page(store, made=proxy, key=key), 201

    @routes.get("/_litellm/_proxies/<proxy_id>")
    def show_users(proxy_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            proxy = _found(tx, proxy_id)
            users = [_shown(tx, proxy, user) for user in state.list_users(tx, proxy)]
        done = DONE.get(request.args.get("done", ""))
        return render_template(
            "litellm/users.html", proxy=proxy, users=users, done=done, now=clock.now(), tab="", base=_base()
        )

    @routes.post("/_litellm/_proxies/<proxy_id>/try")
    def try_user(proxy_id: str) -> ResponseReturnValue:
        user_id, what = request.form.get("user_id", ""), request.form.get("what")
        with store.transaction() as tx:
            proxy = _found(tx, proxy_id)
            user = state.find_user(tx, proxy, user_id)
            if user is None or what not in DONE:
                raise StripeError("There is no such user, or nothing like that to do.", http_status=404)
            if what == "spent":
                state.add_call(tx, proxy, user_id, cost=TRY_COST, tokens=0)
            else:
                user.pop("spend")
                state.save_user(tx, proxy, {**user, "max_budget": BY_HAND_BUDGET})
        return redirect(url_for("litellm.show_users", proxy_id=proxy_id, done=what), 303)


def _found(tx: Tx, proxy_id: str) -> Proxy:
    proxy = state.find_proxy(tx, proxy_id)
    if proxy is None:
        raise StripeError("There is no such proxy.", http_status=404)
    return proxy


def _proxies_page(store: Store, **more: Any) -> str:
    with store.read() as tx:
        rows = [(proxy, len(state.list_users(tx, proxy))) for proxy in state.list_proxies(tx)]
    return render_template("litellm/proxies.html", rows=rows, now=clock.now(), tab="", base=_base(), **more)


def _base() -> str:
    return f"{request.host_url}_litellm"


def _shown(tx: Tx, proxy: Proxy, user: dict[str, Any]) -> dict[str, Any]:
    spent = state.enforced_spend(tx, proxy, user["user_id"])
    budget = user["max_budget"]
    return {
        **user,
        "spent": spent,
        "blocked": budget is not None and spent >= budget,
        "keys": len(state.list_keys(tx, proxy, user["user_id"])),
        "plan": (user["metadata"].get("payments") or {}).get("plan") if isinstance(user["metadata"], dict) else None,
    }
