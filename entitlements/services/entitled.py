"""What an end user is entitled to, read in one query: plan, features, limits, credits and token budget.

Invariant: this is the plan that holds at the moment of the question. The end of a grace needs nobody to have written anything.
"""

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from common import clock
from entitlements.services.ledger import Balance

FREE_TIER = "free"
# Somebody who pays a price that no plan knows is not on the free tier; the app goes by plan_active.
UNKNOWN_TIER = "unknown"
NOBODY = uuid.UUID(int=0)
# Units: whole credits per UTC day and per period, whole tokens per period, megabytes, calls and tokens per minute, US cents.
LIMITS = (
    "credits_per_day", "credits_per_period", "token_budget", "file_size_mb", "requests_per_minute", "tokens_per_minute",
    "compute_budget_cents", "compute_budget_duration",
)  # fmt: skip
# Without any plan there is nothing, as LiteLLM is told of the same user. Null would be no limit at all.
NO_PLAN: dict[str, Any] = dict.fromkeys(LIMITS, 0) | {"compute_budget_duration": "30d"}


@dataclass(frozen=True)
class TokensLeft:
    """A token budget as it was journalled. Units: whole tokens; None = no limit."""

    limit: int | None
    used: int
    period_start: dt.datetime | None
    period_end: dt.datetime | None

    @property
    def remaining(self) -> int | None:
        """What is left of it."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True)
class Entitled:
    """Everything that an app needs to know about a user. `end_user_id` is None for somebody whom nobody knows yet."""

    end_user_id: uuid.UUID | None
    user_id: str
    is_banned: bool
    tier: str
    plan_name: str | None
    features: Mapping[str, Any]
    limits: Mapping[str, Any]
    credits: Balance
    tokens: TokensLeft
    plan_active: bool
    plan_expires: dt.datetime | None
    active_until: dt.datetime | None
    epoch: int
    # The answer to whatever the caller asked besides.
    also: bool = True


_READ = """
    SELECT {also} AS also, who.id AS end_user_id, coalesce(who.external_id, %(user)s) AS user_id,
        coalesce(NOT who.is_active OR who.banned_at IS NOT NULL, false) AS is_banned,
        now_.holds, held.plan_id AS held_plan_id, held.plan_expires, held.active_until, coalesce(held.epoch, 0) AS epoch,
        held.granted_period_start, held.period_end AS held_period_end, held.subscription_id,
        plan.code, plan.name, plan.features, {limits}, free.code AS free_code, free.token_budget AS free_token_budget,
        period.limit_tokens, period.starts_at, period.ends_at, period.id AS period_id,
        (SELECT sum(used_tokens) FROM entitlements_tokenuse WHERE period_id = period.id) AS used_tokens,
        credit_balance(%(project)s, %(mode)s, coalesce(who.id, %(nobody)s), %(at)s) AS credits
    FROM (SELECT 1) AS one
    LEFT JOIN projects_enduser who ON who.project_id = %(project)s AND {who}
    LEFT JOIN entitlements_entitlement held
        ON held.project_id = %(project)s AND held.mode = %(mode)s AND held.end_user_id = who.id
    CROSS JOIN LATERAL (
        SELECT coalesce(held.active AND (held.active_until IS NULL OR %(at)s < held.active_until), false) AS holds
    ) now_
    LEFT JOIN LATERAL (
        SELECT id, code, token_budget FROM entitlements_plan WHERE project_id = %(project)s AND free AND NOT archived
        ORDER BY rank, code LIMIT 1
    ) free ON true
    LEFT JOIN entitlements_plan plan
        ON plan.id = CASE WHEN now_.holds AND held.plan_id IS NOT NULL THEN held.plan_id ELSE free.id END
    LEFT JOIN entitlements_tokenperiod period
        ON period.project_id = %(project)s AND period.mode = %(mode)s AND period.end_user_id = who.id
        AND period.key = CASE
            WHEN now_.holds AND held.subscription_id = '' THEN 'hand:' || %(month)s
            WHEN NOT now_.holds OR held.granted_period_start IS NULL THEN 'free:' || %(month)s
            ELSE held.subscription_id || ':' || floor(extract(epoch FROM held.granted_period_start))::bigint END
