"""Notes what changed on a subscription, and tells the app: one line and one outbound event per change, each renewal once.

Invariant: a line is written in the transaction of the change and only when a field differs, so that no replay, sync or
reconciliation that finds the same state adds one. Call under the customer's lease: the state before was read there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import OuterRef

from common.clock import from_unix
from common.inserts import Rows, insert_together
from notifications.models import OutboxRow
from payments.models import Subscription, SubscriptionChange
from payments.models.billing import ENDED_STATUSES
from payments.services.effects import APP_EVENT, MAIL, effect_of
from payments.services.ownership import Cause, Scope
from payments.services.shapes import render_subscription, utc_text

State = dict[str, Any]
CREATED, RENEWED, ACCESS, OTHER = "created", "renewed", "access", "other"
# What a change is called after: the first of these with a field that differs.
KINDS = {
    "status": ("status", "ended_at", "past_due_since"),
    "plan": ("plan_code", "price_id"),
    "quantity": ("quantity",),
    ACCESS: ("access_revoked_at", "access_revoked_by"),
    "cancellation": ("cancel_at", "cancel_at_period_end", "cancelled_at", "cancellation_reason"),
    "trial": ("trial_end",),
    "pause": ("pause_collection",),
    "period": ("current_period_start", "current_period_end"),
}
CYCLE = "subscription_cycle"
UPDATED = "subscription.updated"
BEGUN_STATUSES = ("active", "trialing")


@dataclass(frozen=True)
class Renewal:
    """A period that began by itself and is paid. The key is the period's, so that any event may bring it."""

    period_start: int
    invoice_id: str

    @property
    def key(self) -> str:
        """Name the renewal among the changes of its subscription."""
        return f"{RENEWED}:{self.period_start}"


def paid_renewals(invoices: Iterable[Any]) -> dict[str, Renewal]:
    """Find the periods that these invoices paid for, by key. An invoice that is not paid renews nothing.

    An invoice of a cycle looks back: its period ends at the moment when the new one begins.
    Source: https://docs.stripe.com/api/invoices/object#invoice_object-period_end
    """
    cycles = [
        invoice
        for invoice in invoices
        if isinstance(invoice, dict) and invoice.get("billing_reason") == CYCLE and invoice.get("status") == "paid"
    ]
    found = [Renewal(int(invoice["period_end"]), str(invoice["id"])) for invoice in cycles if invoice.get("period_end")]
    return {renewal.key: renewal for renewal in found}


def noted_keys(scope: Scope, keys: Iterable[str]) -> ArraySubquery:
    """Select, as a part of the query of a subscription, which of these changes were noted before."""
    rows = SubscriptionChange.objects.for_project(scope.project_id).filter(mode=scope.mode, change_key__in=list(keys))
    return ArraySubquery(rows.filter(subscription=OuterRef("pk")).values("change_key"))


def state_of(row: Subscription) -> State:
    """Return what a change is told by: the wire shape's fields as they are stored, and what decides about access."""
    return {
        "status": row.status,
        "plan_code": row.plan.code if row.plan else None,
        "price_id": row.stripe_price_id or None,
        "quantity": row.quantity,
        "current_period_start": utc_text(row.current_period_start),
        "current_period_end": utc_text(row.current_period_end),
        "trial_end": utc_text(row.trial_end),
        "cancel_at": utc_text(row.cancel_at),
        "cancel_at_period_end": row.cancel_at_period_end,
        "cancelled_at": utc_text(row.canceled_at),
        "ended_at": utc_text(row.ended_at),
        "cancellation_reason": row.cancellation_reason or None,
        "pause_collection": row.pause_collection,
        "past_due_since": utc_text(row.past_due_since),
        "access_revoked_at": utc_text(row.access_revoked_at),
        "access_revoked_by": row.access_revoked_by or None,
    }


def write_changed(
    scope: Scope,
    row: Subscription,
    *,
    before: State | None,
    fields: Sequence[str],
    renewals: Sequence[Renewal] = (),
    cause: Cause | None = None,
) -> None:
    """Write a subscription's row and note what differs from the state before (None: there was no row), in one statement.

    `renewals` are those that were not noted yet. What the changes cause is recorded with them, each effect once.
    """
    cause = cause or scope.cause_of(row.stripe_subscription_id)
    after = state_of(row)
    changes = _changes(scope, row, before, after, renewals, cause)
    effects = _effects(scope, row, cause, changes, before) if changes else []
    if not connection.in_atomic_block:
        raise RuntimeError("a change is noted in the transaction that makes it")
    insert_together(Rows([row], fields, ["id"]), Rows(changes), Rows(effects))


