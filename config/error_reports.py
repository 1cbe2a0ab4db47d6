"""Reports of errors to Sentry, when SENTRY_DSN names one. Nothing is imported or sent without it.

Invariant: what is sent has passed the redaction of a log line, and holds no request body, cookie, header, query, local variable
or address of a person: ids of requests and events are enough to find the rest in the log.
"""

import logging
from typing import Any

from common.logs import redact, without_named_secrets

KEPT_OF_REQUEST = ("method", "url")
# What a log line of the same moment carries as well.
TAGS = ("request_id", "task", "rounds", "event_ids", "project", "mode", "kind", "effect_key", "delivery")
DEPTH_MAX = 12


def start_error_reports(*, dsn: str, environment: str, release: str, transport: Any = None) -> None:
    """Send unexpected errors of this process to Sentry. `transport` replaces the network in tests."""
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        transport=transport,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0.0,
        max_breadcrumbs=0,
        auto_enabling_integrations=False,
        integrations=[
            DjangoIntegration(middleware_spans=False),
            CeleryIntegration(),
            # Errors that were caught and logged are reported as well; lines below that are not.
            LoggingIntegration(level=None, event_level=logging.ERROR),
        ],
        before_send=clean_report,
        before_send_transaction=lambda event, hint: None,
    )


def clean_report(report: Any, hint: Any) -> Any:
    """Return a report without secrets and people; None when cleaning fails, since then nothing may leave."""
    import structlog

    try:
        bound = structlog.contextvars.get_contextvars()
        tags = {name: str(bound[name])[:200] for name in TAGS if bound.get(name)}
        request = {name: value for name, value in (report.get("request") or {}).items() if name in KEPT_OF_REQUEST}
        if "url" in request:
            request["url"] = str(request["url"]).partition("?")[0]
        report = {**report, "request": request, "tags": {**(report.get("tags") or {}), **tags}}
        for name in ("user", "extra", "breadcrumbs", "server_name", "modules"):
            report.pop(name, None)
        return _clean(without_named_secrets(None, report))
    except Exception:
        return None


def _clean(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        return "[cut off]"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key) if isinstance(key, str) else key: _clean(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner, depth + 1) for inner in value]
    return value
