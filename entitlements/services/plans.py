"""Plans and prices are written here alone, under the row lock of their project.

Invariants: within a project every code and alias names one plan, and at most one plan that is sold is the free one; a plan that
anything refers to is archived and never deleted, so that nobody loses what they hold; every change is in the action log.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, connection, transaction

from accounts.models import User
from common.errors import FieldError, NotFound
from entitlements.models import Plan, PlanPrice, PlanQuota
from entitlements.services.plan_fields import (
    LIMIT_NAMES,
    PLAN_FIELDS,
    PLANS_MAX,
    PRICES_MAX,
    problem_of_field,
    problem_of_price,
)
from entitlements.services.provisioning import follow_edit
from moderation.services.action_log import log_action
from projects.models import Project

# What is a plan's own, and goes with it.
OWN = (PlanPrice, PlanQuota)
# Where a price's fields are kept.
PRICE_COLUMNS = {
    "mode": "mode", "interval": "interval", "currency": "currency", "amount_cents": "amount_cents",
    "price_id": "stripe_price_id", "lookup_key": "lookup_key", "active": "active",
}  # fmt: skip
# Stripe's prices never change in these.
FIXED_AT_STRIPE = ("mode", "interval", "currency", "amount_cents")
AT_STRIPE = "This price is at Stripe, where a price never changes: add another one, and take this one off sale when that is sold."


class PlanNotFound(NotFound):
    """404: the project has no such plan."""

    code = "plan_not_found"
    detail = "There is no such plan."


class PlanPriceNotFound(NotFound):
    """404: the plan has no such price."""

    code = "plan_price_not_found"
    detail = "There is no such price of this plan."


def lock_plans(project: Project | uuid.UUID) -> Project:
    """Keep other writers of a project's plans away until the transaction ends. Raises: NotFound (404)."""
    key = project.pk if isinstance(project, Project) else project
    locked = Project.objects.existing().select_for_update(no_key=True).filter(pk=key).first()
    if locked is None:
        raise NotFound()
    return locked


def create_plan(*, project: Project, actor: User | None, fields: Mapping[str, Any]) -> Plan:
    """Add a plan. Raises: FieldError (422) that names the field."""
    with transaction.atomic():
        plan = Plan(project=lock_plans(project))
        write_plan(plan=plan, actor=actor, fields=fields)
    return plan


def update_plan(*, project: Project, plan_id: uuid.UUID, actor: User | None, fields: Mapping[str, Any]) -> Plan:
    """Change what is given and keep the rest. Raises: PlanNotFound (404), FieldError (422) that names the field."""
    with transaction.atomic():
        plan = find_plan(project=lock_plans(project), plan_id=plan_id)
        write_plan(plan=plan, actor=actor, fields=fields)
    return plan


def remove_plan(*, project: Project, plan_id: uuid.UUID, actor: User | None) -> bool:
    """Delete a plan, or archive it when anything refers to it; says whether it is gone. Raises: PlanNotFound (404)."""
    with transaction.atomic():
        return drop_plan(plan=find_plan(project=lock_plans(project), plan_id=plan_id), actor=actor)


def create_price(*, project: Project, plan_id: uuid.UUID, actor: User | None, fields: Mapping[str, Any]) -> PlanPrice:
    """Add a price to a plan. Raises: PlanNotFound (404), FieldError (422) that names the field."""
    with transaction.atomic():
        plan = find_plan(project=lock_plans(project), plan_id=plan_id)
        price = PlanPrice(project_id=plan.project_id, plan=plan, mode=fields["mode"])
        write_price(price=price, actor=actor, fields=fields)
    return price


def update_price(
    *, project: Project, plan_id: uuid.UUID, price_id: uuid.UUID, actor: User | None, fields: Mapping[str, Any]
) -> PlanPrice:
    """Change what is given and keep the rest. Raises: PlanNotFound, PlanPriceNotFound (404), FieldError (422)."""
    with transaction.atomic():
        price = find_price(project=lock_plans(project), plan_id=plan_id, price_id=price_id)
        check_fixed_at_stripe(price, fields)
        write_price(price=price, actor=actor, fields=fields)
    return price