"""
_BY_ID, _BY_NAME = "who.id = %(end_user)s", "who.external_id = %(user)s"


def read_entitled(
    *,
    project_id: uuid.UUID,
    mode: str,
    end_user_id: uuid.UUID | None = None,
    user_id: str = "",
    also: QuerySet[Any] | None = None,
) -> Entitled:
    """Read what a user of a project is entitled to, named by our id or by the app's: one query.

    Whom nobody knows has what the free plan gives. `also` are rows whose existence is asked in the same query.
    """
    moment = clock.now()
    sql, values = entitled_sql(
        project_id=project_id, mode=mode, end_user_id=end_user_id, user_id=user_id, also=also, moment=moment
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        names = [column.name for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
    return _entitled(row, moment)


def entitled_sql(
    *,
    project_id: uuid.UUID,
    mode: str,
    end_user_id: uuid.UUID | None,
    user_id: str,
    also: QuerySet[Any] | None,
    moment: dt.datetime,
) -> tuple[str, dict[str, Any]]:
    """Return the query that `read_entitled` makes, and its values."""
    asked, more = _exists(also)
    sql = _READ.format(
        also=asked,
        who=_BY_ID if end_user_id is not None else _BY_NAME,
        limits=", ".join(f"plan.{name} AS plan_{name}" for name in LIMITS),
    )
    values: dict[str, Any] = {
        "project": project_id,
        "mode": mode,
        "at": moment,
        "month": f"{moment.astimezone(dt.UTC):%Y-%m}",
        "nobody": NOBODY,
        "end_user": end_user_id,
        "user": user_id,
    }
    return sql, values | more


def _exists(rows: QuerySet[Any] | None) -> tuple[str, dict[str, Any]]:
    """Write a question about rows as an expression with named values."""
    if rows is None:
        return "true", {}
    sql, params = rows.order_by().values("pk")[:1].query.sql_with_params()
    named = {f"also_{number}": value for number, value in enumerate(params)}
    first, *parts = sql.split("%s")
    return f"EXISTS ({first}{''.join(f'%({name})s{part}' for name, part in zip(named, parts, strict=True))})", named


def _entitled(row: dict[str, Any], moment: dt.datetime) -> Entitled:
    known_plan = row["code"] is not None
    holds = row["holds"]
    tier = row["code"] or FREE_TIER
    if holds and row["held_plan_id"] is None:
        tier = UNKNOWN_TIER
    return Entitled(
        end_user_id=row["end_user_id"],
        user_id=row["user_id"],
        is_banned=row["is_banned"],
        tier=tier,
        plan_name=row["name"] if tier != UNKNOWN_TIER else None,
        features=_json(row["features"]) if known_plan else {},
        limits={name: row[f"plan_{name}"] for name in LIMITS} if known_plan else dict(NO_PLAN),
        credits=Balance(**_json(row["credits"])),
        tokens=_tokens(row, moment),
        plan_active=holds,
        plan_expires=row["plan_expires"],
        active_until=row["active_until"] if holds else None,
        epoch=row["epoch"],
        also=row["also"],
    )


def _tokens(row: dict[str, Any], moment: dt.datetime) -> TokensLeft:
    """Return the budget of the period that counts; one that was not begun by a first call yet is whole."""
    used = int(row["used_tokens"] or 0)
    granted = row["granted_period_start"]
    by_month = not row["holds"] or not row["subscription_id"] or granted is None
    # Entitled by its status before anything was paid or tried: what it costs nothing to have.
    unpaid = row["holds"] and row["subscription_id"] and granted is None
    limit = row["free_token_budget"] if unpaid else row["plan_token_budget"]
    if (unpaid and row["free_code"] is None) or (not unpaid and row["code"] is None):
        limit = 0
    if row["period_id"] is not None:
        # Within a period a limit is raised and never lowered.
        limit = None if limit is None or row["limit_tokens"] is None else max(limit, row["limit_tokens"])
        return TokensLeft(limit, used, row["starts_at"], row["ends_at"])
    if by_month:
        starts = moment.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return TokensLeft(limit, used, starts, (starts + dt.timedelta(days=32)).replace(day=1))
    return TokensLeft(limit, used, granted, row["held_period_end"])


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def render_entitled(entitled: Entitled) -> dict[str, Any]:
    """Return the shape Entitlements."""
    return {
        "plan": entitled.tier,
        "plan_name": entitled.plan_name,
        "features": dict(entitled.features),
        "limits": dict(entitled.limits),
        "credits": render_credits(entitled.credits),
        "token_budget": render_tokens(entitled.tokens),
        "plan_active": entitled.plan_active,
        "plan_expires": _utc_text(entitled.plan_expires),
        "epoch": entitled.epoch,
    }


def render_credits(balance: Balance) -> dict[str, Any]:
    """Return what somebody can spend, today's credits included. Units: whole credits."""
    return {
        "available": balance.available,
        "reserved": balance.reserved,
        "debt": balance.debt,
        "buckets": dict(balance.buckets),
    }


def render_tokens(tokens: TokensLeft) -> dict[str, Any]:
    """Return a token budget; null = no limit. Units: whole tokens."""
    return {
        "limit": tokens.limit,
        "used": tokens.used,
        "remaining": tokens.remaining,
        "period_start": _utc_text(tokens.period_start),
        "period_end": _utc_text(tokens.period_end),
    }


def _utc_text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
