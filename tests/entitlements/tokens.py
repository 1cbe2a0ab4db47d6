"""What the tests of token budgets say: plans with a budget, people on them, and a Redis that forgets."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.db import transaction

from entitlements.models import Plan, TokenPeriod
from entitlements.services.holdings import Standing, hold_plan
from entitlements.services.token_facts import Budget
from entitlements.services.token_store import ERA, JOURNAL, keys_of
from projects.models import Project
from tests.cast import AppUser

PATH = "/api/v1/payments/tokens"
START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
MONTH = dt.timedelta(days=30)


def create_plan(project: Project, code: str, token_budget: int | None, **fields: Any) -> Plan:
    """Make a plan with a token budget."""
    return Plan.objects.create(project=project, code=code, name=code.title(), token_budget=token_budget, **fields)


@dataclass(frozen=True)
class Holder:
    """Somebody of an app, in one mode."""

    user: AppUser
    mode: str = "test"

    @property
    def keys(self) -> dict[str, Any]:
        """The account's ids, as services take them."""
        return {
            "project_id": self.user.end_user.project_id,
            "mode": self.mode,
            "end_user_id": self.user.end_user.pk,
        }

    @property
    def periods(self) -> Any:
        """What was granted."""
        return TokenPeriod.objects.of_user(**self.keys)

    def used(self) -> int:
        """What is journalled of all periods, in all eras."""
        return sum(use.used_tokens for period in self.periods for use in period.uses.all())

    def buys(self, plan: Plan | None, *, since: dt.datetime = START, subscription: str = "", **standing: Any) -> str:
        """Be on a plan by a subscription whose present period is paid; return the subscription's id."""
        subscription = subscription or f"sub_{uuid.uuid4().hex[:16]}"
        facts: dict[str, Any] = {
            "plan": plan, "subscription_id": subscription, "status": "active", "active": True, "period_start": since,
            "period_end": since + MONTH, "granted_period_start": since,
        } | standing  # fmt: skip
        with transaction.atomic():
            hold_plan(**self.keys, standing=Standing(**facts), cause="test")
        return subscription

    def ends(self) -> None:
        """Be on nothing that was bought."""
        with transaction.atomic():
            hold_plan(**self.keys, standing=Standing(), cause="test")

    def post(self, what: str, body: dict[str, Any], key: str = "") -> Any:
        """Call the API as this user."""
        query = "" if self.mode == "test" else "?test_mode=false"
        headers = {"Idempotency-Key": key} if key else {}
        return self.user.client.post(f"{PATH}/{what}{query}", body, content_type="application/json", headers=headers)

    def budget(self) -> Any:
        """Read the budget through the API."""
        return self.user.client.get(f"{PATH}/budget" + ("" if self.mode == "test" else "?test_mode=false")).json()


def direct() -> "redis.Redis":
    """A connection of the test's own."""
    return redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)


def forget_budgets() -> None:
    """Take everything about token budgets out of Redis, as FLUSHALL does; the scripts stay loaded."""
    with direct() as client:
        names = [ERA, JOURNAL, *client.scan_iter("{tokens}:*", count=1000)]
        client.delete(*names)


def held(holder: Holder) -> dict[str, str]:
    """Return what lies in Redis about an account."""
    with direct() as client:
        return client.hgetall(keys_of(**holder.keys).budget)


def figures(budget: Budget) -> tuple[int | None, int, int]:
    """Limit, used and reserved."""
    return budget.limit, budget.used, budget.reserved