def remove_price(*, project: Project, plan_id: uuid.UUID, price_id: uuid.UUID, actor: User | None) -> bool:
    """Delete a price, or take it off sale when somebody may pay it; says whether it is gone. Raises: as update_price."""
    with transaction.atomic():
        price = find_price(project=lock_plans(project), plan_id=plan_id, price_id=price_id)
        return drop_price(price=price, actor=actor)


def find_plan(*, project: Project, plan_id: uuid.UUID) -> Plan:
    """Return one plan of a project. Raises: PlanNotFound (404)."""
    plan = Plan.objects.for_project(project).filter(pk=plan_id).first()
    if plan is None:
        raise PlanNotFound()
    return plan


def find_price(*, project: Project, plan_id: uuid.UUID, price_id: uuid.UUID) -> PlanPrice:
    """Return one price of a plan. Raises: PlanNotFound, PlanPriceNotFound (404)."""
    plan = find_plan(project=project, plan_id=plan_id)
    price = PlanPrice.objects.for_project(project).filter(plan=plan, pk=price_id).select_related("plan").first()
    if price is None:
        raise PlanPriceNotFound()
    return price


def write_plan(*, plan: Plan, actor: User | None, fields: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Write a new or changed plan and return what differs, before and after. Call it under `lock_plans`.

    Raises: FieldError (422) that names the field.
    """
    is_new = plan._state.adding
    names = ("code", *PLAN_FIELDS) if is_new else PLAN_FIELDS
    given = {name: fields[name] for name in names if name in fields}
    for name, value in given.items():
        if problem := problem_of_field(name, value):
            raise _field_error(name, problem)
    changes = {
        name: [None if is_new else getattr(plan, name), value]
        for name, value in given.items()
        if is_new or _differs(getattr(plan, name), value)
    }
    for name, value in given.items():
        setattr(plan, name, value)
    if changes:
        check_among_others(plan, is_new=is_new)
        plan.save()
        follow_edit(plan)
        log_plan_change("plan.created" if is_new else "plan.changed", plan, actor, changes)
    return changes


def write_price(*, price: PlanPrice, actor: User | None, fields: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Write a new or changed price and return what differs, before and after. Call it under `lock_plans`.

    Raises: FieldError (422) that names the field.
    """
    is_new = price._state.adding
    given = {name: fields[name] for name in PRICE_COLUMNS if name in fields}
    for name, value in given.items():
        problem = None if name == "mode" or value == "" else problem_of_price(name, value)
        if problem:
            raise FieldError("body", name, msg=problem)
    changes = {}
    for name, value in given.items():
        before = getattr(price, PRICE_COLUMNS[name])
        if is_new or before != value:
            changes[name] = [None if is_new else before, value]
        setattr(price, PRICE_COLUMNS[name], value)
    if not changes:
        return changes
    if not price.amount_cents and not price.stripe_price_id and not price.lookup_key:
        raise FieldError(
            "body", "amount_cents", msg="Give an amount, or price_id or lookup_key to take it from Stripe."
        )
    _check_price_among_others(price, is_new=is_new)
    # What was looked at and found right: the warning goes, until Stripe says otherwise again.
    price.warning = ""
    price.save()
    log_plan_change(
        "plan_price.created" if is_new else "plan_price.changed", price.plan, actor, changes, mode=price.mode
    )
    return changes


def drop_plan(*, plan: Plan, actor: User | None) -> bool:
    """Delete a plan and its prices, or archive it when anything refers to it. Call it under `lock_plans`."""
    if not is_referred_to(plan):
        try:
            with transaction.atomic():
                # Not `delete()`, which would first take the plan away from whoever got it a moment ago.
                for model in OWN:
                    model._base_manager.filter(plan=plan)._raw_delete(using=connection.alias)
                Plan.objects.for_project(plan.project_id).filter(pk=plan.pk)._raw_delete(using=connection.alias)
                connection.check_constraints()
        except IntegrityError:
            pass
        else:
            log_plan_change("plan.deleted", plan, actor, {"name": [plan.name, None]})
            return True
    if not plan.archived:
        plan.archived = True
        plan.save(update_fields=["archived"])
        log_plan_change("plan.archived", plan, actor, {"archived": [False, True]})
    return False


def drop_price(*, price: PlanPrice, actor: User | None) -> bool:
    """Delete a price, or take it off sale when a subscription may have it. Call it under `lock_plans`.

    Its row then goes on telling whose plan the price is.
    """
    described = {"price_id": [price.stripe_price_id, None], "interval": [price.interval, None]}
    if (price.stripe_price_id or price.lookup_key) and is_referred_to(price.plan):
        if price.active:
            price.active = False
            price.save(update_fields=["active"])
            log_plan_change(
                "plan_price.changed", price.plan, actor, {"active": [True, False]} | described, mode=price.mode
            )
        return False
    log_plan_change("plan_price.deleted", price.plan, actor, described, mode=price.mode)
    price.delete()
    return True


def is_referred_to(plan: Plan) -> bool:
    """Say whether any row refers to a plan that is not its own: a subscription, what somebody holds, whatever comes later."""
    for relation in Plan._meta.related_objects:
        rows = relation.related_model._base_manager
        if relation.related_model not in OWN and rows.filter(**{relation.field.name: plan.pk}).exists():
            return True
    return False


def check_among_others(plan: Plan, *, is_new: bool) -> None:
    """Keep names apart, and the free plan single. Call it under `lock_plans`. Raises: FieldError (422)."""
    others = list(Plan.objects.for_project(plan.project_id).exclude(pk=plan.pk))
    if is_new and len(others) >= PLANS_MAX:
        raise FieldError("body", "code", msg=f"A project has at most {PLANS_MAX} plans.", type="too_many")
    taken = {name: other for other in others for name in (other.code, *other.aliases)}
    if plan.code in taken:
        raise _field_error("code", f"The plan {taken[plan.code].code} has this code or alias.", "taken")
    for alias in plan.aliases:
        if alias == plan.code or alias in taken:
            owner = plan.code if alias == plan.code else taken[alias].code
            raise _field_error("aliases", f"The plan {owner} has the code or alias {alias}.", "taken")
    free = next((other for other in others if other.free and not other.archived), None)
    if plan.free and not plan.archived and free is not None:
        raise _field_error("free", f"The plan {free.code} is the project's free plan already.", "taken")


def check_fixed_at_stripe(price: PlanPrice, fields: Mapping[str, Any]) -> None:
    """Refuse what somebody asks of a price that Stripe would not do to it. Raises: FieldError (422) that names the field."""
    if price.stripe_price_id:
        for name in FIXED_AT_STRIPE:
            if name in fields and fields[name] != getattr(price, name):
                raise FieldError("body", name, msg=AT_STRIPE, type="price_at_stripe")


def _check_price_among_others(price: PlanPrice, *, is_new: bool) -> None:
    others = PlanPrice.objects.for_project(price.project_id).filter(mode=price.mode).exclude(pk=price.pk)
    for name in ("price_id", "lookup_key"):
        column = PRICE_COLUMNS[name]
        value = getattr(price, column)
        found = others.filter(**{column: value}).select_related("plan").first() if value else None
        if found is not None:
            raise FieldError("body", name, msg=f"A price of the plan {found.plan.code} has it.", type="taken")
    if is_new and PlanPrice.objects.for_project(price.project_id).filter(plan=price.plan).count() >= PRICES_MAX:
        raise FieldError("body", "interval", msg=f"A plan has at most {PRICES_MAX} prices.", type="too_many")


def _differs(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        # In Python True == 1; in a feature they are two things. The database keeps no order of names.
        return _tagged(before) != _tagged(after)
    return bool(before != after)


def _tagged(features: Mapping[str, Any]) -> dict[str, tuple[bool, Any]]:
    return {name: (isinstance(value, bool), value) for name, value in features.items()}


def _field_error(name: str, problem: str, type: str = "value_error") -> FieldError:
    where = ("limits", name) if name in LIMIT_NAMES else (name,)
    return FieldError("body", *where, msg=problem, type=type)


def log_plan_change(
    action: str, plan: Plan, actor: User | None, changes: Mapping[str, list[Any]], *, mode: str = ""
) -> None:
    """Append who changed what, before and after. Call it in the transaction of the change."""
    log_action(
        action=action, subject=plan.code, actor=actor, project_id=plan.project_id, mode=mode, details=dict(changes)
    )
