"""Secrets at rest: what is stored can be read in one place only, under one key only."""

import base64
import dataclasses
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from common.encryption import (
    DecryptionError,
    SecretContext,
    UnknownEncryptionKey,
    decrypt,
    encrypt,
    key_id_of,
    mask,
    parse_key_ring,
)

pytestmark = pytest.mark.no_db

CONTEXT = SecretContext("payments_stripecredentials", "project-1", "test", "secret_key")
SECRET = "sk_test_canary0123456789"


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


@pytest.fixture(autouse=True)
def ring(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = f"k1:{key(1)}"


def test_a_secret_comes_back_and_is_not_in_what_is_stored() -> None:
    stored = encrypt(SECRET, CONTEXT)
    assert decrypt(stored, CONTEXT) == SECRET
    assert stored.startswith("v1:k1:")
    assert key_id_of(stored) == "k1"
    sealed = base64.b64decode(stored.split(":")[2])
    assert SECRET.encode() not in sealed
    assert len(sealed) == 12 + len(SECRET) + 16


def test_every_flipped_bit_is_noticed() -> None:
    head, _, body = encrypt(SECRET, CONTEXT).rpartition(":")
    sealed = base64.b64decode(body)
    for position in range(len(sealed) * 8):
        spoiled = bytearray(sealed)
        spoiled[position // 8] ^= 1 << position % 8
        with pytest.raises(DecryptionError):
            decrypt(f"{head}:{base64.b64encode(spoiled).decode()}", CONTEXT)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("table", "projects_identityprovider"),
        ("project_id", "project-2"),
        ("mode", "live"),
        ("field", "webhook_secret"),
    ],
)
def test_a_ciphertext_copied_to_another_place_does_not_decrypt(part: str, other: str) -> None:
    elsewhere = dataclasses.replace(CONTEXT, **{part: other})
    with pytest.raises(DecryptionError):
        decrypt(encrypt(SECRET, CONTEXT), elsewhere)


def test_parts_of_a_context_cannot_be_shifted_into_each_other() -> None:
    assert (
        SecretContext("ab", "c", "test", "f").associated_data()
        != SecretContext("a", "bc", "test", "f").associated_data()
    )


@pytest.mark.parametrize(
    "stored", ["", "v1", "v1:k1", "v1:k1:", "v1:k1:!!!", "v1:k1:AAAA", "v2:k1:AAAA", "plain", "v1:k1:" + "A" * 100]
)
def test_what_is_no_ciphertext_is_an_error_and_never_comes_back(stored: str) -> None:
    with pytest.raises(DecryptionError) as raised:
        decrypt(stored, CONTEXT)
    assert "AAAA" not in str(raised.value)


def test_the_first_key_writes_and_every_key_reads(settings: Any) -> None:
    old = encrypt(SECRET, CONTEXT)
    settings.ENCRYPTION_KEYS = f"k2:{key(2)},k1:{key(1)}"
    assert decrypt(old, CONTEXT) == SECRET
    assert key_id_of(encrypt(SECRET, CONTEXT)) == "k2"
    settings.ENCRYPTION_KEYS = f"k2:{key(2)}"
    with pytest.raises(UnknownEncryptionKey, match="k1") as raised:
        decrypt(old, CONTEXT)
    assert SECRET not in str(raised.value)


def test_the_right_key_id_with_another_key_is_an_error(settings: Any) -> None:
    stored = encrypt(SECRET, CONTEXT)
    settings.ENCRYPTION_KEYS = f"k1:{key(9)}"
    with pytest.raises(DecryptionError):
        decrypt(stored, CONTEXT)


@pytest.mark.slow
def test_a_million_encryptions_use_a_million_nonces() -> None:
    seen = {base64.b64decode(encrypt("x", CONTEXT).split(":")[2][:16]) for _ in range(1_000_000)}
    assert len(seen) == 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ",", "k1", "k1:", f"k 1:{key(1)}", f":{key(1)}", "k1:not base64!", "k1:c2hvcnQ=",
        f"k1:{key(1)},k1:{key(2)}", f"k1:{base64.b64encode(b'x' * 33).decode()}", "k1:ключ",
    ],
)  # fmt: skip
def test_an_odd_key_ring_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        parse_key_ring(text)
    assert key(1) not in str(raised.value)
    assert key(2) not in str(raised.value)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk_test_51abcdefaBcD", "sk_test_...aBcD"),
        ("rk_live_51abcdefaBcD", "rk_live_...aBcD"),
        ("pk_live_51abcdefeFgH", "pk_live_...eFgH"),
        ("whsec_51abcdefiJkL", "whsec_...iJkL"),
        # Underscores of its own are part of the secret, not of the prefix.
        ("whsec_first_half_second_halfiJkL", "whsec_...iJkL"),
        ("sk_test_51abc_def_aBcD", "sk_test_...aBcD"),
        ("sk_test_short", "sk_test_..."),
        ("withoutprefix0123", "...0123"),
        ("", "..."),
    ],
)
def test_a_mask_shows_the_prefix_and_four_characters(secret: str, shown: str) -> None:
    assert mask(secret) == shown
