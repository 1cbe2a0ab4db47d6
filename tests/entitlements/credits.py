"""The vocabulary of the tests about credits."""

from typing import Any

from entitlements.models import CreditEntry, CreditTransaction
from entitlements.services import ledger
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.cast import AppUser


def wallet_of(user: AppUser, mode: str = "test") -> dict[str, Any]:
    """Name a user's wallet, as services take it."""
    return {"project_id": user.end_user.project_id, "mode": mode, "end_user_id": user.end_user.pk}


def available(user: AppUser, mode: str = "test", **moment: Any) -> int:
    """Return what a user can spend."""
    return ledger.read_balance(**wallet_of(user, mode), **moment).available


def transactions_of(user: AppUser, **wanted: Any) -> list[CreditTransaction]:
    """List a user's transactions, the oldest first."""
    rows = CreditTransaction.objects.filter(wallet__end_user=user.end_user, **wanted)
    return list(rows.order_by("number"))


def entries_of(user: AppUser) -> int:
    """Count a user's entries."""
    return CreditEntry.objects.filter(account__wallet__end_user=user.end_user).count()


def assert_ledger_holds(project: Project) -> None:
    """Check I4 on one project's ledger."""
    assert [str(one) for one in check_invariants(project_id=project.pk, only="I4")] == []
