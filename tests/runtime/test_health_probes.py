"""Probes reach the health paths by address, whatever public name the service has."""

from typing import Any

import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_by_address_is_answered_in_production(settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS = ["payments.example.com"]
    answer = Client().get(path, headers={"Host": "10.0.0.7:8000"})
    # Without a worker the service is not ready, which is an answer about the service and not about the name.
    assert answer.status_code == (200 if path == "/healthz" else 503)
    assert "checks" in answer.json() or answer.json() == {"status": "ok"}


def test_every_other_path_needs_an_allowed_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["payments.example.com"]
    assert Client().get("/docs", headers={"Host": "10.0.0.7:8000"}).status_code == 400
