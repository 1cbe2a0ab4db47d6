"""Finds whoever and whatever support was told of, over all projects that the viewer may see.

Invariants: rows come from the querysets of the admin's own lists, so that a search shows nothing that a list would hide; Stripe ids
are looked up by the primary keys that are made of them, names by the beginning through an index; no more than SHOWN of a kind.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, Q, QuerySet

from common.ids import stripe_row_id
from common.modes import MODES
from licenses.models import License
from payments.models import (
    CheckoutSession,
    Dispute,
    Invoice,
    Refund,
    StripeCustomer,
    Subscription,
    Transaction,
    WebhookEvent,
)
from projects.models import EndUser, Project

SHOWN = 20
CHARS_MIN, CHARS_MAX = 2, 255
# More projects than this are searched by the lists of one project.
PROJECTS_MAX = 2000
_STRIPE_ID = re.compile(r"(cus|sub|pi|in|re|pyr|du|dp|ch|py|cs|evt)_[A-Za-z0-9_]+")
Rows = Callable[[type[Model]], QuerySet[Any]]


@dataclass(frozen=True)
class Found:
    """Rows of one kind; `more` when there are more than are shown."""

    model: type[Model]
    rows: list[Any]
    more: bool = False


@dataclass(frozen=True)
class Search:
    """What to look for, where, and how the viewer's rows are had."""

    text: str
    rows_of: Rows
    project_ids: Sequence[uuid.UUID] = field(default=())

    def run(self) -> list[Found]:
        """Look for it; kinds with nothing are left out. At most five queries."""
        text = self.text.strip()
        if not CHARS_MIN <= len(text) <= CHARS_MAX or "\x00" in text:
            return []
        if _STRIPE_ID.fullmatch(text):
            return [found for found in self._by_stripe_id(text) if found.rows]
        if (key := _uuid(text)) is not None:
            asked = [(model, Q(pk=key)) for model in (EndUser, Project, License, WebhookEvent, Transaction)]
            return [found for found in (self._take(model, where) for model, where in asked) if found.rows]
        return [found for found in self._by_name(text) if found.rows]

    def _by_stripe_id(self, text: str) -> list[Found]:
        kind = text.partition("_")[0]
        projects = self.project_ids[:PROJECTS_MAX]
        keys = [stripe_row_id(project, mode, text) for project in projects for mode in MODES]
        by_key: dict[str, type[Model]] = {
            "cus": StripeCustomer, "sub": Subscription, "pi": Transaction, "in": Invoice, "re": Refund, "pyr": Refund,
            "du": Dispute, "dp": Dispute,
        }  # fmt: skip
        of_these = Q(project__in=projects, mode__in=MODES)
        found = [self._take(by_key[kind], Q(pk__in=keys))] if kind in by_key else []
        if kind == "in":
            found.append(self._take(Transaction, of_these & Q(stripe_invoice_id=text)))
        if kind in ("ch", "py"):
            found.append(self._take(Transaction, of_these & Q(stripe_charge_id=text)))
        if kind == "cs":
            found.append(self._take(CheckoutSession, of_these & Q(stripe_session_id=text)))
            found.append(self._take(License, of_these & Q(stripe_session_id=text)))
        if kind == "evt":
            found.append(self._take(WebhookEvent, of_these & Q(event_id=text)))
        elif kind in ("sub", "in", "pi", "cus"):
            found.append(self._take(WebhookEvent, of_these & Q(object_id=text)))
        if kind == "cus":
            found.append(self._take(Subscription, of_these & Q(stripe_customer_id=text)))
        return found

    def _by_name(self, text: str) -> list[Found]:
        name = text.removeprefix("@")
        begins = Q(email__istartswith=text)
        found = [
            self._take(EndUser, begins | Q(external_id__istartswith=text)),
            self._take(License, begins | Q(username__istartswith=name)),
            self._take(Project, Q(name__icontains=text) | Q(slug__istartswith=text)),
        ]
        if "@" in text:
            found.append(self._take(StripeCustomer, begins))
        return found

    def _take(self, model: type[Model], where: Q) -> Found:
        rows = self.rows_of(model).filter(where)
        if model is WebhookEvent:
            rows = rows.defer("payload")
        if model is not Project:
            rows = rows.select_related("project")
        if model in (StripeCustomer, Subscription, Transaction, Invoice, CheckoutSession):
            rows = rows.select_related("end_user")
        taken = list(rows[: SHOWN + 1])
        return Found(model, taken[:SHOWN], len(taken) > SHOWN)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
