"""Rounds of leased work: their threads last, and a round that fails leaves nothing running behind it."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from common.leased_rounds import LeasedRounds

pytestmark = pytest.mark.no_db


def rounds_of(
    lease: Callable[[int, Sequence[str]], Sequence[str]], carry_out: Callable[[str], None]
) -> LeasedRounds[str]:
    return LeasedRounds[str](
        name="probe", lease=lease, carry_out=carry_out, renew=lambda works: None, describe=lambda work: {"work": work}
    )


def test_the_next_round_is_done_by_the_same_thread_which_keeps_its_connections() -> None:
    due, threads = ["one"], []
    rounds = rounds_of(
        lambda free, busy: [due.pop()] if due else [], lambda work: threads.append((work, threading.get_ident()))
    )
    rounds.run()
    due.append("two")
    rounds.run()
    assert [work for work, _ in threads] == ["one", "two"]
    assert threads[0][1] == threads[1][1] != threading.get_ident()


def test_a_round_that_fails_waits_for_what_is_in_hand_and_the_next_one_works() -> None:
    begun, done = threading.Event(), []
    asked: list[int] = []

    def lease(free: int, busy: Sequence[str]) -> Sequence[str]:
        asked.append(free)
        if len(asked) == 1:
            return ["slow"]
        if len(asked) == 2:
            assert begun.wait(5)
            raise ConnectionError("the database is away")
        return ["next"] if len(asked) == 3 else []

    def carry_out(work: str) -> None:
        begun.set()
        if work == "slow":
            time.sleep(0.5)
        done.append(work)

    rounds = rounds_of(lease, carry_out)
    with pytest.raises(ConnectionError):
        rounds.run()
    assert done == ["slow"]
    rounds.run()
    assert done == ["slow", "next"]
