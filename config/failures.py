"""What is answered when nothing else could: pages to people, the contract's shape to programs."""

from django.http import HttpRequest, HttpResponse
from django.views import defaults
from django.views.csrf import csrf_failure

from backoffice import failures as staff_failures
from common import errors
from hosted.views import failures

HOSTED = "/hosted/"
ADMIN = "/admin/"
# Where people sit before a browser, signed in or not.
PAGES = (HOSTED, "/license-access", ADMIN, "/accounts/")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a path that leads nowhere."""
    if request.path_info.startswith(HOSTED):
        return failures.missing(request)
    if request.path_info.startswith(ADMIN):
        return staff_failures.missing(request, exception)
    return errors.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what could not be read."""
    if request.path_info.startswith(PAGES):
        return defaults.bad_request(request, exception)
    return errors.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an unexpected failure without a trace, naming the request id that the log has."""
    if request.path_info.startswith(PAGES):
        return failures.broken(request)
    return errors.server_error(request)


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that came without the token of its page."""
    if request.path_info.startswith(HOSTED):
        return failures.stale(request)
    return csrf_failure(request, reason)
