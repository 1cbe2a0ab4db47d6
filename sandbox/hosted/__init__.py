"""The pages that people see: hosted checkout, billing portal, invoices and receipts.

Invariant: no page holds a rule about money; each shows a view and passes what was typed to `billing`. Everything
works without JavaScript and loads nothing from elsewhere.
"""

from __future__ import annotations

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue

from ..errors import StripeError
from ..store import Store
from . import checkout_pages, document_pages, intent_pages, portal_customer_pages, portal_pages, portal_quantity_pages
from .money import format_amount, format_date, format_interval, format_short_date

HEADERS = {
    # No form-action: browsers apply it to the redirect that follows a payment, which goes to the merchant's site.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def blueprint(store: Store) -> Blueprint:
    """Make the routes of all pages."""
    pages = Blueprint(
        "hosted", __name__, template_folder="templates", static_folder="static", static_url_path="/_sandbox/assets"
    )
    pages.add_app_template_filter(format_amount, "amount")
    pages.add_app_template_filter(format_interval, "interval")
    pages.add_app_template_filter(format_date, "day")
    pages.add_app_template_filter(format_short_date, "short_day")
    checkout_pages.add_routes(pages, store)
    portal_pages.add_routes(pages, store)
    portal_customer_pages.add_routes(pages, store)
    portal_quantity_pages.add_routes(pages, store)
    document_pages.add_routes(pages, store)
    intent_pages.add_routes(pages, store)

    @pages.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @pages.errorhandler(StripeError)
    def refused(error: StripeError) -> ResponseReturnValue:
        missing = error.http_status == 404
        title = "Nothing to see here" if missing else "That did not work"
        message = "This link is wrong, or it has expired." if missing else error.message
        return render_template("hosted/message.html", title=title, message=message), error.http_status

    return pages
