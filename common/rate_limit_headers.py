"""Tells callers of limited addresses how much is left to them, also before anything is refused."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from common.rate_limits import watching_limits


class RateLimitHeaders:
    """Writes the headers of the limit that leaves the caller least; answers that counted nothing get none."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with watching_limits() as counted:
            response = self.get_response(request)
        if counted.tightest is not None:
            for name, value in counted.tightest.headers().items():
                # A refusal names the limit that it is about, which may be another one.
                response.setdefault(name, value)
        return response
