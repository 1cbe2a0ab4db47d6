"""A project with a row behind every page of the admin: what one project's people must see, and another's never."""

import datetime as dt
import itertools
import re
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import User
from common import clock
from entitlements.models import CreditTransaction, CreditWallet
from entitlements.services.ledger import move_by_hand
from licenses.models import License, LicenseProduct
from moderation.services.action_log import log_action
from projects.models import IdentityProvider, Project
from projects.services.identity_providers import put_identity_provider
from tests.admin.test_payments_pages import create_world
from tests.licenses.licensing import license_in_hand

# Rows of nobody's project: who signs in, and the library's own.
GLOBAL = ("accounts", "auth", "auditlog", "allauth_idp_oidc", "account")
# A file is its maker's, whatever project it is of.
PERSONAL = ("Export",)
# Kept encrypted, and on no page.
HS256 = "shared-CANARY-of-thirty-two-bytes-and-more"
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
STRIPE_ID = re.compile(r"\b[a-z]{2,9}_[0-9a-f]{20}\b")
_numbers = itertools.count(1)


@dataclass
class Furnished:
    """A project, a row of every model that has a page, and what its people's eyes only may meet."""

    project: Project
    marker: str
    rows: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def secrets(self) -> set[str]:
        """The ids that are on no page of another project's people."""
        found = {str(self.project.pk)}
        for row in self.rows.values():
            values = [str(getattr(row, column.attname)) for column in row._meta.concrete_fields]
            found |= {str(row.pk), *(match for value in values for match in STRIPE_ID.findall(value))}
        return found

    def traces_in(self, html: str) -> set[str]:
        """Return what of this project is on a page."""
        named = {self.marker} if self.marker.lower() in html.lower() else set()
        return named | (self.secrets & {*UUID.findall(html), *STRIPE_ID.findall(html)})


def project_models() -> list[Any]:
    """Return the models that have a page and belong to a project."""
    return [
        model
        for model in admin.site._registry
        if model._meta.app_label not in GLOBAL and model.__name__ not in PERSONAL
    ]


def furnish(marker: str) -> Furnished:
    """Make a project and a row of every model that has a page. Its name, and each of its texts, hold the marker."""
    world = create_world(f"{marker} shop")
    made = Furnished(world.project, marker, dict(world.rows))
    made.rows[Project] = world.project
    put_identity_provider(
        project=world.project,
        fields={
            "kind": "hs256", "issuer": "https://idp.example", "audience": f"aud-{world.project.pk}", "hs256_secret": HS256,
        },
    )  # fmt: skip
    made.rows[IdentityProvider] = world.project.identity_provider
    license_row = license_in_hand(world.project)
    made.rows[License], made.rows[LicenseProduct] = license_row, license_row.product
    end_user = _row(made, apps.get_model("projects", "EndUser"))
    wallet = {"project_id": world.project.pk, "mode": "test", "end_user_id": end_user.pk}
    posted = move_by_hand(**wallet, amount=5, reason=marker, actor=f"{marker}@example.com", key=f"{marker}-1")
    made.rows[CreditTransaction] = CreditTransaction.objects.get(pk=posted.transaction_id)
    made.rows[CreditWallet] = made.rows[CreditTransaction].wallet
    made.rows[apps.get_model("moderation", "ActionLog")] = log_action(
        action="test.made", subject=marker, actor=None, reason=marker, project_id=world.project.pk, mode="test"
    )
    for model in [*project_models(), *(apps.get_model("backoffice", name) for name in PERSONAL)]:
        _row(made, model)
    return made


def _row(made: Furnished, model: Any) -> Any:
    if model not in made.rows:
        values = {
            column.attname: _value(made, column)
            for column in model._meta.concrete_fields
            if not column.primary_key and (_is_needed(column) or column.name in ("project", "end_user"))
        }
        made.rows[model] = model._default_manager.create(**values | _special(made, model))
    return made.rows[model]


def _special(made: Furnished, model: Any) -> dict[str, Any]:
    """What a row needs beside what its columns tell."""
    now = clock.now()
    soon = now + dt.timedelta(days=1)
    special: dict[str, dict[str, Any]] = {
        "entitlements.tokenperiod": {"starts_at": now, "ends_at": soon},
        "entitlements.usageperiod": {"starts_at": now, "ends_at": soon},
        "notifications.alertrule": {"threshold": 5, "recovers_at": 1},
        "notifications.webhookendpoint": {"disabled_at": None, "disabled_reason": ""},
        "notifications.webhookdelivery": {"status": "failed"},
        "notifications.outboxrow": {
            "kind": "app_event",
            "payload": {"type": "test.made", "data": {"text": made.marker}},
        },
        "projects.membership": {"user_id": _person(made).pk, "role": "viewer"},
        "moderation.reviewitem": {"status": "pending"},
    }
    return special.get(model._meta.label_lower, {})


def _person(made: Furnished) -> User:
    return User.objects.create_user(f"{made.marker}-{next(_numbers)}@example.com", "x" * 12, full_name=made.marker)


def _is_needed(column: Any) -> bool:
    return not (
        column.null or column.has_default() or column.has_db_default() or getattr(column, "auto_now_add", False)
    )


def _value(made: Furnished, column: Any) -> Any:
    if isinstance(column, models.ForeignKey):
        if column.related_model is Project:
            return made.project.pk
        if column.related_model is User:
            return _person(made).pk
        return _row(made, column.related_model).pk
    if column.choices:
        return column.choices[0][0]
    return _plain(made, column)


def _plain(made: Furnished, column: Any) -> Any:
    text = f"{made.marker}-{next(_numbers)}"
    if column.name == "currency":
        return "usd"
    if isinstance(column, models.EmailField):
        return f"{text}@example.com"
    if isinstance(column, models.URLField):
        return f"https://{made.marker}.example/{text}"
    if isinstance(column, models.CharField | models.TextField):
        return text[: column.max_length]
    if isinstance(column, ArrayField):
        return []
    if isinstance(column, models.JSONField):
        return {}
    if isinstance(column, models.DateTimeField):
        return clock.now()
    if isinstance(column, models.DateField):
        return clock.now().date()
    if isinstance(column, models.UUIDField):
        return uuid.uuid4()
    if isinstance(column, models.DecimalField):
        return Decimal(1)
    return 1
