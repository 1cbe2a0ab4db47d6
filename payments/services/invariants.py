"""What must hold at every moment, one SQL query each (`manage.py check_invariants`, nightly by itself; docs/faults.md).

Every query answers project, mode and a text per violation, and nothing when its rule holds. The texts name ids, never values,
since a value may be the secret that should not be there.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, models

from common import clock
from common.long_statements import long_statements
from common.modes import LIVE
from entitlements.services.ledger_checks import LEDGER
from entitlements.services.usage import OVERLAPS, USAGE_DIFFERENCES
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.services.license_checks import LICENSES
from payments.services.mirror_lag import LAGGING
from payments.services.rollups import GAUGE_DIFFERENCES, REVENUE_DIFFERENCES
from payments.services.standing import DIFFERENCES as STANDING_DIFFERENCES

logger = logging.getLogger(__name__)

TOLD_MAX = 100
# A sweep and a lease: after so long something due should have been taken. A day is longer than any pause between attempts.
DUE_SECONDS_MAX = 600
UNFINISHED_HOURS_MAX = 24
# The mirror is written after the rows; a round of reconciliation heals what a crash kept from it.
MIRROR_LAGS_HOURS_MAX = 26
SECRETS = r"(sk|rk)_(test|live)_[A-Za-z0-9]{10}|whsec_[A-Za-z0-9+/]{16}"


@dataclass(frozen=True)
class Violation:
    """One row, or group of rows, that breaks a rule."""

    invariant: str
    project_id: uuid.UUID | None
    mode: str
    text: str

    def __str__(self) -> str:
        where = f"project {self.project_id} {self.mode}".rstrip() if self.project_id else "everywhere"
        return f"{self.invariant} {where}: {self.text}"


EVENTS_ONCE = """
    SELECT project_id, mode, 'event ' || event_id || ' has ' || count(*) || ' rows' FROM payments_webhookevent
    GROUP BY project_id, mode, event_id HAVING count(*) > 1
    UNION ALL
    SELECT project_id, mode, 'event ' || event_id || ' is ' || status || ' and yet leased or without a time'
    FROM payments_webhookevent
    WHERE status NOT IN ('pending', 'processing') AND (lease_token IS NOT NULL OR handled_at IS NULL)
"""
CONVERGED = f"""
    SELECT project_id, mode, 'event ' || event_id || ' is due since ' || next_attempt_at FROM payments_webhookevent
    WHERE status IN ('pending', 'processing') AND next_attempt_at < now() - interval '{DUE_SECONDS_MAX} seconds'
    UNION ALL
    SELECT project_id, mode, 'event ' || event_id || ' is unfinished since ' || received_at FROM payments_webhookevent
    WHERE status IN ('pending', 'processing') AND wait_reason <> 'config_error'
      AND received_at < now() - interval '{UNFINISHED_HOURS_MAX} hours'
    UNION ALL
    SELECT project_id, mode, 'the mirror has ' || mirrored || ' for ' || stripe_id || ', which is ' || status
    FROM ({LAGGING.format(minutes=60 * MIRROR_LAGS_HOURS_MAX)}) lagging
"""  # noqa: S608 - only the figures above go in
EFFECTS_ONCE = """
    SELECT project_id, mode, 'effect ' || effect_key || ' has ' || count(*) || ' rows' FROM notifications_outboxrow
    GROUP BY project_id, mode, effect_key HAVING count(*) > 1
    UNION ALL
    SELECT project_id, mode, 'effect ' || effect_key || ' is done without a time' FROM notifications_outboxrow
    WHERE status = 'done' AND done_at IS NULL
    UNION ALL
    SELECT project_id, mode, 'change ' || change_key || ' of ' || subscription_id || ' has ' || count(*) || ' lines'
    FROM payments_subscriptionchange WHERE change_key <> ''
    GROUP BY project_id, mode, subscription_id, change_key HAVING count(*) > 1
"""
APPEND_ONLY = f"""
    SELECT NULL::uuid, '', 'the action log can be changed: its trigger ' || wanted.name || ' is missing or off'
    FROM (VALUES ('action_log_append_only'), ('action_log_no_truncate')) wanted(name)
    WHERE NOT EXISTS (
        SELECT 1 FROM pg_trigger WHERE tgname = wanted.name AND tgrelid = 'moderation_actionlog'::regclass AND tgenabled <> 'D'
    )
    UNION ALL
    {LEDGER}
