"""Answers requests under /v1: key, fault, route, parameters, idempotency, one transaction, expansion, envelope."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Request, Response

from . import API_VERSION, accounts, clock, expand, idempotency, ids, permissions, schema
from .errors import StripeError
from .faults import Fault, Faults, RequestLog, error_of, too_many
from .params import parse_request
from .rates import Rates
from .resources import all_routes
from .store import Context, Store, Tx

Object = dict[str, Any]
Handler = Callable[..., Object]
HTTP_METHODS = ("GET", "POST", "DELETE")


class ConnectionDropped(ConnectionError):
    """The peer's connection was cut on purpose; nothing more can be answered (the server knows ConnectionError)."""


@dataclass(frozen=True)
class Match:
    """The handler of a request, its template and what the braces held."""

    template: str
    handler: Handler
    path_params: dict[str, str]


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template)))


class Router:
    """Matches method and path to handlers; literal paths win over paths with braces."""

    def __init__(self) -> None:
        ordered = sorted(all_routes(), key=lambda route: route[1].count("{"))
        self._routes = [(method, template, _pattern(template), handler) for method, template, handler in ordered]
        # The published schema is the list of what Stripe itself has.
        self._published = [(route.method, _pattern(route.path)) for route in schema.routes()]

    def match(self, method: str, path: str) -> Match:
        """Find the handler. Raises: StripeError 404, worded by whether Stripe itself has that URL."""
        for route_method, template, pattern, handler in self._routes:
            found = pattern.fullmatch(path) if route_method == method else None
            if found:
                return Match(template, handler, found.groupdict())
        for route_method, pattern in self._published:
            if route_method == method and pattern.fullmatch(path):
                raise StripeError(f"The sandbox does not implement {method} {path} yet.", http_status=404)
        raise StripeError(
            f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
            "https://support.stripe.com/.",
            http_status=404,
        )


@dataclass
class Dispatcher:
    """Everything that answering needs besides the request itself."""

    store: Store
    faults: Faults = field(default_factory=Faults)
    log: RequestLog = field(default_factory=RequestLog)
    router: Router = field(default_factory=Router)
    rates: Rates = field(default_factory=Rates)
    in_flight: idempotency.InFlight = field(default_factory=idempotency.InFlight)

    def answer(self, request: Request) -> Response:
        """Answer one request under /v1."""
        request_id = ids.request_id()
        entry: Object = {
            "request_id": request_id,
            "method": request.method,
            "path": request.path,
            "idempotency_key": request.headers.get("Idempotency-Key"),
            "account": None,
            "livemode": None,
            "status": None,
        }
        ctx: Context | None = None
        try:
            ctx = self._context(request, request_id)
            entry |= {"account": ctx.account_id, "livemode": ctx.livemode}
            response = self._answer_with_faults(request, ctx, entry)
        except StripeError as error:
            response = self._refusal(error, ctx)
        finally:
            self.log.add(entry)
        entry["status"] = response.status_code
        response.headers["Request-Id"] = request_id
        response.headers["Stripe-Version"] = API_VERSION
        if ctx and ctx.idempotency_key:
            response.headers["Idempotency-Key"] = ctx.idempotency_key
            response.headers.setdefault("Original-Request", request_id)
        return response

    def _context(self, request: Request, request_id: str) -> Context:
        authorization = request.authorization
        key: str | None = None
        if authorization is not None:
            key = authorization.token if authorization.type == "bearer" else authorization.username
        with self.store.read() as tx:
            caller = accounts.authenticate(tx, key, request.headers.get("Stripe-Account"))
        if caller.permissions is not None:
            shown = accounts.masked(key or "")
            permissions.check(caller.permissions, request.method, request.path, shown, caller.account_id)
        idempotency_key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if idempotency_key:
            idempotency.check_key(idempotency_key)
        return Context(
            account_id=caller.account_id,
            livemode=caller.livemode,
            now=clock.now(),
            key_kind=caller.kind,
            request_id=request_id,
            idempotency_key=idempotency_key or None,
        )

    def _execute(self, request: Request, ctx: Context, entry: Object) -> Response:
        match = self.router.match(request.method, request.path)
        body = request.get_data()
        digest = idempotency.fingerprint(request.path, body)
        with self.in_flight.hold(ctx):
            if ctx.idempotency_key:
                with self.store.read() as tx:
                    stored = idempotency.find(tx, ctx, digest)
                if stored:
                    entry["replayed"] = True
                    headers = {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
                    return _json_text(stored.body, stored.status, headers)
            params = parse_request(request.method, match.template, request.args, body, match.path_params)
            entry["params"] = params
            return self._run(request.method, match, ctx, params, digest)

    def _run(self, method: str, match: Match, ctx: Context, params: Object, digest: str) -> Response:
        paths = params.pop("expand", [])
        if method == "GET":
            with self.store.read() as tx:
                return _json_text(_dump(self._call(tx, ctx, match, params, paths)), 200)
        status = 200
        with self.store.transaction() as tx:
            try:
                text = _dump(self._call(tx, ctx, match, params, paths))
            except StripeError as error:
                if not error.keep_effects:
                    raise
                status, text = error.http_status, _dump(_with_log_url(error.body(), ctx))
            if ctx.idempotency_key:
                idempotency.keep(tx, ctx, digest, status, text)
        return _json_text(text, status)

    def _call(self, tx: Tx, ctx: Context, match: Match, params: Object, paths: list[str]) -> Object:
        result = match.handler(tx, ctx, params, **match.path_params)
        return expand.apply(tx, ctx, result, paths) if paths else result

    def _answer_with_faults(self, request: Request, ctx: Context, entry: Object) -> Response:
        reason = self.rates.pass_through(ctx.account_id, ctx.livemode, request.method, request.path)
        if reason is not None:
            entry["fault"] = f"status:429:{reason}"
            raise too_many(reason)
        fault = self.faults.pick(ctx.account_id, ctx.livemode, request.method, request.path)
        if fault is None:
            return self._execute(request, ctx, entry)
        entry["fault"] = fault.do
        self._fault_before(fault, request, ctx)
        response = self._execute(request, ctx, entry)
        if fault.do == "timeout_after_effect":
            self.faults.wait(fault.seconds)
        entry["status"] = response.status_code
        raise cut(request)

    def _refusal(self, error: StripeError, ctx: Context | None) -> Response:
        response = _json_text(_dump(_with_log_url(error.body(), ctx)), error.http_status)
        if error.http_status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="Stripe"'
        response.headers.update(error.headers)
        return response

    def _fault_before(self, fault: Fault, request: Request, ctx: Context) -> None:
        if fault.do.startswith(("status:", "limit:")):
            raise error_of(fault, livemode=ctx.livemode)
        if fault.do == "hang":
            self.faults.wait(fault.seconds)
            raise cut(request)
        if fault.do == "reset":
            raise cut(request)


def cut(request: Request) -> ConnectionDropped:
    """Reset the peer's connection, so that it sees neither an answer nor an orderly end."""
    connection = request.environ.get("werkzeug.socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())
    return ConnectionDropped()


def _with_log_url(body: Object, ctx: Context | None) -> Object:
    if ctx:
        mode = "" if ctx.livemode else "test/"
        body["error"]["request_log_url"] = (
            f"https://dashboard.stripe.com/{ctx.account_id}/{mode}workbench/logs?object={ctx.request_id}"
        )
    return body


def _dump(body: Object) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _json_text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    response = Response(text, status=status, content_type="application/json")
    response.headers.update(headers or {})
    return response
