"""What files of tests leave undone, laid aside: a later file that works off whatever is due would do it for minutes."""

from django.db.models.functions import Now

SAID = "left by an earlier test"


def lay_leftovers_aside() -> None:
    """Close everything that some round of the service would take up."""
    from notifications.models import OutboxRow, WebhookDelivery
    from payments.models import CheckoutSession, StripeIntent, WebhookEvent

    free = {"lease_token": None, "lease_until": None}
    WebhookEvent.objects.unfinished().update(status="ignored", handled_at=Now(), error=SAID, **free)
    OutboxRow.objects.unfinished().update(status="skipped", done_at=Now(), error=SAID, **free)
    WebhookDelivery.objects.unfinished().update(status="failed", **free)
    StripeIntent.objects.filter(status__in=["open", "unknown"]).update(status="failed", error=SAID)
    CheckoutSession.objects.filter(status__in=["creating", "unknown"]).update(status="failed")
