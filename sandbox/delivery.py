"""Webhook deliveries: what each event owes to each endpoint, sent signed and retried until taken.

Invariant: a delivery is recorded in the transaction of the request that made the event, with the exact bytes to
send; the network is touched only by this file's threads, never by a request. Deliveries and signatures run on real
time, whatever a test clock says.
Source: https://docs.stripe.com/webhooks (signature scheme, no redirects, both secrets during a roll).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from . import disorder, ids
from .store import Context, Object, Store, Tx

logger = logging.getLogger(__name__)

SCHEMA = [
    """CREATE TABLE IF NOT EXISTS deliveries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, livemode INTEGER NOT NULL,
        event TEXT NOT NULL, event_type TEXT NOT NULL, endpoint TEXT NOT NULL, body BLOB NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_attempt_at REAL, created REAL NOT NULL,
        last_attempt_at REAL, response_status INTEGER, response_excerpt TEXT, failure TEXT,
        manual INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, next_attempt_at)",
    "CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event)",
    """CREATE TABLE IF NOT EXISTS delivery_attempts (
        delivery INTEGER NOT NULL, at REAL NOT NULL, seconds REAL NOT NULL, response_status INTEGER,
        response_excerpt TEXT, failure TEXT)""",
    "CREATE INDEX IF NOT EXISTS delivery_attempts_of ON delivery_attempts (delivery)",
    "CREATE TABLE IF NOT EXISTS delivery_switches (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    *disorder.SCHEMA,
]

USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
CONTENT_TYPE = "application/json; charset=utf-8"
ROLL_SECONDS_MAX = 24 * 3600
WORKERS = 16
WORKERS_PER_ENDPOINT = 4
RESPONSE_EXCERPT_BYTES = 2_000
RESPONSE_BYTES_MAX = 65_536
# While an endpoint is disabled its deliveries are looked at again this often, without using up an attempt.
DISABLED_PAUSE_SECONDS = 2.0
IDLE_WAIT_SECONDS = 5.0
PAUSED = "paused"


@dataclass(frozen=True)
class DeliverySettings:
    """How patiently deliveries are tried.

    Stripe publishes neither the intervals nor the time-out of a webhook: these figures are a guess,
    quick enough to watch on a laptop.
    """

    retry_seconds: tuple[float, ...] = (1, 5, 30, 120, 600, 3600, 3 * 3600)
    timeout_seconds: float = 10.0

    @classmethod
    def from_environment(cls) -> DeliverySettings:
        """Read SANDBOX_RETRY_SECONDS (comma-separated) and SANDBOX_WEBHOOK_TIMEOUT_SECONDS."""
        intervals = os.environ.get("SANDBOX_RETRY_SECONDS")
        timeout = os.environ.get("SANDBOX_WEBHOOK_TIMEOUT_SECONDS")
        return cls(
            retry_seconds=tuple(float(part) for part in intervals.split(",")) if intervals else cls.retry_seconds,
            timeout_seconds=float(timeout) if timeout else cls.timeout_seconds,
        )


# Secrets and signatures


def set_secret(tx: Tx, ctx: Context, endpoint_id: str, secret: str | None = None) -> str:
    """Give an endpoint its first signing secret, replacing any other, and return it."""
    secret = secret or ids.signing_secret()
    _save_secrets(tx, ctx, endpoint_id, [{"secret": secret, "expires_at": None}])
    return secret


def roll_secret(tx: Tx, ctx: Context, endpoint_id: str, keep_old_seconds: float = ROLL_SECONDS_MAX) -> str:
    """Give an endpoint a new signing secret; the old one signs beside it for at most 24 hours. Returns the new one."""
    now = time.time()
    until = now + max(0.0, min(keep_old_seconds, ROLL_SECONDS_MAX))
    kept = []
    for entry in tx.private(ctx, "webhook_endpoint", endpoint_id).get("secrets", []):
        expires_at = min(until, entry["expires_at"] or until)
        if expires_at > now:
            kept.append({"secret": entry["secret"], "expires_at": expires_at})
    secret = ids.signing_secret()
    _save_secrets(tx, ctx, endpoint_id, [{"secret": secret, "expires_at": None}, *kept])
    return secret


