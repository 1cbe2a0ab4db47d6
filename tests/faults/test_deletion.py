"""A project or a user is deleted while events are in flight: a defined end, and no row without its owner (F42)."""

import threading
from pathlib import Path
from random import Random

import pytest
from django.db import IntegrityError, OperationalError, connections

from payments.models import CheckoutSession, StripeCustomer, Subscription, Transaction
from projects.models import EndUser
from tests.cast import Developer
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, LiveServices, wait_until
from tests.payments.deliveries import an_event, events_of, stored
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# How long a web process may go by what it knows of a project, and a moment.
KNOWN_SECONDS = 8


@pytest.mark.live(parts=("web", "worker"))
def test_f42_the_events_of_a_deleted_project_come_to_an_end_and_later_ones_are_404(
    live_service: LiveService, sender: Sender, life: Life, alice: Developer
) -> None:
    project = life.shop.project
    live_a_whole_life(life)
    # Reads hang, so that some events are in work and others wait when the project goes.
    life.shop.fault("GET /v1/*_*", "hang", seconds=3, times=6)
    sender.send_all()
    wait_until(stored(project).filter(status="processing").exists, seconds=20, what="events in work")
    assert alice.client.delete(f"/api/v1/projects/{project.pk}").status_code == 204
    refused = lambda: sender.send(an_event()) == 404  # noqa: E731
    wait_until(refused, seconds=KNOWN_SECONDS, what="later deliveries refused")
    known = stored(project).count()
    life.shop.clear_faults()
    wait_until(lambda: not stored(project).unfinished().exists(), seconds=30, what="an end for every event")
    assert {sender.send(event) for event in events_of(life.shop)[:3]} == {404}
    assert stored(project).count() == known
    assert set(stored(project).values_list("status", flat=True)) <= {"processed", "ignored"}
    assert stored(project).filter(status="ignored", error="The project was deleted.").exists()
    live_service.wait_ready()


def delete_user(life: Life) -> None:
    """Delete the buyer, again where a row that has just been written still names them."""
    try:
        for _ in range(5):
            try:
                EndUser.objects.get(pk=life.user.end_user.pk).delete()
            except (IntegrityError, OperationalError):
                continue
            return
    finally:
        connections.close_all()


def test_f42_a_user_who_is_deleted_under_a_write_takes_nothing_of_the_books_along(
    life: Life, tmp_path: Path, run_database: str, live_services: LiveServices, rng: Random
) -> None:
    env = {
        "FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "handler.mid_tx",
        "FAIL_ONCE_FILE": str(tmp_path / "reached"), "FAIL_HOLD_UNTIL": str(tmp_path / "go"),
    }  # fmt: skip
    project = life.shop.project
    life.buy()
    service = live_services.get(env=env, parts=("web", "worker"))
    sender = Sender(service.url, life.shop, rng)
    sender.send_of_customers()
    wait_until((tmp_path / "reached").exists, seconds=20, what="a worker that has written and not committed")
    # It waits for the customer's row, which the worker has, and goes through once the worker has committed.
    deleting = threading.Thread(target=delete_user, args=(life,))
    deleting.start()
    (tmp_path / "go").touch()
    deleting.join(30)
    assert not EndUser.objects.filter(pk=life.user.end_user.pk).exists()
    sender.wait_drained()
    sender.check_effects_once()
    for model in (Subscription, Transaction, StripeCustomer):
        assert set(model.objects.for_project(project).values_list("end_user_id", flat=True)) == {None}
    assert not CheckoutSession.objects.for_project(project).exists()
