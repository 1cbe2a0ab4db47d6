"""LiteLLM's calls for users, as docs/litellm.md lists them. What it does not list is not here, or marked there as a guess."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from flask import Request, Response

from ..store import Store, Tx
from . import state
from .resets import is_duration, reset_after
from .state import Proxy

Object = dict[str, Any]
Handler = Callable[[Tx, Proxy, Object], Any]
CLEARED_BY_NULL = ("max_budget", "budget_duration", "tpm_limit", "rpm_limit")
ROLES = ("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer", "team", "customer")
KINDS: dict[str, tuple[type, ...]] = {
    "user_id": (str,),
    "user_email": (str,),
    "user_alias": (str,),
    "user_role": (str,),
    "max_budget": (int, float),
    "budget_duration": (str,),
    "tpm_limit": (int,),
    "rpm_limit": (int,),
    "max_parallel_requests": (int,),
    "models": (list,),
    "metadata": (dict,),
    "teams": (list,),
    "spend": (int, float),
    "auto_create_key": (bool,),
}
STORED = tuple(name for name in KINDS if name not in ("spend", "auto_create_key", "user_id"))
CALL_COST, CALL_TOKENS = 0.01, 100


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Object) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body


def error(status: int, message: str, kind: str = "None", param: str = "None") -> Refused:
    """Make a refusal in the usual form."""
    return Refused(status, {"error": {"message": message, "type": kind, "param": param, "code": str(status)}})


def invalid(name: str, message: str, kind: str = "value_error") -> Refused:
    """Make a refusal of a field."""
    return Refused(422, {"detail": [{"type": kind, "loc": ["body", name], "msg": message}]})


def bearer(request: Request) -> str:
    """Read the key of a request; "" without one."""
    scheme, _, key = (request.headers.get("Authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def proxy_of(tx: Tx, key: str) -> Proxy:
    """Find the proxy whose master key this is. Raises: Refused 401, and 403 for a key of a user."""
    proxy = state.proxy_of_master_key(tx, key) if key else None
    if proxy is None:
        if key and state.find_key(tx, key):
            raise error(403, "Only proxy admins may do this.", "auth_error")
        raise error(401, "Authentication Error, Invalid proxy server token passed.", "auth_error", "api_key")
    return proxy


def body_of(request: Request) -> Object:
    """Read a body. Raises: Refused 422."""
    try:
        body = json.loads(request.get_data() or b"{}")
    except ValueError:
        raise invalid("0", "JSON decode error", "json_invalid") from None
    if not isinstance(body, dict):
        raise invalid("0", "Input should be a valid dictionary", "model_attributes_type")
    for name, kinds in KINDS.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise invalid(name, f"Input should be a valid {kinds[0].__name__}", f"{kinds[0].__name__}_type")
    if body.get("user_role") not in (None, *ROLES):
        raise invalid("user_role", "Input should be a role", "enum")
    duration = body.get("budget_duration")
    if duration is not None and not is_duration(duration):
        raise error(400, "Invalid budget_duration")
    return body


def new_user(tx: Tx, proxy: Proxy, body: Object) -> Object:
    """POST /user/new."""
    user_id, email = body.get("user_id") or str(uuid.uuid4()), body.get("user_email")
    if state.find_user(tx, proxy, user_id):
        raise error(409, f"User with id {user_id} already exists")
    if email and state.user_of_email(tx, proxy, email):
        raise error(409, f"User with email {email} already exists")
    user = _blank(proxy, user_id) | {name: body[name] for name in STORED if body.get(name) is not None}
    if user["max_budget"] is None:
        user["max_budget"] = proxy.settings["default_max_budget"]
    _set_reset(proxy, user)
    state.insert_user(tx, proxy, user)
    if body.get("spend"):
        state.set_spend(tx, proxy, user_id, float(body["spend"]))
    made = state.create_key(tx, proxy, user_id, None) if body.get("auto_create_key", True) else {}
    return {**_row(tx, proxy, user_id), "key": made.get("key", ""), "key_name": made.get("key_name")}


def update_user(tx: Tx, proxy: Proxy, body: Object) -> Object:
    """POST /user/update: makes a user who is not there, silently."""
    user_id, email = body.get("user_id"), body.get("user_email")
    if not user_id and not email:
        raise invalid("user_id", "Either user_id or user_email must be provided")
    made_of_email = False
    if not user_id:
        user_id = state.user_of_email(tx, proxy, str(email))
        made_of_email, user_id = user_id is None, user_id or str(uuid.uuid4())
    user = state.find_user(tx, proxy, user_id)
    if user is None:
        user = _blank(proxy, user_id)
        state.insert_user(tx, proxy, user)
    for name in [name for name in STORED if name not in proxy.settings["ignored_fields"]]:
        value = body.get(name)
        # Nulls of other fields and empty lists and objects are passed over.
        if name in body and (value not in (None, [], {}) or (value is None and name in CLEARED_BY_NULL)):
            user[name] = value
    if "budget_duration" in body:
        _set_reset(proxy, user)
    user["updated_at"] = state.moment(proxy.now)
    user.pop("spend", None)
    state.save_user(tx, proxy, user)
    if body.get("spend") is not None:
        state.set_spend(tx, proxy, user_id, float(body["spend"]))
    if made_of_email:
        # The row is there, and yet the answer is a refusal.
        raise Kept(400, {"error": {"message": "user not found", "type": "None", "param": "None", "code": "400"}})
    return {"user_id": user_id, "data": _row(tx, proxy, user_id)}


class Kept(Refused):
    """A refusal that comes after something was written, and leaves it."""


def delete_users(tx: Tx, proxy: Proxy, body: Object) -> Any:
    """POST /user/delete: all of them or none."""
    wanted = body.get("user_ids")
    if not isinstance(wanted, list):
        raise invalid("user_ids", "Field required", "missing")
    for user_id in wanted:
        if state.find_user(tx, proxy, str(user_id)) is None:
            raise Refused(404, {"detail": {"error": f"User not found, passed user_id={user_id}"}})
    for user_id in wanted:
        state.delete_user(tx, proxy, str(user_id))
    return len(wanted)


def user_info_v2(tx: Tx, proxy: Proxy, query: Object) -> Object:
    """GET /v2/user/info."""
    row = _known(tx, proxy, query)
    if proxy.settings["thin_info"]:
        row = {name: value for name, value in row.items() if name not in ("tpm_limit", "rpm_limit")}
    return row


def user_info(tx: Tx, proxy: Proxy, query: Object) -> Object:
    """GET /user/info."""
    row = _known(tx, proxy, query)
    keys = state.list_keys(tx, proxy, row["user_id"])
    return {"user_id": row["user_id"], "user_info": row, "keys": keys, "teams": []}


def generate_key(tx: Tx, proxy: Proxy, body: Object) -> Object:
    """POST /key/generate, as far as users and teams go."""
    for name in ("user_id", "team_id"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise invalid(name, "Input should be a valid string", "string_type")
    return state.create_key(tx, proxy, body.get("user_id"), body.get("team_id"))


def complete(tx: Tx, key: str, body: Object) -> Object:
    """POST /chat/completions with a user's key: nothing is generated, what it would cost is counted."""
    found = state.find_key(tx, key)
    if found is None:
        raise error(401, "Authentication Error, Invalid proxy server token passed.", "auth_error", "api_key")
    proxy, caller = found
    user = state.find_user(tx, proxy, caller["user_id"]) if caller["user_id"] else None
    cost = body.get("stand_in_cost", CALL_COST)
    if not isinstance(cost, int | float) or cost < 0:
        raise invalid("stand_in_cost", "Input should be 0 or more")
    if user is not None:
        state.renew_budget(tx, proxy, user)
        _hold_to_limits(tx, proxy, user, in_team=bool(caller["team_id"]))
        state.add_call(tx, proxy, user["user_id"], cost=float(cost), tokens=CALL_TOKENS)
    message = {"role": "assistant", "content": "This is a stand-in: no model was called."}
    return {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"total_tokens": CALL_TOKENS},
    }


