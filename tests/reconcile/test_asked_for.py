"""A reconciliation that somebody asks for on the project's page: planned with a reason, carried out by a worker, shown there."""

import datetime as dt

from django.urls import reverse
from django.utils import timezone

from moderation.models import ActionLog
from payments.models import ReconcileRun, Subscription, WebhookEvent
from payments.tasks import go_on_with_reconciliation
from projects.models import Role
from tests.admin.clicks import Person
from tests.admin.test_payments_pages import sign_in
from tests.payments.deliveries import deliver, events_of
from tests.reconcile.runs import nobody_else
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
