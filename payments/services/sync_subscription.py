"""Bring one subscription up to what Stripe says, for somebody who waits for the answer."""

from payments.models import Subscription
from payments.services.objects.subscription import collect_subscription
from payments.services.sync import sync_object
from projects.models import Project


def sync_subscription(
    *, project: Project, mode: str, subscription_id: str, wait_seconds: float = 5.0
) -> Subscription | None:
    """Read a subscription from Stripe and write its row; None when there is none, neither at Stripe nor here.

    Raises: SyncBusy, LeaseLost (409), StripeNotConfigured (404), StripeFailure (502, 503).
    """
    rows = Subscription.objects.for_project(project).in_mode(mode).filter(stripe_subscription_id=subscription_id)
    root = rows.values_list("stripe_customer_id", flat=True).first() or ""
    sync_object(
        project_id=project.pk,
        mode=mode,
        collect=collect_subscription,
        object_id=subscription_id,
        root=root,
        wait_seconds=wait_seconds,
    )
    return rows.select_related("plan", "end_user", "project__billing_policy").first()
