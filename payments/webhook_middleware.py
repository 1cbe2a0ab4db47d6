"""Takes cookies off webhook requests, so that no middleware after it can read a session for them."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

WEBHOOK_PATHS = ("/api/v1/payments/stripe/webhooks/", "/webhook/stripe")


class NoCookiesOnWebhooks:
    """A delivery is authenticated by its signature alone; a cookie that comes with it is a mistake or an attack."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(WEBHOOK_PATHS):
            request.META.pop("HTTP_COOKIE", None)
        return self.get_response(request)
