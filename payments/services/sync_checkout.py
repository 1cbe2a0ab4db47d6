"""Bring one checkout session up to what Stripe says, with what was bought: the return from checkout is right before the webhook."""

from payments.models import CheckoutSession
from payments.services.objects.checkout import collect_checkout_session
from payments.services.sync import sync_object
from projects.models import Project


def sync_checkout_session(
    *, project: Project, mode: str, session_id: str, wait_seconds: float = 5.0
) -> CheckoutSession | None:
    """Read a session, its subscription and payments from Stripe and write their rows; returns our row of the session.

    None when the session was not opened here. Raises: SyncBusy, LeaseLost (409), StripeNotConfigured (404), StripeFailure.
    """
    rows = CheckoutSession.objects.for_project(project).filter(mode=mode, stripe_session_id=session_id)
    asked_for = rows.values_list("request__customer", flat=True).first()
    sync_object(
        project_id=project.pk,
        mode=mode,
        collect=collect_checkout_session,
        object_id=session_id,
        root=asked_for or "",
        wait_seconds=wait_seconds,
    )
    return rows.select_related("end_user").first()
