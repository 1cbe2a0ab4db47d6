"""What every page of the sandbox has: headers that keep scripts and frames out, and orders from itself only."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from ..errors import StripeError

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def add_guard(routes: Blueprint, is_page: Callable[[str], bool]) -> None:
    """Guard the routes of a blueprint; the headers are for its pages."""

    @routes.before_request
    def refuse_other_sites() -> None:
        # The pages ask for no password, so another site open in the same browser must not press their buttons.
        origin = request.headers.get("Origin")
        foreign = origin not in (None, "null") and urlsplit(str(origin)).netloc != request.host
        if request.method != "GET" and (foreign or request.headers.get("Sec-Fetch-Site") == "cross-site"):
            raise StripeError("The page takes orders from itself only.", http_status=403)

    @routes.after_request
    def add_headers(response: Response) -> Response:
        if is_page(request.path):
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response
