"""Verifies the Stripe-Signature header: nobody without the endpoint's signing secret can put an event into the inbox.

Source: https://docs.stripe.com/webhooks#verify-manually (scheme v1; both secrets sign while one is being rolled).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from common.errors import ApiError

TOLERANCE_SECONDS = 300
HEADER_CHARS_MAX = 4096
SIGNATURES_MAX = 16
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class SignatureInvalid(ApiError):
    """400: the delivery is not signed by this endpoint's secret, or not now. One text for every reason."""

    code = "invalid_signature"
    detail = "The Stripe-Signature header does not verify."


@dataclass(frozen=True)
class SignatureHeader:
    """A header that has Stripe's form; whether it is true is another question."""

    timestamp: int
    timestamp_text: str
    signatures: tuple[str, ...]


def parse_signature_header(header: str | None) -> SignatureHeader:
    """Read `t=…,v1=…[,v1=…]`; other schemes are ignored. Raises: SignatureInvalid (400)."""
    if not header or len(header) > HEADER_CHARS_MAX:
        raise SignatureInvalid()
    times: list[str] = []
    signatures: list[str] = []
    for part in header.split(","):
        name, separator, value = part.partition("=")
        if not separator:
            raise SignatureInvalid()
        name = name.strip()
        if name == "t":
            times.append(value)
        elif name == "v1":
            signatures.append(value)
    # Two headers arrive joined by a comma; which of two times was signed cannot be told.
    if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]) or not 1 <= len(signatures) <= SIGNATURES_MAX:
        raise SignatureInvalid()
    if not all(_SIGNATURE.fullmatch(signature) for signature in signatures):
        raise SignatureInvalid()
    return SignatureHeader(int(times[0]), times[0], tuple(signatures))


def check_timestamp(header: SignatureHeader, *, now: float) -> None:
    """Refuse a signature that is more than 300 s old or ahead. Raises: SignatureInvalid (400)."""
    if abs(now - header.timestamp) > TOLERANCE_SECONDS:
        raise SignatureInvalid()


def is_signed_by(header: SignatureHeader, *, payload: bytes, secrets: Iterable[str]) -> bool:
    """Say whether one of the secrets signed these very bytes; an empty secret signs nothing."""
    signed = header.timestamp_text.encode() + b"." + payload
    verified = False
    for secret in secrets:
        if not secret:
            continue
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for given in header.signatures:
            verified |= hmac.compare_digest(expected, given)
    return verified
