"""Where a buyer may be sent back to: only addresses on a project's allowed origins.

Addresses are read as strictly as the least careful browser reads them loosely: nothing is normalised before it is compared.
Source: https://url.spec.whatwg.org/ (how browsers treat backslashes, tabs and missing slashes)
"""

import re
from urllib.parse import urlsplit

from common.errors import ApiError
from projects.models import Project

MAX_URL_LENGTH = 2048
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(
    rf"^(?P<scheme>https?)://(?P<host>(?:{_LABEL})(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::(?P<port>[1-9]\d{{0,4}}))?$"
)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
# In test mode these are allowed on any port, so that a developer's laptop just works.
_TEST_HOSTS = frozenset({"localhost", "127.0.0.1"})
_DEFAULT_PORTS = {"https": "443", "http": "80"}


class UrlNotAllowed(ApiError):
    """400: the address is not on the project's allowed origins."""

    code = "url_not_allowed"
    detail = "The address is not on one of the project's allowed origins."


def normalize_origin(text: str) -> str:
    """Return an origin in its one spelling. Raises ValueError that says what is wrong."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or int(match["port"] or 1) > 65535:
        raise ValueError(
            "Give an exact origin such as https://app.example or https://app.example:8443, without a path."
        )
    if match["scheme"] == "http" and match["host"] not in _LOCAL_HOSTS:
        raise ValueError("http is for localhost only; use https.")
    port = match["port"]
    shown = f":{port}" if port and port != _DEFAULT_PORTS[match["scheme"]] else ""
    return f"{match['scheme']}://{match['host']}{shown}"


def origin_of(url: str) -> str | None:
    """Return the origin of a well-formed absolute address, or None when browsers could read it in another way."""
    if not 0 < len(url) <= MAX_URL_LENGTH or any(not 0x21 <= ord(char) <= 0x7E for char in url) or "\\" in url:
        return None
    scheme, separator, rest = url.partition("://")
    if separator != "://" or scheme.lower() not in _DEFAULT_PORTS or rest.startswith("/"):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if "@" in parts.netloc or "%" in parts.netloc:
        return None
    path = parts.path.lower()
    if path.startswith("//") or "%2f%2f" in path or "%5c" in path:
        return None
    try:
        return normalize_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return None


def is_allowed(*, allowed_origins: list[str], url: str, test_mode: bool) -> bool:
    """Say whether a buyer may be sent to the address."""
    origin = origin_of(url)
    if origin is None:
        return False
    match = _ORIGIN.fullmatch(origin)
    if test_mode and match is not None and match["scheme"] == "http" and match["host"] in _TEST_HOSTS:
        return True
    return origin in allowed_origins


def check_return_url(project: Project, url: str, test_mode: bool) -> str:
    """Return the address as it is (`{CHECKOUT_SESSION_ID}` included) when it is allowed. Raises UrlNotAllowed (400)."""
    if not is_allowed(allowed_origins=project.allowed_origins, url=url, test_mode=test_mode):
        raise UrlNotAllowed
    return url
