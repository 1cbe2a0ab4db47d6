"""Where a request really comes from, when proxies of ours stand in between."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

# What one customer of a provider is given: whoever has it may call from each of its 2^64 addresses.
IPV6_PREFIX = 64


def caller_address(request: HttpRequest) -> str:
    """Return the caller's address.

    Only the last TRUSTED_PROXY_COUNT entries of X-Forwarded-For were written by proxies that we trust, so a caller who
    sends the header gains nothing.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    trusted = settings.TRUSTED_PROXY_COUNT
    if trusted < 1:
        return peer
    hops = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if len(hops) < trusted:
        return peer
    try:
        return str(ipaddress.ip_address(hops[-trusted]))
    except ValueError:
        return peer


def client_address(request: HttpRequest) -> str:
    """Return what limits per address count by: an IPv4 address, however it is written, or the network of an IPv6 one."""
    text = caller_address(request)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
