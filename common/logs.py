"""Structured logs, one JSON object a line, from which secrets are removed last of all.

The rendered line is what leaves the process, so the line is what is searched: a traceback, a third party's message and
a repr inside an argument pass the same filter as our own fields.
"""

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

# Field names whose value is never worth logging, whatever it looks like.
_SECRET_NAMES = (
    "password|passwd|secret|secret_key|api_key|client_secret|signing_secret|webhook_secret|private_key|access_token"
    "|refresh_token|id_token|authorization|cookie|set-cookie|x-api-key|encryption_keys|card_number|cvc"
)
_SECRET_NAME = re.compile(rf"^(?:{_SECRET_NAMES})$", re.IGNORECASE)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
    # Stripe's secret and restricted keys, signing secrets, our API keys, LiteLLM's and GitHub's tokens.
    (re.compile(r"\b(sk|rk)_(test|live)_[A-Za-z0-9_]+"), rf"\1_\2_{REDACTED}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9_+/=-]+"), f"whsec_{REDACTED}"),
    (re.compile(r"\bak_[A-Za-z0-9_-]{16,}"), f"ak_{REDACTED}"),
    # Links to a licence's page and to the hosted pages, and licence keys.
    (re.compile(r"\b(lat|hpl)_[A-Za-z0-9_.-]{16,}"), rf"\1_{REDACTED}"),
    (re.compile(r"\blk_[A-Z2-7]{16,}"), f"lk_{REDACTED}"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"), f"sk-{REDACTED}"),
    (re.compile(r"\b(gh[opsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), f"jwt_{REDACTED}"),
    # A digit or a sign tells a credential from the word "authentication".
    (
        re.compile(r"\b(Bearer|Basic)\s+(?=[A-Za-z]*[0-9._~+/=-])[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
        rf"\1 {REDACTED}",
    ),
    (re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*):[^\s/@\"']+@"), rf"\g<scheme>:{REDACTED}@"),
    # name=value, "name": "value" and 'name': 'value' inside longer text, escaped quotes included.
    (
        re.compile(
            rf"(?P<name>(?<![A-Za-z])(?:{_SECRET_NAMES})\\?[\"']?\s*[:=]\s*)(?P<quote>\\?[\"'])?(?P<value>[^\s\"'\\,;&}}\)\[]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>\g<quote>{REDACTED}",
    ),
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced by a mark."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_named_fields(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Drop the values of fields that are secret by name, at any depth."""
    return {name: without_named_secrets(name, value) for name, value in event.items()}


def without_named_secrets(name: object, value: Any) -> Any:
    """Return a value without what is secret by its name, at any depth; `name` is the value's own."""
    if isinstance(name, str) and _SECRET_NAME.match(name):
        return REDACTED
    if isinstance(value, dict):
        return {key: without_named_secrets(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_named_secrets(None, inner) for inner in value]
    return value


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, then removes secrets from the finished line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line that is written."""
        return redact(super().format(record))


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        redact_named_fields,
    ]


def logging_config(*, level: str = "INFO") -> dict[str, Any]:
    """Configure structlog and return the LOGGING dictionary for the standard library.

    JSON encodes line breaks and escape characters, so what a user sends cannot forge a line.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": RedactingFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(default=repr, ensure_ascii=True),
                ],
                "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *_shared_processors()],
            }
        },
        "filters": {"plain_requests": {"()": "common.request_log.PlainRequests"}},
        # The level is the handler's too: libraries that set their own logger to INFO keep to it as well.
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["plain_requests"],
                "level": level,
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Each of these says at INFO what our own request line already says, or at DEBUG whole payloads.
            "django.server": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "INFO"},
            # Two lines a call at INFO, between the lines of a command's report.
            "stripe": {"level": "INFO" if level == "DEBUG" else "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }
