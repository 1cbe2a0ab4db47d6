"""A project's choices about access and checkout. They are read with every answer, so that a change holds at once.

Only what disputes took away is a fact of its own (payments/services/revocation.py): it is derived anew in the background.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from accounts.models import User
from common.errors import FieldError
from common.modes import LIVE, MODES
from moderation.services.action_log import log_action
from notifications.services.outbox import record_effect
from payments.models import BillingPolicy
from projects.models import Project

# `unpaid`, `paused` and what has ended never give access, and `past_due` does so within its grace only.
ENTITLEABLE = ("active", "trialing", "incomplete")
ALWAYS_ENTITLED = "active"
GRACE_HOURS_MAX = 60 * 24
REVOCATIONS = "revocations"
# What users of both modes hold is decided anew when the policy about access changes (payments/services/standing.py).
STANDINGS = "standings"
ACCESS_FIELDS = {"entitled_statuses", "grace_hours"}
FIELDS = (
    "entitled_statuses", "grace_hours", "full_refund_revokes", "dispute_revokes", "billing_address_collection",
    "tax_id_collection", "automatic_tax", "allow_promotion_codes",
)  # fmt: skip


def read_billing_policy(*, project: Project) -> BillingPolicy:
    """Return a project's policy; one that was never set is the default, unsaved."""
    return BillingPolicy.objects.for_project(project).first() or BillingPolicy(project=project)


def put_billing_policy(*, project: Project, actor: User, changes: Mapping[str, Any]) -> BillingPolicy:
    """Save the fields that are given and keep the others; who changed what is logged.

    Raises: FieldError (422) that names the field and its mend.
    """
    if "entitled_statuses" in changes:
        check_entitled_statuses(changes["entitled_statuses"])
    if "grace_hours" in changes:
        check_grace_hours(changes["grace_hours"])
    with transaction.atomic():
        BillingPolicy.objects.get_or_create(project=project)
        policy = BillingPolicy.objects.for_project(project).select_for_update().get()
        before = values_of(policy)
        for name in FIELDS:
            setattr(policy, name, changes.get(name, getattr(policy, name)))
        policy.save()
        log_policy_change(policy, actor=actor, before=before)
    return policy


def check_entitled_statuses(statuses: list[str]) -> None:
    """Refuse statuses that cannot give access, and a policy under which paying gives none. Raises: FieldError (422)."""
    problem = ""
    if "past_due" in statuses:
        problem = "Leave past_due out: it gives access for grace_hours after the first failed payment."
    elif unknown := sorted(set(statuses) - set(ENTITLEABLE)):
        problem = f"{', '.join(unknown)} cannot give access; choose among {', '.join(ENTITLEABLE)}."
    elif ALWAYS_ENTITLED not in statuses:
        problem = f"Add {ALWAYS_ENTITLED}: somebody who has paid has access."
    elif len(set(statuses)) != len(statuses):
        problem = "Name each status once."
    if problem:
        raise FieldError("body", "entitled_statuses", msg=problem)


def check_grace_hours(hours: int) -> None:
    """Refuse a grace without an end. Raises: FieldError (422)."""
    if not 0 <= hours <= GRACE_HOURS_MAX:
        raise FieldError("body", "grace_hours", msg=f"Give 0 to {GRACE_HOURS_MAX} hours; 0 is no grace.")


def values_of(policy: BillingPolicy) -> dict[str, Any]:
    """Return what a policy says, by field."""
    return {name: getattr(policy, name) for name in FIELDS}


def log_policy_change(policy: BillingPolicy, *, actor: User, before: Mapping[str, Any]) -> None:
    """Append who changed what, and plan what has to be redone for it; nothing when nothing differs.

    Call in the transaction of the change.
    """
    after = values_of(policy)
    changed = {name: [before.get(name), after[name]] for name in FIELDS if before.get(name) != after[name]}
    if changed:
        logged = log_action(
            action="billing_policy.changed",
            subject=str(policy.project_id),
            actor=actor,
            project_id=policy.project_id,
            details=changed,
        )
        if ACCESS_FIELDS & changed.keys():
            record_effect(
                project_id=policy.project_id,
                mode=LIVE,
                kind=STANDINGS,
                effect_key=f"{STANDINGS}:{logged.pk}",
                payload={},
                cause="billing policy",
                lane=STANDINGS,
            )
        if "dispute_revokes" in changed:
            for mode in MODES:
                record_effect(
                    project_id=policy.project_id,
                    mode=mode,
                    kind=REVOCATIONS,
                    effect_key=f"{REVOCATIONS}:{logged.pk}",
                    payload={},
                    cause="billing policy",
                    lane=REVOCATIONS,
                )
