"""Prometheus reads what the service does and how it fares, with a token, without secrets, and in names that the dashboard uses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from common.metrics import process_registry
from config.state_metrics import ServiceState
from moderation.services.review import open_review_item
from notifications.services.outbox import record_effect
from payments.models import WebhookEvent
from projects.models import Project
from tests.cast import AppUser
from tests.payments.deliveries import an_event, send, set_webhook_secret

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "scraper-" + "token-" * 4
_NAME = re.compile(r"\bpayments_[a-z_]+")


def scrape(**headers: str) -> Any:
    """Ask for the metrics as a scraper does: by address, with its token."""
    return Client(headers={"Authorization": f"Bearer {TOKEN}", "Host": "10.0.0.7:8000"} | headers).get("/metrics")


def values(text: str) -> dict[str, float]:
    """Return the value of each series of a scrape."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def test_only_the_scraper_reads_them(settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert scrape().status_code == 404, "without a token in the settings the address does not exist"
    settings.METRICS_TOKEN = TOKEN
    assert scrape().status_code == 200
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ünicode"):
        answer = scrape(Authorization=wrong)
        assert answer.status_code == 401 and b"payments_" not in answer.content
    assert Client().post("/metrics").status_code == 405


def test_what_happens_is_counted_and_what_waits_is_told(settings: Any, acme: Project, dana: AppUser) -> None:
    settings.METRICS_TOKEN = TOKEN
    set_webhook_secret(acme)
    ServiceState.forget()
    before = values(scrape().content.decode())
    event = an_event()
    assert [send(acme, event).status_code for _ in range(2)] == [200, 200]
    assert send(acme, an_event(), secret="whsec_" + "wrong" * 8).status_code == 400
    WebhookEvent.objects.for_project(acme).update(status="dead")
    send(acme, an_event())
    from django.db import transaction

    with transaction.atomic():
        record_effect(
            project_id=acme.pk, mode="test", kind="mail", effect_key="mail:metrics", payload={"template": "confirmed"}
        )
        open_review_item(project_id=acme.pk, mode="test", kind="dead_letter", cause_key="metrics", title="Look")
    dana.client.get(f"/api/v1/payments/entitlements/{dana.user_id}")
    ServiceState.forget()
    text = scrape().content.decode()
    after = values(text)

    def grew(series: str) -> float:
        return after.get(series, 0.0) - before.get(series, 0.0)

    assert grew('payments_webhook_deliveries_total{outcome="stored"}') == 2
    assert grew('payments_webhook_deliveries_total{outcome="repeated"}') == 1
    refused = {name for name in after if name.startswith("payments_webhook_deliveries_total") and grew(name) > 0}
    assert any("signature" in name for name in refused), refused
    assert grew('payments_webhook_dead_letters{mode="test"}') == 1
    assert grew('payments_webhook_events_pending{mode="test",status="pending"}') == 1
    assert grew('payments_outbox_pending{kind="mail",status="pending"}') == 1
    assert grew('payments_review_items_pending{kind="dead_letter"}') == 1
    assert after["payments_webhook_oldest_pending_seconds"] >= 0
    assert after['payments_state_readable{source="database"}'] == 1
    routes = [name for name in after if name.startswith("payments_http_request_seconds_count")]
    assert any('route="/api/v1/payments/entitlements/<path:user_id>"' in name for name in routes)
    # Nothing of a tenant, a user or a key is a label.
    for secret in (str(acme.pk), acme.slug, dana.user_id, event["id"], TOKEN, "@example.com", "whsec_"):
        assert secret not in text, secret


def test_what_cannot_be_read_is_left_out_and_said_to_be(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    ServiceState.forget()
    found = values(scrape().content.decode())
    ServiceState.forget()
    assert found['payments_state_readable{source="redis"}'] == 0
    assert found['payments_state_readable{source="database"}'] == 1
    assert "payments_worker_heartbeat_age_seconds" not in found


@pytest.mark.no_db
def test_processes_that_share_a_directory_are_added_up(tmp_path: Path) -> None:
    code = "from common.metrics import CHECKOUTS_OPENED as c; c.labels(kind='payment', mode='test').inc({})"
    for number in (1, 2):
        subprocess.run(
            [sys.executable, "-c", code.format(number)],
            cwd=ROOT,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            check=True,
            timeout=60,
        )
    from prometheus_client import generate_latest

    found = values(generate_latest(process_registry(str(tmp_path))).decode())
    assert found['payments_checkouts_opened_total{kind="payment",mode="test"}'] == 3


def test_the_dashboard_and_the_documentation_name_what_is_there_and_nothing_else(settings: Any) -> None:
    families = [*process_registry("").collect(), *ServiceState().collect()]
    # A histogram is told as its buckets, sum and count; a counter ends in _total.
    exposed: set[str] = set()
    for family in families:
        if family.name.startswith("payments_"):
            ends = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            exposed |= {f"{family.name}{end}" for end in ends}
    assert len(exposed) > 25
    board = json.loads((ROOT / "docs/grafana/payments.json").read_text())
    asked = {name for panel in board["panels"] for one in panel["targets"] for name in _NAME.findall(one["expr"])}
    assert asked - exposed == set()
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in exposed}
    documented = set(re.findall(r"^\| `(payments_[a-z_]+)`", (ROOT / "docs/operations.md").read_text(), re.MULTILINE))
    assert documented == names
    # What is exposed and on no panel would be looked at by nobody.
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} == names
