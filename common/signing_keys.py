"""Ed25519 keys that sign what others verify offline: a ring, the first key signs, all of them are published."""

import base64
import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_BLOCK = re.compile(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)
KEYS_MAX = 5


class BadSigningKeys(ValueError):
    """The text is no ring of Ed25519 private keys."""


@dataclass(frozen=True)
class SigningKey:
    """A private key and the name that its public half is found by: the thumbprint of RFC 7638."""

    kid: str
    private: Ed25519PrivateKey = field(repr=False)
    public_jwk: dict[str, Any] = field(repr=False)


@functools.lru_cache(maxsize=8)
def load_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """Read private keys in PEM, one after the other. Raises: BadSigningKeys, which shows nothing of them."""
    blocks = _BLOCK.findall(text)
    if not 1 <= len(blocks) <= KEYS_MAX or _BLOCK.sub("", text).strip():
        raise BadSigningKeys
    keys = tuple(_load(block) for block in blocks)
    if len({key.kid for key in keys}) != len(keys):
        raise BadSigningKeys
    return keys


def _load(block: str) -> SigningKey:
    try:
        private = load_pem_private_key(block.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadSigningKeys
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    # The members that make the thumbprint, in its order. Source: https://www.rfc-editor.org/rfc/rfc8037#appendix-A.3
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    kid = _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())
    return SigningKey(kid, private, {**members, "kid": kid, "alg": "EdDSA", "use": "sig"})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
