"""Reading bearer JWTs: what is refused before a signature is looked at, and the one call that checks a signature.

Every kind of token passes through here. Header fields that point at keys (`jku`, `jwk`, `x5u`, `x5c`) are never followed.
Source: https://www.rfc-editor.org/rfc/rfc8725 (JSON Web Token best current practices)
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

MAX_TOKEN_BYTES = 8192
LEEWAY_SECONDS = 30
MAX_SUBJECT_LENGTH = 255
ASYMMETRIC_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# Extensions that would change what is signed or how it is read.
_REFUSED_HEADERS = ("crit", "b64", "zip", "enc")
_TIMES = ("exp", "nbf", "iat")


class TokenRefused(Exception):
    """A token that nobody may use; the reason is for logs and tests, not for the caller."""


class TokenExpired(TokenRefused):
    """A token that was good and whose time is over: only said of one whose signature is right."""


@dataclass(frozen=True)
class ParsedToken:
    """A well-formed token whose signature has NOT been checked."""

    value: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @property
    def typ(self) -> str:
        """The token's kind as its header names it, in lower case."""
        return str(self.header.get("typ", "")).lower().removeprefix("application/")

    @property
    def kid(self) -> str | None:
        """The name of the key that is said to have signed."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


def parse(value: str) -> ParsedToken:
    """Take a compact JWS apart. Raises TokenRefused on anything that is not exactly one plain signed JSON object."""
    if len(value) > MAX_TOKEN_BYTES or not value.isascii():
        raise TokenRefused("too long or not ASCII")
    segments = value.split(".")
    if len(segments) != 3 or not all(segments):
        raise TokenRefused("not three segments")
    header = _json_object(segments[0])
    claims = _json_object(segments[1])
    if not isinstance(header.get("alg"), str) or header["alg"].lower() == "none":
        raise TokenRefused("no algorithm")
    if any(name in header for name in _REFUSED_HEADERS):
        raise TokenRefused("an extension that is not understood")
    if "kid" in header and not isinstance(header["kid"], str):
        raise TokenRefused("kid is not a string")
    if "typ" in header and not isinstance(header["typ"], str):
        raise TokenRefused("typ is not a string")
    for name in _TIMES:
        if name in claims and not _is_time(claims[name]):
            raise TokenRefused(f"{name} is not a time")
    return ParsedToken(value=value, header=header, claims=claims)


def verify(
    token: ParsedToken, *, key: Any, algorithms: Sequence[str], audience: str | None, issuer: str | None
) -> dict[str, Any]:
    """Check signature, times, audience and issuer; return the claims. Raises TokenRefused."""
    required = ["exp"] + (["aud"] if audience else []) + (["iss"] if issuer else [])
    try:
        claims: dict[str, Any] = jwt.decode(
            token.value,
            key=key,
            algorithms=list(algorithms),
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={
                "require": required,
                "verify_aud": audience is not None,
                "verify_iss": issuer is not None,
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.ExpiredSignatureError as error:
        # The signature is checked before the times are.
        raise TokenExpired(type(error).__name__) from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise TokenRefused(type(error).__name__) from error
    return claims


def is_identifier(value: object) -> bool:
    """Say whether a claim can be a user's id: text of 1 to 255 characters that a database can hold."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT_LENGTH and is_storable(value)


def is_storable(text: str) -> bool:
    """Say whether PostgreSQL can hold the text: no control characters and no lone surrogates."""
    return not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) <= 0xDFFF for char in text)


def _is_time(value: object) -> bool:
    # Compared as it is: a whole number of a few hundred digits cannot be made a float. Neither NaN nor infinity is between the two.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e11 < value < 1e11


def _json_object(segment: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_names, parse_constant=_no_constant)
    except (ValueError, RecursionError, binascii.Error) as error:
        raise TokenRefused("not base64url JSON") from error
    if not isinstance(value, dict):
        raise TokenRefused("not a JSON object")
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("duplicate names")
    return names


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
