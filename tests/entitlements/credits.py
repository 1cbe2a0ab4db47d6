"""The vocabulary of the tests about credits."""

import datetime as dt
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection

from common import clock
from entitlements.models import CreditEntry, CreditTransaction, Entitlement, Plan
from entitlements.services import ledger
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.cast import AppUser

CREDITS = "/api/v1/payments/credits"
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
_numbers = itertools.count()


def wallet_of(user: AppUser, mode: str = "test") -> ledger.Wallet:
    """Name a user's wallet, as services take it."""
    return {"project_id": user.end_user.project_id, "mode": mode, "end_user_id": user.end_user.pk}


def available(user: AppUser, mode: str = "test", at: dt.datetime | None = None) -> int:
    """Return what a user can spend."""
    return ledger.read_balance(**wallet_of(user, mode), at=at).available


def give(user: AppUser, amount: int, bucket: str = "purchased", **options: Any) -> ledger.Posted:
    """Give a user credits under a key of their own."""
    wallet = wallet_of(user, options.pop("mode", "test"))
    key = options.pop("key", f"test:{user.end_user.pk}:{next(_numbers)}")
    return ledger.grant_credits(**wallet, bucket=bucket, amount=amount, key=key, **options)


def spend(user: AppUser, amount: int, key: str = "", **options: Any) -> ledger.Posted:
    """Spend a user's credits under a key of their own."""
    return ledger.spend_credits(
        **wallet_of(user), amount=amount, key=key or f"spend:{user.end_user.pk}:{next(_numbers)}", **options
    )


def transactions_of(user: AppUser, **wanted: Any) -> list[CreditTransaction]:
    """List a user's transactions, the oldest first."""
    rows = CreditTransaction.objects.filter(wallet__end_user=user.end_user, **wanted)
    return list(rows.order_by("number"))


def entries_of(user: AppUser) -> int:
    """Count a user's entries."""
    return CreditEntry.objects.filter(account__wallet__end_user=user.end_user).count()


def hold(user: AppUser, plan: Plan | None, **fields: Any) -> Entitlement:
    """Put a user on a plan, as the writer of entitlements would."""
    values = {"plan": plan, "active": True, "status": "active", "subscription_id": "sub_1", "changed_at": clock.now()}
    row, _ = Entitlement.objects.update_or_create(
        project_id=user.end_user.project_id, mode="test", end_user=user.end_user, defaults=values | fields
    )
    return row


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same moment, each on a connection of its own; return what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait(timeout=20)
            return call()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def kinds(rows: Sequence[CreditTransaction]) -> list[tuple[str, int]]:
    """Show transactions by kind and amount."""
    return [(row.kind, row.amount) for row in rows]


def assert_ledger_holds(project: Project) -> None:
    """Check I4 on one project's ledger."""
    assert [str(one) for one in check_invariants(project_id=project.pk, only="I4")] == []
