"""A stand-in for LiteLLM proxies at /_litellm, told apart by their master keys, with a page that shows users and limits.

It behaves as docs/litellm.md says that a proxy does, and calls no model.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from ..control import ControlRefused
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..faults import FaultRefused, Faults, RequestLog
from . import api, faults, pages, state, switches

SCHEMA = state.SCHEMA


def blueprint(dispatcher: Dispatcher) -> Blueprint:
    """Make the routes: the API and the page under /_litellm, the switches under /_sandbox/api/litellm."""
    routes = Blueprint("litellm", __name__, template_folder="templates")
    rules = Faults(faults.checked_do)
    # The process ends as a whole: whoever waits in a fault here stops waiting with the others.
    rules.stopping = dispatcher.faults.stopping
    log = RequestLog()
    pages.add_routes(routes, dispatcher.store)
    switches.add_routes(routes, dispatcher.store, rules, log)

    @routes.route("/_litellm/<path:rest>", methods=["GET", "POST"])
    def call(rest: str) -> ResponseReturnValue:
        path = f"/{rest}"
        with dispatcher.store.read() as tx:
            proxy = state.proxy_of_master_key(tx, api.bearer(request))
        account = proxy.id if proxy else ""
        fault = rules.pick(account, False, request.method, path)
        entry: dict[str, Any] = {"account": account, "method": request.method, "path": path}
        entry["fault"] = fault.do if fault else None
        entry["params"] = request.get_json(silent=True) if request.method == "POST" else dict(request.args)
        log.add(entry)

        def carry_out() -> Response:
            return api.answer(dispatcher.store, request, path)

        response = faults.answer_with(fault, rules, request, carry_out) if fault else carry_out()
        entry["status"] = response.status_code
        return response

    @routes.errorhandler(ControlRefused)
    def refused(error: ControlRefused) -> ResponseReturnValue:
        return jsonify(error=error.message), error.status

    @routes.errorhandler(FaultRefused)
    def fault_refused(error: FaultRefused) -> ResponseReturnValue:
        return jsonify(error=str(error)), 400

    @routes.errorhandler(StripeError)
    def not_from_here(error: StripeError) -> ResponseReturnValue:
        return error.message, error.http_status

    return routes
