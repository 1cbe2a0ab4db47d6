"""The lists that can be exported: their columns, and whose rows somebody may take away.

Invariant: every read is of one project, which the maker may see at that moment; `NO_PROJECT` is what belongs to none, for staff.
"""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from django.db.models import Model, Q, QuerySet

from accounts.models import User
from common.errors import FieldError
from common.modes import LIVE, TEST
from entitlements.models import CreditTransaction
from licenses.models import License
from moderation.models import ActionLog, ReviewItem
from payments.models import Subscription, Transaction, WebhookEvent
from projects.admin_scope import is_staff_role
from projects.models import ROLE_RANK, EndUser, Membership, Project, Role

CHUNK_ROWS = 2000
FILTERS_CHARS_MAX = 1000
# Each project is a query or two, which somebody waits for.
PROJECTS_AT_ONCE = 100
Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """One list. Columns are (heading, field); `at` is the time that it is ordered by; `has_mode` says whether rows have one."""

    title: str
    model: type[Model]
    at: str
    columns: Columns
    has_mode: bool = True
    of_no_project: bool = False

    @property
    def view_right(self) -> str:
        """The right to look at the list in the admin."""
        options = self.model._meta
        return f"{options.app_label}.view_{options.model_name}"


_PROJECT: Columns = (("Project", "project__slug"),)
_USER: Columns = (("User", "end_user__external_id"), ("E-mail", "end_user__email"))
LISTINGS: dict[str, Listing] = {
    "payments": Listing(
        "Payments", Transaction, "created_at",
        (
            *_PROJECT, ("Mode", "mode"), ("Created", "created_at"), *_USER, ("Status", "status"),
            ("Amount (minor units)", "amount_cents"), ("Refunded (minor units)", "refunded_amount_cents"),
            ("Currency", "currency"), ("Description", "description"), ("Disputed", "disputed"),
            ("Failure", "failure_code"), ("Payment intent", "payment_intent_id"), ("Invoice", "stripe_invoice_id"),
            ("Customer", "stripe_customer_id"), ("Subscription", "subscription__stripe_subscription_id"), ("Id", "id"),
        ),
    ),
    "subscriptions": Listing(
        "Subscriptions", Subscription, "created_at",
        (
            *_PROJECT, ("Mode", "mode"), ("Created", "created_at"), *_USER, ("Status", "status"), ("Plan", "plan__code"),
            ("Price", "stripe_price_id"), ("Quantity", "quantity"), ("Period begins", "current_period_start"),
            ("Period ends", "current_period_end"), ("Trial ends", "trial_end"), ("Cancels at", "cancel_at"),
            ("Canceled", "canceled_at"), ("Ended", "ended_at"), ("Why canceled", "cancellation_reason"),
            ("Comment", "cancellation_comment"), ("Subscription", "stripe_subscription_id"),
            ("Customer", "stripe_customer_id"), ("Id", "id"),
        ),
    ),
    "end_users": Listing(
        "End users", EndUser, "created_at",
        (
            *_PROJECT, ("Created", "created_at"), ("User", "external_id"), ("E-mail", "email"), ("Active", "is_active"),
            ("Banned", "banned_at"), ("Anonymised", "anonymised_at"), ("Last seen", "last_seen_at"), ("Id", "id"),
        ),
        has_mode=False,
    ),
    "licences": Listing(
        "Licences", License, "purchased_at",
        (
            *_PROJECT, ("Mode", "mode"), ("Bought", "purchased_at"), ("Product", "product__code"), ("E-mail", "email"),
            ("GitHub", "username"), ("State", "state"), ("Amount (minor units)", "amount_cents"), ("Currency", "currency"),
            ("Invited", "first_invited_at"), ("Active since", "activated_at"), ("Revoked", "revoked_at"),
            ("Payment intent", "payment_intent_id"), ("Id", "id"),
        ),
    ),
    "credits": Listing(
        "Credit history", CreditTransaction, "created_at",
        (
            *_PROJECT, ("Mode", "mode"), ("At", "created_at"), ("User", "wallet__end_user__external_id"), ("Kind", "kind"),
            ("Credits", "amount"), ("Available after", "available_after"), ("Description", "description"),
            ("Source", "source"), ("By", "actor"), ("Id", "id"),
        ),
    ),
    "events": Listing(
        "Stripe events", WebhookEvent, "received_at",
        (
            *_PROJECT, ("Mode", "mode"), ("Received", "received_at"), ("Type", "type"), ("Event", "event_id"),
            ("Object", "object_id"), ("Status", "status"), ("Attempts", "attempts"), ("Error", "error"), ("Source", "source"),
            ("Happened", "stripe_created_at"), ("Handled", "handled_at"), ("Failed", "failed_at"), ("Id", "id"),
        ),
    ),
    "reviews": Listing(
        "Review queue", ReviewItem, "created_at",
        (
            *_PROJECT, ("Mode", "mode"), ("Opened", "created_at"), *_USER, ("Kind", "kind"), ("Title", "title"),
            ("About", "subject"), ("Status", "status"), ("Why", "note"), ("Decided", "resolved_at"),
            ("Assigned to", "assigned_to__email"), ("Id", "id"),
        ),
    ),
    "actions": Listing(
        "Action log", ActionLog, "at",
        (
            *_PROJECT, ("Mode", "mode"), ("At", "at"), ("Action", "action"), ("Subject", "subject"),
            ("By", "actor_label"), ("Why", "reason"), ("Id", "id"),
        ),
        has_mode=False, of_no_project=True,
    ),
}  # fmt: skip
NO_PROJECT = uuid.UUID(int=0)