def _changes(
    scope: Scope,
    row: Subscription,
    before: State | None,
    after: State,
    renewals: Sequence[Renewal],
    cause: Cause,
) -> list[SubscriptionChange]:
    waiting = {renewal.key: renewal for renewal in renewals}
    found: list[SubscriptionChange] = []
    if before is None:
        known = {name: value for name, value in after.items() if value is not None}
        found.append(_line(scope, row, cause, kind=CREATED, change_key=CREATED, before={}, after=known))
    elif before != after:
        differing = [name for name in after if before[name] != after[name]]
        kind, key = _kind_of(differing), ""
        begun = _renewal_in(row, differing, waiting)
        if begun is not None:
            kind, key = RENEWED, begun.key
            del waiting[begun.key]
        was, now = ({name: state[name] for name in differing} for state in (before, after))
        found.append(_line(scope, row, cause, kind=kind, change_key=key, before=was, after=now))
    for renewal in waiting.values():
        told = {"current_period_start": utc_text(from_unix(renewal.period_start)), "invoice_id": renewal.invoice_id}
        found.append(_line(scope, row, cause, kind=RENEWED, change_key=renewal.key, before={}, after=told))
    return found


def _renewal_in(row: Subscription, differing: list[str], waiting: Mapping[str, Renewal]) -> Renewal | None:
    """Find the renewal that a change of period is, when it is paid already."""
    if "current_period_start" not in differing or row.current_period_start is None:
        return None
    return waiting.get(f"{RENEWED}:{int(row.current_period_start.timestamp())}")


def _kind_of(differing: list[str]) -> str:
    return next((kind for kind, names in KINDS.items() if any(name in differing for name in names)), OTHER)


def _line(scope: Scope, row: Subscription, cause: Cause, **fields: Any) -> SubscriptionChange:
    return SubscriptionChange(
        project_id=scope.project_id,
        mode=scope.mode,
        subscription_id=row.pk,
        source=cause.source,
        event_id=cause.event_id,
        event_type=cause.event_type,
        happened_at=cause.happened_at,
        **fields,
    )


def _effects(
    scope: Scope, row: Subscription, cause: Cause, changes: list[SubscriptionChange], before: State | None
) -> list[OutboxRow]:
    """Say what changes cause: an outbound event each, and the mails that a subscription has begun and that it has ended."""
    shape = render_subscription(row)
    ended = row.status in ENDED_STATUSES
    told = [_event_of(change) for change in changes]
    if ended:
        # What changes at its end or after it is told as canceled, once.
        told = [event for event in told if event[0] != UPDATED]
    ends_now = ended and (before is None or before["status"] not in ENDED_STATUSES)
    if ends_now:
        told.append(("subscription.canceled", ""))
    found = [
        effect_of(
            scope,
            cause,
            kind=APP_EVENT,
            effect_key=f"app:{kind}:{row.stripe_subscription_id}{discriminator}",
            payload={"type": kind, "data": shape},
            end_user_id=row.end_user_id,
        )
        for kind, discriminator in told
    ]
    # One that waits for its first payment is confirmed when that arrives. Later returns to active are told by receipts.
    if row.status in BEGUN_STATUSES and (before is None or before["status"] == "incomplete"):
        begun = {"period_end": shape["current_period_end"]}
        if row.status == "trialing":
            begun = {"trial_end": shape["trial_end"]}
        found.append(mail_about(scope, row, cause, "payment_confirmed", begun))
    # One that is incomplete_expired never began: there is nothing to say goodbye to.
    if ends_now and row.status == "canceled":
        found.append(mail_about(scope, row, cause, "subscription_canceled", {"ended_at": shape["plan_expires"]}))
    return found


def _event_of(change: SubscriptionChange) -> tuple[str, str]:
    """Return the type of the outbound event that a change is told by, and what tells it from others of the type."""
    if change.kind == CREATED:
        return "subscription.created", ""
    if change.kind == RENEWED:
        return "subscription.renewed", f":{change.change_key.removeprefix(RENEWED + ':')}"
    return UPDATED, f":{change.pk}"


def mail_about(
    scope: Scope,
    row: Subscription,
    cause: Cause,
    template: str,
    context: Mapping[str, Any],
    *,
    discriminator: str = "",
    skipped_because: str = "",
) -> OutboxRow:
    """Return a mail to a subscription's user, one per subscription, template and discriminator, unsaved."""
    facts = {"plan_name": row.plan.name if row.plan else None, "subscription_id": row.stripe_subscription_id}
    return effect_of(
        scope,
        cause,
        kind=MAIL,
        effect_key=f"mail:{template}:{row.stripe_subscription_id}{discriminator}",
        payload={"template": template, "to": None, "context": facts | dict(context)},
        end_user_id=row.end_user_id,
        skipped_because=skipped_because,
    )
