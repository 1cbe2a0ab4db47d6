"""`make seed-large`: a shop that has run for years, written by COPY, to see how pages and figures behave with many rows.

Invariants: everything is in projects of its own that no Stripe account belongs to, so that no worker asks anybody about it;
memory is bounded by a chunk; the roll-ups are written by the same triggers as ever.
"""

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models
from psycopg.types.json import Jsonb

from accounts.models import User
from common.ids import stripe_row_id, uuid7
from common.long_statements import long_statements
from common.modes import LIVE, TEST
from entitlements.models import Entitlement, Plan, PlanPrice
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import (
    Dispute,
    Invoice,
    Refund,
    StripeCustomer,
    Subscription,
    SubscriptionChange,
    Transaction,
    WebhookEvent,
)
from payments.services.rollups import fold_rollups
from projects.models import EndUser, Project
from projects.services.projects import create_project

SLUG = "large"
OWNER = "large-owner@example.com"
PROJECTS = 4
SUBSCRIPTIONS_PER_CHUNK = 5000
DAYS = 730
MONTH = dt.timedelta(days=30)
PLANS = (("basic", 900, 0), ("plus", 2900, 1), ("team", 9900, 2))
CURRENCIES = ("usd", "eur", "usd", "jpy")
# In the order of what most subscriptions are.
STATUSES = ("active",) * 15 + ("canceled",) * 3 + ("past_due", "trialing")
FAILED, REFUNDED, PARTLY, DISPUTED = 3, 5, 6, 7
FILLED: tuple[type[models.Model], ...] = (
    EndUser, StripeCustomer, Subscription, Entitlement, SubscriptionChange, Transaction, Invoice, Refund, Dispute, WebhookEvent,
    OutboxRow, ReviewItem,
)  # fmt: skip


class AlreadySeeded(Exception):
    """The rows are there, or a part of them."""


@dataclass(frozen=True)
class Shop:
    """One of the projects, and what it sells."""

    project_id: uuid.UUID
    number: int
    currency: str
    plans: tuple[tuple[uuid.UUID, str, int], ...]


@dataclass
class Chunk:
    """Rows that are written together, by table."""

    rows: dict[type[models.Model], list[dict[str, Any]]] = field(
        default_factory=lambda: {model: [] for model in FILLED}
    )

    def add(self, model: type[models.Model], **values: Any) -> None:
        """Keep a row until the chunk is written."""
        self.rows[model].append(values)


def is_seeded() -> bool:
    """Say whether any of the projects is there."""
    return Project.objects.filter(slug__startswith=f"{SLUG}-").exists()


def seed_large(*, subscriptions: int, transactions: int, tell: Callable[[str], None], size: int | None = None) -> None:
    """Write that many rows, and what belongs to them. Raises: AlreadySeeded."""
    if is_seeded():
        raise AlreadySeeded
    began = time.monotonic()
    shops = [_open_shop(number) for number in range(PROJECTS)]
    chance = random.Random(1)
    size = size or SUBSCRIPTIONS_PER_CHUNK
    per_subscription = transactions / subscriptions
    written = 0
    for first in range(0, subscriptions, size):
        chunk = Chunk()
        for number in range(first, min(first + size, subscriptions)):
            payments = int((number + 1) * per_subscription) - int(number * per_subscription)
            _live(chunk, shops[number % PROJECTS], number, payments, chance)
        _write(chunk)
        written += len(chunk.rows[Transaction])
        done = min(first + size, subscriptions)
        tell(f"{done:,} subscriptions and {written:,} transactions after {time.monotonic() - began:.0f} s")
    tell("Folding the roll-ups and analysing the tables ...")
    while fold_rollups():
        pass
    with long_statements() as cursor:
        for model in FILLED:
            cursor.execute(f"ANALYZE {model._meta.db_table}")
    tell(f"Done after {time.monotonic() - began:.0f} s. The admin shows the projects {SLUG}-1 to {SLUG}-{PROJECTS}.")


def remove_large(*, tell: Callable[[str], None]) -> None:
    """Delete the projects and all that belongs to them."""
    projects = list(Project.objects.filter(slug__startswith=f"{SLUG}-").values_list("pk", flat=True))
    with long_statements() as cursor:
        for model in reversed(FILLED):
            table = model._meta.db_table
            # The name of a table of ours.
            cursor.execute(f"DELETE FROM {table} WHERE project_id = ANY(%s)", [projects])  # noqa: S608
            tell(f"{cursor.rowcount:,} rows of {model._meta.verbose_name_plural} are deleted")
    while fold_rollups():
        pass
    with long_statements():
        Project.objects.filter(pk__in=projects).delete()


