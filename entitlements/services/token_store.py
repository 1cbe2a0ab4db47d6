"""Token budgets in Redis: names, scripts and the connection. Nothing else knows how a budget lies there.

Invariant: no operation works on what another life of this Redis left behind. A Redis that was started again, perhaps from an old
snapshot, and a replica that was promoted have no scripts loaded; whoever finds that out names a new era before loading them, and
an account of another era is read from PostgreSQL again (docs/tokens.md). All keys share one hash tag: one script touches several.
"""

import hashlib
import json
import logging
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from redis.exceptions import NoScriptError, RedisError

from common.errors import UpstreamUnavailable
from entitlements.services.token_facts import NOTHING

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent.parent / "lua"
ERA = "{tokens}:era"
JOURNAL = "{tokens}:journal"
# When something was last taken out of the journal.
WRITTEN = "{tokens}:written"
# Who writes the journal at the moment; it ends by itself.
WRITER = "{tokens}:writer"

KEY_KEPT_MS = 24 * 3600 * 1000
KEYS_MAX = 10_000
RESERVATIONS_MAX = 1000
# Longer than any reservation lives: an account that nobody asks about leaves Redis after so long.
IDLE_MS = 48 * 3600 * 1000
# After a failure the next call does not wait for the time-out again: a Redis that hangs must not hold all of the web's threads.
RETRY_SECONDS = 1.0


class TokenBudgetUnavailable(UpstreamUnavailable):
    """503: the budget cannot be asked now, and TOKEN_BUDGET_FAIL_MODE says that nothing is given then."""

    code = "token_budget_unavailable"
    detail = "Token budgets cannot be reached now. Try again in a moment."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=max(1, round(RETRY_SECONDS)))


class StoreDown(Exception):
    """Redis refused, hung or is asleep after doing so; nothing is known about whether the call was carried out."""


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """The names of one account's values."""

    budget: str
    reservations: str
    idempotency: str


def answer_key(name: str) -> str:
    """Name the answer that is kept under an idempotency key."""
    return f"{{tokens}}:k:{name}"


