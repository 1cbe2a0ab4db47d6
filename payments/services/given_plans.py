"""Plans that somebody gives by hand, as an internal one that nobody can buy. Invariant: none without a line in the action log."""

from dataclasses import dataclass

from django.db import transaction

from accounts.models import User
from common.errors import FieldError
from entitlements.models import Entitlement, Plan
from entitlements.services.holdings import give_plan
from moderation.services.action_log import log_action
from moderation.services.limits import check_plan_limit
from payments.services.standing import take_plan_back
from projects.models import EndUser, Project

REASON_CHARS_MAX = 1000


@dataclass(frozen=True)
class GivenPlan:
    """What a user is on after it. `given` says whether that was given by hand."""

    end_user: EndUser
    mode: str
    plan: Plan | None
    given: bool


def put_on_plan(
    *, project: Project, mode: str, end_user: EndUser, code: str | None, reason: str, actor: User
) -> GivenPlan:
    """Put a user on a plan by hand, above whatever they bought, or take that back without a code; what they bought counts then.

    Giving what is given already changes nothing. Raises: FieldError (422) for the plan or the reason, BeyondLimit (403).
    """
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"Say why, in at most {REASON_CHARS_MAX} characters.")
    plan = _plan_named(project, code) if code is not None else None
    with transaction.atomic():
        if plan is not None:
            give_plan(project_id=project.pk, mode=mode, end_user_id=end_user.pk, plan=plan, cause=f"staff:{actor.pk}")
            # After the user's own lock, as where credits are given: two locks are taken in one order.
            check_plan_limit(actor=actor, project_id=project.pk)
        else:
            take_plan_back(project_id=project.pk, mode=mode, end_user_id=end_user.pk, cause=f"staff:{actor.pk}")
        log_action(
            action="plan.give" if plan else "plan.take_back",
            subject=str(end_user.pk),
            actor=actor,
            reason=reason,
            project_id=project.pk,
            mode=mode,
            details={"plan": plan.code if plan else None, "user_id": end_user.external_id},
        )
    held = Entitlement.objects.for_project(project).in_mode(mode).filter(end_user=end_user)
    row = held.select_related("plan").first()
    return GivenPlan(end_user, mode, row.plan if row and row.active else None, bool(row and row.is_given))


def _plan_named(project: Project, code: str) -> Plan:
    plan = Plan.objects.for_project(project).named(code).filter(archived=False).order_by("rank").first()
    if plan is None:
        raise FieldError("body", "plan", msg="This project has no such plan.")
    return plan
