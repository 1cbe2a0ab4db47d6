"""Pages for what no page of ours could answer: nothing there, a form of a page that is too old, and a failure.

Invariant: a failure is told without asking the database, which may be what failed.
"""

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers

from common.client_address import client_address
from common.errors import TooManyRequests
from common.rate_limits import count_call
from hosted import limits
from hosted.services.places import PagesNotFound, Place, find_place
from hosted.views.pages import cookie_name, policy_of


def missing(request: HttpRequest) -> HttpResponse:
    """Say that nothing is at this address."""
    return _answer(request, "missing", 404, _place_of(request))


def stale(request: HttpRequest) -> HttpResponse:
    """Say that a form was of a page that is too old, or not of ours, and lead to the page anew."""
    return _answer(request, "stale", 403, _place_of(request))


def broken(request: HttpRequest) -> HttpResponse:
    """Say that something went wrong, with the id under which the log has it."""
    return _answer(request, "broken", 500, None)


def _place_of(request: HttpRequest) -> Place | None:
    """Find out whose page it would have been, so that the answer looks like it."""
    parts = request.path_info.split("/")
    if len(parts) < 4:
        return None
    try:
        # Whoever calls dead addresses in a loop gets pages that cost no query.
        count_call(limits.PAGES_PER_ADDRESS, client_address(request))
        return find_place(slug=parts[2], mode=parts[3], key=request.COOKIES.get(cookie_name(), ""))
    except (PagesNotFound, TooManyRequests, DatabaseError, ValueError):
        # A failure here must not hide what was to be said.
        return None


def _answer(request: HttpRequest, name: str, status: int, place: Place | None) -> HttpResponse:
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    context = {"place": place, "view": name, "request_id": request_id}
    answer = render(request, f"hosted/{name}.html", context, status=status)
    answer["Content-Security-Policy"] = policy_of(place)
    answer["Referrer-Policy"] = "same-origin"
    answer["X-Robots-Tag"] = "noindex"
    add_never_cache_headers(answer)
    return answer
