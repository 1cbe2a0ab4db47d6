"""Deliveries that go astray, by account: held back, lost for good, sent twice, or late, by a seed that repeats it.

Invariant: the choice for the nth delivery under a seed is always the same, whatever else the sandbox does; it is made
in the transaction of the event, so a restart changes nothing.
"""

from __future__ import annotations

import fnmatch
import json
import random
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import invalid
from .store import Context, Tx

SCHEMA = [
    """CREATE TABLE IF NOT EXISTS delivery_holds (
        account TEXT NOT NULL, livemode INTEGER NOT NULL, PRIMARY KEY (account, livemode))""",
    """CREATE TABLE IF NOT EXISTS delivery_disorder (
        account TEXT PRIMARY KEY, json TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0)""",
]

# Continues the condition of a query on deliveries: those that nothing holds back.
NOT_HELD = (
    " AND NOT EXISTS (SELECT 1 FROM delivery_holds h"
    " WHERE h.account = deliveries.account AND h.livemode = deliveries.livemode)"
)
LATE_SECONDS_MAX = 60.0
TYPES_MAX = 20
SEED_MAX = 2**31
FIELDS = ("drop", "duplicate", "late_seconds", "mode", "seed", "types")


@dataclass(frozen=True)
class Disorder:
    """What befalls an account's deliveries; `drop` and `duplicate` are shares from 0 to 1."""

    drop: float = 0.0
    duplicate: float = 0.0
    late_seconds: float = 0.0
    seed: int = 0
    mode: str | None = None
    types: list[str] = field(default_factory=lambda: ["*"])


@dataclass(frozen=True)
class Fate:
    """What befalls one delivery: lost, or sent after each of these waits."""

    is_lost: bool
    waits: tuple[float, ...]


ORDERLY = Fate(is_lost=False, waits=(0.0,))


def checked(wanted: dict[str, Any]) -> Disorder:
    """Read what is wanted. Raises: StripeError 400."""
    unknown = set(wanted) - set(FIELDS)
    if unknown:
        raise invalid(f"unknown field {sorted(unknown)[0]}", sorted(unknown)[0])
    share = {name: _number(wanted, name, 1.0) for name in ("drop", "duplicate")}
    seed, mode, types = wanted.get("seed", 0), wanted.get("mode"), wanted.get("types", ["*"])
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEED_MAX:
        raise invalid("seed must be a whole number from 0", "seed")
    if mode not in (None, "test", "live"):
        raise invalid("mode must be test or live", "mode")
    if not isinstance(types, list) or not 1 <= len(types) <= TYPES_MAX or not all(isinstance(t, str) for t in types):
        raise invalid(f"types must be 1 to {TYPES_MAX} event types ('*' stands for anything)", "types")
    late = _number(wanted, "late_seconds", LATE_SECONDS_MAX)
    return Disorder(share["drop"], share["duplicate"], late, seed, mode, types)


def _number(wanted: dict[str, Any], name: str, most: float) -> float:
    value = wanted.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise invalid(f"{name} must be 0 to {most:g}", name)
    return float(value)


def cause(tx: Tx, account_id: str, wanted: Disorder) -> None:
    """Let an account's deliveries go astray from now on; counting begins anew."""
    tx.execute(
        "INSERT OR REPLACE INTO delivery_disorder (account, json, seen) VALUES (?, ?, 0)",
        (account_id, json.dumps(asdict(wanted))),
    )


def end(tx: Tx, account_id: str) -> None:
    """Let an account's deliveries arrive as they should; what is lost stays lost."""
    tx.execute("DELETE FROM delivery_disorder WHERE account = ?", (account_id,))


def shown(tx: Tx, account_id: str) -> dict[str, Any]:
    """Give what befalls an account's deliveries, what is held back, and how many were lost."""
    row = tx.execute("SELECT json, seen FROM delivery_disorder WHERE account = ?", (account_id,)).fetchone()
    lost = tx.execute("SELECT count(*) FROM deliveries WHERE account = ? AND state = 'lost'", (account_id,)).fetchone()
    found = asdict(Disorder()) if row is None else json.loads(row["json"])
    modes = ["live" if livemode else "test" for livemode in (False, True) if is_held(tx, account_id, livemode)]
    return {**found, "on": row is not None, "seen": row["seen"] if row else 0, "lost": lost[0], "held": modes}


def fate_of(tx: Tx, ctx: Context, event_type: str) -> Fate:
    """Choose what befalls the next delivery of an account."""
    row = tx.execute("SELECT json, seen FROM delivery_disorder WHERE account = ?", (ctx.account_id,)).fetchone()
    if row is None:
        return ORDERLY
    wanted = Disorder(**json.loads(row["json"]))
    if wanted.mode not in (None, "live" if ctx.livemode else "test"):
        return ORDERLY
    if not any(fnmatch.fnmatchcase(event_type, pattern) for pattern in wanted.types):
        return ORDERLY
    tx.execute("UPDATE delivery_disorder SET seen = seen + 1 WHERE account = ?", (ctx.account_id,))
    chance = random.Random(f"{wanted.seed}:{row['seen']}")
    is_lost, is_doubled = chance.random() < wanted.drop, chance.random() < wanted.duplicate
    waits = [chance.uniform(0, wanted.late_seconds) for _ in range(2)]
    return Fate(is_lost, tuple(waits if is_doubled else waits[:1]))


def hold(tx: Tx, account_id: str, modes: tuple[bool, ...]) -> None:
    """Hold an account's deliveries back in some modes (True is live); survives a restart."""
    for livemode in modes:
        tx.execute("INSERT OR IGNORE INTO delivery_holds VALUES (?, ?)", (account_id, int(livemode)))


def let_go(tx: Tx, account_id: str, modes: tuple[bool, ...]) -> None:
    """Hold an account's deliveries back no longer."""
    for livemode in modes:
        tx.execute("DELETE FROM delivery_holds WHERE account = ? AND livemode = ?", (account_id, int(livemode)))


def is_held(tx: Tx, account_id: str, livemode: bool) -> bool:
    """Say whether an account's deliveries are held back in a mode."""
    row = tx.execute("SELECT 1 FROM delivery_holds WHERE account = ? AND livemode = ?", (account_id, int(livemode)))
    return row.fetchone() is not None
