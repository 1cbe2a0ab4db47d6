"""What the database itself refuses in the ledger, whoever asks; and how I4 tells of what got in all the same."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from entitlements.models import CreditAccount, CreditEntry, CreditTransaction
from entitlements.services import ledger
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import assert_ledger_holds, entries_of, give, spend, wallet_of
from tests.reconcile.test_check_invariants import undone

ENTRY, TRANSACTION, ACCOUNT = "entitlements_creditentry", "entitlements_credittransaction", "entitlements_creditaccount"


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


# Refuses


@pytest.mark.parametrize("table", [ENTRY, TRANSACTION])
def test_the_ledger_is_append_only(acme: Project, dana: AppUser, table: str) -> None:
    give(dana, 100)
    before = entries_of(dana)
    for statement in (
        f"UPDATE {table} SET amount = amount + 1 WHERE project_id = %s",
        f"DELETE FROM {table} WHERE project_id = %s",
        f"TRUNCATE {table} CASCADE -- %s",
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            execute(statement, acme.pk)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        CreditEntry.objects.for_project(acme).delete()
    assert entries_of(dana) == before
    assert_ledger_holds(acme)


def test_no_bucket_falls_below_zero_and_nothing_owed_rises_above(acme: Project, dana: AppUser) -> None:
    give(dana, 10)
    spend(dana, 3)
    for kind, balance in (("purchased", -1), ("spent", -1), ("reserved", -1), ("debt", 1)):
        with pytest.raises(IntegrityError, match="credit_account_sign"), transaction.atomic():
            CreditAccount.objects.for_project(acme).filter(kind=kind).update(balance=balance)
    assert_ledger_holds(acme)


def test_a_transaction_that_does_not_sum_to_zero_is_not_committed(acme: Project, dana: AppUser) -> None:
    give(dana, 10)
    row = CreditTransaction.objects.for_project(acme).get()
    account = CreditAccount.objects.for_project(acme).get(kind="spent")
    with pytest.raises(IntegrityError, match="does not sum to zero"), transaction.atomic():
        CreditEntry.objects.create(
            project=acme, mode="test", transaction=row, account=account, number=1, amount=5, balance_after=5
        )
    assert_ledger_holds(acme)


# I4 tells of it


def balance_changed_by_hand() -> None:
    execute(f"UPDATE {ACCOUNT} SET balance = balance + 1 WHERE kind = 'purchased'")


def entry_lost() -> None:
    execute(f"ALTER TABLE {ENTRY} DISABLE TRIGGER USER")
    execute(f"DELETE FROM {ENTRY} WHERE number = 1 AND amount > 0")


def entry_changed() -> None:
    execute(f"ALTER TABLE {ENTRY} DISABLE TRIGGER USER")
    execute(f"UPDATE {ENTRY} SET amount = amount + 1, balance_after = balance_after + 1 WHERE amount > 0")


def transaction_lost() -> None:
    for table in (ENTRY, TRANSACTION):
        execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    execute(f"DELETE FROM {ENTRY} WHERE transaction_id IN (SELECT id FROM {TRANSACTION} WHERE number = 2)")
    execute(f"DELETE FROM {TRANSACTION} WHERE number = 2")


def reservation_lost() -> None:
    execute("DELETE FROM entitlements_creditreservation")


def expiry_overlooked() -> None:
    execute(f"UPDATE {ACCOUNT} SET expires_at = now() - interval '1 day' WHERE is_open")


def guard_missing() -> None:
    execute(f"ALTER TABLE {ENTRY} DISABLE TRIGGER credit_entry_append_only")


PLANTS: list[tuple[str, Callable[[], None]]] = [
    ("entries sum to", balance_changed_by_hand),
    ("entries sum to", entry_lost),
    ("credit transaction", entry_changed),
    ("has a gap before its transaction 3", transaction_lost),
    ("for reservations of 0", reservation_lost),
    ("would look for what expires only at", expiry_overlooked),
    ("credit_entry_append_only is missing or off", guard_missing),
]


@pytest.mark.parametrize(("shown", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS])
def test_i4_tells_of_a_ledger_that_does_not_add_up(
    acme: Project, dana: AppUser, shown: str, plant: Callable[[], None]
) -> None:
    give(dana, 10)
    spend(dana, 3)
    ledger.reserve_credits(**wallet_of(dana), amount=2, key="r")
    assert_ledger_holds(acme)
    with undone():
        execute("SET CONSTRAINTS ALL IMMEDIATE")
        plant()
        found = [str(one) for one in check_invariants(project_id=acme.pk, only="I4")]
    assert any(shown in one for one in found), found
    assert_ledger_holds(acme)
