"""Hands deliveries straight to their view: what serves people (sessions, sign-in, audit, static files) has no part in them."""

import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

WEBHOOK_PATHS = ("/api/v1/payments/stripe/webhooks/", "/webhook/stripe")
WEBHOOK_URLS = "payments.webhook_urls"


class DeliveriesFirst:
    """A delivery is authenticated by its signature alone; a cookie that comes with it is never read.

    Everything after this in the list costs a delivery about as much as storing it does, and gives it nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(WEBHOOK_PATHS):
            return self.get_response(request)
        try:
            found = resolve(request.path_info, WEBHOOK_URLS)
        except Resolver404:
            return self.get_response(request)
        with structlog.contextvars.bound_contextvars(request_id=str(uuid.uuid4())):
            answer: HttpResponse = found.func(request, *found.args, **found.kwargs)
        return answer
