"""The only file that touches SQLite. One write transaction at a time, and a request's objects and events commit together.

Nothing slow (a webhook delivery, a fault that waits) may run inside `transaction()`.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Object = dict[str, Any]

SCHEMA = [
    """CREATE TABLE IF NOT EXISTS accounts (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL, json TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS api_keys (
        key_hash TEXT PRIMARY KEY, account TEXT NOT NULL, livemode INTEGER NOT NULL, kind TEXT NOT NULL,
        last4 TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS objects (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, livemode INTEGER NOT NULL,
        type TEXT NOT NULL, id TEXT NOT NULL, created INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
        json TEXT NOT NULL, private TEXT NOT NULL DEFAULT '{}')""",
    "CREATE UNIQUE INDEX IF NOT EXISTS objects_id ON objects (account, livemode, type, id)",
    "CREATE INDEX IF NOT EXISTS objects_by_id ON objects (id)",
    "CREATE INDEX IF NOT EXISTS objects_listing ON objects (account, livemode, type, deleted, seq)",
    """CREATE INDEX IF NOT EXISTS objects_customer
        ON objects (account, livemode, type, json_extract(json, '$.customer'))""",
    *(
        f"CREATE INDEX IF NOT EXISTS objects_{name} ON objects (account, livemode, type, json_extract(json, '$.{path}'))"
        for name, path in (
            ("subscription", "subscription"),
            ("invoice", "invoice"),
            ("intent", "payment.payment_intent"),
            ("lookup_key", "lookup_key"),
        )
    ),
    """CREATE TABLE IF NOT EXISTS idempotency (
        account TEXT NOT NULL, livemode INTEGER NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
        status INTEGER NOT NULL, body TEXT NOT NULL, request_id TEXT NOT NULL, created INTEGER NOT NULL,
        PRIMARY KEY (account, livemode, key))""",
    """CREATE TABLE IF NOT EXISTS due (
        account TEXT NOT NULL, livemode INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
        clock TEXT NOT NULL DEFAULT '', PRIMARY KEY (account, livemode, type, id))""",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
]


# Tables that an older sandbox left behind get what was added since: (table, column, declaration).
ADDED_COLUMNS = [
    ("due", "clock", "TEXT NOT NULL DEFAULT ''"),
    ("api_keys", "permissions", "TEXT"),
    ("api_keys", "expired", "INTEGER NOT NULL DEFAULT 0"),
]
LATER_SCHEMA = [
    "DROP INDEX IF EXISTS due_at",
    "CREATE INDEX IF NOT EXISTS due_by_clock ON due (clock, at)",
]


@dataclass(frozen=True)
class Context:
    """Who asks, in which mode, when and under which request; given to every operation.

    `clock` is the test clock whose time `now` is, for objects that live on one.
    """

    account_id: str
    livemode: bool
    now: int
    key_kind: str = "secret"
    request_id: str | None = None
    idempotency_key: str | None = None
    clock: str | None = None

    def automatic(self, now: int | None = None) -> Context:
        """Give the same account and mode for work that no request asked for (a renewal)."""
        return replace(self, now=self.now if now is None else now, request_id=None, idempotency_key=None)


class Tx:
    """Reads and writes of one transaction. Objects are plain dicts in Stripe's shape, with references as ids."""

    def __init__(self, store: Store, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.store = store
        self.connection = connection
        self.writable = writable
        self.after_commit: list[Callable[[], None]] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement in this transaction."""
        return self.connection.execute(sql, parameters)

    def insert(self, ctx: Context, obj: Object, private: Object | None = None) -> Object:
        """Add an object; `private` is kept beside it and never shown. It lives on the context's clock."""
        if ctx.clock and "test_clock" in obj:
            obj["test_clock"] = obj["test_clock"] or ctx.clock
        self.execute(
            "INSERT INTO objects (account, livemode, type, id, created, json, private) VALUES (?,?,?,?,?,?,?)",
            (
                ctx.account_id,
                int(ctx.livemode),
                obj["object"],
                obj["id"],
                obj.get("created", ctx.now),
                json.dumps(obj),
                json.dumps(private or {}),
            ),
        )
        return obj

    def save(self, ctx: Context, obj: Object) -> Object:
        """Write an object back under its id."""
        self.execute(
            "UPDATE objects SET json = ? WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
            (json.dumps(obj), ctx.account_id, int(ctx.livemode), obj["object"], obj["id"]),
        )
        return obj

    def get(self, ctx: Context, object_type: str, object_id: str, *, deleted: bool = False) -> Object | None:
        """Read one object of this account and mode; deleted ones only when asked for."""
        row = self.execute(
            "SELECT json FROM objects WHERE account = ? AND livemode = ? AND type = ? AND id = ? AND deleted <= ?",
            (ctx.account_id, int(ctx.livemode), object_type, object_id, int(deleted)),
        ).fetchone()
        return json.loads(row[0]) if row else None

    def mark_deleted(self, ctx: Context, object_type: str, object_id: str) -> None:
        """Take an object out of reads and lists; its row stays, for deleted stubs."""
        self.execute(
            "UPDATE objects SET deleted = 1 WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
            (ctx.account_id, int(ctx.livemode), object_type, object_id),
        )

    def private(self, ctx: Context, object_type: str, object_id: str) -> Object:
        """Read what is kept beside an object and never shown (the outcome of a card, a signing secret)."""
        row = self.execute(
            "SELECT private FROM objects WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
            (ctx.account_id, int(ctx.livemode), object_type, object_id),
        ).fetchone()
        return json.loads(row[0]) if row else {}

    def save_private(self, ctx: Context, object_type: str, object_id: str, private: Object) -> None:
        """Write what is kept beside an object and never shown."""
        self.execute(
            "UPDATE objects SET private = ? WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
            (json.dumps(private), ctx.account_id, int(ctx.livemode), object_type, object_id),
        )

    def find(self, ctx: Context, object_type: str, where: str = "", parameters: Sequence[Any] = ()) -> list[Object]:
        """Read all live objects of a type, oldest first; `where` continues the condition (' AND ...')."""
        rows = self.execute(
            f"SELECT json FROM objects WHERE account = ? AND livemode = ? AND type = ? AND deleted = 0 {where}"  # noqa: S608
            " ORDER BY seq",
            (ctx.account_id, int(ctx.livemode), object_type, *parameters),
        )
        return [json.loads(row[0]) for row in rows]

    def find_by(self, ctx: Context, object_type: str, field: str, value: Any) -> list[Object]:
        """Read all live objects whose JSON field (dotted path) equals a value, oldest first."""
        return self.find(ctx, object_type, f"AND json_extract(json, '$.{field}') = ?", (value,))

    def schedule(self, ctx: Context, object_type: str, object_id: str, at: int | None) -> None:
        """Say when time itself will next change this object; None for never."""
        key = (ctx.account_id, int(ctx.livemode), object_type, object_id)
        if at is None:
            self.execute("DELETE FROM due WHERE account = ? AND livemode = ? AND type = ? AND id = ?", key)
        else:
            self.execute(
                "INSERT OR REPLACE INTO due (account, livemode, type, id, at, clock) VALUES (?,?,?,?,?,?)",
                (*key, at, ctx.clock or ""),
            )

    def owner_of(self, object_type: str, object_id: str) -> tuple[str, bool] | None:
        """Tell account and mode of an unguessable id that a hosted page was opened with."""
        row = self.execute(
            "SELECT account, livemode FROM objects WHERE id = ? AND type = ?", (object_id, object_type)
        ).fetchone()
        return (row[0], bool(row[1])) if row else None


def _add_columns(connection: sqlite3.Connection) -> None:
    for table, column, declaration in ADDED_COLUMNS:
        if column not in {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")


class Store:
    """One SQLite file in WAL mode: many readers, one writer at a time."""

    def __init__(self, path: Path, extra_schema: Sequence[str] = (), public_url: str = "http://127.0.0.1:8420") -> None:
        self.path = path
        self.public_url = public_url
        self._write_lock = threading.Lock()
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        connection = self._connect()
        for statement in [*SCHEMA, *extra_schema]:
            connection.execute(statement)
        _add_columns(connection)
        for statement in LATER_SCHEMA:
            connection.execute(statement)
        self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing with NORMAL in WAL mode; only a power cut could.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Open the one write transaction: commits at the end, rolls back on any exception."""
        with self._borrowed() as connection:
            tx = Tx(self, connection, writable=True)
            with self._write_lock:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield tx
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            for callback in tx.after_commit:
                callback()

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """Open a consistent read that never waits for the writer."""
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            try:
                yield Tx(self, connection, writable=False)
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the idle connections."""
        while not self._idle.empty():
            self._idle.get().close()
