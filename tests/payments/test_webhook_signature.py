"""The Stripe-Signature header: what verifies, and everything that must not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.signatures import (
    SIGNATURES_MAX,
    SignatureInvalid,
    check_timestamp,
    is_signed_by,
    parse_signature_header,
)
from tests.payments.deliveries import SECRET, signature

pytestmark = pytest.mark.no_db
BODY = b'{"id": "evt_1"}'
OTHER = "whsec_ffffffffffffffffffffffffffffffff"


def verifies(header: str, *, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> bool:
    return is_signed_by(parse_signature_header(header), payload=body, secrets=secrets)


def test_a_signature_of_the_secret_verifies() -> None:
    assert verifies(signature(BODY))


def test_either_secret_verifies_while_one_is_rolled() -> None:
    assert verifies(signature(BODY, OTHER), secrets=(SECRET, OTHER))


def test_one_true_signature_among_several_is_enough() -> None:
    assert verifies(signature(BODY) + ",v1=" + "0" * 64)
    assert verifies("v0=abc," + signature(BODY) + ",v0=" + "0" * 64)


@pytest.mark.parametrize("body", [BODY + b"\n", b'{"id":"evt_1"}', b"", b" " + BODY])
def test_other_bytes_do_not_verify(body: bytes) -> None:
    assert not verifies(signature(BODY), body=body)


@pytest.mark.parametrize("secrets", [(), ("",), (OTHER,), (SECRET[:-1],), (SECRET + "\n",)])
def test_other_secrets_do_not_verify(secrets: tuple[str, ...]) -> None:
    assert not verifies(signature(BODY), secrets=secrets)


def test_an_empty_secret_verifies_nothing_even_when_it_signed() -> None:
    assert not verifies(signature(BODY, ""), secrets=("",))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        "t=1",
        "v1=" + "0" * 64,
        "t=,v1=" + "0" * 64,
        "t=1.5,v1=" + "0" * 64,
        "t=-1,v1=" + "0" * 64,
        "t=+1,v1=" + "0" * 64,
        "t= 1,v1=" + "0" * 64,
        "t=1e3,v1=" + "0" * 64,
        "t=\u0661,v1=" + "0" * 64,
        "t=" + "9" * 13 + ",v1=" + "0" * 64,
        "t=1,t=1,v1=" + "0" * 64,
        "t=1,v0=" + "0" * 64,
        "t=1,v1=",
        "t=1,v1=" + "0" * 63,
        "t=1,v1=" + "0" * 65,
        "t=1,v1=" + "G" * 64,
        "t=1,v1=" + "A" * 64,
        "t=1,v1=" + "\u0660" * 64,
        "t=1" + (",v1=" + "0" * 64) * (SIGNATURES_MAX + 1),
        "t=1,v1=" + "0" * 64 + ",x=" + "y" * 4096,
    ],
)
def test_a_header_of_another_form_is_refused(header: str | None) -> None:
    with pytest.raises(SignatureInvalid):
        parse_signature_header(header)


def test_two_headers_joined_by_a_proxy_are_refused() -> None:
    with pytest.raises(SignatureInvalid):
        parse_signature_header(f"{signature(BODY)}, {signature(BODY)}")


@pytest.mark.parametrize(("age", "taken"), [(300, True), (301, False), (-300, True), (-301, False), (0, True)])
def test_a_timestamp_may_be_300_seconds_off_in_either_direction(age: int, taken: bool) -> None:
    now = int(time.time())
    header = parse_signature_header(signature(BODY, timestamp=now - age))
    if taken:
        check_timestamp(header, now=now)
    else:
        with pytest.raises(SignatureInvalid):
            check_timestamp(header, now=now)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        header = parse_signature_header(text)
    except SignatureInvalid:
        return
    assert not is_signed_by(header, payload=BODY, secrets=[SECRET])
