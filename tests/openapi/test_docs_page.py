"""GET /docs: Swagger UI from our own files, without internet."""

import re

import pytest
from django.test import Client

pytestmark = pytest.mark.no_db


def test_the_page_loads_everything_from_this_host() -> None:
    page = Client().get("/docs")
    assert page.status_code == 200
    html = page.content.decode()
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", html)
    assert len(addresses) >= 4
    assert [address for address in addresses if not address.startswith("/")] == []
    assert re.findall(r"https?://", html) == []
    for address in addresses:
        response = Client().get(address.replace("&amp;", "&"))
        assert response.status_code == 200, address
        assert b"".join(response) if response.streaming else response.content


def test_the_script_reads_our_document_and_nothing_else() -> None:
    html = Client().get("/docs").content.decode()
    script_address = re.findall(r"""src=["']([^"']+)["']""", html)[-1]
    script = Client().get(script_address).content.decode()
    assert "openapi.json" in script
    assert [found for found in re.findall(r"https?://[^\"'\s]+", script) if "validator" not in found] == []


def test_the_address_with_a_slash_leads_to_the_page() -> None:
    assert Client().get("/docs/").headers["Location"] == "/docs"
