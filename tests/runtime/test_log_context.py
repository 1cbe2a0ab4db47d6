"""One id leads from a delivery or a request, through the worker, to what came of it; reports of errors name it and no secret."""

import gzip
import http.server
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.db import transaction

from common.leased_rounds import LeasedRounds
from common.logs import logging_config
from common.request_log import people_prefixes
from config.error_reports import clean_report
from notifications.models import OutboxRow
from notifications.services.outbox import record_effect
from notifications.tasks import run_outbox
from payments.tasks import process_due_events
from projects.models import Project
from tests.payments.deliveries import an_event, send, set_webhook_secret

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """Collect the lines that the service writes, as its own handler writes them."""
    found = logging_config(level="INFO")["formatters"]["json"]
    formatter = found["()"](processors=found["processors"], foreign_pre_chain=found["foreign_pre_chain"])
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    lines: list[dict[str, Any]] = []
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_followed_from_the_delivery_to_its_effect(acme: Project) -> None:
    set_webhook_secret(acme)
    event = an_event()
    with logged() as lines:
        assert send(acme, event).status_code == 200
        process_due_events()
    about = [line for line in lines if event["id"] in json.dumps(line)]
    stored = next(line for line in about if "event_stored" in line["event"])
    assert len(stored["request_id"]) == 36
    assert f"project={acme.pk}" in stored["event"] and "mode=test" in stored["event"]

    # What is logged below a round, by whomever, says what is in hand.
    def carry_out(work: str) -> None:
        logging.getLogger("somebody.else").warning("deep below %s", work)
        structlog.get_logger("ours").warning("below")
        raise ValueError("lost")

    rounds = LeasedRounds[str](
        name="events", lease=lambda *_: [], carry_out=carry_out, renew=lambda _: None,
        describe=lambda work: {"event_ids": work, "project": str(acme.pk)},
    )  # fmt: skip
    with logged() as lines:
        rounds._carry_out("evt_1,evt_2")
    assert [line["event_ids"] for line in lines] == ["evt_1,evt_2"] * 3
    assert {line["rounds"] for line in lines} == {"events"}
    assert "ValueError" in lines[-1]["exception"]
    assert "event_ids" not in structlog.contextvars.get_contextvars(), "the thread's next work begins without it"


def test_an_effect_names_the_request_that_caused_it_and_its_lines_name_the_effect(acme: Project) -> None:
    with structlog.contextvars.bound_contextvars(request_id="11111111-2222"), transaction.atomic():
        record_effect(
            project_id=acme.pk,
            mode="test",
            kind="mail",
            effect_key="mail:of-a-request",
            payload={"template": "no_such_mail", "to": "dana@example.com", "context": {}},
        )
    row = OutboxRow.objects.for_project(acme).get()
    assert row.cause == "request:11111111-2222"
    with logged() as lines:
        run_outbox()
    line = next(line for line in lines if "outbox_row_failed" in line["event"] and str(row.pk) in line["event"])
    assert (line["effect_key"], line["cause"], line["project"]) == ("mail:of-a-request", row.cause, str(acme.pk))


@pytest.mark.no_db
def test_what_is_asked_most_names_nobody_and_is_not_looked_up_for_its_line() -> None:
    project = uuid.uuid4()
    deliveries = [f"/api/v1/payments/stripe/webhooks/{project}/test", "/webhook/stripe", "/healthz", "/readyz"]
    for path in [*deliveries, "/api/v1/payments/stripe/my-subscription", "/api/v1/payments/usage"]:
        assert not path.startswith(people_prefixes()), path
    for path in (f"/api/v1/projects/{project}/users/dana", "/api/v1/payments/status/dana", "/status/dana"):
        assert path.startswith(people_prefixes()), path


@pytest.mark.no_db
def test_a_report_is_cleaned_and_what_cannot_be_cleaned_is_not_sent() -> None:
    secret = "sk_live_51CanaryCanaryCanary"
    report = {
        "request": {
            "method": "POST", "url": f"https://pay.example/admin/?token={secret}", "query_string": secret, "data": secret,
            "cookies": {"sessionid": "canary"}, "headers": {"Authorization": secret}, "env": {"REMOTE_ADDR": "192.0.2.1"},
        },
        "exception": {"values": [{"type": "ValueError", "value": f"refused {secret}", "password": "hunter2"}]},
        "user": {"email": "dana@example.com"},
        "extra": {"argv": [secret]},
        "breadcrumbs": {"values": [{"message": secret}]},
    }  # fmt: skip
    with structlog.contextvars.bound_contextvars(
        request_id="11111111-2222", event_ids="evt_1", other="dana@example.com"
    ):
        cleaned = clean_report(report, {})
    text = json.dumps(cleaned)
    for gone in ("Canary", "canary", "hunter2", "dana@", "192.0.2.1", "token="):
        assert gone not in text, gone
    assert cleaned["request"] == {"method": "POST", "url": "https://pay.example/admin/"}
    assert cleaned["tags"] == {"request_id": "11111111-2222", "event_ids": "evt_1"}
    assert "refused sk_live_[redacted]" in text
    assert clean_report({"request": 5}, {}) is None


class _Sentry(http.server.BaseHTTPRequestHandler):
    """Takes what is sent to it."""

    taken: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.taken.append((gzip.decompress(body) if is_packed else body).decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


_PROGRAM = """
import os, django
django.setup()
from django.conf import settings
from django.test import Client
import sentry_sdk
assert sentry_sdk.is_initialized() == bool(settings.SENTRY_DSN)
# The database is away, so that this fails inside.
client = Client(raise_request_exception=False, headers={"Authorization": "Bearer ak_canary_canary_canary_canary"})
answer = client.get("/api/v1/payments/credits/balance?user_id=canary")
assert answer.status_code == 500, answer.content
print(answer.json()["request_id"])
sentry_sdk.flush(10)
"""


@pytest.mark.no_db
def test_an_unexpected_error_is_reported_with_its_request_id_and_nothing_else_of_the_request(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sentry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _Sentry.taken.clear()
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": "postgres://nobody:canary-password@127.0.0.1:9/none",  # pragma: allowlist secret
        "DATABASE_POOL": "false",
        "VAR_DIR": str(tmp_path),
        "SENTRY_DSN": f"http://public@127.0.0.1:{server.server_port}/1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr[-2000:]
    request_id = done.stdout.split()[-1]
    reports = [text for text in _Sentry.taken if "OperationalError" in text]
    assert reports and any(request_id in text for text in reports), [text[:500] for text in _Sentry.taken]
    assert "canary" not in "".join(_Sentry.taken)
    assert "credits/balance" in reports[0]
