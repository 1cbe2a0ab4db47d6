"""Spending credits: in one round trip, in the promised order, never more than there are, and once per key."""

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import DataError, connection, transaction

from entitlements.models import CreditWallet
from entitlements.services import ledger
from entitlements.services.ledger import InsufficientCredits, Posted, Spend
from projects.idempotency import KeyReused
from projects.models import IdempotencyRecord, Project
from tests.builders import waits_for_a_lock
from tests.cast import AppServer, AppUser
from tests.entitlements.credits import (
    CREDITS,
    NOON,
    assert_ledger_holds,
    available,
    entries_of,
    give,
    kinds,
    spend,
    together,
    transactions_of,
    wallet_of,
)


def post(caller: AppUser | AppServer, leaf: str, body: Any, key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return caller.client.post(f"{CREDITS}/{leaf}", body, content_type="application/json", headers=headers)


# Works


def test_credits_that_expire_sooner_go_first_and_then_by_bucket(acme: Project, dana: AppUser) -> None:
    give(dana, 10, "purchased", at=NOON)
    give(dana, 10, "bonus", at=NOON)
    give(dana, 10, "purchased", at=NOON, expires_at=NOON + dt.timedelta(days=30))
    give(dana, 10, "plan_periodic", at=NOON, expires_at=NOON + dt.timedelta(days=20))
    left = []
    for _ in range(4):
        spend(dana, 9, at=NOON)
        buckets = ledger.read_balance(**wallet_of(dana), at=NOON).buckets
        left.append((buckets["plan_periodic"], buckets["bonus"], buckets["purchased"]))
    assert left == [(1, 10, 20), (0, 10, 12), (0, 3, 10), (0, 0, 4)]
    assert_ledger_holds(acme)


def test_a_user_spends_their_own_and_the_server_its_users_credits(
    acme: Project, dana: AppUser, acme_server: AppServer
) -> None:
    give(dana, 100)
    own = post(dana, "spend", {"amount": 30, "description": "Three pictures", "metadata": {"size": "xl"}})
    assert own.status_code == 200, own.content
    assert (own.json()["amount"], own.json()["balance"], len(own.json()["spends"])) == (30, 70, 1)
    served = post(acme_server, "spend", {"user_id": dana.user_id, "amount": 20})
    assert (served.status_code, served.json()["balance"]) == (200, 50)
    by = [(row.actor, row.description, row.metadata) for row in transactions_of(dana, kind="spend")]
    assert by == [("end_user", "Three pictures", {"size": "xl"}), ("server", "", {})]
    assert available(dana, "live") == 0


def test_a_batch_is_spent_together_or_not_at_all(acme: Project, dana: AppUser) -> None:
    give(dana, 100)
    answer = post(dana, "spend", {"items": [{"amount": 30, "description": "a"}, {"amount": 60}]}, "batch")
    assert (answer.status_code, answer.json()["amount"], answer.json()["balance"]) == (200, 90, 10)
    assert [one["amount"] for one in answer.json()["spends"]] == [30, 60]
    before = entries_of(dana)
    refused = post(dana, "spend", {"items": [{"amount": 6}, {"amount": 6}]})
    assert refused.status_code == 402
    assert refused.json()["required"] == 12 and refused.json()["deficit"] == 2
    assert (available(dana), entries_of(dana)) == (10, before)
    again = ledger.spend_batch(spends=[Spend(1), Spend(2)], key="twice", **wallet_of(dana))
    replay = ledger.spend_batch(spends=[Spend(1), Spend(2)], key="twice", **wallet_of(dana))
    assert [one.transaction_id for one in again] == [one.transaction_id for one in replay]
    assert all(one.replayed for one in replay) and available(dana) == 7
    assert_ledger_holds(acme)


def test_a_spend_is_one_statement(dana: AppUser) -> None:
    give(dana, 100)
    statements: list[str] = []

    def count(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        statements.append(str(sql))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        spend(dana, 10)
    assert len(statements) == 1 and "credit_spend" in statements[0]


# Refuses


def test_too_few_credits_are_402_with_what_is_missing_and_write_nothing(acme: Project, dana: AppUser) -> None:
    give(dana, 7)
    before = entries_of(dana), transactions_of(dana)
    answer = post(dana, "spend", {"amount": 10})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (402, "insufficient_credits")
    assert (body["required"], body["available"], body["deficit"], body["action"]) == (10, 7, 3, "checkout")
    with pytest.raises(InsufficientCredits) as refused:
        spend(dana, 8)
    assert (refused.value.required, refused.value.available, refused.value.deficit) == (8, 7, 1)
    assert (entries_of(dana), transactions_of(dana)) == before
    assert_ledger_holds(acme)


@pytest.mark.parametrize("leaf", ["spend", "check", "reserve"])
def test_an_amount_is_a_whole_number_above_zero(dana: AppUser, leaf: str) -> None:
    give(dana, 100)
    before = entries_of(dana)
    for odd in (
        "-1",
        "0",
        "1.5",
        "1.0",
        "1e2",
        '"5"',
        "true",
        "null",
        "[1]",
        "1000000000001",
        "9" * 30,
        "NaN",
        "1e999",
    ):
        answer = post(dana, leaf, f'{{"amount": {odd}}}')
        assert answer.status_code in (400, 422), (odd, answer.content)
    assert post(dana, leaf, {}).status_code == 422
    assert (available(dana), entries_of(dana)) == (100, before)


def test_amount_and_items_are_not_given_together(dana: AppUser) -> None:
    give(dana, 100)
    bodies: list[dict[str, Any]] = [{"amount": 1, "items": [{"amount": 1}]}, {"items": []}, {"items": [{"amount": 0}]}]
    for body in [*bodies, {"items": [{"amount": 1}] * 101}]:
        assert post(dana, "spend", body).status_code == 422
    assert available(dana) == 100


def test_nobody_spends_another_users_credits(
    dana: AppUser, erin: AppUser, other_server: AppServer, acme_live_server: AppServer
) -> None:
    give(dana, 100)
    assert post(erin, "spend", {"user_id": dana.user_id, "amount": 1}).status_code == 404
    assert post(other_server, "spend", {"user_id": dana.user_id, "amount": 1}).status_code == 402
    assert post(acme_live_server, "spend", {"user_id": dana.user_id, "amount": 1}).status_code == 402
    assert available(dana) == 100


# Edge


def test_a_failing_insert_leaves_the_balance_as_it_was(acme: Project, dana: AppUser) -> None:
    """Balances must not be raised before the row that says why is written: one statement, so both or neither."""
    give(dana, 100)
    wallet: Any = wallet_of(dana)
    for function in ("credit_grant(%s, %s, %s, 'purchased', 50, 'k', '', NULL, '', 'grant', now(), '', %s)",
                     "credit_claw_back(%s, %s, %s, 'purchased', 50, 'k', '', '', now(), '', %s)"):  # fmt: skip
        with pytest.raises(DataError), connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}", [*wallet.values(), "x" * 501])
    assert available(dana) == 100 and len(transactions_of(dana)) == 1
    assert CreditWallet.objects.get(end_user=dana.end_user).transactions_count == 1
    assert_ledger_holds(acme)


# Race


def test_fifty_spends_of_ten_on_a_hundred_are_exactly_ten(acme: Project, dana: AppUser) -> None:
    give(dana, 60, source="pi_1")
    give(dana, 40, "bonus")

    def five() -> list[Any]:
        results: list[Any] = []
        for _ in range(5):
            try:
                results.append(spend(dana, 10))
            except InsufficientCredits as error:
                results.append(error)
        return results

    results = [one for part in together(*[five] * 10) for one in part]
    assert sum(isinstance(one, Posted) for one in results) == 10
    assert {one.deficit for one in results if isinstance(one, InsufficientCredits)} == {10}
    assert (available(dana), len(transactions_of(dana, kind="spend"))) == (0, 10)
    assert_ledger_holds(acme)


def test_spends_refunds_and_expiries_at_once_keep_the_ledger(acme: Project, dana: AppUser) -> None:
    give(dana, 50, source="pi_1", at=NOON)
    give(dana, 50, "bonus", at=NOON, expires_at=NOON + dt.timedelta(hours=1))
    later = NOON + dt.timedelta(hours=2)

    def refund() -> Any:
        return ledger.claw_back(**wallet_of(dana), amount=50, key="refund", source="pi_1", at=NOON)

    results = together(*[lambda: spend(dana, 10, at=NOON)] * 6, refund, lambda: spend(dana, 10, at=later))
    spent = 10 * sum(isinstance(one, Posted) for one in results)
    assert all(isinstance(one, Posted | InsufficientCredits | ledger.Clawed) for one in results)
    balance = ledger.read_balance(**wallet_of(dana), at=later)
    gone = -sum(row.amount for row in transactions_of(dana) if row.kind in ("expire", "clawback"))
    assert balance.available == 100 - spent - gone >= 0
    assert_ledger_holds(acme)


def test_one_key_for_two_users_at_once_is_one_users(dana: AppUser, erin: AppUser) -> None:
    """Each holds the lock of their own wallet: only the key's constraint stands between them."""
    give(dana, 100)
    give(erin, 100)
    answers: list[Any] = []
    other = threading.Thread(target=lambda: answers.extend(together(lambda: spend(erin, 10, key="k"))))
    with transaction.atomic():
        spend(dana, 10, key="k")
        other.start()
        while not answers and not waits_for_a_lock("credit_spend"):
            other.join(timeout=0.02)
    other.join()
    assert isinstance(answers[0], KeyReused)
    assert (available(dana), available(erin)) == (90, 100)


# Replay


def test_the_same_key_fifty_times_is_one_entry(acme: Project, dana: AppUser) -> None:
    give(dana, 100)
    results = [one for part in together(*[lambda: [spend(dana, 10, key="one") for _ in range(5)]] * 10) for one in part]
    assert len({one.transaction_id for one in results}) == 1
    assert sum(not one.replayed for one in results) == 1
    assert kinds(transactions_of(dana)) == [("grant", 100), ("spend", -10)]
    assert_ledger_holds(acme)


def test_a_key_takes_no_other_request(dana: AppUser, erin: AppUser) -> None:
    give(dana, 100)
    give(erin, 100)
    spend(dana, 10, key="k")
    for other in (lambda: spend(dana, 11, key="k"), lambda: spend(erin, 10, key="k"),
                  lambda: ledger.reserve_credits(**wallet_of(dana), amount=10, key="k"),
                  lambda: give(dana, 5, key="k")):  # fmt: skip
        with pytest.raises(KeyReused):
            other()
    assert (available(dana), available(erin)) == (90, 100)


def test_a_repeat_after_the_stored_answer_is_gone_still_moves_credits_once(acme: Project, dana: AppUser) -> None:
    give(dana, 100)
    first = post(dana, "spend", {"amount": 10}, "late")
    assert post(dana, "spend", {"amount": 10}, "late")["Idempotency-Replayed"] == "true"
    IdempotencyRecord.objects.filter(key="late").delete()
    again = post(dana, "spend", {"amount": 10}, "late")
    assert (again.status_code, again.json()) == (200, first.json())
    IdempotencyRecord.objects.filter(key="late").delete()
    other = post(dana, "spend", {"amount": 11}, "late")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert available(dana) == 90


def test_a_users_keys_take_none_of_the_servers(dana: AppUser, acme_server: AppServer) -> None:
    give(dana, 100)
    assert post(dana, "spend", {"amount": 10}, "same").json()["balance"] == 90
    assert post(acme_server, "spend", {"user_id": dana.user_id, "amount": 10}, "same").json()["balance"] == 80
    assert kinds(transactions_of(dana, kind="spend")) == [("spend", -10)] * 2
