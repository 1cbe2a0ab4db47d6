"""What the control page shows: rows of objects, bodies without secrets, deliveries in words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from .. import ids
from ..hosted.money import format_amount, format_interval
from ..store import Context, Tx

Object = dict[str, Any]
PAGE_SIZE = 50
MASK = "\u2022" * 8
SECRET_FIELDS = ("client_secret", "secret", "number", "cvc")
# An id in a body that was already escaped.
ID = re.compile(r"&#34;([a-z]+(?:_test)?_[A-Za-z0-9_]{8,})&#34;")
PREFIXES = tuple(prefix for prefix, _, _ in ids.SHAPES.values())
GOOD = {"active", "succeeded", "paid", "complete", "enabled", "ready", "won", "trialing"}
BAD = {"past_due", "unpaid", "failed", "canceled", "incomplete_expired", "uncollectible", "lost", "expired", "void"}
HOUR, DAY = 3600, 86400


@dataclass(frozen=True)
class Row:
    """One object in a list."""

    id: str
    type: str
    status: str
    text: str
    created: int

    @property
    def tone(self) -> str:
        """How its status is coloured."""
        return tone_of(self.status)


def tone_of(status: str) -> str:
    """Say whether a status is good, bad or neither."""
    return "good" if status in GOOD else "bad" if status in BAD else "plain"


def masked(value: Any) -> Any:
    """Give a body without its secrets: what identifies one stays, the secret part does not."""
    if isinstance(value, dict):
        return {name: _hidden(entry) if name in SECRET_FIELDS else masked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [masked(entry) for entry in value]
    return value


def _hidden(value: Any) -> Any:
    if not isinstance(value, str):
        return masked(value)
    start, mark, _ = value.partition("_secret_")
    return f"{start}{mark}{MASK}" if mark else MASK


def body_html(body: Any, account: str, mode: str) -> Markup:
    """Write a body as indented JSON whose ids lead to their objects."""
    text = str(escape(json.dumps(masked(body), indent=2, ensure_ascii=False)))

    def link(match: re.Match[str]) -> str:
        object_id = match.group(1)
        if not object_id.startswith(PREFIXES):
            return match.group(0)
        address = url_for("console.show_object", account=account, mode=mode, object_id=object_id)
        return f'&#34;<a href="{escape(address)}">{object_id}</a>&#34;'

    # The text was escaped above, and an id holds letters, digits and underscores only.
    return Markup(ID.sub(link, text))  # nosec B704


def moment(timestamp: float | None) -> str:
    """Write a time to the second, in UTC."""
    if not timestamp:
        return "\u2014"
    return datetime.fromtimestamp(timestamp, UTC).strftime("%d %b %Y %H:%M:%S")


def row_of(obj: Object) -> Row:
    """Sum an object up in one line."""
    return Row(obj["id"], obj["object"], str(_status(obj) or ""), _text(obj), int(obj.get("created") or 0))


def _status(obj: Object) -> Any:
    if obj["object"] in ("product", "price", "promotion_code", "billing_portal.configuration"):
        return "active" if obj.get("active") else "archived"
    if obj["object"] == "coupon":
        return "valid" if obj.get("valid") else "expired"
    return obj.get("status")


def _text(obj: Object) -> str:
    describe = DESCRIPTIONS.get(obj["object"])
    if describe:
        return str(describe(obj) or "")
    for name in ("name", "description", "email", "url", "type"):
        if isinstance(obj.get(name), str) and obj[name]:
            return str(obj[name])
    return _money(obj, "amount") if isinstance(obj.get("amount"), int) else ""


def _money(obj: Object, field: str) -> str:
    return format_amount(obj.get(field), obj.get("currency") or "usd")


def _price(obj: Object) -> str:
    recurring = obj.get("recurring") or {}
    interval = format_interval(recurring.get("interval"), recurring.get("interval_count"))
    nameless = "tiered" if obj.get("billing_scheme") == "tiered" else "metered"
    amount = nameless if obj.get("unit_amount") is None else _money(obj, "unit_amount")
    return f"{amount} {interval}".strip()


def _subscription(obj: Object) -> str:
    parts = [
        f"{item.get('quantity') or 1} \u00d7 {_price(item['price'])}"
        if item.get("quantity") != 1
        else _price(item["price"])
        for item in obj["items"]["data"]
    ]
    ends = f", ends {moment(obj['cancel_at'])}" if obj.get("cancel_at") else ""
    return " + ".join(parts) + ends


def _card(obj: Object) -> str:
    card = obj.get("card") or {}
    return f"{card.get('brand', obj.get('type'))} \u2026{card.get('last4', '')}".strip()


def _wanted(types: list[str]) -> str:
    return "all events" if "*" in types else types[0] if len(types) == 1 else f"{len(types)} types of events"


DESCRIPTIONS: dict[str, Any] = {
    "customer": lambda obj: " \u00b7 ".join(filter(None, (obj.get("name"), obj.get("email")))),
    "price": _price,
    "subscription": _subscription,
    "invoice": lambda obj: f"{_money(obj, 'total')} \u00b7 {obj.get('billing_reason') or ''}",
    "charge": lambda obj: (
        _money(obj, "amount")
        + (f", {_money(obj, 'amount_refunded')} refunded" if obj.get("amount_refunded") else "")
        + (", disputed" if obj.get("disputed") else "")
    ),
    "payment_intent": lambda obj: _money(obj, "amount"),
    "refund": lambda obj: _money(obj, "amount"),
    "dispute": lambda obj: f"{_money(obj, 'amount')} \u00b7 {obj.get('reason')}",
    "checkout.session": lambda obj: (
        f"{obj['mode']} \u00b7 {_money(obj, 'amount_total') if obj['amount_total'] is not None else 'no amount'}"
        f" \u00b7 {obj['payment_status']}"
    ),
    "payment_method": _card,
    "event": lambda obj: f"{obj['type']} \u00b7 {obj['data']['object'].get('id', '')}",
    "invoiceitem": lambda obj: _money(obj, "amount"),
    "promotion_code": lambda obj: obj.get("code"),
    "test_helpers.test_clock": lambda obj: f"{moment(obj['frozen_time'])} \u00b7 {obj.get('name') or 'no name'}",
    "webhook_endpoint": lambda obj: f"{obj['url']} \u00b7 {_wanted(obj['enabled_events'])}",
}


def count_types(tx: Tx, ctx: Context) -> list[tuple[str, int]]:
    """Count the objects of an account and mode by type, alphabetically; deleted ones are left out."""
    rows = tx.execute(
        "SELECT type, count(*) AS number FROM objects WHERE account = ? AND livemode = ? AND deleted = 0"
        " GROUP BY type ORDER BY type",
        (ctx.account_id, int(ctx.livemode)),
    )
    return [(row["type"], row["number"]) for row in rows]


def list_rows(
    tx: Tx, ctx: Context, object_type: str, *, before: int | None = None, kind: str = ""
) -> tuple[list[Row], int | None]:
    """List objects newest first, a page at a time; gives the rows and where the next page begins, if there is one."""
    rows = tx.execute(
        "SELECT seq, json FROM objects WHERE account = ? AND livemode = ? AND type = ? AND deleted = 0"
        " AND (? IS NULL OR seq < ?) AND (? = '' OR json_extract(json, '$.type') GLOB ?) ORDER BY seq DESC LIMIT ?",
        (ctx.account_id, int(ctx.livemode), object_type, before, before, kind, f"*{kind}*", PAGE_SIZE + 1),
    ).fetchall()
    shown = rows[:PAGE_SIZE]
    following = int(shown[-1]["seq"]) if len(rows) > PAGE_SIZE else None
    return [row_of(json.loads(row["json"])) for row in shown], following


def find_object(tx: Tx, ctx: Context, object_id: str) -> tuple[Object, bool] | None:
    """Find any object of an account and mode by its id, with whether it was deleted."""
    row = tx.execute(
        "SELECT json, deleted FROM objects WHERE id = ? AND account = ? AND livemode = ?",
        (object_id, ctx.account_id, int(ctx.livemode)),
    ).fetchone()
    return (json.loads(row["json"]), bool(row["deleted"])) if row else None


def events_about(tx: Tx, ctx: Context, object_id: str) -> list[Row]:
    """List the newest events about an object."""
    rows = tx.execute(
        "SELECT json FROM objects WHERE account = ? AND livemode = ? AND type = 'event'"
        " AND json_extract(json, '$.data.object.id') = ? ORDER BY seq DESC LIMIT ?",
        (ctx.account_id, int(ctx.livemode), object_id, PAGE_SIZE),
    )
    return [row_of(json.loads(row["json"])) for row in rows]


def keys_of(tx: Tx, account_id: str) -> list[Object]:
    """List an account's keys by their last four characters; the sandbox itself keeps no more than a hash."""
    prefixes = {"secret": "sk", "publishable": "pk", "restricted": "rk"}
    rows = tx.execute(
        "SELECT rowid, kind, livemode, last4, permissions, expired FROM api_keys WHERE account = ?"
        " ORDER BY livemode, kind DESC, rowid",
        (account_id,),
    )
    return [
        {
            "number": row["rowid"],
            "expired": bool(row["expired"]),
            "permissions": json.loads(row["permissions"]) if row["permissions"] else None,
            "kind": row["kind"],
            "mode": "live" if row["livemode"] else "test",
            "shown": f"{prefixes.get(row['kind'], 'sk')}_{'live' if row['livemode'] else 'test'}_\u2026{row['last4']}",
        }
        for row in rows
    ]


def parsed(text: str) -> Any:
    """Read a delivered body; what is no JSON is shown as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
