"""What is done once after a database was restored from a backup: the time between backup and loss is read again, without effects.

Invariant: what was sent before the loss is not sent again. What happened after it causes what it always does.
"""

import datetime as dt
import uuid

from django.db.models import Q

from entitlements.services.provisioning import settle_spend
from licenses.services.mails import LICENSE_MAIL
from notifications.models import OutboxRow
from notifications.services.alert_notices import ALERT_WEBHOOK
from payments.models import EventCursor, ReconcileRun, WebhookEvent
from payments.services.effects import ALERT, MAIL, NO_EFFECTS

# Effects whose peer would not notice a second one. The others are sent under a key that makes two of them one.
SEEN_TWICE = (MAIL, LICENSE_MAIL, ALERT, ALERT_WEBHOOK)


def settle_restored_rows(*, project_id: uuid.UUID, mode: str, until: dt.datetime) -> tuple[int, int]:
    """Let what was unfinished when the backup was made cause nothing, since it was finished after that.

    Returns how many events write state only, and how many mails and alerts are skipped.
    """
    events = WebhookEvent.objects.for_project(project_id).filter(mode=mode, without_effects=False)
    past = Q(stripe_created_at__lt=until) | Q(stripe_created_at__isnull=True, received_at__lt=until)
    quiet = events.unfinished().filter(past).update(without_effects=True)
    unsent = OutboxRow.objects.for_project(project_id).unfinished().filter(mode=mode, kind__in=SEEN_TWICE)
    skipped = unsent.filter(created_at__lt=until).update(status=OutboxRow.Status.SKIPPED, error=NO_EFFECTS)
    settle_spend(project_id=project_id, mode=mode, until=until)
    # A walk or a cursor of the time before says where a process was that is gone.
    ReconcileRun.objects.for_project(project_id).filter(mode=mode, status="running").update(
        status="failed", lease_until=None
    )
    EventCursor.objects.filter(project=project_id, mode=mode).delete()
    return quiet, skipped
