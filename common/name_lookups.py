"""Asks the name servers of addresses that users supply, so that those of one tenant hold up nobody else.

A look-up cannot be called off: at a name server that never answers it holds its thread long after its caller has given up.
Invariant: of the threads of a purpose one tenant holds a few at most; its further look-ups wait for its own.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

THREADS = 32
THREADS_OF_ONE_MAX = 4

Resolver = Callable[[str, int], list[str]]


class NameLookups:
    """The threads that look names up for one purpose."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix=f"resolve-{name}")
        self._held: Counter[str] = Counter()
        self._changed = threading.Condition()

    def ask(self, resolver: Resolver, host: str, port: int, *, whose: str, timeout: float) -> list[str]:
        """Return all addresses of a host. `whose` says which tenant's threads this takes up.

        Units: timeout in seconds, waiting for a thread included.  Raises: TimeoutError, and what the resolver raises.
        """
        give_up_at = time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(lambda: self._held[whose] < THREADS_OF_ONE_MAX, timeout):
                raise TimeoutError("the name servers asked before have not answered yet")
            self._held[whose] += 1
        future = self._pool.submit(resolver, host, port)
        future.add_done_callback(lambda _: self._let_go(whose))
        return self._wait(future, max(give_up_at - time.monotonic(), 0))

    def _wait(self, future: Future[list[str]], seconds: float) -> list[str]:
        try:
            return future.result(timeout=seconds)
        finally:
            # One that has not begun never will.
            future.cancel()

    def _let_go(self, whose: str) -> None:
        with self._changed:
            self._held[whose] -= 1
            if not self._held[whose]:
                del self._held[whose]
            self._changed.notify_all()
