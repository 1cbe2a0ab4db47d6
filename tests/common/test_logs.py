"""Secrets do not reach a log line, by whatever way they come."""

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from common.logs import logging_config, redact

pytestmark = pytest.mark.no_db

SECRETS = [
    "sk_test_51CanaryCanaryCanary",
    "rk_live_51CanaryCanaryCanary",
    "whsec_CanaryCanary/Canary+1=",
    "ak_Canary_Canary-CanaryCanaryCanary",
    "hpl_Canary-CanaryCanary.Canary_Canary",
    "sk-CanaryCanaryCanaryCanary",
    "ghp_CanaryCanaryCanaryCanary",
    "github_pat_CanaryCanaryCanary_1",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJDYW5hcnkifQ.Canary-Canary",
]


@pytest.fixture
def lines() -> Iterator[StringIO]:
    """What a handler of ours writes."""
    config = logging_config(level="DEBUG")
    formatter_config = config["formatters"]["json"]
    formatter = formatter_config["()"](
        processors=formatter_config["processors"], foreign_pre_chain=formatter_config["foreign_pre_chain"]
    )
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("tests.redaction")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel("DEBUG")
    yield stream
    logger.handlers = []


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_removed_from_message_argument_field_and_traceback(lines: StringIO, secret: str) -> None:
    plain, structured = logging.getLogger("tests.redaction"), structlog.get_logger("tests.redaction")
    plain.info("calling with " + secret)
    plain.info("calling with %s", {"nested": [secret]})
    plain.info("extra", extra={"key": secret})
    structured.info("event", value=secret, deep={"list": [secret]})
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        plain.exception("it broke")
        structured.exception("it broke")
    written = lines.getvalue()
    assert secret not in written
    assert secret[8:] not in written
    assert len(written.splitlines()) == 6


@pytest.mark.parametrize("field", ["password", "client_secret", "Authorization", "refresh_token", "webhook_secret"])
def test_a_field_that_is_secret_by_name_is_removed_whatever_it_holds(lines: StringIO, field: str) -> None:
    structlog.get_logger("tests.redaction").info("event", **{field: "hunter2"}, body={"inner": {field: "hunter2"}})
    logging.getLogger("tests.redaction").info("body was %s", json.dumps({field: "hunter2", "other": "kept"}))
    logging.getLogger("tests.redaction").info("body was %s", {field: "hunter2", "other": "kept"})
    assert "hunter2" not in lines.getvalue()
    assert lines.getvalue().count("kept") == 2


def test_passwords_in_addresses_and_authorization_headers_are_removed() -> None:
    assert redact("postgres://payments:hunter2@db:5432/payments") == "postgres://payments:[redacted]@db:5432/payments"
    assert redact("redis://:hunter2@redis:6379/0") == "redis://:[redacted]@redis:6379/0"
    assert "aHVudGVyMg" not in redact("Authorization: Basic aHVudGVyMg==")
    assert "opaque-token-1" not in redact("sent Bearer opaque-token-1 to them")


def test_a_private_key_is_removed_even_when_it_is_cut_off() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nCanaryCanary\n-----END PRIVATE KEY-----"
    assert redact(f"key {key} end") == "key [redacted] end"
    assert "Canary" not in redact(json.dumps(key[:40]))


def test_ids_and_ordinary_text_stay_readable() -> None:
    paid = "cus_NffrFeUfNV2Hib paid in_1MtHbELkdIwHu7ixl4OzzPMv: task sync of pk_test_51Public took 12 ms"
    assert redact(paid) == paid
    assert redact("basic authentication failed") == "basic authentication failed"


def test_what_a_user_sends_cannot_forge_a_line(lines: StringIO) -> None:
    logging.getLogger("tests.redaction").info("agent %s", 'x\r\n{"event": "forged"}\x1b[31m')
    written = lines.getvalue()
    assert len(written.splitlines()) == 1
    assert "\x1b" not in written
    assert json.loads(written)["level"] == "info"


@pytest.mark.parametrize(("level", "written"), [("INFO", False), ("DEBUG", True)])
def test_each_call_to_stripe_is_a_line_only_when_debugging_and_its_bodies_never_are(level: str, written: bool) -> None:
    logger = logging.getLogger("stripe")
    before = logger.level
    try:
        logger.setLevel(logging_config(level=level)["loggers"]["stripe"]["level"])
        assert logger.isEnabledFor(logging.INFO) is written
        assert logger.isEnabledFor(logging.WARNING) and not logger.isEnabledFor(logging.DEBUG)
    finally:
        logger.setLevel(before)


@given(st.text(max_size=200))
def test_redaction_never_fails_and_changes_nothing_twice(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
