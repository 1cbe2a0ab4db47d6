"""How licences fare: sold, how many of the invited came in, how long that took, and who waits too long."""

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q, QuerySet

from common import clock
from licenses.models import License, LicenseState
from licenses.models.licenses import STUCK_INVITED_AFTER, STUCK_PENDING_AFTER, STUCK_SUBMITTED_AFTER
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from projects.models import Project

STUCK_AT_ONCE = 500
WAITS_FOR = {
    LicenseState.PENDING: "no username was given",
    LicenseState.USERNAME_SUBMITTED: "the invitation could not be sent",
    LicenseState.INVITED: "the invitation was not accepted",
}


@dataclass(frozen=True)
class LicenseMetrics:
    """Counts of licences. `accept_seconds` is from the first invitation to the grant, on average; None before any."""

    sold: int
    revoked: int
    by_status: dict[str, int]
    invited: int
    accepted: int
    accept_seconds: float | None
    stuck_pending: int
    stuck_submitted: int
    stuck_invited: int

    @property
    def conversion(self) -> float | None:
        """Which part of those who were invited came in; None before any invitation."""
        return self.accepted / self.invited if self.invited else None


def license_metrics(
    *, project: Project | uuid.UUID | None = None, mode: str | None = None, rows: QuerySet[License] | None = None
) -> LicenseMetrics:
    """Count the licences of a project, of `rows`, or all; of a mode, or both. One query.

    Somebody who was in the team before counts as neither invited nor accepted.
    """
    now = clock.now()
    rows = License.objects.all() if rows is None else rows
    rows = rows if project is None else rows.filter(project=project)
    rows = rows if mode is None else rows.filter(mode=mode)
    invited = Q(first_invited_at__isnull=False)
    accepted = invited & Q(activated_at__isnull=False)
    took = ExpressionWrapper(F("activated_at") - F("first_invited_at"), output_field=DurationField())
    found = rows.aggregate(
        sold=Count("pk"),
        **{f"in_{state}": Count("pk", filter=Q(state=state)) for state in LicenseState.values},
        invited_ever=Count("pk", filter=invited),
        accepted_ever=Count("pk", filter=accepted),
        took=Avg(took, filter=accepted),
        slow_pending=Count("pk", filter=Q(state=LicenseState.PENDING, purchased_at__lt=now - STUCK_PENDING_AFTER)),
        slow_submitted=Count(
            "pk",
            filter=Q(state=LicenseState.USERNAME_SUBMITTED, username_submitted_at__lt=now - STUCK_SUBMITTED_AFTER),
        ),
        slow_invited=Count("pk", filter=Q(state=LicenseState.INVITED, first_invited_at__lt=now - STUCK_INVITED_AFTER)),
    )
    took_time: dt.timedelta | None = found["took"]
    return LicenseMetrics(
        sold=found["sold"],
        revoked=found[f"in_{LicenseState.REVOKED}"],
        by_status={state: found[f"in_{state}"] for state in LicenseState.values},
        invited=found["invited_ever"],
        accepted=found["accepted_ever"],
        accept_seconds=took_time.total_seconds() if took_time is not None else None,
        stuck_pending=found["slow_pending"],
        stuck_submitted=found["slow_submitted"],
        stuck_invited=found["slow_invited"],
    )


def put_stuck_before_staff() -> int:
    """Open a review item for each licence that waits too long, once per state; returns how many are new."""
    now = clock.now()
    opened = 0
    stuck = License.objects.stuck(now).select_related("product").order_by("purchased_at")
    # Those that have their item already are left out, so that a thousand old ones do not hide a new one.
    known = ReviewItem.objects.filter(kind=ReviewItem.Kind.STUCK_LICENSE, cause_key__startswith="license_stuck:")
    seen = set(known.values_list("cause_key", flat=True))
    for row in stuck.iterator(chunk_size=STUCK_AT_ONCE):
        cause_key = f"license_stuck:{row.pk}:{row.state}"
        if cause_key in seen:
            continue
        with transaction.atomic():
            opened += open_review_item(
                project_id=row.project_id,
                mode=row.mode,
                kind=ReviewItem.Kind.STUCK_LICENSE,
                cause_key=cause_key,
                title=f"Licence of {row.product.name}: {WAITS_FOR[LicenseState(row.state)]}",
                subject=str(row.pk),
                end_user_id=row.end_user_id,
                details={"email": row.email, "github_username": row.username, "status": row.state},
            )
    return opened