@dataclass(frozen=True)
class Wanted:
    """Which rows: of one project or all that the maker may see, one mode or both, of these days (UTC, both included)."""

    what: str
    project_id: uuid.UUID | None = None
    mode: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    # Which of them, as the address of the list in the admin says it; "" for all.
    filters: str = ""


class FilterRefused(FieldError):
    """422: the list has no such filter."""

    def __init__(self) -> None:
        super().__init__("filters", msg="The list has no such filter. Open the list anew and export it from there.")


class ReadList(Protocol):
    """Returns the rows of a list under filters, as somebody sees them. Raises: FilterRefused."""

    def __call__(self, *, user: User, model: type[Model], filters: str) -> QuerySet[Any]:
        """Read it."""


_lists: list[ReadList] = []


def register_list(read: ReadList) -> None:
    """Say who knows the lists and their filters; once per process, in `AppConfig.ready`."""
    _lists[:] = [read]


def sees_everything(user: User, listing: Listing) -> bool:
    """Say whether somebody may take away rows of every project: staff who may look at the list."""
    return user.is_active and user.is_staff and (is_staff_role(user) or user.has_perm(listing.view_right))


def projects_for(user: User, listing: Listing) -> QuerySet[Project]:
    """Return the projects whose rows somebody may take away: staff all, developers those in which they are at least that."""
    rows = Project.objects.existing()
    if sees_everything(user, listing):
        return rows
    roles = [role for role, rank in ROLE_RANK.items() if rank >= ROLE_RANK[Role.DEVELOPER]]
    mine = Membership.objects.filter(user=user.pk, role__in=roles).values("project_id")
    return rows.filter(pk__in=mine) if user.is_active and user.is_staff else rows.none()


def listings_for(user: User) -> dict[str, str]:
    """Name the lists that somebody may export."""
    return {name: one.title for name, one in LISTINGS.items() if may_export(user, one)}


def may_export(user: User, listing: Listing) -> bool:
    """Say whether somebody may take rows of this list away, of some project at least."""
    return sees_everything(user, listing) or projects_for(user, listing).exists()


def rows_of(user: User, wanted: Wanted) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows that somebody wants and may see, in chunks, each a short query by index.

    Newest first in each project and mode.
    """
    listing = LISTINGS[wanted.what]
    rows = filtered_rows(user, wanted)
    projects = projects_for(user, listing)
    if wanted.project_id is not None:
        projects = projects.filter(pk=wanted.project_id)
    for project_id in _project_ids(user, wanted, listing, projects):
        modes = [wanted.mode] if wanted.mode else [TEST, LIVE] if listing.has_mode else [""]
        for mode in modes:
            yield from _chunks(listing, _base(listing, rows, project_id, mode, wanted))


def filtered_rows(user: User, wanted: Wanted) -> QuerySet[Any]:
    """Return a list's rows, of all projects, under the wanted filters. Raises: FilterRefused (422)."""
    model = LISTINGS[wanted.what].model
    if not wanted.filters:
        return model._default_manager.all()
    rows = model._default_manager.none()
    for read in _lists:
        rows = read(user=user, model=model, filters=wanted.filters)
    return rows


def is_small(user: User, wanted: Wanted, rows_max: int) -> bool:
    """Say whether there are at most so many rows, without counting more than that or asking for project after project."""
    projects = projects_for(user, LISTINGS[wanted.what])
    if wanted.project_id is None and len(projects.values_list("pk")[: PROJECTS_AT_ONCE + 1]) > PROJECTS_AT_ONCE:
        return False
    seen = 0
    for chunk in rows_of(user, wanted):
        seen += len(chunk)
        if seen > rows_max:
            return False
    return True


def _project_ids(user: User, wanted: Wanted, listing: Listing, projects: QuerySet[Project]) -> list[uuid.UUID]:
    found = list(projects.order_by("slug").values_list("pk", flat=True))
    if listing.of_no_project and wanted.project_id is None and sees_everything(user, listing):
        found.append(NO_PROJECT)
    return found


def _base(listing: Listing, rows: QuerySet[Any], project_id: uuid.UUID, mode: str, wanted: Wanted) -> QuerySet[Any]:
    rows = rows.filter(project=None if project_id == NO_PROJECT else project_id)
    if mode:
        rows = rows.filter(mode=mode)
    if wanted.since:
        rows = rows.filter(**{f"{listing.at}__gte": _midnight(wanted.since)})
    # There is no day after the last one that can be written.
    if wanted.until and wanted.until < dt.date.max:
        rows = rows.filter(**{f"{listing.at}__lt": _midnight(wanted.until + dt.timedelta(days=1))})
    return rows.order_by(f"-{listing.at}", "-pk")


def _chunks(listing: Listing, rows: QuerySet[Any]) -> Iterator[list[tuple[Any, ...]]]:
    fields = [field for _, field in listing.columns]
    last: tuple[Any, Any] | None = None
    while True:
        page = rows
        if last is not None:
            at, pk = last
            # The first condition is what an index can begin at.
            page = rows.filter(**{f"{listing.at}__lte": at}).filter(Q(**{f"{listing.at}__lt": at}) | Q(pk__lt=pk))
        found = list(page.values_list(listing.at, "pk", *fields)[:CHUNK_ROWS])
        if found:
            yield [row[2:] for row in found]
        if len(found) < CHUNK_ROWS:
            return
        last = found[-1][0], found[-1][1]


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
