"""What happened to somebody's credits, newest first, and how it is shown."""

import datetime as dt
import uuid
from collections.abc import Iterable, Set
from typing import Any

from django.db.models import QuerySet

from entitlements.models import CreditReservation, CreditTransaction
from entitlements.services.ledger import END_USER, Balance, Finished, Posted, Reservation


def transactions_of(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> "QuerySet[CreditTransaction]":
    """Return the transactions of one wallet."""
    rows = CreditTransaction.objects.for_project(project_id).in_mode(mode)
    found: QuerySet[CreditTransaction] = rows.filter(wallet__end_user=end_user_id)
    return found


def utc_text(at: dt.datetime) -> str:
    """Write a time as the contract does: ISO-8601 in UTC, ending in Z."""
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def next_reset(at: dt.datetime) -> dt.datetime:
    """Return when daily credits begin anew: the next midnight in UTC."""
    return dt.datetime.combine(at.astimezone(dt.UTC).date() + dt.timedelta(days=1), dt.time(), dt.UTC)


def render_balance(balance: Balance, at: dt.datetime) -> dict[str, Any]:
    """Return the shape CreditBalance."""
    return {
        "available": balance.available,
        "reserved": balance.reserved,
        "debt": balance.debt,
        "buckets": dict(balance.buckets),
        "resets_at": utc_text(next_reset(at)),
    }


def render_history(rows: Iterable[CreditTransaction]) -> list[dict[str, Any]]:
    """Return shapes CreditTransaction."""
    return [_shape(row, row.details.get("reservation_id")) for row in rows]


def render_own_history(rows: Iterable[CreditTransaction]) -> list[dict[str, Any]]:
    """Return shapes CreditTransaction for the end user: what a server set aside is not theirs to finish and has no id."""
    shown = list(rows)
    own = _made_by_users({row.details["reservation_id"] for row in shown if row.details.get("reservation_id")})
    return [_shape(row, found if (found := row.details.get("reservation_id")) in own else None) for row in shown]


def _made_by_users(reservation_ids: Set[str]) -> Set[str]:
    if not reservation_ids:
        return set()
    rows = CreditReservation.objects.filter(pk__in=reservation_ids, actor=END_USER)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _shape(row: CreditTransaction, reservation_id: str | None) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "kind": row.kind,
        "amount": row.amount,
        "balance": row.available_after,
        "spent": row.details.get("spent"),
        "bucket": row.details.get("bucket"),
        "reservation_id": reservation_id,
        "description": row.description,
        "metadata": row.metadata,
        "created_at": utc_text(row.created_at),
    }


def render_posted(posted: Posted) -> dict[str, Any]:
    """Return the shape CreditSpend."""
    return {
        "transaction_id": str(posted.transaction_id),
        "amount": -posted.amount,
        "balance": posted.available,
        "created_at": utc_text(posted.created_at),
    }


def render_spends(posted: list[Posted]) -> dict[str, Any]:
    """Return the shape CreditSpends: the last one's balance is what is left."""
    return {
        "amount": sum(-one.amount for one in posted),
        "balance": posted[-1].available,
        "spends": [render_posted(one) for one in posted],
    }


def render_reservation(reservation: Reservation) -> dict[str, Any]:
    """Return the shape CreditReservation."""
    return {
        "reservation_id": str(reservation.reservation_id),
        "amount": reservation.amount,
        "balance": reservation.posted.available,
        "expires_at": utc_text(reservation.expires_at),
        "created_at": utc_text(reservation.posted.created_at),
    }


def render_finished(finished: Finished) -> dict[str, Any]:
    """Return the shape CreditReservationEnd."""
    return {
        "reservation_id": str(finished.reservation_id),
        "transaction_id": str(finished.posted.transaction_id),
        "spent": finished.spent,
        "returned": finished.returned,
        "balance": finished.posted.available,
        "created_at": utc_text(finished.posted.created_at),
    }
