"""Secrets at rest: AES-256-GCM under a key ring, bound to the row and field that they belong to.

The only file that encrypts or decrypts. A stored value reads `v1:<key id>:<base64 of nonce + ciphertext>`. The
associated data (table, project, mode, field) makes a ciphertext that was copied to another row or field unreadable.
ENCRYPTION_KEYS lists `key id:base64 key` pairs; the first one writes, all of them read.
"""

import base64
import binascii
import logging
import os
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from common.errors import ApiError

logger = logging.getLogger(__name__)

VERSION = "v1"
NONCE_BYTES = 12
KEY_BYTES = 32
_KNOWN_PREFIX = re.compile(r"(?:sk|rk|pk)_(?:test|live)_|whsec_|ak_")


class DecryptionError(ApiError):
    """503: a stored secret could not be read. The text names the key id and field for the log, never the value."""

    status_code = 503
    code = "secret_unreadable"
    detail = "A stored secret cannot be read: its encryption key is missing. Restore the key, or save the secret again."

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason
        logger.error("secret_unreadable %s", reason)

    def __str__(self) -> str:
        return self.reason


class UnknownEncryptionKey(DecryptionError):
    """The key that wrote a secret is not in ENCRYPTION_KEYS any more."""


@dataclass(frozen=True)
class SecretContext:
    """What a ciphertext is bound to."""

    table: str
    project_id: str
    mode: str
    field: str

    def associated_data(self) -> bytes:
        """Encode the context without ambiguity: each part is preceded by its length."""
        parts = (self.table, self.project_id, self.mode, self.field)
        return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def parse_key_ring(text: str) -> dict[str, bytes]:
    """Read `kid:base64,kid:base64`. Raises ImproperlyConfigured, which names a wrong entry by position, never the key."""
    ring: dict[str, bytes] = {}
    for position, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        key_id, separator, encoded = entry.partition(":")
        if not separator or not key_id.isalnum():
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS entry {position} must read kid:base64, the kid alphanumeric.")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS entry {position} ({key_id}) is not valid base64.") from error
        if len(key) != KEY_BYTES:
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS entry {position} ({key_id}) must be {KEY_BYTES} bytes.")
        if key_id in ring:
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS names the key id {key_id} twice.")
        ring[key_id] = key
    if not ring:
        raise ImproperlyConfigured("ENCRYPTION_KEYS is empty: set kid:base64 of 32 random bytes.")
    return ring


def primary_key_id() -> str:
    """Return the id of the key that writes."""
    return next(iter(parse_key_ring(settings.ENCRYPTION_KEYS)))


def key_id_of(stored: str) -> str:
    """Return the id of the key that wrote a stored value. Raises DecryptionError when it is no such value."""
    version, _, rest = stored.partition(":")
    key_id, separator, _ = rest.partition(":")
    if version != VERSION or not separator:
        raise DecryptionError("A stored secret does not have the form v1:kid:data.")
    return key_id


def encrypt(plaintext: str, context: SecretContext) -> str:
    """Encrypt one secret for one place, under the first key of the ring."""
    key_id, key = next(iter(parse_key_ring(settings.ENCRYPTION_KEYS).items()))
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, plaintext.encode(), context.associated_data())
    return f"{VERSION}:{key_id}:{base64.b64encode(nonce + sealed).decode()}"


def decrypt(stored: str, context: SecretContext) -> str:
    """Read one secret back. Raises UnknownEncryptionKey or DecryptionError; never returns a ciphertext."""
    key_id = key_id_of(stored)
    ring = parse_key_ring(settings.ENCRYPTION_KEYS)
    if key_id not in ring:
        place = f"{context.table}.{context.field}"
        raise UnknownEncryptionKey(f"{place} was written with key {key_id!r}, which is not in the ring.")
    try:
        raw = base64.b64decode(stored.split(":", 2)[2], validate=True)
        plaintext = AESGCM(ring[key_id]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.associated_data())
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise DecryptionError(f"{context.table}.{context.field} does not decrypt under key {key_id!r}.") from error
    return plaintext.decode()


def mask(secret: str) -> str:
    """Show a secret's prefix and last four characters: `sk_test_...aBcD`. A short value shows its prefix only."""
    # Only prefixes that are known: a secret may hold underscores of its own.
    match = _KNOWN_PREFIX.match(secret)
    shown = match.group() if match else ""
    rest = secret[len(shown) :]
    return f"{shown}...{rest[-4:]}" if len(rest) >= 8 else f"{shown}..."
