"""Spending."""

import pytest

from entitlements.services import ledger
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import assert_ledger_holds, available, transactions_of, wallet_of


def test_smoke(acme: Project, dana: AppUser) -> None:
    w = wallet_of(dana)
    assert available(dana) == 0
    ledger.grant_credits(**w, bucket="purchased", amount=100, key="g1", source="pi_1")
    assert available(dana) == 100
    p = ledger.spend_credits(**w, amount=30, key="s1")
    assert (p.amount, p.available) == (-30, 70)
    assert ledger.spend_credits(**w, amount=30, key="s1").replayed
    with pytest.raises(ledger.InsufficientCredits):
        ledger.spend_credits(**w, amount=300, key="s2")
    r = ledger.reserve_credits(**w, amount=40, key="r1")
    assert available(dana) == 30
    f = ledger.commit_reservation(**w, reservation_id=r.reservation_id, amount=15, key="c1")
    assert (f.spent, f.returned, available(dana)) == (15, 25, 55)
    c = ledger.claw_back(**w, amount=100, key="b1", source="pi_1")
    assert (c.taken, c.debt, available(dana)) == (55, 45, 0)
    ledger.grant_credits(**w, bucket="bonus", amount=50, key="g2")
    assert available(dana) == 5
    ledger.move_by_hand(**w, amount=-2, reason="x", actor="me", key="a1")
    ledger.move_by_hand(**w, amount=10, reason="x", actor="me", key="a2")
    assert available(dana) == 13
    assert len(transactions_of(dana)) == 8
    ledger.end_bucket(**w, bucket="bonus")
    assert available(dana) == 0
    assert_ledger_holds(acme)
