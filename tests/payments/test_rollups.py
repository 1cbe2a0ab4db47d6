"""The roll-ups equal the sums over their base rows, however those are written, and are read in constant time."""

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
import structlog
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import locks
from payments.models import Refund, RevenueDay, RevenueDelta, Subscription, Transaction
from payments.services.rollups import (
    find_rollup_differences,
    fold_rollups,
    mend_rollups,
    read_revenue,
    read_subscription_counts,
)
from payments.tasks import check_rollups
from projects.models import Project
from tests.payments.actors import create_project
from tests.payments.rows import create_payment, create_refund, create_subscription

DAY = dt.datetime(2026, 3, 1, 23, 59, tzinfo=dt.UTC)


def differences(project: Project) -> list[dict[str, Any]]:
    return [row for row in find_rollup_differences() if row["project_id"] == project.pk]


def revenue(project: Project, mode: str = "test") -> list[dict[str, Any]]:
    return read_revenue(project_ids=[project.pk], mode=mode)


def test_a_refund_counts_on_its_own_day_and_each_mode_and_currency_apart() -> None:
    project = create_project()
    paid = create_payment(project, created_at=DAY, amount_cents=1000)
    create_refund(paid, amount_cents=400, created_at=DAY + dt.timedelta(days=3))
    create_payment(project, created_at=DAY, amount_cents=77, currency="eur")
    create_payment(project, created_at=DAY, amount_cents=5, mode="live")
    create_payment(project, created_at=DAY + dt.timedelta(minutes=1), status="failed", amount_cents=9)
    fold_rollups()
    days = RevenueDay.objects.for_project(project).order_by("mode", "currency", "day")
    assert [
        (row.mode, row.currency, str(row.day), row.payments, row.failed, row.gross_cents, row.refunded_cents)
        for row in days
    ] == [
        ("live", "usd", "2026-03-01", 1, 0, 5, 0),
        ("test", "eur", "2026-03-01", 1, 0, 77, 0),
        ("test", "usd", "2026-03-01", 1, 0, 1000, 0),
        ("test", "usd", "2026-03-02", 1, 1, 0, 0),
        ("test", "usd", "2026-03-04", 0, 0, 0, 400),
    ]
    assert differences(project) == []


def test_folding_changes_nothing_that_is_read() -> None:
    project = create_project()
    create_payment(project, amount_cents=250)
    create_subscription(project)
    before = revenue(project), read_subscription_counts(project_ids=[project.pk], mode="test")
    fold_rollups()
    assert not RevenueDelta.objects.filter(project=project).exists()
    assert (revenue(project), read_subscription_counts(project_ids=[project.pk], mode="test")) == before
    assert before[0][0]["gross_cents"] == 250
    assert before[1] == {"active": 1}


def test_a_refund_that_failed_is_given_back() -> None:
    project = create_project()
    refund = create_refund(create_payment(project, amount_cents=1000), status="pending")
    assert revenue(project)[0]["refunded_cents"] == 1000
    Refund.objects.filter(pk=refund.pk).update(status="failed")
    assert revenue(project)[0]["refunded_cents"] == 0
    assert differences(project) == []


def test_writing_the_same_again_appends_nothing() -> None:
    project = create_project()
    payment = create_payment(project)
    fold_rollups()
    Transaction.objects.bulk_create(
        [payment], update_conflicts=True, unique_fields=["id"], update_fields=["status", "amount_cents", "synced_at"]
    )
    assert not RevenueDelta.objects.filter(project=project).exists()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["pay", "upsert", "refund", "fail_refund", "delete", "subscribe", "change", "fold"]),
        st.integers(min_value=0, max_value=10_000),
    ),
    max_size=25,
)
STATUSES = list(Transaction.Status.values)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_any_order_of_writes_keeps_the_sums(operations: list[tuple[str, int]]) -> None:
    project = create_project()
    for operation, number in operations:
        _write(project, operation, number)
    assert differences(project) == []


def _write(project: Project, operation: str, number: int) -> None:
    payments = Transaction.objects.for_project(project)
    refunds = Refund.objects.for_project(project)
    at = DAY + dt.timedelta(hours=number % 100)
    currency = ("usd", "eur", "jpy")[number % 3]
    if operation == "pay":
        create_payment(
            project, amount_cents=number, created_at=at, status=STATUSES[number % len(STATUSES)], currency=currency
        )
    elif operation == "upsert" and (row := payments.first()):
        row.status, row.amount_cents = STATUSES[number % len(STATUSES)], row.amount_cents + number
        Transaction.objects.bulk_create(
            [row], update_conflicts=True, unique_fields=["id"], update_fields=["status", "amount_cents"]
        )
    elif operation == "refund" and (row := payments.last()):
        create_refund(row, amount_cents=number, created_at=at)
    elif operation == "fail_refund":
        refunds.filter(amount_cents__lte=number).update(status="failed")
    elif operation == "delete" and (row := payments.first()):
        row.delete()
    elif operation == "subscribe":
        create_subscription(project, status=("active", "past_due", "trialing")[number % 3])
    elif operation == "change":
        Subscription.objects.for_project(project).update(status=("canceled", "active")[number % 2])
    elif operation == "fold":
        fold_rollups()


