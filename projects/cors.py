"""Cross-origin calls: a page of an app may call the end users' API when its exact origin is one of the project's.

Invariants: the origin is answered by name, never `*`, and only for the project whose user made the call; credentials are never
allowed, since a bearer token is sent by hand and no cookie means anything here. A preflight carries no token: it is answered for an
origin of any project, and what it leads to is decided by the token. Where nobody is named, the project is: by what is asked about.
Developers and servers do not call from pages of others.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from django.http import HttpRequest, HttpResponse

from common.modes import TEST
from common.query import FALSE_WORDS
from projects.models import Project
from projects.origins import is_allowed, origin_of
from projects.principals import EndUserPrincipal, LicenseHolderPrincipal

METHODS = "GET, POST, OPTIONS"
REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Project-ID"
EXPOSED_HEADERS = (
    "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Limit, RateLimit-Remaining, "
    "RateLimit-Reset, Idempotency-Replayed, X-Request-ID"
)
PREFLIGHT_SECONDS = 600
# What was asked of the table a moment ago: strangers choose origins, and many.
KNOWN_SECONDS = 10.0
KNOWN_MAX = 1000
API = "/api/"

_known: OrderedDict[str, tuple[float, bool]] = OrderedDict()
_lock = Lock()


def let_pages_read(request: HttpRequest, project: Project) -> None:
    """Let pages of a project's origins read the answer to a request that names nobody, such as what the project sells."""
    request._read_by_pages_of = project  # type: ignore[attr-defined]


def let_pages_of_slug_read(request: HttpRequest, slug: object) -> None:
    """Let pages of the project that a request names read the answer, a refusal too. No query when no page asks."""
    if "Origin" not in request.headers or not isinstance(slug, str) or not slug.isprintable():
        return
    project = Project.objects.existing().filter(slug=slug, is_active=True).first()
    if project is not None:
        let_pages_read(request, project)


class CrossOrigin:
    """Answers preflights, and says which page may read an answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        if not origin or not request.path_info.startswith(API):
            return self.get_response(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(origin)
        response = self.get_response(request)
        # Shared caches must not hand one origin's answer to another.
        _vary(response)
        if "Access-Control-Allow-Origin" not in response and _may_read(request, response, origin):
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response


def _preflight(origin: str) -> HttpResponse:
    response = HttpResponse(status=204)
    _vary(response)
    if _is_anybodys(origin):
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Methods"] = METHODS
        response["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    return response


def _vary(response: HttpResponse) -> None:
    names = [name.strip() for name in response.get("Vary", "").split(",") if name.strip()]
    if "Origin" not in names:
        response["Vary"] = ", ".join([*names, "Origin"])


def _may_read(request: HttpRequest, response: HttpResponse, origin: str) -> bool:
    principal: Any = getattr(request, "user", None)
    project = principal.project if isinstance(principal, EndUserPrincipal | LicenseHolderPrincipal) else None
    project = project or getattr(request, "_read_by_pages_of", None)
    if project is not None:
        test_mode = _is_test_mode(request, principal)
        return _is_projects(project, origin, test_mode=test_mode)
    # A refusal says nothing about anybody, and the page has to see that its token has run out.
    return response.status_code == 401 and _is_anybodys(origin)


def _is_test_mode(request: HttpRequest, principal: Any) -> bool:
    # A licence is in the mode that it was bought in, whatever the address says.
    if isinstance(principal, LicenseHolderPrincipal) and principal.mode is not None:
        return principal.mode == TEST
    return request.GET.get("test_mode", "").lower() not in FALSE_WORDS


def _is_projects(project: Project, origin: str, *, test_mode: bool) -> bool:
    # A browser sends origins in their one normal form; anything else is no browser's.
    is_normal = origin_of(origin) == origin
    return is_normal and is_allowed(allowed_origins=project.allowed_origins, url=origin, test_mode=test_mode)


def _is_anybodys(origin: str) -> bool:
    """Say whether any project allows the origin; asked of the table at most every few seconds for each."""
    if origin_of(origin) != origin:
        return False
    if is_allowed(allowed_origins=[], url=origin, test_mode=True):
        # A developer's laptop, which every project allows in test mode.
        return True
    now = time.monotonic()
    with _lock:
        found = _known.get(origin)
    if found is not None and now - found[0] < KNOWN_SECONDS:
        return found[1]
    allowed = Project.objects.existing().filter(allowed_origins__contains=[origin]).exists()
    with _lock:
        _known[origin] = (now, allowed)
        while len(_known) > KNOWN_MAX:
            _known.popitem(last=False)
    return allowed
