"""A stand-in for GitHub at /_github: users, organisations, teams, invitations, with pages on which an invited person answers.

It behaves as docs/github.md says that GitHub does, and keeps no code. There is one world, in which names are taken once.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from .. import clock, violations
from ..control import ControlRefused
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..faults import FaultRefused, Faults, RequestLog
from . import api, faults, pages, shapes, state, switches
from .limits import Limits

SCHEMA = state.SCHEMA


def blueprint(dispatcher: Dispatcher) -> Blueprint:
    """Make the routes: the API under /_github, the pages under /_github/_web, the switches under /_sandbox/api/github."""
    routes = Blueprint("github", __name__, template_folder="templates")
    rules = Faults(faults.checked_do)
    # The process ends as a whole: whoever waits in a fault here stops waiting with the others.
    rules.stopping = dispatcher.faults.stopping
    log, limits = RequestLog(), Limits()
    pages.add_routes(routes, dispatcher.store)
    switches.add_routes(routes, dispatcher.store, rules, log)

    @routes.route("/_github/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def call(rest: str) -> ResponseReturnValue:
        path = f"/{rest}"
        with dispatcher.store.read() as tx:
            token = state.token_of(tx, api.bearer(request))
        account = token.organization if token else ""
        fault = rules.pick(account, False, request.method, path)
        entry: dict[str, Any] = {"account": account, "method": request.method, "path": path}
        entry["fault"] = fault.do if fault else None
        entry["params"] = request.get_json(silent=True) if request.data else dict(request.args)
        log.add(entry)

        def carry_out() -> Response:
            return api.answer(dispatcher.store, limits, request, path)

        if fault:
            response = faults.answer_with(fault, rules, request, carry_out)
        else:
            response = carry_out()
            if violations.is_enabled():
                problems = shapes.problems_of(request, path, response)
                violations.recorder.add(f"{request.method} /_github{path}", problems, status=response.status_code)
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
        page = render_template("console/refused.html", message=error.message, tab="", now=clock.now())
        return page, error.http_status

    return routes
