"""The control page at /_sandbox: everything that is in the sandbox, and buttons for what is hard to bring about.

Invariant: it shows no secret (except once, when one is made), works without JavaScript, and changes nothing but by the
handlers that the API and the JSON switches use.
"""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from .. import clock
from ..dispatch import Dispatcher
from ..errors import StripeError
from . import account_pages, api, delivery_pages, fault_pages, setting_pages, time_pages, views
from .guard import add_guard


def blueprint(dispatcher: Dispatcher) -> Blueprint:
    """Make the routes of the control page and of its JSON."""
    pages = Blueprint(
        "console",
        __name__,
        url_prefix="/_sandbox",
        template_folder="templates",
        static_folder="static",
        static_url_path="/console-assets",
    )
    pages.add_app_template_filter(views.moment, "moment")
    pages.add_app_template_filter(views.tone_of, "tone")
    account_pages.add_routes(pages, dispatcher)
    delivery_pages.add_routes(pages, dispatcher)
    fault_pages.add_routes(pages, dispatcher)
    setting_pages.add_routes(pages, dispatcher)
    time_pages.add_routes(pages, dispatcher)
    api.add_routes(pages, dispatcher)

    add_guard(pages, lambda path: True)

    @pages.context_processor
    def now() -> dict[str, object]:
        return {"now": clock.now(), "mask": views.MASK}

    @pages.errorhandler(StripeError)
    def refused(error: StripeError) -> ResponseReturnValue:
        if request.path.startswith("/_sandbox/api/"):
            return error.body(), error.http_status
        return render_template("console/refused.html", message=error.message, tab=""), error.http_status

    return pages
