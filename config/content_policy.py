"""Tells browsers what pages may load, for every answer that has no policy of its own."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

BASE = "base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
# The admin's theme writes its behaviour into its pages, so that inline code is let through; code of another site is not.
ADMIN = f"script-src 'self' 'unsafe-inline' 'unsafe-eval'; form-action 'self'; {BASE}"


class ContentPolicy:
    """Sets `Content-Security-Policy` where a view did not."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer with a policy."""
        response = self._get_response(request)
        response.headers.setdefault(
            "Content-Security-Policy", ADMIN if request.path_info.startswith("/admin/") else BASE
        )
        return response