def keys_of(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> AccountKeys:
    """Name the values of one user's account in one mode."""
    budget = f"{{tokens}}:a:{project_id}:{mode}:{end_user_id}"
    return AccountKeys(budget, f"{budget}:r", f"{budget}:i")


class TokenStore:
    """One Redis; every call is answered within REDIS_SOCKET_TIMEOUT_SECONDS or fails."""

    def __init__(self, url: str) -> None:
        timeout = settings.REDIS_SOCKET_TIMEOUT_SECONDS
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        self.client = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once, decode_responses=True
        )
        self._sources = {name: _source(name) for name in ("token_budget", "token_load", "token_written")}
        # SHA-1 is Redis' own name for a script; nothing rests on its strength.
        self._names = {name: _script_name(source) for name, source in self._sources.items()}
        self._asleep_until = 0.0
        self._has_gap = False

    def operate(self, keys: list[str], arguments: list[Any]) -> list[str]:
        """Carry out one operation on an account in one round trip and return the words of the answer. Raises StoreDown."""
        return str(self._guarded(lambda: self._run("token_budget", keys, arguments))).split(" ")

    def note_gap(self) -> None:
        """Something was counted without Redis: once it answers, every account is read from the database again."""
        self._has_gap = True

    def last_written(self) -> str:
        """Return a mark that changes when something is taken out of the journal. Raises StoreDown."""
        return str(self._guarded(lambda: self.client.get(WRITTEN)) or NOTHING)

    def load(self, account: AccountKeys, facts: dict[str, Any]) -> bool:
        """Put an account there as the database has it; False when the database has to be asked again. Raises StoreDown."""
        keys = [account.budget, account.reservations, account.idempotency, ERA, JOURNAL, WRITTEN]
        given = json.dumps(facts | {"new_era": str(uuid.uuid4()), "idle": IDLE_MS, "keep": KEY_KEPT_MS})
        return bool(self._guarded(lambda: self._run("token_load", keys, [given])))

    def forget(self, account: AccountKeys) -> None:
        """Make the next call look at the database. Raises StoreDown."""

        def run() -> None:
            with self.client.pipeline() as pipe:
                pipe.hincrby(account.budget, "turn", 1)
                pipe.hset(account.budget, "check_at", 0)
                pipe.pexpire(account.budget, IDLE_MS)
                pipe.execute()

        self._guarded(run)

    def may_write(self, writer: str, *, for_ms: int) -> bool:
        """Take the turn to write the journal, when nobody else has it. Raises StoreDown."""
        return bool(self._guarded(lambda: self.client.set(WRITER, writer, nx=True, px=for_ms)))

    def journal_page(self, cursor: int, size: int) -> tuple[int, dict[str, str]]:
        """Return some entries of the journal and where to go on; 0 = that was the last page. Raises StoreDown."""
        following, page = self._guarded(lambda: self.client.hscan(JOURNAL, cursor, count=size))
        return int(following), page

    def note_written(self, entries: dict[str, str]) -> None:
        """Take entries out of the journal that the database has. Raises StoreDown."""
        flat = [text for entry in entries.items() for text in entry]
        self._guarded(lambda: self._run("token_written", [JOURNAL, WRITTEN], flat))

    def _guarded(self, work: Any) -> Any:
        if time.monotonic() < self._asleep_until:
            raise StoreDown("asleep")
        try:
            return work()
        except (RedisError, OSError) as error:
            self._asleep_until = time.monotonic() + RETRY_SECONDS
            logger.warning("token_store_failed error=%s", f"{type(error).__name__}: {error}"[:200])
            raise StoreDown(type(error).__name__) from error

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        try:
            if self._has_gap:
                self._close_gap()
            return self._evalsha(self._names[script], keys, arguments)
        except NoScriptError:
            self._begin_era()
            return self._evalsha(self._names[script], keys, arguments)

    def _evalsha(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        """Send one EVALSHA as the client would, without its detours: they cost as much as the rest of a call.

        A connection that fails closes itself; the pool opens it anew.
        """
        words = [str(word).encode() for word in ("EVALSHA", name, len(keys), *keys, *arguments)]
        command = b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
        connection = self.client.connection_pool.get_connection()
        try:
            connection.send_packed_command([command])
            return connection.read_response()
        finally:
            self.client.connection_pool.release(connection)

    def _close_gap(self) -> None:
        """Begin a new era after an outage. What is counted elsewhere meanwhile opens the gap again."""
        self._has_gap = False
        try:
            self._begin_era()
        except Exception:
            self._has_gap = True
            raise

    def _begin_era(self) -> None:
        """Name a new era and load the scripts, in this order: no operation runs in between on what was there before."""
        logger.info("token_store_new_era")
        self.client.set(ERA, str(uuid.uuid4()))
        for source in self._sources.values():
            self.client.script_load(source)


def _source(name: str) -> str:
    """Read a script and put the limits in: they are no arguments, since each call would carry them."""
    source = (FOLDER / f"{name}.lua").read_text()
    limits = {
        "KEY_KEPT_MS": KEY_KEPT_MS,
        "KEYS_MAX": KEYS_MAX,
        "RESERVATIONS_MAX": RESERVATIONS_MAX,
        "IDLE_MS": IDLE_MS,
    }
    for limit, value in limits.items():
        source = source.replace(f"@{limit}@", str(value))
    return source


def _script_name(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@cache
def _store(url: str) -> TokenStore:
    return TokenStore(url)


def token_store() -> TokenStore:
    """Return this process's connections to Redis."""
    return _store(settings.REDIS_URL)


def forget_account(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> None:
    """Make the next call on an account look at the database; without Redis it does so by itself within FRESH_MS."""
    try:
        token_store().forget(keys_of(project_id=project_id, mode=mode, end_user_id=end_user_id))
    except StoreDown:
        logger.warning("token_account_not_forgotten project=%s mode=%s", project_id, mode)