"""  # noqa: S608 - only statements of our own go in
MONEY = """
    SELECT project_id, mode, 'payment ' || payment_intent_id || ' has ' || count(*) || ' rows' FROM payments_transaction
    GROUP BY project_id, mode, payment_intent_id HAVING count(*) > 1
    UNION ALL
    SELECT project_id, mode, 'payment ' || payment_intent_id || ' gave back more than it brought' FROM payments_transaction
    WHERE refunded_amount_cents > amount_cents OR amount_cents < 0
    UNION ALL
    SELECT invoice.project_id, invoice.mode, 'invoice ' || invoice.stripe_invoice_id || ' is paid with '
        || invoice.amount_paid_cents || ' and its payments are ' || coalesce(sum(payment.amount_cents), 0)
    FROM payments_invoice invoice LEFT JOIN payments_transaction payment
        ON payment.project_id = invoice.project_id AND payment.mode = invoice.mode AND payment.currency = invoice.currency
        AND payment.stripe_invoice_id = invoice.stripe_invoice_id
        AND payment.status IN ('succeeded', 'partially_refunded', 'refunded')
    WHERE invoice.status = 'paid' AND invoice.amount_paid_cents > 0
    GROUP BY invoice.id HAVING coalesce(sum(payment.amount_cents), 0) <> invoice.amount_paid_cents
    UNION ALL
    SELECT payment.project_id, payment.mode, 'payment ' || payment.payment_intent_id || ' of invoice '
        || invoice.stripe_invoice_id || ' arrived, and the invoice is ' || invoice.status
    FROM payments_transaction payment JOIN payments_invoice invoice
        ON invoice.project_id = payment.project_id AND invoice.mode = payment.mode
        AND invoice.stripe_invoice_id = payment.stripe_invoice_id
    WHERE payment.status IN ('succeeded', 'partially_refunded', 'refunded') AND invoice.status = 'draft'
    UNION ALL
    SELECT project_id, mode, 'subscription ' || stripe_subscription_id || ' was bought by ' || count(*) || ' checkouts'
    FROM payments_checkoutsession WHERE stripe_subscription_id <> ''
    GROUP BY project_id, mode, stripe_subscription_id HAVING count(*) > 1
    UNION ALL
    SELECT purchase.project_id, purchase.mode, 'checkout ' || session.stripe_session_id || ' is paid since ' || session.updated_at
        || ', and its credits were never given'
    FROM payments_creditpurchase purchase JOIN payments_checkoutsession session ON session.id = purchase.checkout_session_id
    WHERE purchase.granted_at IS NULL AND session.status = 'complete'
        AND session.payment_status IN ('paid', 'no_payment_required') AND session.updated_at < now() - interval '10 minutes'
"""
ROLLUPS = f"""
    SELECT project_id, mode, 'the day ' || day || ' in ' || currency || ' differs from its payments and refunds by '
        || gross_cents || ' and ' || refunded_cents
    FROM ({REVENUE_DIFFERENCES}) days
    UNION ALL
    SELECT project_id, mode, 'the number of ' || status || ' subscriptions differs by ' || subscriptions
    FROM ({GAUGE_DIFFERENCES}) gauges
    UNION ALL
    SELECT found.project_id, found.mode, 'the usage of ' || meter.code || ' in period ' || found.period_id
        || ' differs from its events by ' || trim_scale(found.used)
    FROM ({USAGE_DIFFERENCES}) found JOIN entitlements_meter meter ON meter.id = found.meter_id
    UNION ALL
    SELECT project_id, mode, 'period ' || id || ' of usage overlaps with ' || other_id FROM ({OVERLAPS}) overlapping
