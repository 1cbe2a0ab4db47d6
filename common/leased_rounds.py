"""Works leased rows off on threads, round after round, until nothing is due. The rows are the work: a call carries no data.

Invariant: one run per process at a time; a lease is renewed for as long as its work is in hand, so that nobody takes it over
meanwhile, and a dead process renews nothing. Who leases bounds by that how long what it left waits.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from django.conf import settings
from django.db import connection

log = structlog.get_logger(__name__)

# In hand at once per process. Most of the time of what is in hand is waiting for its peer.
THREADS = 8
LOOK_AGAIN_SECONDS = 0.25
RUN_SECONDS_MAX = 300

Work = TypeVar("Work")


@dataclass
class LeasedRounds(Generic[Work]):
    """One kind of leased work of this process: how it is leased, carried out and kept, and what its threads are called.

    `lease` is told how many threads are free and what is in hand; `describe` says in the log what an error was met with.
    """

    name: str
    lease: Callable[[int, Sequence[Work]], Sequence[Work]]
    carry_out: Callable[[Work], None]
    renew: Callable[[Sequence[Work]], None]
    describe: Callable[[Work], Mapping[str, str]]
    _running: threading.Lock = field(default_factory=threading.Lock)
    _asked_again: threading.Event = field(default_factory=threading.Event)
    # They outlive a round: each keeps its connections, so that a delivery greets Stripe no second time.
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix=self.name)

    def run(self) -> None:
        """Work off what is due, also what dead workers left. A second call only makes the running one look again."""
        self._asked_again.set()
        while self._asked_again.is_set() and self._running.acquire(blocking=False):
            try:
                self._asked_again.clear()
                self._run_until_idle()
            finally:
                self._running.release()

    def _run_until_idle(self) -> None:
        """Lease and carry out until nothing is due; what is new is taken up for a bounded time."""
        give_up_at = time.monotonic() + RUN_SECONDS_MAX
        renew_at = time.monotonic() + settings.EVENT_LEASE_SECONDS / 3
        busy: dict[Future[None], Work] = {}
        try:
            while True:
                free = THREADS - len(busy) if time.monotonic() < give_up_at else 0
                for work in self.lease(free, list(busy.values())) if free else ():
                    busy[self._threads.submit(self._carry_out, work)] = work
                if not busy:
                    return
                done, _ = wait(busy, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    del busy[future]
                if busy and time.monotonic() >= renew_at:
                    self.renew(list(busy.values()))
                    renew_at = time.monotonic() + settings.EVENT_LEASE_SECONDS / 3
        finally:
            # A lost database ends the round; what is in hand comes to its end before there is another.
            wait(busy)

    def _carry_out(self, work: Work) -> None:
        """Carry out on a thread of its own; what it could not commit comes back when its lease ends."""
        # Whatever is logged while this is in hand says what it is about.
        with structlog.contextvars.bound_contextvars(rounds=self.name, **self.describe(work)):
            try:
                self.carry_out(work)
            except Exception:
                log.exception("leased_work_lost")
            finally:
                connection.close()
