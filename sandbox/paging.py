"""Lists as Stripe pages them: newest first, by id cursors, 1 to 100 at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .errors import StripeError, invalid
from .lookup import no_such
from .store import Context, Tx

Object = dict[str, Any]
DEFAULT_LIMIT = 10
MAX_LIMIT = 100
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# Objects on a test clock are listed only with a filter that leads to their clock.
ON_CLOCKS = ("customer", "invoice", "invoiceitem", "subscription")
NAMES_CLOCK = ("customer", "subscription", "invoice", "test_clock")


def limit_of(params: Object) -> int:
    """Read and check `limit`."""
    limit = params.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {MAX_LIMIT}"
        raise StripeError(f"This value must be {bound}.", code="parameter_invalid_integer", param="limit")
    return int(limit)


def check_cursors(params: Object) -> None:
    """Refuse two cursors at once."""
    if params.get("starting_after") and params.get("ending_before"):
        raise invalid(
            "You cannot parameterize both starting_after and ending_before. Please pass only one of these parameters."
        )


def time_condition(column: str, wanted: Any) -> tuple[str, list[int]]:
    """Turn a filter of times (one, or gt/gte/lt/lte) into SQL."""
    if isinstance(wanted, dict):
        parts = [(f" AND {column} {COMPARISONS[key]} ?", int(value)) for key, value in wanted.items()]
        return "".join(part for part, _ in parts), [value for _, value in parts]
    return f" AND {column} = ?", [int(wanted)]


def page(
    tx: Tx,
    ctx: Context,
    object_type: str,
    params: Object,
    url: str,
    equal: dict[str, Any] | None = None,
    where: str = "",
    values: Sequence[Any] = (),
) -> Object:
    """List objects of a type.

    `equal` maps JSON paths to wanted values (None means: not filtered); `where` continues the SQL condition.
    Raises: StripeError 400 for cursors that do not exist.
    """
    check_cursors(params)
    limit = limit_of(params)
    condition = "account = ? AND livemode = ? AND type = ? AND deleted = 0" + where
    if object_type in ON_CLOCKS and not any(params.get(name) for name in NAMES_CLOCK):
        condition += " AND json_extract(json, '$.test_clock') IS NULL"
    arguments: list[Any] = [ctx.account_id, int(ctx.livemode), object_type, *values]
    for path, wanted in (equal or {}).items():
        if wanted is not None:
            condition += f" AND json_extract(json, '$.{path}') = ?"
            arguments.append(wanted)
    if params.get("created") is not None:
        sql, times = time_condition("created", params["created"])
        condition += sql
        arguments += times
    backwards = bool(params.get("ending_before"))
    for name, comparison in (("starting_after", "<"), ("ending_before", ">")):
        if params.get(name):
            condition += f" AND seq {comparison} ?"
            arguments.append(_cursor(tx, ctx, object_type, params[name], name))
    rows = tx.execute(
        f"SELECT json FROM objects WHERE {condition} ORDER BY seq {'ASC' if backwards else 'DESC'} LIMIT ?",  # noqa: S608
        (*arguments, limit + 1),
    ).fetchall()
    data = [json.loads(row["json"]) for row in rows[:limit]]
    if backwards:
        data.reverse()
    return {"object": "list", "data": data, "has_more": len(rows) > limit, "url": url}


def _cursor(tx: Tx, ctx: Context, object_type: str, object_id: str, param: str) -> int:
    row = tx.execute(
        "SELECT seq FROM objects WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
        (ctx.account_id, int(ctx.livemode), object_type, object_id),
    ).fetchone()
    if row is None:
        raise no_such(tx, ctx, object_type, object_id, param, 400)
    return int(row["seq"])


def page_of(items: list[Object], params: Object, url: str) -> Object:
    """Page through a list that is held inside another object, in its own order."""
    check_cursors(params)
    limit = limit_of(params)
    positions = {item["id"]: index for index, item in enumerate(items)}
    for name in ("starting_after", "ending_before"):
        if params.get(name) and params[name] not in positions:
            raise invalid(f"No such item: '{params[name]}'", name, "resource_missing")
    if params.get("ending_before"):
        before = items[: positions[params["ending_before"]]]
        return {"object": "list", "data": before[-limit:], "has_more": len(before) > limit, "url": url}
    start = positions[params["starting_after"]] + 1 if params.get("starting_after") else 0
    data = items[start : start + limit]
    return {"object": "list", "data": data, "has_more": len(items) > start + limit, "url": url}


def whole_list(items: list[Object], url: str) -> Object:
    """Wrap items as the list that Stripe embeds in an object."""
    return {"object": "list", "data": items, "has_more": False, "url": url}