def _save_secrets(tx: Tx, ctx: Context, endpoint_id: str, entries: list[Object]) -> None:
    private = tx.private(ctx, "webhook_endpoint", endpoint_id)
    tx.save_private(ctx, "webhook_endpoint", endpoint_id, {**private, "secrets": entries})


def valid_secrets(tx: Tx, ctx: Context, endpoint_id: str) -> list[str]:
    """List the secrets that sign now, the newest first."""
    now = time.time()
    entries = tx.private(ctx, "webhook_endpoint", endpoint_id).get("secrets", [])
    return [entry["secret"] for entry in entries if entry["expires_at"] is None or entry["expires_at"] > now]


def signature_header(body: bytes, signing_secrets: list[str], timestamp: int) -> str:
    """Sign `timestamp.body` with each secret, as the Stripe-Signature header has it."""
    payload = str(timestamp).encode() + b"." + body
    parts = [f"v1={hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()}" for secret in signing_secrets]
    return ",".join([f"t={timestamp}", *parts])


# What requests do


def enqueue(tx: Tx, ctx: Context, event: Object) -> int:
    """Record a delivery of the event for every enabled endpoint that wants it; returns how many."""
    endpoint_ids = _takers(tx, ctx, event["type"])
    if endpoint_ids:
        body = _body({**event, "pending_webhooks": len(endpoint_ids)})
        for endpoint_id in endpoint_ids:
            fate = disorder.fate_of(tx, ctx, event["type"])
            state = "lost" if fate.is_lost else "pending"
            for place, wait in enumerate(fate.waits[:1] if fate.is_lost else fate.waits):
                # A second copy is nobody's retry: it is sent once and not counted.
                _insert(
                    tx, ctx, event["id"], event["type"], endpoint_id, body,
                    manual=place > 0, after_seconds=wait, state=state,
                )  # fmt: skip
    return len(endpoint_ids)


def _takers(tx: Tx, ctx: Context, event_type: str) -> list[str]:
    return [
        endpoint["id"]
        for endpoint in tx.find(ctx, "webhook_endpoint")
        if endpoint["status"] == "enabled"
        and ("*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"])
    ]


def _body(event: Object) -> bytes:
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def _insert(
    tx: Tx,
    ctx: Context,
    event_id: str,
    event_type: str,
    endpoint_id: str,
    body: bytes,
    *,
    manual: bool = False,
    after_seconds: float = 0.0,
    state: str = "pending",
) -> None:
    now = time.time()
    tx.execute(
        "INSERT INTO deliveries (account, livemode, event, event_type, endpoint, body, state, next_attempt_at, created,"
        " manual) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            ctx.account_id,
            int(ctx.livemode),
            event_id,
            event_type,
            endpoint_id,
            body,
            state,
            now + after_seconds if state == "pending" else None,
            now,
            int(manual),
        ),
    )


def resend(tx: Tx, ctx: Context, event_id: str, endpoint_id: str | None = None, *, after_seconds: float = 0.0) -> int:
    """Send an event once more, without retries; automatic retries go on beside it.

    Goes to one endpoint, or to every enabled one that wants it; returns to how many.
    """
    event = tx.get(ctx, "event", event_id)
    if event is None:
        return 0
    if endpoint_id is None:
        endpoint_ids = _takers(tx, ctx, event["type"])
    else:
        endpoint_ids = [endpoint_id] if tx.get(ctx, "webhook_endpoint", endpoint_id) else []
    sent = tx.execute("SELECT body FROM deliveries WHERE event = ? LIMIT 1", (event_id,)).fetchone()
    body = sent["body"] if sent else _body(event)
    for taker in endpoint_ids:
        _insert(tx, ctx, event_id, event["type"], taker, body, manual=True, after_seconds=after_seconds)
    if notify not in tx.after_commit:
        tx.after_commit.append(notify)
    return len(endpoint_ids)


def set_paused(store: Store, paused: bool) -> None:
    """Hold all deliveries back, or let them go on; survives a restart."""
    with store.transaction() as tx:
        tx.execute("INSERT OR REPLACE INTO delivery_switches (name, value) VALUES (?, ?)", (PAUSED, int(paused)))
        tx.after_commit.append(notify)


