"""What time brings to payments: decisions on disputes, the end of refunds, money that arrives days later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..store import Context, Tx
from . import delayed, disputes, refunding, tax_ids

Object = dict[str, Any]

HANDLERS: dict[str, Callable[[Tx, Context, Object], Any]] = {
    "dispute": disputes.decide,
    "payment_intent": delayed.settle_by_account,
    "refund": refunding.settle_by_card,
    "tax_id": tax_ids.decide,
}