def _open_shop(number: int) -> Shop:
    owner = User.objects.filter(email=OWNER).first()
    if owner is None:
        # Nobody signs in with it: whoever wants to, sets a password.
        owner = User.objects.create_user(OWNER, None, full_name="Owner of many rows", is_staff=True)
    project = create_project(
        owner=owner, name=f"Large {number + 1}", slug=f"{SLUG}-{number + 1}", description="Made by seed-large."
    )
    currency = CURRENCIES[number]
    plans = []
    for code, cents, rank in PLANS:
        plan = Plan.objects.create(project=project, code=code, name=code.capitalize(), rank=rank)
        price = f"price_large{number}{code}"
        PlanPrice.objects.create(
            project=project, plan=plan, mode=LIVE, stripe_price_id=price, interval="month", currency=currency,
            amount_cents=cents,
        )  # fmt: skip
        plans.append((plan.pk, price, cents))
    return Shop(project.pk, number, currency, tuple(plans))


def _live(chunk: Chunk, shop: Shop, number: int, payments: int, chance: random.Random) -> None:
    """Add one user's whole life: customer, subscription, invoices, payments, events and what was sent."""
    now = dt.datetime.now(dt.UTC)
    mode = TEST if number % 20 == 0 else LIVE
    began = now - dt.timedelta(seconds=chance.randrange(DAYS * 86_400)) - min(payments, 24) * dt.timedelta(days=1)
    plan_id, price, cents = shop.plans[number % len(shop.plans)]
    status = STATUSES[chance.randrange(len(STATUSES))]
    ended = now - dt.timedelta(days=chance.randrange(1, 60)) if status == "canceled" else None
    of = {"project_id": shop.project_id, "mode": mode}
    user_id, name = uuid7(), f"large-user-{number}"
    customer, subscription = f"cus_large{number}", f"sub_large{number}"
    row_id = stripe_row_id(shop.project_id, mode, subscription)
    seen = {"appeared_live_at": began, "last_seen_at": now}
    chunk.add(
        EndUser,
        id=user_id,
        project_id=shop.project_id,
        external_id=name,
        email=f"{name}@example.com",
        created_at=began,
        **seen,
    )
    chunk.add(
        StripeCustomer, id=stripe_row_id(shop.project_id, mode, customer), **of, end_user_id=user_id,
        stripe_customer_id=customer, email=f"{name}@example.com", name=f"User {number}", created_at=began,
    )  # fmt: skip
    chunk.add(
        Subscription, id=row_id, **of, end_user_id=user_id, stripe_subscription_id=subscription, stripe_customer_id=customer,
        status=status, plan_id=plan_id, stripe_price_id=price, created_at=began, canceled_at=ended, ended_at=ended,
        current_period_start=now - dt.timedelta(days=3), current_period_end=now + MONTH, synced_at=now,
    )  # fmt: skip
    chunk.add(
        Entitlement, id=uuid7(), **of, end_user_id=user_id, plan_id=plan_id, subscription_id=subscription, status=status,
        active=status in ("active", "trialing"), changed_at=began, created_at=began,
    )  # fmt: skip
    chunk.add(
        SubscriptionChange, id=uuid7(), **of, subscription_id=row_id, kind="created", change_key="created", source="webhook",
        after={"status": status}, event_id=f"evt_large{number}", event_type="customer.subscription.created",
        happened_at=began, recorded_at=began,
    )  # fmt: skip
    who = {"end_user_id": user_id, "stripe_customer_id": customer, "subscription_id": row_id}
    for payment in range(payments):
        at = began + (now - began) * (payment / max(payments, 1))
        _pay(chunk, shop, of, who, f"large{number}x{payment}", cents, at, chance.randrange(100))
    _send(chunk, of, user_id, number, began)