def test_rows_by_copy_are_one_delta_a_day() -> None:
    project = create_project()
    columns = "id, project_id, mode, payment_intent_id, status, amount_cents, currency, created_at, " + ", ".join(
        f"{name}"
        for name in ("stripe_invoice_id", "stripe_charge_id", "stripe_customer_id", "description", "receipt_url")
    )
    columns += ", invoice_pdf, failure_code, failure_message, refunded_amount_cents, disputed"
    with connection.cursor() as cursor, cursor.copy(f"COPY payments_transaction ({columns}) FROM STDIN") as copy:
        for number in range(1000):
            row = [uuid.uuid4(), project.pk, "test", f"pi_{uuid.uuid4().hex}", "succeeded", number, "usd", DAY]
            copy.write_row([*row, *[""] * 8, 0, False])
    assert RevenueDelta.objects.filter(project=project).count() == 1
    assert revenue(project)[0]["gross_cents"] == sum(range(1000))


def test_writers_and_folders_at_once_lose_nothing() -> None:
    project = create_project()
    failures: list[BaseException] = []

    def work(write: Any) -> None:
        try:
            for _ in range(15):
                write()
        except BaseException as error:  # a thread's failure must fail the test
            failures.append(error)
        finally:
            connection.close()

    writers = [threading.Thread(target=work, args=[lambda: create_payment(project, created_at=DAY)]) for _ in range(6)]
    folders = [threading.Thread(target=work, args=[fold_rollups]) for _ in range(2)]
    for thread in [*writers, *folders]:
        thread.start()
    for thread in [*writers, *folders]:
        thread.join(60)
    assert failures == []
    assert revenue(project)[0] | {} == {
        "currency": "usd", "payments": 90, "succeeded": 90, "failed": 0, "gross_cents": 90_000, "refunds": 0, "refunded_cents": 0,
    }  # fmt: skip
    assert differences(project) == []


def test_a_wrong_day_is_found_and_mended_once() -> None:
    project = create_project()
    create_payment(project, created_at=DAY, amount_cents=500)
    create_subscription(project)
    fold_rollups()
    RevenueDay.objects.for_project(project).update(gross_cents=499)
    wrong = differences(project)
    assert [(row["gross_cents"], str(row["day"])) for row in wrong] == [(1, "2026-03-01")]
    assert mend_rollups() >= 1
    assert differences(project) == []
    assert revenue(project)[0]["gross_cents"] == 500


def test_the_nightly_check_says_what_differs_and_mends_it() -> None:
    project = create_project()
    create_payment(project, created_at=DAY, amount_cents=500)
    fold_rollups()
    RevenueDay.objects.for_project(project).update(gross_cents=499)
    with structlog.testing.capture_logs() as first:
        check_rollups()
    with structlog.testing.capture_logs() as second:
        check_rollups()
    told = [[line for line in lines if line.get("project_id") == str(project.pk)] for lines in (first, second)]
    assert [(line["event"], line["log_level"], line["gross_cents"]) for line in told[0]] == [
        ("rollup_differs", "error", "1")
    ]
    assert (told[1], differences(project), revenue(project)[0]["gross_cents"]) == ([], [], 500)


def test_a_deleted_project_leaves_no_sums() -> None:
    project = create_project()
    create_refund(create_payment(project))
    create_subscription(project)
    fold_rollups()
    project_id = project.pk
    project.delete()
    fold_rollups()
    assert not RevenueDelta.objects.filter(project_id=project_id).exists()
    assert not RevenueDay.objects.filter(project_id=project_id).exists()
    assert [row for row in find_rollup_differences() if row["project_id"] == project_id] == []


def test_days_are_cut_at_midnight_utc() -> None:
    project = create_project()
    create_payment(project, created_at=dt.datetime(2026, 3, 1, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5))))
    fold_rollups()
    assert [str(row.day) for row in RevenueDay.objects.for_project(project)] == ["2026-03-02"]


def test_the_comparison_takes_longer_than_a_request_may() -> None:
    project = create_project()
    create_payment(project)
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (usual,) = cursor.fetchone()
        cursor.execute("SET statement_timeout = 1")
        try:
            assert differences(project) == []
            mend_rollups()
            with pytest.raises(OperationalError, match="statement timeout"):
                cursor.execute("SELECT pg_sleep(1)")
        finally:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [usual])


def test_folding_keeps_nobody_else_waiting() -> None:
    numbers = [value for name, value in vars(locks).items() if name.isupper()]
    assert len(numbers) == len(set(numbers)) > 4
