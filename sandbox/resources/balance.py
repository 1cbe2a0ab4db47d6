"""The account's balance and the balance transactions that make it up."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]
AVAILABLE_AFTER_SECONDS = 2 * 24 * 3600


def record(
    tx: Tx,
    ctx: Context,
    kind: str,
    amount: int,
    currency: str,
    source: str,
    *,
    fee: int = 0,
    description: str | None,
    category: str | None = None,
) -> Object:
    """Add a balance transaction: kind is charge, refund or adjustment; amounts in minor units, signed."""
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("balance_transaction"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": ctx.now + AVAILABLE_AFTER_SECONDS,
            "balance_type": "payments",
            "created": ctx.now,
            "currency": currency,
            "description": description,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": _fee_details(
                fee, currency, "Dispute fee" if category == "dispute" else "Stripe processing fees"
            ),
            "net": amount - fee,
            "reporting_category": category or kind,
            "source": source,
            "status": "pending",
            "type": kind,
        },
    )


def _fee_details(fee: int, currency: str, description: str) -> list[Object]:
    if not fee:
        return []
    return [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": description,
            "type": "stripe_fee",
        }
    ]


def retrieve_balance(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/balance: what is available and what is still pending, by currency."""
    sums: dict[tuple[str, bool], int] = {}
    for entry in tx.find(ctx, "balance_transaction"):
        key = (entry["currency"], entry["available_on"] <= ctx.now)
        sums[key] = sums.get(key, 0) + entry["net"]
    currencies = sorted({currency for currency, _ in sums} or {"usd"})

    def amounts(available: bool) -> list[Object]:
        return [
            {
                "amount": sums.get((each, available), 0),
                "currency": each,
                "source_types": {"card": sums.get((each, available), 0)},
            }
            for each in currencies
        ]

    return {"object": "balance", "available": amounts(True), "livemode": ctx.livemode, "pending": amounts(False)}


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/balance_transactions/{id}."""
    return _aged(ctx, find_one(tx, ctx, "balance_transaction", id))


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/balance_transactions."""
    equal = {name: params.get(name) for name in ("currency", "source", "type")}
    found = page(tx, ctx, "balance_transaction", params, "/v1/balance_transactions", equal)
    found["data"] = [_aged(ctx, entry) for entry in found["data"]]
    return found


def _aged(ctx: Context, entry: Object) -> Object:
    entry["status"] = "available" if entry["available_on"] <= ctx.now else "pending"
    return entry


ROUTES = [
    ("GET", "/v1/balance", retrieve_balance),
    ("GET", "/v1/balance_transactions", list_all),
    ("GET", "/v1/balance_transactions/{id}", retrieve),
]
