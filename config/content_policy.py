"""Tells browsers what pages may load, for every answer that has no policy of its own."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

BASE = "base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
# The admin's theme writes its behaviour into its pages, so that inline code is let through; code of another site is not.
ADMIN = f"script-src 'self' 'unsafe-inline' 'unsafe-eval'; form-action 'self'; {BASE}"
# The API's document starts itself with a line in the page, and searches in a worker that it makes.
DOCS = f"script-src 'self' 'unsafe-inline'; worker-src 'self' blob:; form-action 'self'; {BASE}"
# Passwords and consent: nothing runs there. Where a consent leads to is another site, which `form-action` would keep it from.
SIGN_IN = f"default-src 'none'; style-src 'self'; img-src 'self'; {BASE}"
BY_PATH = {"/admin/": ADMIN, "/docs": DOCS, "/accounts/": SIGN_IN, "/oauth/": SIGN_IN}


class ContentPolicy:
    """Sets `Content-Security-Policy` where a view did not."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer with a policy."""
        response = self._get_response(request)
        path = request.path_info
        policy = next((policy for start, policy in BY_PATH.items() if path.startswith(start)), BASE)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
