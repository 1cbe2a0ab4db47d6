"""What using tokens costs: python -m benchmarks.tokens (BENCH_CALLS=20000).

`consume_tokens` as the view calls it, against a bare EVALSHA through redis-py (a script that adds to one field of a hash), in turns
on the same Valkey; on one thread and on eight; and the whole request beside it. The target is half of the bare call's rate.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.harness import milliseconds, running_stores, table

CALLS = int(os.environ.get("BENCH_CALLS", "20000"))
ROUNDS = 5
BARE = "return redis.call('HINCRBY', KEYS[1], 'used', ARGV[1])"


def rate(call: Callable[[], Any], *, threads: int) -> float:
    """Return calls a second over all threads."""
    each = CALLS // ROUNDS // threads

    def work() -> None:
        for _ in range(each):
            call()

    started = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return each * threads / (time.perf_counter() - began)


def account() -> tuple[dict[str, Any], Any]:
    """Make somebody on an endless plan, and a client of theirs."""
    from django.test import Client

    from accounts.models import User
    from entitlements.models import Plan
    from projects.models import EndUser, Project
    from projects.principals import ServerPrincipal
    from projects.services.api_keys import create_api_key
    from projects.services.end_user_tokens import mint_end_user_token

    owner = User.objects.create_user(f"bench-{uuid.uuid4().hex[:8]}@example.com", "long enough password")
    project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
    user = EndUser.objects.create(project=project, external_id="user-1")
    Plan.objects.create(project=project, code="free", name="Free", free=True, token_budget=2**52)
    key, _ = create_api_key(project=project, created_by=owner, name="Bench", is_test_mode=True)
    server = ServerPrincipal(api_key=key, project=project, mode="test")
    token = mint_end_user_token(server=server, user_id="user-1", email=None, ttl_seconds=3600, test_only=False)
    return (
        {"project_id": project.pk, "mode": "test", "end_user_id": user.pk},
        Client(headers={"Authorization": f"Bearer {token.access_token}"}),
    )


def main() -> None:
    """Measure and print."""
    with running_stores():
        import redis
        from django.conf import settings

        from entitlements.services.token_budget import consume_tokens
        from entitlements.services.token_facts import Once

        whose, client = account()
        bare_client = redis.Redis.from_url(settings.REDIS_URL)
        name = str(bare_client.script_load(BARE))

        def bare() -> None:
            bare_client.evalsha(name, 1, "bare", 1)

        def consume() -> None:
            consume_tokens(**whose, tokens=1)

        def consume_once() -> None:
            key = uuid.uuid4().hex
            consume_tokens(**whose, tokens=1, once=Once.of(caller="bench", key=key, request="bench"))

        rows = []
        for threads in (1, 8):
            found: dict[str, list[float]] = {"bare": [], "consume": [], "with a key": []}
            consume()
            for _ in range(ROUNDS):
                for what, call in (("bare", bare), ("consume", consume), ("with a key", consume_once)):
                    found[what].append(rate(call, threads=threads))
            best = {what: sorted(rates)[len(rates) // 2] for what, rates in found.items()}
            rows += [[f"{what}, {threads} thread(s)", round(best[what]), best[what] / best["bare"]] for what in best]
        print(table(["call", "a second", "ratio"], rows))
        body = {"tokens": 1}
        whole = milliseconds(
            lambda: client.post("/api/v1/payments/tokens/consume", body, content_type="application/json")
        )
        print(f"\nthe whole request in this process: {whole:.2f} ms")


if __name__ == "__main__":
    main()
