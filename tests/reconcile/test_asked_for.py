"""A reconciliation that somebody asks for on the project's page: planned with a reason, carried out by a worker, shown there."""

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from moderation.models import ActionLog
from payments.models import ReconcileRun, Subscription, WebhookEvent
from payments.services.reconcile.reconciling import Wish, plan_run
from payments.services.reconcile.reconciling import reconcile as carry_out
from payments.services.reconcile.runs import RunInProgress, interrupted_runs
from payments.tasks import go_on_with_reconciliation
from payments.webhooks import HANDLERS
from projects.models import Role
from tests.admin.clicks import Person
from tests.admin.test_payments_pages import sign_in
from tests.builders import waits_for_a_lock
from tests.live import wait_until
from tests.payments.deliveries import deliver, events_of
from tests.reconcile.runs import nobody_else, runs
from tests.scenarios.lifecycle import Life


def test_a_project_is_compared_with_stripe_when_somebody_asks(life: Life) -> None:
    project = life.shop.project
    nobody_else(life.shop)
    life.buy()
    deliver(life.shop, events_of(life.shop))
    WebhookEvent.objects.for_project(project).update(received_at=timezone.now() - dt.timedelta(hours=1))
    # A row was damaged, as by a bug.
    Subscription.objects.for_project(project).update(quantity=7)
    page = reverse("backoffice:reconcile-project", args=[project.pk, "test"])
    asked = {"confirmed": "yes", "reason": "They miss a payment"}
    for who in ({"group": "Support"}, {"group": "Moderator"}, {"project": project, "role": Role.VIEWER}):
        client = sign_in(**who)
        assert client.get(page).status_code == client.post(page, asked).status_code == 403, who
    developer = Person(sign_in(project=project, role=Role.DEVELOPER)).open(
        f"/admin/projects/{project.pk}/desk/?mode=test"
    )
    developer.follow("Compare with Stripe now").press("Go on", reason="They miss a payment")
    assert not ReconcileRun.objects.for_project(project).exists()
    developer.press("Yes, do it")
    planned = ReconcileRun.objects.for_project(project)
    assert set(planned.values_list("kind", "status")) == {("events", "running"), ("objects", "running")}
    assert 'http-equiv="refresh"' in developer.html and "Begins within seconds" in developer.html
    line = ActionLog.objects.for_project(project).get(action="reconcile.ask")
    assert (line.reason, line.mode, line.details) == ("They miss a payment", "test", {"planned": ["events", "objects"]})
    go_on_with_reconciliation()
    assert set(planned.values_list("kind", "status")) == {("events", "done"), ("objects", "done")}
    assert Subscription.objects.for_project(project).get().quantity == 1
    shown = developer.open(f"/admin/projects/{project.pk}/desk/?mode=test").html
    assert 'http-equiv="refresh"' not in shown and ">done<" in shown
    # While somebody works on all of it, nothing more is planned or logged.
    planned.filter(status="done").delete()
    for kind in ("events", "objects"):
        ReconcileRun.objects.create(project=project, mode="test", kind=kind, lease_until="2999-01-01T00:00:00Z")
    refused = developer.client.post(page, asked | {"request": str(project.pk)})
    assert refused.status_code == 200 and b"is being reconciled right now" in refused.content
    assert ActionLog.objects.for_project(project).filter(action="reconcile.ask").count() == 1


def test_a_page_reloads_itself_for_as_long_as_somebody_works(life: Life) -> None:
    client = sign_in(project=life.shop.project, role=Role.DEVELOPER)
    page = f"/admin/projects/{life.shop.project.pk}/desk/?mode=test"
    run = ReconcileRun.objects.create(project=life.shop.project, mode="test", kind="objects")
    rows, now = ReconcileRun.objects.filter(pk=run.pk), timezone.now()
    expected: list[tuple[dict[str, Any], str]] = [
        ({}, "5"),
        ({"error": "Stripe is away"}, ""),
        ({"error": "", "started_at": now - dt.timedelta(minutes=5)}, ""),
        ({"lease_until": now + dt.timedelta(minutes=2)}, "30"),
        ({"lease_until": now - dt.timedelta(seconds=1)}, ""),
        ({"lease_until": now + dt.timedelta(minutes=2), "status": "done"}, ""),
    ]
    for values, seconds in expected:
        rows.update(**values)
        shown = client.get(page).content.decode()
        assert ('http-equiv="refresh"' in shown) is bool(seconds), values
        assert not seconds or f'http-equiv="refresh" content="{seconds}"' in shown, values


def test_one_person_asks_so_often_an_hour(life: Life, settings: Any) -> None:
    settings.RATE_LIMITS = {"reconciliations-asked": (1, 3600)}
    project = life.shop.project
    page = reverse("backoffice:reconcile-project", args=[project.pk, "test"])
    asked = {"confirmed": "yes", "reason": "They miss a payment", "request": str(project.pk)}
    client = sign_in(project=project, role=Role.DEVELOPER)
    assert client.post(page, asked).status_code == 302
    runs(life.shop).update(status="done")
    refused = client.post(page, asked)
    assert refused.status_code == 200 and b"Too many requests" in refused.content
    assert not runs(life.shop).filter(status="running").exists()
    assert ActionLog.objects.for_project(project).filter(action="reconcile.ask").count() == 1
    assert sign_in(project=project, role=Role.DEVELOPER).post(page, asked).status_code == 302, "another person asks"


def test_what_somebody_else_has_finished_is_not_begun_anew(life: Life) -> None:
    nobody_else(life.shop)
    project = life.shop.project
    for kind in ("events", "objects", "import"):
        plan_run(project_id=project.pk, mode="test", wish=Wish(kind, heals=True))
        assert (project.pk, "test", kind) in interrupted_runs()
        # Between the listing and its turn.
        runs(life.shop).filter(kind=kind).update(status="done")
        with pytest.raises(RunInProgress):
            carry_out(project_id=project.pk, mode="test", wish=Wish(kind, HANDLERS, heals=True, only_goes_on=True))
    assert list(runs(life.shop).values_list("status", "seen")) == [("done", 0)] * 3


def test_asked_again_a_process_looks_again_in_one_place(life: Life) -> None:
    nobody_else(life.shop)
    project = life.shop.project
    plan_run(project_id=project.pk, mode="test", wish=Wish("events", heals=True))
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            ReconcileRun.objects.select_for_update().get(project=project)
            held.set()
            let_go.wait(20)
        connections.close_all()

    def work() -> None:
        go_on_with_reconciliation()
        connections.close_all()

    holder, first = threading.Thread(target=hold), threading.Thread(target=work)
    holder.start()
    assert held.wait(20)
    first.start()
    try:
        wait_until(lambda: waits_for_a_lock("payments_reconcilerun"), seconds=20, what="the first run is in work")
        plan_run(project_id=project.pk, mode="test", wish=Wish("objects", heals=True))
        with CaptureQueriesContext(connection) as asked:
            go_on_with_reconciliation()
        assert len(asked) == 0 and first.is_alive()
    finally:
        let_go.set()
        holder.join(20)
        first.join(60)
    assert set(runs(life.shop).values_list("kind", "status")) == {("events", "done"), ("objects", "done")}
