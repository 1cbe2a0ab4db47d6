"""The guard for calls to addresses that users supply (JWKS, LiteLLM, outbound webhooks, logos).

The only way out to such an address. A name is resolved once, every address that it has must be public, and the connection goes
to exactly the address that was checked, so that a second DNS answer changes nothing. Redirects are not followed; size and total
time are capped. An operator opens private hosts by name (`host` or `host:port`): OUTGOING_ALLOWED_HOSTS to what this service
uses, WEBHOOK_ALLOWED_HOSTS to the apps' webhook endpoints, whose answers their developers may read.
Source: https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import functools
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import httpx
from django.conf import settings

from common.errors import FieldError
from common.name_lookups import NameLookups, Resolver

DEFAULT_TIMEOUT_SECONDS = 5.0
DEFAULT_MAX_BYTES = 512 * 1024
MAX_URL_LENGTH = 2048
SAVING_TIMEOUT_SECONDS = 2.0
PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
DEFAULT_PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_NAME = re.compile(
    r"^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$"
)
_NUMERIC_LABEL = re.compile(r"^(?:\d+|0x[0-9a-f]*)$")
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        # IPv6 that wraps IPv4 (6to4, Teredo) or is for documentation and benchmarks.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip


class OutgoingRefused(Exception):
    """The address may not be called at all. Trying again does not help, unless the operator opens the host (`can_be_opened`)."""

    def __init__(self, reason: str, *, can_be_opened: bool = False) -> None:
        """Keep the reason, a sentence."""
        super().__init__(reason)
        self.can_be_opened = can_be_opened


class OutgoingFailed(Exception):
    """The call was allowed and did not work out. Trying again may help."""


@dataclass(frozen=True)
class OutgoingResponse:
    """An answer; the body is whole and within the cap."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Purpose:
    """What an address is called for: which setting opens private hosts to it, and who looks its name up."""

    setting: str
    lookups: NameLookups

    def opens(self, host: str, port: int) -> bool:
        """Say whether the operator has opened this host."""
        if not self.setting:
            return True
        allowed = {entry.strip().lower() for entry in getattr(settings, self.setting)}
        shown = f"[{host}]" if ":" in host else host
        return bool(host) and (shown in allowed or f"{shown}:{port}" in allowed)


# What a project's settings let this service use: key sets, LiteLLM, listeners for alerts.
SERVICES = Purpose("OUTGOING_ALLOWED_HOSTS", NameLookups("services"))
# Any developer of a project may have these called, and read the beginning of the answer.
WEBHOOKS = Purpose("WEBHOOK_ALLOWED_HOSTS", NameLookups("webhooks"))
# The operator's own setting names the host, which may be a private one then.
OPERATORS = Purpose("", NameLookups("operators"))


@dataclass(frozen=True)
class Target:
    """A URL that passed the checks on its text."""

    url: str
    parts: SplitResult
    host: str
    port: int
    opened: bool
    purpose: Purpose


