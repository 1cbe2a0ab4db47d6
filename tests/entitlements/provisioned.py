"""A project that is connected to a stand-in proxy, and what its users hold: the vocabulary of the LiteLLM tests."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from entitlements.models import Connection, Entitlement, Plan, ProvisionedUser
from entitlements.services.holdings import Standing, hold_plan
from entitlements.services.provisioning import LITELLM
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from notifications.tasks import run_outbox
from projects.models import EndUser, Project
from tests.cast import AppUser, Developer
from tests.litellm import Proxy
from tests.payments.rows import create_plan

LIMITS = ("max_budget", "budget_duration", "tpm_limit", "rpm_limit")
BLOCKED = (0, None, 0, 0)


@dataclass
class World:
    """Acme, connected to a proxy; dana is whom it is about unless somebody else is named."""

    project: Project
    owner: Developer
    user: AppUser
    proxy: Proxy
    plans: dict[str, Plan] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the connection is set."""
        return f"/api/v1/projects/{self.project.pk}/connections/litellm"

    def put(self, *, live: bool = False, who: Developer | None = None, **fields: Any) -> Any:
        """Set the connection; the proxy's own address and key where nothing else is said."""
        body = {"base_url": self.proxy.base_url, "master_key": self.proxy.master_key} | fields
        body = {name: value for name, value in body.items() if value != "left out"}
        query = "?test_mode=false" if live else ""
        return (who or self.owner).client.put(f"{self.path}{query}", data=body, content_type="application/json")

    def connect(self, *, live: bool = False, **fields: Any) -> Connection:
        """Set the connection and return its row."""
        answer = self.put(live=live, **fields)
        assert answer.status_code == 200, answer.content
        return self.connection("live" if live else "test")

    def connection(self, mode: str = "test") -> Connection:
        """Read the connection."""
        return Connection.objects.for_project(self.project).get(mode=mode)

    def plan(self, code: str, **fields: Any) -> Plan:
        """Make a plan of the project, once."""
        if code not in self.plans:
            self.plans[code] = create_plan(self.project, code=code, name=code.title(), **fields)
        return self.plans[code]

    def hold(
        self,
        plan: Plan | None,
        *,
        mode: str = "test",
        user: EndUser | None = None,
        period: dt.datetime | None = None,
        **standing: Any,
    ) -> None:
        """Let a user hold a plan by a subscription, or nothing any more."""
        values: dict[str, Any] = {"plan": plan, "subscription_id": "sub_acme", "status": "active", "active": True}
        if plan is None:
            values = {"plan": None, "subscription_id": "sub_acme", "status": "canceled", "active": False}
        values |= {"granted_period_start": period or dt.datetime(2026, 11, 1, tzinfo=dt.UTC)}
        with transaction.atomic():
            hold_plan(
                project_id=self.project.pk,
                mode=mode,
                end_user_id=(user or self.user.end_user).pk,
                standing=Standing(**values | standing),
                cause="test",
            )

    def run(self) -> None:
        """Carry out what is due, also what only waits for its next attempt."""
        self.effects(status=OutboxRow.Status.PENDING).update(next_attempt_at=Now() - dt.timedelta(seconds=1))
        run_outbox()

    def effects(self, **filters: Any) -> Any:
        """The project's effects at LiteLLM."""
        rows = OutboxRow.objects.for_project(self.project).filter(kind=LITELLM, **filters)
        return rows.order_by("created_at", "id")

    def states(self) -> list[str]:
        """How the effects fare, in their order."""
        return list(self.effects().values_list("status", flat=True))

    def provisioned(self, mode: str = "test", user: EndUser | None = None) -> ProvisionedUser:
        """What is desired and known of a user."""
        rows = ProvisionedUser.objects.for_project(self.project).in_mode(mode)
        return rows.get(end_user=user or self.user.end_user)

    def user_id(self, mode: str = "test", user: EndUser | None = None) -> str:
        """A user's id at the proxy."""
        return f"{self.project.slug}:{mode}:{(user or self.user.end_user).external_id}"

    def there(self, mode: str = "test", user: EndUser | None = None) -> dict[str, Any] | None:
        """The user as the proxy has them; None when it does not."""
        return self.proxy.users().get(self.user_id(mode, user))

    def limits(self, mode: str = "test", user: EndUser | None = None) -> tuple[Any, ...]:
        """A user's four limits at the proxy."""
        row = self.there(mode, user)
        assert row is not None
        return tuple(row[name] for name in LIMITS)

    def reviews(self) -> list[str]:
        """The titles of what was put before a person about provisioning."""
        rows = ReviewItem.objects.for_project(self.project).filter(kind=ReviewItem.Kind.FAILED_PROVISIONING)
        return list(rows.order_by("created_at").values_list("title", flat=True))

    def entitlement(self) -> Entitlement:
        """What dana holds."""
        return Entitlement.objects.for_project(self.project).in_mode("test").get(end_user=self.user.end_user)
