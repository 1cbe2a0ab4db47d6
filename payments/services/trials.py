"""One trial per end user and mode: reserved by a checkout, used when a subscription trials, free again when the checkout fails.

Invariant: constraint trial_once_per_user. A reservation is written in the transaction of its session's row, before Stripe is
asked, so that of any number of clicks one gets the trial; only a trial that began at Stripe is used.
"""

import uuid
from collections.abc import Iterable

from django.db import connection

from common.clock import from_unix
from common.errors import ApiError
from common.ids import uuid7
from entitlements.models import Plan
from payments.models import CheckoutSession, Subscription, Trial
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject
from projects.models import EndUser, Project

HELD = "Another checkout of this user that is open has the trial."
# A session in one of these may still become a subscription that trials.
HOLDING_STATUSES = (
    CheckoutSession.Status.CREATING.value,
    CheckoutSession.Status.OPEN.value,
    CheckoutSession.Status.COMPLETE.value,
)


class TrialNotAvailable(ApiError):
    """400: a trial was asked for and the plan offers none."""

    code = "trial_not_available"
    detail = "This plan has no trial."


class TrialUsed(ApiError):
    """400: one trial per user, whatever the plan."""

    code = "trial_used"
    detail = "This user has had a trial already."


def offered_trial_days(plan: Plan | None) -> int:
    """Return how long a plan may be tried. Units: days.  Raises: TrialNotAvailable (400)."""
    if plan is None or plan.trial_days < 1:
        raise TrialNotAvailable()
    return plan.trial_days


def refuse_second_trial(*, project: Project, mode: str, end_user: EndUser) -> None:
    """Check that the user never had a trial, here or by hand at Stripe. Raises: TrialUsed (400)."""
    used = Trial.objects.for_project(project).filter(mode=mode, end_user=end_user, used_at__isnull=False)
    tried = Subscription.objects.for_project(project).in_mode(mode).filter(end_user=end_user, trial_end__isnull=False)
    if used.exists() or tried.exists():
        raise TrialUsed()


# Taken over from a session that came to nothing; else it stays with the one that holds it.
_RESERVE = """
    INSERT INTO payments_trial (id, project_id, mode, end_user_id, checkout_session_id, stripe_subscription_id)
    VALUES (%s, %s, %s, %s, %s, '')
    ON CONFLICT (project_id, mode, end_user_id) DO UPDATE
    SET checkout_session_id = excluded.checkout_session_id, reserved_at = now()
    WHERE payments_trial.used_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM payments_checkoutsession held
        WHERE held.id = payments_trial.checkout_session_id AND held.id <> excluded.checkout_session_id
        AND held.status = ANY(%s)
    )
    RETURNING 1
"""


def reserve_trial(session: CheckoutSession) -> None:
    """Give the user's one trial to a session, in the transaction that writes its row. Raises: TrialUsed (400)."""
    if not connection.in_atomic_block:
        raise RuntimeError("a trial is reserved in the transaction of its session")
    holding = list(HOLDING_STATUSES)
    owner = (session.project_id, session.mode, session.end_user_id)
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, (uuid7(), *owner, session.pk, holding))
        reserved = cursor.fetchone() is not None
    if not reserved:
        held = Trial.objects.for_project(session.project_id).filter(mode=session.mode, end_user=session.end_user_id)
        raise TrialUsed(HELD if held.filter(used_at__isnull=True).exists() else None)


def free_trial(*, project_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """Take an unused trial back from a session that came to nothing. One statement."""
    Trial.objects.for_project(project_id).filter(checkout_session=session_id, used_at__isnull=True).delete()


# The earliest trial counts, so that the order of events does not matter.
_USE = """
    INSERT INTO payments_trial (id, project_id, mode, end_user_id, stripe_subscription_id, used_at)
    SELECT %s, project_id, mode, end_user_id, stripe_subscription_id, %s
    FROM payments_subscription WHERE project_id = %s AND id = %s AND end_user_id IS NOT NULL
    ON CONFLICT (project_id, mode, end_user_id) DO UPDATE
    SET stripe_subscription_id = excluded.stripe_subscription_id, used_at = excluded.used_at
    WHERE payments_trial.used_at IS NULL OR payments_trial.used_at > excluded.used_at
"""


def note_trials(scope: Scope, subscriptions: Iterable[StripeObject | None]) -> None:
    """Mark the trials of subscriptions as used, after their rows are written: one statement for each that has or had one."""
    for found in subscriptions:
        began = from_unix(found.get("trial_start")) if found else None
        if found is None or began is None:
            continue
        with connection.cursor() as cursor:
            cursor.execute(_USE, [uuid7(), began, scope.project_id, scope.row_id(found["id"])])
