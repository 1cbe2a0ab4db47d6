"""Idempotency keys: the first answer to a POST is kept with its effects, in one transaction, and given again.

Source: https://docs.stripe.com/api/idempotent_requests. Kept: successes and card errors (402). Not kept: refusals before
anything was done, and conflicts. Stripe says "at least 24 hours"; here keys are kept for good.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .errors import StripeError
from .store import Context, Tx

MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class Stored:
    """The first answer to a key."""

    status: int
    body: str
    request_id: str


class InFlight:
    """Keys whose first request is being answered in this process, the only one that writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[str, bool, str]] = set()

    @contextlib.contextmanager
    def hold(self, ctx: Context) -> Iterator[None]:
        """Hold the request's key. Raises: StripeError 409 idempotency_key_in_use."""
        if ctx.idempotency_key is None:
            yield
            return
        entry = (ctx.account_id, ctx.livemode, ctx.idempotency_key)
        with self._lock:
            if entry in self._keys:
                raise StripeError(
                    "There is currently another in-progress request using this Idempotent Key (that probably means you "
                    "submitted twice, and the other request is still going through): "
                    f"{ctx.idempotency_key}. Please try again later.",
                    http_status=409,
                    type="invalid_request_error",
                    code="idempotency_key_in_use",
                )
            self._keys.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(entry)


def check_key(key: str) -> None:
    """Refuse keys that are too long. Raises: StripeError 400."""
    if len(key) > MAX_KEY_LENGTH:
        raise StripeError(f"Idempotency keys can have at most {MAX_KEY_LENGTH} characters.")


def fingerprint(path: str, form_body: bytes) -> str:
    """Digest what a key is bound to: the path and the parameters, in any order."""
    pairs = sorted(parse_qsl(form_body.decode("utf-8", "replace"), keep_blank_values=True))
    return hashlib.sha256(repr((path, pairs)).encode()).hexdigest()


def find(tx: Tx, ctx: Context, digest: str) -> Stored | None:
    """Find the first answer to the request's key. Raises: StripeError 400 when the parameters differ."""
    row = tx.execute(
        "SELECT fingerprint, status, body, request_id FROM idempotency WHERE account = ? AND livemode = ? AND key = ?",
        (ctx.account_id, int(ctx.livemode), ctx.idempotency_key),
    ).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != digest:
        raise StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{ctx.idempotency_key}' if you meant to execute a different request.",
            type="idempotency_error",
        )
    return Stored(row["status"], row["body"], row["request_id"])


def keep(tx: Tx, ctx: Context, digest: str, status: int, body: str) -> None:
    """Keep the first answer to a key, in the transaction of its effects."""
    tx.execute(
        "INSERT INTO idempotency (account, livemode, key, fingerprint, status, body, request_id, created)"
        " VALUES (?,?,?,?,?,?,?,?)",
        (
            ctx.account_id,
            int(ctx.livemode),
            ctx.idempotency_key,
            digest,
            status,
            body,
            ctx.request_id or "",
            ctx.now,
        ),
    )
