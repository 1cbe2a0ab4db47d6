"""Two workers, two beats, none at all: everything is done once, and somebody is told when nobody works (F38)."""

import datetime as dt

import pytest
from django.db.models.functions import Now

from config.health import PENDING_TOO_OLD_SECONDS
from payments.models import WebhookEvent
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.live(env={"EVENT_SWEEP_SECONDS": "1"})
def test_f38_two_workers_and_two_beats_do_everything_once(
    live_service: LiveService, life: Life, sender: Sender
) -> None:
    parts = [live_service.processes[name] for name in ("worker", "beat")]
    parts += [live_service.start(name) for name in ("second worker", "second beat")]
    live_a_whole_life(life)
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
    assert all(part.is_running() for part in parts)


@pytest.mark.live(parts=("web", "worker"))
def test_f38_without_beat_everything_is_processed(live_service: LiveService, sender: Sender, life: Life) -> None:
    live_a_whole_life(life)
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
    assert live_service.readiness()["code"] == 200


@pytest.mark.live(parts=("web",))
def test_f38_an_event_that_nobody_works_on_is_an_alarm_until_somebody_does(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    live_a_whole_life(life)
    sender.send_all()
    state = live_service.readiness()
    assert (state["code"], state["checks"]["worker"]) == (503, "no worker has reported yet")
    assert state["checks"]["pending_events"].startswith("ok, oldest due for")
    oldest = WebhookEvent.objects.for_project(life.shop.project).unfinished().order_by("next_attempt_at").first()
    assert oldest is not None
    long_ago = Now() - dt.timedelta(seconds=PENDING_TOO_OLD_SECONDS + 60)
    WebhookEvent.objects.filter(pk=oldest.pk).update(received_at=long_ago, next_attempt_at=long_ago)
    assert "the oldest due event has waited for 36" in live_service.readiness()["checks"]["pending_events"]
    live_service.start("worker")
    sender.wait_drained()
    sender.check_effects_once()
    live_service.wait_ready()