"""  # noqa: S608 - only statements of our own go in


def tenancy() -> str:
    """Compare project and mode of every row with those of every row that it refers to; made from the models."""
    return " UNION ALL ".join(_crossing(model, key) for model, key in _references())


def _references() -> Iterator[tuple[type[models.Model], Any]]:
    for label in settings.OUR_APPS:
        for model in apps.get_app_config(label).get_models():
            if not _has(model, "project"):
                continue
            for key in model._meta.concrete_fields:
                if isinstance(key, models.ForeignKey) and key.name != "project" and _has(key.related_model, "project"):
                    yield model, key


def _crossing(model: type[models.Model], key: Any) -> str:
    target, table = key.related_model, model._meta.db_table
    quote = connection.ops.quote_name
    differs = "child.project_id IS DISTINCT FROM parent.project_id"
    if _has(model, "mode") and _has(target, "mode"):
        differs += " OR child.mode IS DISTINCT FROM parent.mode"
    mode = "child.mode" if _has(model, "mode") else "''"
    what = (
        f"'{table} ' || child.{quote(str(model._meta.pk.column))} || ' refers to another project or mode by {key.name}'"
    )
    return (
        f"SELECT child.project_id, {mode}, {what} FROM {quote(table)} child "  # noqa: S608 - names of models only
        f"JOIN {quote(target._meta.db_table)} parent ON parent.{quote(key.target_field.column)} = child.{quote(key.column)} "
        f"WHERE {differs}"
    )


def secrets() -> str:
    """Look for keys and signing secrets in every column of every table."""
    found = []
    for table, columns in sorted(_tables().items()):
        project = "project_id" if "project_id" in columns else "NULL::uuid"
        mode = "mode" if "mode" in columns else "''"
        name = connection.ops.quote_name(table)
        found.append(
            f"SELECT {project}, {mode}, '{table} holds what looks like a secret at ' || ctid FROM {name} AS row_of "  # noqa: S608
            f"WHERE row_of::text ~ '{SECRETS}'"
        )
    return " UNION ALL ".join(found)


def _tables() -> dict[str, set[str]]:
    # Not by information_schema, whose views take a hundred times as long.
    tables: dict[str, set[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, attname FROM pg_catalog.pg_class JOIN pg_catalog.pg_attribute ON attrelid = pg_class.oid "
            "WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped"
        )
        for table, column in cursor.fetchall():
            tables.setdefault(table, set()).add(column)
    return tables


def _has(model: Any, name: str) -> bool:
    return any(field.name == name for field in model._meta.concrete_fields)


# Beyond the eight of docs/faults.md: what users hold is what they bought, by the policy, decided here in SQL alone.
ENTITLED = f"""
    SELECT project_id, mode, 'user ' || end_user_id || ' holds other than subscription ' || stripe_subscription_id || ' says'
    FROM ({STANDING_DIFFERENCES.format(narrowed="")}) standings
"""  # noqa: S608 - only statements of our own go in


QUERIES: dict[str, Callable[[], str]] = {
    "I1": lambda: EVENTS_ONCE,
    "I2": lambda: CONVERGED,
    "I3": lambda: EFFECTS_ONCE,
    "I4": lambda: APPEND_ONLY,
    "I5": lambda: MONEY,
    "I6": lambda: ROLLUPS,
    "I7": tenancy,
    "I8": secrets,
    "I9": lambda: ENTITLED,
    "I10": lambda: LICENSES,
}


def check_invariants(*, project_id: uuid.UUID | None = None, only: str = "") -> list[Violation]:
    """Run every query, or one of them, and return what breaks a rule: at most TOLD_MAX of each.

    With a project, only what is its own is told; what belongs to no project is always told.
    """
    found: list[Violation] = []
    for name, query in QUERIES.items():
        if not only or only == name:
            found += _check(name, query(), project_id)
    return found


def _check(name: str, query: str, project_id: uuid.UUID | None) -> list[Violation]:
    whose = "" if project_id is None else f" WHERE project_id IS NULL OR project_id = '{project_id}'"
    statement = (
        f"SELECT project_id, mode, text FROM ({query}) AS broken(project_id, mode, text){whose} LIMIT {TOLD_MAX}"  # noqa: S608
    )
    with long_statements() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
    return [Violation(name, project, mode or "", text) for project, mode, text in rows]


def report_violations(found: Sequence[Violation]) -> None:
    """Log every violation, and open a review item per project, mode, rule and day."""
    grouped: dict[tuple[uuid.UUID, str, str], list[str]] = {}
    for one in found:
        logger.error("invariant_broken %s", one)
        if one.project_id is not None:
            grouped.setdefault((one.project_id, one.mode or LIVE, one.invariant), []).append(one.text)
    for (project_id, mode, name), texts in grouped.items():
        open_review_item(
            project_id=project_id,
            mode=mode,
            kind=ReviewItem.Kind.INVARIANT,
            cause_key=f"invariant:{name}:{clock.now():%Y-%m-%d}",
            title=f"{name} is broken: {texts[0]}",
            subject=name,
            details={"violations": texts},
        )
