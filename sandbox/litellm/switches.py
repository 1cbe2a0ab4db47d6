"""The stand-in's switches under /_sandbox/api/litellm: JSON, no key, for tests and demos on loopback."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from ..control import NAME_LENGTH_MAX, ControlRefused
from ..faults import Faults, RequestLog
from ..store import Store, Tx
from . import state
from .state import DEFAULTS, Proxy

BASE = "/_sandbox/api/litellm"


def found(tx: Tx, proxy_id: str) -> Proxy:
    """Find a proxy. Raises: ControlRefused 404."""
    proxy = state.find_proxy(tx, proxy_id)
    if proxy is None:
        raise ControlRefused(f"no proxy {proxy_id}", 404)
    return proxy


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True) if request.data else {}
    if not isinstance(body, dict):
        raise ControlRefused("the body must be a JSON object")
    return body


def add_routes(routes: Blueprint, store: Store, rules: Faults, log: RequestLog) -> None:
    """Add the switches."""
    _add_proxies(routes, store)
    _add_faults(routes, store, rules, log)


def _add_proxies(routes: Blueprint, store: Store) -> None:
    @routes.post(BASE)
    def create_proxy() -> ResponseReturnValue:
        name = _body().get("name")
        if not isinstance(name, str) or not 1 <= len(name.strip()) <= NAME_LENGTH_MAX:
            raise ControlRefused(f"name must be a text of 1 to {NAME_LENGTH_MAX} characters")
        with store.transaction() as tx:
            proxy, key = state.create_proxy(tx, name.strip())
        shown = {"proxy_id": proxy.id, "name": proxy.name, "base_url": f"{store.public_url}/_litellm"}
        return jsonify(**shown, master_key=key), 201

    @routes.post(f"{BASE}/<proxy_id>/settings")
    def change_settings(proxy_id: str) -> ResponseReturnValue:
        body = _body()
        unknown = set(body) - set(DEFAULTS)
        if unknown:
            raise ControlRefused(f"unknown field {sorted(unknown)[0]}")
        with store.transaction() as tx:
            return jsonify(state.change_settings(tx, found(tx, proxy_id), body).settings)

    @routes.post(f"{BASE}/<proxy_id>/roll")
    def roll_key(proxy_id: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            return jsonify(master_key=state.change_master_key(tx, found(tx, proxy_id)))

    @routes.get(f"{BASE}/<proxy_id>/users")
    def list_users(proxy_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            proxy = found(tx, proxy_id)
            users = state.list_users(tx, proxy)
            for user in users:
                user["enforced_spend"] = state.enforced_spend(tx, proxy, user["user_id"])
                user["keys"] = state.list_keys(tx, proxy, user["user_id"])
        return jsonify(data=users)

    @routes.post(f"{BASE}/<proxy_id>/spend")
    def spend(proxy_id: str) -> ResponseReturnValue:
        body = _body()
        cost = body.get("cost")
        if isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
            raise ControlRefused("cost must be a number of dollars")
        with store.transaction() as tx:
            proxy = found(tx, proxy_id)
            if state.find_user(tx, proxy, str(body.get("user_id"))) is None:
                raise ControlRefused("no such user", 404)
            state.add_call(tx, proxy, str(body["user_id"]), cost=float(cost), tokens=0)
        return jsonify(spent=cost)


def _add_faults(routes: Blueprint, store: Store, rules: Faults, log: RequestLog) -> None:
    @routes.post(f"{BASE}/<proxy_id>/faults")
    def add_fault(proxy_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            proxy = found(tx, proxy_id)
        return jsonify(rules.add({**_body(), "account_id": proxy.id})), 201

    @routes.delete(f"{BASE}/<proxy_id>/faults")
    def clear_faults(proxy_id: str) -> ResponseReturnValue:
        rules.clear(proxy_id)
        return jsonify(cleared=True)

    @routes.get(f"{BASE}/<proxy_id>/requests")
    def list_requests(proxy_id: str) -> ResponseReturnValue:
        return jsonify(data=log.list(proxy_id))
