"""Answers the health paths and /metrics before anything looks at the Host header: a probe asks an address, not a public name."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from config.health import healthz, readyz
from config.metrics import metrics

_PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


class HealthMiddleware:
    """First in the list, so that a probe needs no allowed host, session or redirect to HTTPS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a probe, and let everything else pass."""
        probe = _PROBES.get(request.path_info)
        return probe(request) if probe else self._get_response(request)
