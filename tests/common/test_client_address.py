"""Whose calls a limit per address counts, and what a line of the log says about a request."""

import io
import json
import logging
from typing import Any

import pytest
from django.test import Client, RequestFactory

from common.audit import AuditContext
from common.client_address import caller_address, client_address
from common.logs import logging_config
from common.request_log import PlainRequests, RequestLog
from projects.models import Project

FACTORY = RequestFactory()


@pytest.mark.no_db
def test_one_network_of_ipv6_is_one_caller_and_ipv4_is_the_same_in_both_spellings() -> None:
    def counted(address: str) -> str:
        return client_address(FACTORY.get("/", REMOTE_ADDR=address))

    assert counted("2001:db8:1:2::1") == counted("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert counted("2001:db8:1:3::1") != counted("2001:db8:1:2::1")
    assert counted("::ffff:192.0.2.7") == counted("192.0.2.7") == "192.0.2.7"
    assert counted("192.0.2.7") != counted("192.0.2.8")
    assert counted("") == ""


@pytest.mark.no_db
def test_a_line_of_the_log_holds_no_query_and_an_address_that_nobody_chose(settings: Any) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    request = FACTORY.get(
        "/admin/search/?q=dana@example.com", REMOTE_ADDR="10.0.0.2", headers={"X-Forwarded-For": "8.8.8.8, 192.0.2.7"}
    )
    assert RequestLog.format_request(request) == "GET /admin/search/"
    assert caller_address(request) == "192.0.2.7"
    assert AuditContext._get_remote_addr(request) == "192.0.2.7"
    settings.TRUSTED_PROXY_COUNT = 0
    assert AuditContext._get_remote_addr(request) == "10.0.0.2"


def test_a_line_of_the_log_names_nobody_by_the_path(acme: Project) -> None:
    """Ids of an app's users may be addresses, which nobody could take out of a log: neither our line nor Django's has them."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    config = logging_config()["formatters"]["json"]
    handler.setFormatter(config["()"](processors=config["processors"], foreign_pre_chain=config["foreign_pre_chain"]))
    handler.addFilter(PlainRequests())
    loggers = [logging.getLogger(name) for name in ("django.request", "django_structlog.middlewares.request")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        for path in ("status/acme", "api/v1/payments/status", "api/v1/payments/entitlements"):
            assert Client().get(f"/{path}/nobody@example.com?email=nobody@example.com").status_code == 401, path
        assert Client().get(f"/api/v1/projects/{acme.pk}?q=nobody@example.com").status_code == 401
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    written = lines.getvalue()
    assert "nobody" not in written
    told = [json.loads(line)["request"] for line in written.splitlines()]
    assert set(told) == {
        "GET /status/<str:app>/<path:user_id>", "GET /api/v1/payments/status/<path:user_id>",
        "GET /api/v1/payments/entitlements/<path:user_id>", f"GET /api/v1/projects/{acme.pk}",
    }  # fmt: skip
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert {"request_finished", "Unauthorized: /api/v1/payments/status/<path:user_id>"} <= set(events)
