"""The history of credits: everything that happened, newest first, by page and by cursor."""

from typing import Any

from entitlements.services import ledger
from tests.cast import AppServer, AppUser
from tests.entitlements.credits import CREDITS, give, spend, wallet_of


def history(caller: AppUser | AppServer, **query: str) -> Any:
    answer = caller.client.get(f"{CREDITS}/history", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


# Works


def test_everything_is_told_newest_first_with_the_balance_then(dana: AppUser, acme_server: AppServer) -> None:
    give(dana, 100, reason="Pack bought", source="pi_1")
    give(dana, 7, mode="live")
    spend(dana, 30, description="A picture", metadata={"id": 1})
    held = ledger.reserve_credits(**wallet_of(dana), amount=40, key="r", description="A film", actor=ledger.END_USER)
    ledger.commit_reservation(**wallet_of(dana), reservation_id=held.reservation_id, amount=15, key="c")
    ledger.claw_back(**wallet_of(dana), amount=10, key="b", source="pi_1", reason="Refunded")
    told = history(dana)
    assert (told["total"], told["page"]) == (5, 1)
    rows = told["transactions"]
    assert [(row["kind"], row["amount"], row["balance"]) for row in rows] == [
        ("clawback", -10, 45), ("commit", 25, 55), ("reserve", -40, 30), ("spend", -30, 70), ("grant", 100, 100),
    ]  # fmt: skip
    assert rows[1]["spent"] == 15 and rows[1]["reservation_id"] == rows[2]["reservation_id"] == str(held.reservation_id)
    assert (rows[3]["description"], rows[3]["metadata"]) == ("A picture", {"id": 1})
    assert (rows[4]["bucket"], rows[4]["description"]) == ("purchased", "Pack bought")
    assert all(row["created_at"].endswith("Z") for row in rows)
    assert history(acme_server, user_id=dana.user_id)["transactions"] == rows
    assert [row["amount"] for row in history(dana, test_mode="false")["transactions"]] == [7]


def test_a_cursor_walks_through_all_of_it_once(dana: AppUser) -> None:
    give(dana, 100)
    for amount in range(1, 12):
        spend(dana, amount)
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = history(dana, cursor=cursor, page_size="5")
        assert "total" not in page
        seen += [row["amount"] for row in page["transactions"]]
        cursor = page["next_cursor"]
    assert seen == [-amount for amount in range(11, 0, -1)] + [100]


# Edge


def test_what_happens_in_one_moment_keeps_its_order(dana: AppUser) -> None:
    moment = give(dana, 100).created_at
    for amount in range(1, 8):
        spend(dana, amount, at=moment)
    assert [row["amount"] for row in history(dana)["transactions"]] == [*range(-7, 0), 100]


# Refuses


def test_a_cursor_of_ones_own_making_is_422(dana: AppUser) -> None:
    answer = dana.client.get(f"{CREDITS}/history", {"cursor": "nonsense"})
    assert answer.status_code == 422