def check_url(url: str, *, purpose: Purpose = SERVICES) -> Target:
    """Check the text of a URL. No packet is sent. Raises OutgoingRefused."""
    if not 0 < len(url) <= MAX_URL_LENGTH or any(not 0x21 <= ord(char) <= 0x7E for char in url) or "\\" in url:
        raise OutgoingRefused("The address holds characters that do not belong in a URL.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OutgoingRefused("The address is not a URL.") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise OutgoingRefused("Only http and https addresses are called.")
    if "@" in parts.netloc:
        raise OutgoingRefused("An address may not carry a user name or password.")
    host = (parts.hostname or "").lower()
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    opened = purpose.opens(host, port)
    if _literal(host) is None and (not _HOST_NAME.fullmatch(host) or _NUMERIC_LABEL.fullmatch(host.rsplit(".", 1)[-1])):
        raise OutgoingRefused("The host is not a plain domain name or IP address.")
    if not opened and port not in PUBLIC_PORTS:
        raise OutgoingRefused("That port is not open to outgoing calls.", can_be_opened=True)
    return Target(url=url, parts=parts, host=host, port=port, opened=opened, purpose=purpose)


def check_before_saving(
    url: str,
    *,
    field: str,
    whose: str,
    why_https: str,
    leave_out: Mapping[str, str] | None = None,
    purpose: Purpose = SERVICES,
) -> Target:
    """Check an address that is to be saved, and where its name leads. Raises FieldError (422).

    `why_https` is answered to plain http, which only opened hosts may have; `leave_out` says which part of a URL is wrong, and why.
    A name that does not resolve yet may do so later; the guard checks again before every call.
    """
    try:
        target = check_url(url, purpose=purpose)
        for part, wrong in (leave_out or {}).items():
            if getattr(target.parts, part):
                raise OutgoingRefused(wrong)
        if target.parts.scheme != "https" and not target.opened:
            raise OutgoingRefused(why_https)
        checked_addresses(target, whose=whose, resolver=resolve_with_system, timeout=SAVING_TIMEOUT_SECONDS)
    except OutgoingRefused as error:
        way = f" Whoever runs the service may open a host by name in {purpose.setting}." if error.can_be_opened else ""
        raise FieldError("body", field, msg=f"{error}{way}") from error
    except OutgoingFailed:
        pass
    return target


def is_public(address: Address) -> bool:
    """Say whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id is not None or address not in _GLOBAL_IPV6):
        # Everything else wraps IPv4 (mapped, NAT64) or belongs to this network.
        return False
    if any(address.version == network.version and address in network for network in _REFUSED_NETWORKS):
        return False
    return address.is_global


def resolve_with_system(host: str, port: int) -> list[str]:
    """Ask the system's resolver for all addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(target: Target, *, whose: str, resolver: Resolver, timeout: float) -> list[Address]:
    """Resolve once and check every answer. Raises OutgoingRefused when one is not public, OutgoingFailed when none came."""
    literal = _literal(target.host)
    if literal is not None:
        addresses = [literal]
    else:
        try:
            answers = target.purpose.lookups.ask(
                resolver, target.host, target.port, whose=whose or target.host, timeout=timeout
            )
            addresses = [ipaddress.ip_address(answer) for answer in answers]
        except (OSError, ValueError) as error:
            raise OutgoingFailed("The host name does not resolve.") from error
    if not addresses:
        raise OutgoingFailed("The host name does not resolve.")
    if not target.opened and not all(is_public(address) for address in addresses):
        raise OutgoingRefused("The address is not on the public internet.", can_be_opened=True)
    return addresses


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    max_bytes: int = DEFAULT_MAX_BYTES,
    resolver: Resolver = resolve_with_system,
    purpose: Purpose = SERVICES,
    whose: str = "",
) -> OutgoingResponse:
    """Call a user-supplied address once, or one of the operator's settings, without following redirects.

    `whose`: the tenant that supplied it, whose name servers hold up no others.
    Units: timeout in seconds for everything together.  Raises: OutgoingRefused, OutgoingFailed.
    """
    deadline = time.monotonic() + timeout
    target = check_url(url, purpose=purpose)
    addresses = checked_addresses(target, whose=whose, resolver=resolver, timeout=timeout)
    backend = _PinnedBackend(addresses, deadline)
    wanted = {"User-Agent": "payments/1", "Accept-Encoding": "identity", **(headers or {})}
    sent_headers: list[tuple[bytes | str, bytes | str]] = [
        (name, value) for name, value in wanted.items() if name.lower() != "host"
    ]
    limit = {"connect": timeout, "read": timeout, "write": timeout, "pool": timeout}
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_ssl_context(), network_backend=backend, retries=0) as pool,
            pool.stream(
                method, url, headers=sent_headers, content=content or None, extensions={"timeout": limit}
            ) as answer,
        ):
            return _read(answer, max_bytes=max_bytes)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
        raise OutgoingFailed(f"The call did not work out ({type(error).__name__}).") from error


def _read(answer: httpcore.Response, *, max_bytes: int) -> OutgoingResponse:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise OutgoingFailed("The answer is compressed although that was not asked for.")
    body = bytearray()
    for chunk in answer.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise OutgoingFailed(f"The answer is longer than {max_bytes} bytes.")
    return OutgoingResponse(status_code=answer.status, headers=headers, content=bytes(body))


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@functools.lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _PinnedBackend(httpcore.NetworkBackend):
    """Connects to the checked addresses whatever name it is asked for, and stops at the deadline."""

    def __init__(self, addresses: list[Address], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in self._addresses:
            try:
                stream = self._backend.connect_tcp(str(address), port, timeout=_remaining(self._deadline))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _DeadlineStream(stream, self._deadline)
        raise failure or httpcore.ConnectError("no address")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("unix sockets are not called")


class _DeadlineStream(httpcore.NetworkStream):
    """Gives every read and write only the time that is left, so that a dripping answer ends too."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_remaining(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_remaining(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, timeout=_remaining(self._deadline))
        return _DeadlineStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for the whole call is over")
    return left
