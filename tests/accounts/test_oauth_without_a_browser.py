"""Programs have no CSRF cookie: what they call must not ask for one, and what browsers send must."""

import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
def test_a_program_needs_no_csrf_token(path: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(path, {"grant_type": "client_credentials", "client_id": "nobody"})
    assert answer.status_code in (400, 401), answer.content
    assert answer["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/oauth/authorize", "/accounts/login/", "/admin/login/"])
def test_a_page_that_browsers_send_is_refused_without_its_token(path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(path, {}).status_code == 403