def is_paused(tx: Tx) -> bool:
    """Say whether deliveries are held back."""
    row = tx.execute("SELECT value FROM delivery_switches WHERE name = ?", (PAUSED,)).fetchone()
    return bool(row and row["value"])


def pending_count(tx: Tx, event_id: str) -> int:
    """Count the automatic deliveries of an event that no endpoint has taken yet."""
    row = tx.execute(
        "SELECT count(*) FROM deliveries WHERE event = ? AND manual = 0 AND state != 'succeeded'", (event_id,)
    ).fetchone()
    return int(row[0])


# What the threads do


@dataclass(frozen=True)
class Delivery:
    """One delivery that is due, with all that its attempt needs."""

    id: int
    ctx: Context
    event_id: str
    endpoint_id: str
    url: str
    body: bytes
    attempts: int
    manual: bool
    signing_secrets: list[str] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered, or why it did not."""

    status: int | None
    excerpt: str
    failure: str | None
    seconds: float


class Deliverer:
    """One dispatching thread and a bounded pool that sends; a slow endpoint holds only its own share."""

    def __init__(self, store: Store, settings: DeliverySettings | None = None) -> None:
        self.store = store
        self.settings = settings or DeliverySettings.from_environment()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._in_flight: Counter[str] = Counter()
        self._in_flight_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="delivery")
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        # No proxy from the environment: endpoints are mostly on this very machine.
        self._client = httpx.Client(
            timeout=self.settings.timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=WORKERS, max_keepalive_connections=0),
        )

    def start(self) -> None:
        """Take up what an earlier process left half sent, then go on dispatching."""
        with self.store.transaction() as tx:
            tx.execute("UPDATE deliveries SET state = 'pending' WHERE state = 'sending'")
        self._thread.start()

    def stop(self) -> None:
        """Let attempts under way end, and start no more."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=self.settings.timeout_seconds + 5)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def wake(self) -> None:
        """Look for due deliveries now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait_seconds = self._dispatch()
            except Exception:
                logger.exception("Dispatching webhook deliveries failed; trying again")
                wait_seconds = 1.0
            self._wake.wait(wait_seconds)

    def _dispatch(self) -> float:
        """Hand the due deliveries to the pool; returns how long there is nothing to do."""
        now = time.time()
        with self.store.read() as tx:
            row = tx.execute(
                f"SELECT next_attempt_at FROM deliveries WHERE state = 'pending'{disorder.NOT_HELD}"  # noqa: S608
                " ORDER BY next_attempt_at LIMIT 1"
            ).fetchone()
            if row is None or row[0] is None or is_paused(tx):
                return IDLE_WAIT_SECONDS
            if row[0] > now:
                return min(float(row[0]) - now, IDLE_WAIT_SECONDS)
        for delivery in self._claim(now):
            self._pool.submit(self._attempt, delivery)
        # A finished attempt wakes the dispatcher; this is for rows that become due meanwhile.
        return 0.25

    def _claim(self, now: float) -> list[Delivery]:
        claimed: list[Delivery] = []
        with self.store.transaction() as tx, self._in_flight_lock:
            free = WORKERS - self._in_flight.total()
            for row in self._due(tx, now):
                if len(claimed) >= free:
                    break
                if self._in_flight[row["endpoint"]] >= WORKERS_PER_ENDPOINT:
                    continue
                delivery = self._take(tx, row, now)
                if delivery is not None:
                    self._in_flight[delivery.endpoint_id] += 1
                    claimed.append(delivery)
        return claimed

    def _due(self, tx: Tx, now: float) -> list[Any]:
        """Read due rows, leaving out endpoints that already hold their share of the workers."""
        full = [endpoint for endpoint, count in self._in_flight.items() if count >= WORKERS_PER_ENDPOINT]
        places = ",".join("?" * len(full))
        return tx.execute(
            f"SELECT * FROM deliveries WHERE state = 'pending' AND next_attempt_at <= ? AND endpoint NOT IN ({places})"  # noqa: S608
            f"{disorder.NOT_HELD} ORDER BY id LIMIT ?",
            (now, *full, WORKERS * 4),
        ).fetchall()

    def _take(self, tx: Tx, row: Any, now: float) -> Delivery | None:
        ctx = Context(row["account"], bool(row["livemode"]), int(now))
        endpoint = tx.get(ctx, "webhook_endpoint", row["endpoint"])
        if endpoint is None:
            tx.execute("UPDATE deliveries SET state = 'canceled', next_attempt_at = NULL WHERE id = ?", (row["id"],))
            return None
        if endpoint["status"] != "enabled":
            pause = now + DISABLED_PAUSE_SECONDS
            tx.execute("UPDATE deliveries SET next_attempt_at = ? WHERE id = ?", (pause, row["id"]))
            return None
        tx.execute("UPDATE deliveries SET state = 'sending' WHERE id = ?", (row["id"],))
        return Delivery(
            id=row["id"],
            ctx=ctx,
            event_id=row["event"],
            endpoint_id=row["endpoint"],
            url=endpoint["url"],
            body=bytes(row["body"]),
            attempts=row["attempts"] + 1,
            manual=bool(row["manual"]),
            signing_secrets=valid_secrets(tx, ctx, row["endpoint"]),
        )

    def _attempt(self, delivery: Delivery) -> None:
        try:
            answer = self._post(delivery)
            self._record(delivery, answer)
        except Exception:
            logger.exception("Recording delivery %s failed", delivery.id)
        finally:
            with self._in_flight_lock:
                self._in_flight[delivery.endpoint_id] -= 1
                if not self._in_flight[delivery.endpoint_id]:
                    del self._in_flight[delivery.endpoint_id]
            self.wake()

    def _post(self, delivery: Delivery) -> Answer:
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": USER_AGENT,
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Stripe-Signature": signature_header(delivery.body, delivery.signing_secrets, int(time.time())),
        }
        began = time.monotonic()
        deadline = began + self.settings.timeout_seconds
        try:
            with self._client.stream("POST", delivery.url, content=delivery.body, headers=headers) as response:
                received = b""
                for chunk in response.iter_raw():
                    received += chunk
                    if len(received) > RESPONSE_BYTES_MAX or time.monotonic() > deadline:
                        break
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(None, "", f"{type(error).__name__}: {error}"[:300], time.monotonic() - began)
        excerpt = received[:RESPONSE_EXCERPT_BYTES].decode("utf-8", "replace")
        failure = None if response.is_success else f"HTTP {response.status_code}"
        return Answer(response.status_code, excerpt, failure, time.monotonic() - began)

    def _record(self, delivery: Delivery, answer: Answer) -> None:
        intervals = () if delivery.manual else self.settings.retry_seconds
        next_attempt_at = None
        if answer.failure is None:
            state = "succeeded"
        elif delivery.attempts <= len(intervals):
            state = "pending"
            next_attempt_at = time.time() + intervals[delivery.attempts - 1]
        else:
            state = "failed"
        with self.store.transaction() as tx:
            tx.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, next_attempt_at = ?, last_attempt_at = ?,"
                " response_status = ?, response_excerpt = ?, failure = ? WHERE id = ?",
                (
                    state,
                    delivery.attempts,
                    next_attempt_at,
                    time.time(),
                    answer.status,
                    answer.excerpt,
                    answer.failure,
                    delivery.id,
                ),
            )
            tx.execute(
                "INSERT INTO delivery_attempts (delivery, at, seconds, response_status, response_excerpt, failure)"
                " VALUES (?,?,?,?,?,?)",
                (delivery.id, time.time(), answer.seconds, answer.status, answer.excerpt, answer.failure),
            )
            event = tx.get(delivery.ctx, "event", delivery.event_id)
            if event is not None:
                event["pending_webhooks"] = pending_count(tx, delivery.event_id)
                tx.save(delivery.ctx, event)


_deliverer: Deliverer | None = None


def start(store: Store, settings: DeliverySettings | None = None) -> Callable[[], None]:
    """Start delivering in the background; returns the function that stops it."""
    global _deliverer
    deliverer = Deliverer(store, settings)
    deliverer.start()
    _deliverer = deliverer
    return stop


def stop() -> None:
    """Stop delivering; what is pending stays recorded."""
    global _deliverer
    deliverer, _deliverer = _deliverer, None
    if deliverer is not None:
        deliverer.stop()


def notify() -> None:
    """Wake the dispatcher: something may be due. Does nothing when none runs."""
    if _deliverer is not None:
        _deliverer.wake()
