"""Whose calls a limit per address counts, and what a line of the log says about a request."""

from typing import Any

import pytest
from django.test import RequestFactory

from common.audit import AuditContext
from common.client_address import caller_address, client_address
from common.request_log import RequestLog

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
