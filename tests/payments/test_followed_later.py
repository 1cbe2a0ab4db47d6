"""Events that a release before this one ignored, since it followed their type not yet: taken up again, once (F40)."""

import datetime as dt

from django.db import connection, transaction
from django.db.models.functions import Now

from payments import tasks
from payments.models import Subscription, WebhookEvent
from payments.services import inbox
from payments.services.inbox import follow_ignored_events, lease_due_groups
from payments.services.processing import FOREIGN, process_group
from payments.tasks import sweep_events
from payments.webhooks import HANDLERS
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, process_all, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop

DELETED = "customer.subscription.deleted"


def ignored_event(shop: Shop, **changes: object) -> WebhookEvent:
    """Store an event as a release leaves it that does not follow its type."""
    values = {"type": DELETED, "status": "ignored", "error": WebhookEvent.NOT_FOLLOWED, "handled_at": Now()} | changes
    number = stored(shop.project).count()
    return WebhookEvent.objects.create(project=shop.project, mode="test", event_id=f"evt_old_{number}", **values)


def status_of(event: WebhookEvent) -> str:
    event.refresh_from_db()
    return event.status


def test_what_an_old_worker_ignored_in_a_rolling_deploy_is_processed_by_a_new_one(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    bought = Subscription.objects.for_project(shop.project).get()
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    (ended,) = [event for event in events_of(shop) if event["type"] == DELETED]
    deliver(shop, [ended], process=False)
    before = {name: handler for name, handler in HANDLERS.items() if name != DELETED}
    for group in lease_due_groups(limit=200):
        if group.project_id == shop.project.pk:
            process_group(group, before)
    event = stored(shop.project).get(type=DELETED)
    bought.refresh_from_db()
    assert (event.status, event.error, bought.status) == ("ignored", WebhookEvent.NOT_FOLLOWED, "active")
    # A worker of this release starts.
    tasks._followed_at = None
    sweep_events()
    process_all(shop.project)
    bought.refresh_from_db()
    assert (status_of(event), event.error, bought.status) == ("processed", "", "canceled")
    handled_at = event.handled_at
    tasks._followed_at = None
    sweep_events()
    assert (status_of(event), event.handled_at) == ("processed", handled_at)


def test_only_what_is_followed_now_and_not_too_old_is_taken_up(shop: Shop) -> None:
    of_this_release, thin = ignored_event(shop), ignored_event(shop, type=f"v1.{DELETED}")
    of_no_interest = ignored_event(shop, type="topup.created")
    of_another_project = ignored_event(shop, error=FOREIGN)
    too_old = ignored_event(shop)
    rows = WebhookEvent.objects.filter(pk=too_old.pk)
    rows.update(received_at=Now() - dt.timedelta(days=inbox.FOLLOWED_DAYS, hours=1))
    follow_ignored_events(types=HANDLERS)
    assert [status_of(event) for event in (of_this_release, thin)] == ["pending", "pending"]
    assert {status_of(event) for event in (of_no_interest, of_another_project, too_old)} == {"ignored"}
    stored(shop.project).update(status="ignored", error=FOREIGN)


def test_few_are_taken_up_at_a_time_oldest_first_and_the_index_finds_them(shop: Shop) -> None:
    kind = f"of.the.next.release.{shop.project.pk}"
    events = [ignored_event(shop, type=kind) for _ in range(3)]
    assert [follow_ignored_events(types=[kind], limit=2) for _ in range(3)] == [2, 1, 0]
    assert {status_of(event) for event in events} == {"pending"}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql = inbox._FOLLOW.format(not_followed=WebhookEvent.NOT_FOLLOWED)
        cursor.execute(f"EXPLAIN {sql}", [[kind], inbox.FOLLOWED_DAYS, 2])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "webhook_event_not_followed" in plan, plan
    stored(shop.project).update(status="ignored", error=FOREIGN)
