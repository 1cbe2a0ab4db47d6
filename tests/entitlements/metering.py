"""Usage in tests: what a plan includes, who holds it, and reports as an app's server sends them."""

import datetime as dt
import uuid
from typing import Any

from django.db import connection, transaction

from common import clock
from entitlements.models import Entitlement, Plan, UsageCharge, UsageEvent, UsagePeriod, UsageTotal
from entitlements.services.holdings import Standing, hold_plan
from entitlements.services.quotas import set_quotas
from entitlements.services.usage import OVERLAPS, USAGE_DIFFERENCES
from projects.models import EndUser, Project
from tests.payments.rows import create_plan

USAGE = "/api/v1/payments/usage"
MONTH = dt.timedelta(days=30)


def plan_with(project: Project, quotas: dict[str, Any], **fields: Any) -> Plan:
    """Make a plan with quotas."""
    plan = create_plan(project, **fields)
    set_quotas(plan=plan, quotas=quotas)
    return plan


def hold(
    end_user: EndUser,
    plan: Plan | None,
    *,
    mode: str = "test",
    subscription_id: str = "sub_usage",
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    active: bool = True,
    status: str = "",
) -> Entitlement:
    """Put an end user on a plan as a subscription would, for a period that began ten days ago unless told otherwise."""
    start = since or clock.now() - dt.timedelta(days=10)
    standing = Standing(
        plan=plan,
        subscription_id=subscription_id,
        status=status or ("active" if active else "canceled"),
        active=active,
        period_start=start,
        period_end=until or start + MONTH,
        granted_period_start=start,
    )
    with transaction.atomic():
        holding = hold_plan(
            project_id=end_user.project_id, mode=mode, end_user_id=end_user.pk, standing=standing, cause="test"
        )
    assert holding.entitlement is not None
    return holding.entitlement


def event(meter: str = "searches", quantity: Any = "1", key: str = "", **more: Any) -> dict[str, Any]:
    """Write one report; without a key, one that nobody has used."""
    return {"meter": meter, "quantity": quantity, "idempotency_key": key or uuid.uuid4().hex} | more


def post(caller: Any, leaf: str, body: dict[str, Any], query: str = "", **headers: str) -> Any:
    """Send JSON to an endpoint of usage."""
    return caller.client.post(f"{USAGE}/{leaf}{query}", data=body, content_type="application/json", headers=headers)


def report(caller: Any, user_id: str | None, *events: dict[str, Any], query: str = "") -> dict[str, Any]:
    """Report a batch; a refusal fails the test."""
    answer = post(caller, "events", {"events": list(events)} | ({"user_id": user_id} if user_id else {}), query)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def summary(caller: Any, user_id: str | None = None) -> dict[str, Any]:
    """Read where a user is."""
    answer = caller.client.get(f"{USAGE}/summary" + (f"?user_id={user_id}" if user_id else ""))
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def used(caller: Any, user_id: str | None = None) -> dict[str, str]:
    """Read how much was used, by meter."""
    return {one["meter"]: one["used"] for one in summary(caller, user_id)["meters"] if one["used"] != "0"}


def rows_of(project: Project) -> tuple[int, int, int, int]:
    """Count what is stored: events, totals, periods and charges."""
    models = (UsageEvent, UsageTotal, UsagePeriod, UsageCharge)
    counts = [model._default_manager.filter(project=project).count() for model in models]
    return counts[0], counts[1], counts[2], counts[3]


def differences(project: Project) -> list[Any]:
    """Return totals that are not the sum of their events."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({USAGE_DIFFERENCES}) found WHERE project_id = %s", [project.pk])
        return list(cursor.fetchall())


def overlaps(project: Project) -> list[Any]:
    """Return periods of one user in which the same moment lies."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({OVERLAPS}) found WHERE project_id = %s", [project.pk])
        return list(cursor.fetchall())
