"""Taking credits back: what is left of the purchase first; what is missing is owed or let go, and the ledger holds (F28)."""

from entitlements.models import CreditPolicy
from entitlements.services import ledger
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import (
    NOON,
    assert_ledger_holds,
    available,
    give,
    kinds,
    spend,
    together,
    transactions_of,
    wallet_of,
)


def take(user: AppUser, amount: int, key: str = "refund:re_1", source: str = "pi_1") -> ledger.Clawed:
    return ledger.claw_back(**wallet_of(user), amount=amount, key=key, source=source)


# Works


def test_unused_credits_of_the_purchase_go_first_and_no_other_bucket_is_touched(acme: Project, dana: AppUser) -> None:
    give(dana, 100, source="pi_0")
    give(dana, 100, source="pi_1")
    give(dana, 40, "bonus")
    clawed = take(dana, 100)
    assert (clawed.taken, clawed.debt) == (100, 0)
    buckets = ledger.read_balance(**wallet_of(dana)).buckets
    assert (buckets["purchased"], buckets["bonus"]) == (100, 40)
    assert take(dana, 100, "refund:re_2", "pi_0").taken == 100
    assert_ledger_holds(acme)


# Edge


def test_a_refund_larger_than_what_is_left_is_owed_and_settled_by_what_comes_next(acme: Project, dana: AppUser) -> None:
    give(dana, 100, source="pi_1")
    give(dana, 30, "plan_periodic")
    spend(dana, 120)
    clawed = take(dana, 100)
    assert (clawed.taken, clawed.debt) == (10, 90)
    give(dana, 50, "plan_periodic")
    balance = ledger.read_balance(**wallet_of(dana))
    assert (balance.available, balance.debt) == (50, 90)
    paid = give(dana, 70, "bonus")
    assert (paid.amount, paid.details["settled"]) == (0, 70)
    bought = give(dana, 100)
    assert (bought.amount, bought.details["settled"], bought.available) == (80, 20, 130)
    assert ledger.read_balance(**wallet_of(dana)).debt == 0
    assert_ledger_holds(acme)


def test_by_the_other_policy_what_is_missing_is_let_go(acme: Project, dana: AppUser) -> None:
    CreditPolicy.objects.create(project=acme, shortfall="floor")
    give(dana, 100, source="pi_1")
    spend(dana, 90)
    clawed = take(dana, 100)
    assert (clawed.taken, clawed.debt, clawed.posted.details["let_go"]) == (10, 0, 90)
    assert (take(dana, 100, "refund:re_2").taken, available(dana)) == (0, 0)
    assert give(dana, 100).available == 100
    assert_ledger_holds(acme)


def test_what_is_reserved_is_owed_until_it_comes_back(acme: Project, dana: AppUser) -> None:
    give(dana, 100, source="pi_1", at=NOON)
    ledger.reserve_credits(**wallet_of(dana), amount=70, key="r", at=NOON)
    clawed = ledger.claw_back(**wallet_of(dana), amount=100, key="b", source="pi_1", at=NOON)
    assert (clawed.taken, clawed.debt) == (30, 70)
    balance = ledger.read_balance(**wallet_of(dana))
    assert (balance.available, balance.reserved, balance.debt) == (0, 0, 0)
    assert_ledger_holds(acme)


# Race


def test_a_refund_and_a_chargeback_race_with_spends(acme: Project, dana: AppUser) -> None:
    give(dana, 100, source="pi_1")
    results = together(*[lambda: spend(dana, 15)] * 6, lambda: take(dana, 100), lambda: take(dana, 100, "dispute:dp_1"))
    spent = 15 * sum(isinstance(one, ledger.Posted) for one in results)
    clawed = [one for one in results if isinstance(one, ledger.Clawed)]
    assert (len(clawed), sum(one.taken for one in clawed)) == (2, 100 - spent)
    balance = ledger.read_balance(**wallet_of(dana))
    assert (balance.available, balance.debt) == (0, 100 + spent)
    assert_ledger_holds(acme)


# Replay


def test_a_refund_takes_once_whatever_its_repeat_says(acme: Project, dana: AppUser) -> None:
    give(dana, 100, source="pi_1")
    first, again = take(dana, 60), take(dana, 70)
    assert (again.taken, again.posted.replayed, first.posted.transaction_id) == (60, True, again.posted.transaction_id)
    assert kinds(transactions_of(dana)) == [("grant", 100), ("clawback", -60)]
    assert_ledger_holds(acme)
