"""Where a buyer may be sent back to (S30)."""

import pytest

from projects.models import Project
from projects.origins import UrlNotAllowed, check_return_url, normalize_origin

pytestmark = pytest.mark.no_db

PROJECT = Project(allowed_origins=["https://ok.com", "https://ok.com:8443", "http://localhost:3000"])


@pytest.mark.parametrize(
    "url",
    [
        "https://ok.com",
        "https://ok.com/",
        "https://ok.com/done?session={CHECKOUT_SESSION_ID}&x=1#top",
        "https://ok.com/{CHECKOUT_SESSION_ID}/done",
        "https://OK.com/a",
        "https://ok.com:443/a",
        "https://ok.com:8443/a",
        "https://ok.com/a?next=https%3A%2F%2Fother.example%2F",
        "http://localhost:3000/a",
    ],
)
def test_allowed_addresses_come_back_as_they_are(url: str) -> None:
    for test_mode in (True, False):
        assert check_return_url(PROJECT, url, test_mode) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/relative",
        "//evil",
        "//ok.com/a",
        "https:/\\evil",
        "https:\\\\evil",
        "https:/ok.com",
        "https:ok.com",
        "https:///ok.com",
        "http://ok.com/",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//https://ok.com",
        "data:text/html,x",
        "https://ok.com@evil",
        "https://ok.com:pw@evil",
        "https://evil@ok.com/",
        "https://ok.com.evil/",
        "https://evil-ok.com/",
        "https://evil.com/https://ok.com",
        "https://ok.com%2f%2fevil",
        "https://ok.com/%2f%2fevil",
        "https://ok.com//evil",
        "https://ok.com\r\nSet-Cookie: a=b",
        "https://ok.com/\nx",
        "https://ok.com/\tx",
        "https://ok.com\\.evil/",
        "https://ok.com/%5cevil",
        "https://ok.com\uff0fevil/",
        "https://ok.com\u2044evil/",
        "https://\u043ek.com/",
        "https://ok.com:99999/",
        "https://ok.com:abc/",
        "https://ok.com:8444/",
        "https://ok.com./",
        "https://ok.com#@evil/",
        "https://evil#.ok.com/",
        "https://evil?.ok.com/",
        " https://ok.com/",
        "https://ok.com/ ",
        "https://[::1]/",
        "https://ok.com/" + "a" * 3000,
        "ftp://ok.com/",
        "https://",
    ],
)
def test_everything_else_is_refused_in_both_modes(url: str) -> None:
    if url == "https://ok.com#@evil/":
        # A fragment is never sent anywhere; the origin is ok.com in every browser.
        assert check_return_url(PROJECT, url, True) == url
        return
    for test_mode in (True, False):
        with pytest.raises(UrlNotAllowed) as refusal:
            check_return_url(PROJECT, url, test_mode)
        assert (refusal.value.status_code, refusal.value.code) == (400, "url_not_allowed")


@pytest.mark.parametrize(
    "url", ["http://localhost:5173/x", "http://localhost/x", "http://127.0.0.1:9/x", "http://127.0.0.1/"]
)
def test_this_machine_is_allowed_in_test_mode_only(url: str) -> None:
    assert check_return_url(PROJECT, url, True) == url
    with pytest.raises(UrlNotAllowed):
        check_return_url(PROJECT, url, False)


def test_https_on_this_machine_is_nothing_special() -> None:
    with pytest.raises(UrlNotAllowed):
        check_return_url(PROJECT, "https://localhost:5173/x", True)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("https://app.example:8443", "https://app.example:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_has_one_spelling(text: str, origin: str) -> None:
    assert normalize_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "https://app.example/",
        "https://app.example/x",
        "http://app.example",
        "https://*.example",
        "*",
        "null",
        "app.example",
        "https://a@b.example",
        "https://app.example:0",
        "https://app.example:70000",
        "https://app.example\n",
        "https://app_x.example",
        "https://",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"origin|https"):
        normalize_origin(text)
