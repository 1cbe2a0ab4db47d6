"""Any interleaving of what can happen to a wallet, from eight real connections at once, keeps the ledger (I4).

A run is eight scripts that start together. Afterwards the ledger adds up, and what the answers said happened is what is there.
"""

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import ApiError
from entitlements.models import CreditPolicy, CreditReservation, CreditTransaction, CreditWallet, Plan
from entitlements.services import ledger
from entitlements.services.credit_rounds import end_overdue_reservations
from projects.models import EndUser, Project
from tests.cast import AppUser
from tests.entitlements.credits import NOON, assert_ledger_holds, together, wallet_of
from tests.payments.actors import create_project

CONNECTIONS = 8
BUCKETS = ("purchased", "bonus", "plan_periodic")
_names = itertools.count()


@dataclass(frozen=True)
class Act:
    """One thing that happens at an hour after noon. `key` is shared on purpose: repeats must do nothing."""

    what: str
    amount: int
    key: int
    hour: int
    bucket: str


ACTS = st.builds(
    Act,
    what=st.sampled_from(
        [
            "spend",
            "spend",
            "spend",
            "batch",
            "reserve",
            "commit",
            "release",
            "grant",
            "refund",
            "adjust",
            "end",
            "sweep",
        ]
    ),
    amount=st.integers(1, 60),
    key=st.integers(0, 5),
    # Over two midnights, so that lots expire and the day begins anew, in any order.
    hour=st.sampled_from([0, 1, 5, 13, 30, 37]),
    bucket=st.sampled_from(BUCKETS),
)
SCRIPTS = st.lists(st.lists(ACTS, min_size=1, max_size=5), min_size=CONNECTIONS, max_size=CONNECTIONS)


def key_of(user: AppUser, act: Act) -> str:
    return f"{act.what}:{user.end_user.pk}:{act.key}"


def finish(user: AppUser, act: Act, at: dt.datetime) -> Any:
    """End some reservation that is open by now, whoever made it; others may be ending it too."""
    rows = CreditReservation.objects.filter(wallet__end_user=user.end_user, state="open", expires_at__gt=at)
    found = list(rows.order_by("created_at", "id").values_list("pk", "amount"))
    if not found:
        return None
    held, amount = found[act.key % len(found)]
    wanted: dict[str, Any] = {**wallet_of(user), "reservation_id": held, "key": key_of(user, act), "at": at}
    if act.what == "release":
        return ledger.release_reservation(**wanted)
    return ledger.commit_reservation(**wanted, amount=1 + act.amount % (amount + 1))


def perform(user: AppUser, act: Act) -> Any:
    """Do it; a refusal is an answer."""
    wallet, key = wallet_of(user), key_of(user, act)
    at = NOON + dt.timedelta(hours=act.hour)
    try:
        match act.what:
            case "spend":
                return ledger.spend_credits(**wallet, amount=act.amount, key=key, at=at)
            case "batch":
                spends = [ledger.Spend(act.amount), ledger.Spend(1 + act.amount // 2)]
                return ledger.spend_batch(**wallet, spends=spends, key=key, at=at)
            case "reserve":
                return ledger.reserve_credits(
                    **wallet, amount=act.amount, key=key, ttl_seconds=3600 * (1 + act.key), at=at
                )
            case "grant":
                expires = None if act.key % 2 else at + dt.timedelta(hours=3 * act.key)
                return ledger.grant_credits(
                    **wallet,
                    bucket=act.bucket,
                    amount=act.amount,
                    key=key,
                    source=f"pi_{act.key}",
                    expires_at=expires,
                    at=at,
                )
            case "refund":
                return ledger.claw_back(**wallet, amount=act.amount, key=key, source=f"pi_{act.key}", at=at)
            case "adjust":
                amount = act.amount if act.key % 2 else -act.amount
                return ledger.move_by_hand(**wallet, amount=amount, reason="x", actor="x", key=key, at=at)
            case "end":
                return ledger.end_bucket(**wallet, bucket=act.bucket, at=at)
            case "sweep":
                return end_overdue_reservations(at=at)
            case _:
                return finish(user, act, at)
    except ApiError as error:
        return error


def posted_of(answer: Any) -> Sequence[ledger.Posted]:
    if isinstance(answer, list):
        return [one for part in answer for one in posted_of(part)]
    if isinstance(answer, ledger.Posted):
        return [answer]
    return [answer.posted] if hasattr(answer, "posted") else []


@pytest.fixture(scope="module")
def project(run_database: str, django_db_blocker: Any) -> Iterator[Project]:
    """The project of all runs. In the end everything that can happen must have happened, or the runs proved little."""
    with django_db_blocker.unblock():
        made = create_project()
        Plan.objects.create(project=made, code="free", name="Free", free=True, credits_per_day=20)
    yield made
    with django_db_blocker.unblock():
        happened = CreditTransaction.objects.for_project(made).values_list("kind", flat=True)
        assert set(happened) == set(CreditTransaction.Kind.values)


# Race


@given(scripts=SCRIPTS, shortfall=st.sampled_from(["debt", "floor"]))
@settings(
    max_examples=50, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_any_interleaving_from_eight_connections_keeps_the_ledger(
    project: Project, scripts: list[list[Act]], shortfall: str
) -> None:
    CreditPolicy.objects.update_or_create(project=project, defaults={"shortfall": shortfall})
    end_user = EndUser.objects.create(project=project, external_id=f"user-{next(_names)}-{uuid.uuid4().hex}")
    user = AppUser(end_user, "")
    first = ledger.grant_credits(**wallet_of(user), bucket="purchased", amount=100, key=f"first:{end_user.pk}", at=NOON)
    answers = together(*[lambda script=script: [perform(user, act) for act in script] for script in scripts])
    assert not [one for one in answers if isinstance(one, Exception)], answers
    told = {one.transaction_id: one for one in posted_of(answers)}
    rows = {row.pk: row for row in CreditTransaction.objects.filter(wallet__end_user=end_user)}
    assert all((rows[pk].amount, rows[pk].available_after) == (one.amount, one.available) for pk, one in told.items())
    by_themselves = {"daily", "expire", "reservation_expired"}
    assert {pk for pk, row in rows.items() if row.kind not in by_themselves} == set(told) | {first.transaction_id}
    balance = ledger.read_balance(**wallet_of(user), at=NOON + dt.timedelta(days=10))
    assert min(balance.available, balance.debt, *balance.buckets.values()) >= 0
    assert balance.available == sum(balance.buckets.values())
    assert CreditWallet.objects.filter(end_user=end_user).count() <= 1
    assert_ledger_holds(project)
