"""A worker that dies between the app's answer and noting it: every event arrives, and a second copy bears the same id (F3)."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services.deliveries import OF_ENDPOINT_MAX
from projects.models import Project
from tests.faults.test_outbox import is_dead
from tests.live import running_service, wait_until
from tests.notifications.consumer import running_consumer
from tests.notifications.listening import listen, record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

EVENTS = 6


def test_no_event_is_lost_and_a_second_copy_can_be_told(
    acme: Project, tmp_path: Path, settings: Any, run_database: str
) -> None:
    with running_consumer() as app:
        settings.WEBHOOK_ALLOWED_HOSTS = [app.host]
        listen(acme, app)
        # What other cases left waiting is not what the worker is to die at.
        others = WebhookEndpoint.objects.exclude(project=acme)
        others.update(disabled_at=Now(), disabled_reason=WebhookEndpoint.DisabledReason.SWITCHED_OFF)
        events = [record(acme) for _ in range(EVENTS)]
        rows = WebhookDelivery.objects.for_project(acme)
        env = {
            "FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "webhooks.before_stamp", "WEBHOOK_ALLOWED_HOSTS": app.host,
            "FAIL_ONCE_FILE": str(tmp_path / "once"), "EVENT_LEASE_SECONDS": "2", "EVENT_SWEEP_SECONDS": "1",
        }  # fmt: skip
        with running_service(tmp_path, "http://127.0.0.1:9", env=env, parts=("worker",)) as service:
            killed = service.processes["worker"]
            wait_until(lambda: is_dead(killed), seconds=40, what="the worker died at the stamp")
            service.processes.pop("worker")
            assert 1 <= len(app.seen) <= OF_ENDPOINT_MAX and rows.filter(status="delivered").count() < len(app.seen)
            service.start("worker")
            wait_until(lambda: rows.filter(status="delivered").count() == EVENTS, seconds=40, what="all are delivered")
        seen = Counter(one.headers["webhook-id"] for one in app.seen)
    assert set(seen) == {f"evt_{row.pk.hex}" for row in events}
    twice = [key for key, times in seen.items() if times > 1]
    assert 1 <= len(twice) <= OF_ENDPOINT_MAX and max(seen.values()) == 2