def _pay(
    chunk: Chunk, shop: Shop, of: dict[str, Any], who: dict[str, Any], key: str, cents: int, at: dt.datetime, dice: int
) -> None:
    failed = dice < FAILED
    refunded = 0 if failed or dice > PARTLY else cents if dice < REFUNDED else cents // 2
    status = (
        "failed" if failed else "refunded" if refunded == cents else "partially_refunded" if refunded else "succeeded"
    )
    intent, charge, invoice = f"pi_{key}", f"ch_{key}", f"in_{key}"
    row_id = stripe_row_id(of["project_id"], of["mode"], intent)
    chunk.add(
        Transaction, id=row_id, **of, **who, payment_intent_id=intent, stripe_invoice_id=invoice, stripe_charge_id=charge,
        status=status, amount_cents=cents, currency=shop.currency, refunded_amount_cents=refunded,
        description="Subscription update", method_type="card", method_brand="visa", method_last4="4242",
        failure_code="card_declined" if failed else "", disputed=dice == DISPUTED, created_at=at, synced_at=at,
    )  # fmt: skip
    chunk.add(
        Invoice, id=stripe_row_id(of["project_id"], of["mode"], invoice), **of, **who, stripe_invoice_id=invoice,
        number=key.upper(), status="open" if failed else "paid", billing_reason="subscription_cycle", currency=shop.currency,
        amount_due_cents=cents, amount_paid_cents=0 if failed else cents, amount_remaining_cents=cents if failed else 0,
        attempt_count=1, created_at=at, finalized_at=at, paid_at=None if failed else at, synced_at=at,
    )  # fmt: skip
    back = {
        "transaction_id": row_id,
        "stripe_charge_id": charge,
        "payment_intent_id": intent,
        "currency": shop.currency,
    }
    if refunded:
        refund = f"re_{key}"
        chunk.add(
            Refund, id=stripe_row_id(of["project_id"], of["mode"], refund), **of, **back, stripe_refund_id=refund,
            status="succeeded", amount_cents=refunded, reason="requested_by_customer", created_at=at, synced_at=at,
        )  # fmt: skip
    if dice == DISPUTED:
        dispute = f"dp_{key}"
        chunk.add(
            Dispute, id=stripe_row_id(of["project_id"], of["mode"], dispute), **of, **back, stripe_dispute_id=dispute,
            status="won", reason="fraudulent", amount_cents=cents, created_at=at, synced_at=at,
        )  # fmt: skip


def _send(chunk: Chunk, of: dict[str, Any], user_id: uuid.UUID, number: int, at: dt.datetime) -> None:
    """Add events that came and mails that went out, and now and then something for the staff to look at."""
    for what in ("customer.subscription.created", "invoice.paid"):
        event = f"evt_large{number}{what[0]}"
        # Emptied by retention long ago, as most events of such a shop are.
        chunk.add(
            WebhookEvent, id=uuid7(), **of, event_id=event, type=what, object_id=f"sub_large{number}",
            root=f"cus_large{number}", status="processed", attempts=1, emptied_at=at, received_at=at, handled_at=at,
            next_attempt_at=at, stripe_created_at=at,
        )  # fmt: skip
    chunk.add(
        OutboxRow, id=uuid7(), **of, kind="mail", effect_key=f"mail:large:{number}", end_user_id=user_id, status="done",
        attempts=1, payload={"template": "confirmed", "to": None, "context": {}}, cause=f"evt_large{number}",
        next_attempt_at=at, created_at=at, done_at=at,
    )  # fmt: skip
    if number % 50 == 0:
        chunk.add(
            ReviewItem, id=uuid7(), **of, kind="failed_payments", cause_key=f"large:{number}", subject=f"cus_large{number}",
            end_user_id=user_id, title=f"Many failed payments of large-user-{number}", created_at=at,
            status="pending" if number % 100 else "dismissed", resolved_at=None if number % 100 else at,
        )  # fmt: skip


def _write(chunk: Chunk) -> None:
    """Write a chunk in one transaction, a table at a time in the order of their references."""
    with long_statements() as cursor:
        for model in FILLED:
            if rows := chunk.rows[model]:
                _copy(cursor, model, rows)


def _copy(cursor: Any, model: type[models.Model], rows: Sequence[dict[str, Any]]) -> None:
    given = {name for row in rows for name in row}
    columns: list[tuple[str, str, Any]] = []
    for one in model._meta.concrete_fields:
        # Columns with a default in the database take it; the others take the model's.
        if one.attname in given or not (one.null or one.has_db_default()):
            default: Any = None if one.attname in given and one.null else one.get_default()
            columns.append((one.attname, str(one.column), "" if default is None and not one.null else default))
    names = ", ".join(connection.ops.quote_name(column) for _, column, _ in columns)
    with cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as copy:
        for values in _lines(rows, columns):
            copy.write_row(values)


def _lines(rows: Iterable[dict[str, Any]], columns: Sequence[tuple[str, str, Any]]) -> Iterator[list[Any]]:
    for row in rows:
        values = (row.get(name, default) for name, _, default in columns)
        yield [Jsonb(value) if isinstance(value, dict | list) else value for value in values]
