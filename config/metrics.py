"""/metrics: what the processes counted and what the database and Redis know, in Prometheus' text form.

Never for strangers: without METRICS_TOKEN the address does not exist, with it the scraper sends it as a bearer token. A worker has
no address of its own; METRICS_PORT gives it one, on a port that only the monitoring reaches.
"""

import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest, start_http_server

from common.errors import NotAuthenticated, NotFound, error_response
from common.metrics import HTTP_SECONDS, OTHER, process_registry
from config.state_metrics import ServiceState

_STATUSES = {str(code) for code in range(100, 600)}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_worker_server_lock = threading.Lock()
_worker_server_started = False


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with every series. 404 without a token in the settings, 401 without the token in the request."""
    if not settings.METRICS_TOKEN:
        return error_response(NotFound("No such path."))
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not constant_time_compare(token.strip(), settings.METRICS_TOKEN):
        return error_response(NotAuthenticated())
    return HttpResponse(render(), content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def render() -> bytes:
    """Return every series as text."""
    state = ServiceState()
    return generate_latest(process_registry(settings.PROMETHEUS_MULTIPROC_DIR)) + generate_latest(state)


def serve_worker_metrics() -> bool:
    """Let METRICS_PORT of this process tell what it counted; False without one. The web part has /metrics for the rest."""
    global _worker_server_started
    if not settings.METRICS_PORT:
        return False
    with _worker_server_lock:
        if not _worker_server_started:
            registry = process_registry(settings.PROMETHEUS_MULTIPROC_DIR)
            start_http_server(settings.METRICS_PORT, addr=settings.METRICS_HOST, registry=registry)
            _worker_server_started = True
    return True


class RequestMetrics:
    """Times requests by route. First in the list after the probes, so that what is refused on the way is counted too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        HTTP_SECONDS.labels(
            method=request.method if request.method in _METHODS else OTHER,
            # The pattern and not the path: paths are as many as callers make up.
            route=f"/{match.route}" if match is not None else OTHER,
            status=str(response.status_code) if str(response.status_code) in _STATUSES else OTHER,
        ).observe(time.perf_counter() - began)
        return response