def _hold_to_limits(tx: Tx, proxy: Proxy, user: Object, *, in_team: bool) -> None:
    budget = user["max_budget"]
    spent = state.enforced_spend(tx, proxy, user["user_id"])
    if budget is not None and spent >= budget and not in_team:
        raise error(
            422, f"Budget has been exceeded! Current cost: {spent}, Max budget: {budget}", "budget_exceeded", "None"
        )
    calls, tokens = state.last_minute(tx, proxy, user["user_id"])
    for limit, seen in ((user["rpm_limit"], calls), (user["tpm_limit"], tokens)):
        if limit is not None and seen >= limit:
            raise error(429, "Rate limit exceeded", "rate_limit_error")


def _known(tx: Tx, proxy: Proxy, query: Object) -> Object:
    user_id = query.get("user_id")
    if not user_id:
        raise error(400, "user_id is required")
    if state.find_user(tx, proxy, user_id) is None:
        raise error(404, f"User not found: {user_id}")
    return _row(tx, proxy, user_id)


def _row(tx: Tx, proxy: Proxy, user_id: str) -> Object:
    user = state.find_user(tx, proxy, user_id)
    assert user is not None
    if tx.writable:
        state.renew_budget(tx, proxy, user)
    return {**user, "spend": state.reported_spend(tx, proxy, user_id)}


def _blank(proxy: Proxy, user_id: str) -> Object:
    now = state.moment(proxy.now)
    return {
        "user_id": user_id,
        "user_email": None,
        "user_alias": None,
        "user_role": None,
        "max_budget": None,
        "budget_duration": None,
        "budget_reset_at": None,
        "tpm_limit": None,
        "rpm_limit": None,
        "max_parallel_requests": None,
        "models": [],
        "metadata": {},
        "teams": [],
        "created_at": now,
        "updated_at": now,
    }


def _set_reset(proxy: Proxy, user: Object) -> None:
    duration = user["budget_duration"]
    user["budget_reset_at"] = state.moment(reset_after(duration, proxy.now)) if duration else None


POSTS: dict[str, Handler] = {
    "/user/new": new_user,
    "/user/update": update_user,
    "/user/delete": delete_users,
    "/key/generate": generate_key,
}
GETS: dict[str, Handler] = {"/v2/user/info": user_info_v2, "/user/info": user_info}


def answer(store: Store, request: Request, path: str) -> Response:
    """Answer one call."""
    try:
        return _json(_carry_out(store, request, path), 200)
    except Refused as refusal:
        return _json(refusal.body, refusal.status)


def _carry_out(store: Store, request: Request, path: str) -> Any:
    is_call = path in ("/chat/completions", "/v1/chat/completions") and request.method == "POST"
    handler = {"POST": POSTS, "GET": GETS}.get(request.method, {}).get(path)
    if handler is None and not is_call:
        raise Refused(404, {"detail": "Not Found"})
    kept: Refused | None = None
    # Reading writes too, when a budget begins anew.
    with store.transaction() as tx:
        if handler is None:
            return complete(tx, bearer(request), body_of(request))
        proxy = proxy_of(tx, bearer(request))
        given = body_of(request) if request.method == "POST" else dict(request.args)
        try:
            return handler(tx, proxy, given)
        except Kept as refusal:
            kept = refusal
    assert kept is not None
    raise kept


def _json(body: Any, status: int) -> Response:
    return Response(json.dumps(body), status=status, content_type="application/json")
