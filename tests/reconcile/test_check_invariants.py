"""manage.py check_invariants: every rule notices what breaks it, and names it without showing a value (I1 to I10)."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from common.ids import uuid7
from entitlements.models import Entitlement
from moderation.models import ReviewItem
from payments.models import Invoice, RevenueDay, SubscriptionGauge, WebhookEvent
from payments.services.invariants import QUERIES, check_invariants
from payments.tasks import check_invariants as nightly_check
from projects.models import Project
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.rows import create_end_user, create_payment, create_plan, create_subscription
from tests.payments.shop import Shop
from tests.reconcile.runs import run_command
from tests.scenarios.lifecycle import Life

HOUR = dt.timedelta(hours=1)
SECRET = "whsec_" + "PlantedForThisTest" * 2


@contextmanager
def undone() -> Iterator[None]:
    """Undo everything at the end, also a guard that was taken away."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def without_guard(table: str, constraint: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")


def event(project: Project, **fields: Any) -> WebhookEvent:
    values = {"mode": "test", "event_id": f"evt_{uuid.uuid4().hex}", "type": "invoice.paid", "status": "processed"}
    return WebhookEvent.objects.create(project=project, **{**values, "handled_at": timezone.now(), **fields})


def invoice(project: Project, **fields: Any) -> Invoice:
    values: dict[str, Any] = {
        "id": uuid7(), "mode": "test", "stripe_invoice_id": f"in_{uuid.uuid4().hex}", "status": "paid", "currency": "usd",
        "amount_paid_cents": 1000, "created_at": timezone.now(),
    }  # fmt: skip
    return Invoice.objects.create(project=project, **{**values, **fields})


def effects(project: Project, key: str, *, status: str = "pending") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO notifications_outboxrow"
            " (id, project_id, mode, kind, effect_key, payload, cause, lane, status, attempts, error)"
            " VALUES (%s, %s, 'test', 'mail', %s, '{}', '', '', %s, 0, '')",
            [uuid7(), project.pk, key, status],
        )


def doubled_event(project: Project) -> None:
    without_guard("payments_webhookevent", "webhook_event_once")
    for _ in range(2):
        event(project, event_id="evt_twice")


def doubled_effect(project: Project) -> None:
    without_guard("notifications_outboxrow", "outbox_effect_once")
    for _ in range(2):
        effects(project, "mail:receipt:pi_twice")


def doubled_payment(project: Project) -> None:
    without_guard("payments_transaction", "transaction_once")
    for number in range(2):
        row = create_payment(project)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE payments_transaction SET payment_intent_id = 'pi_twice' WHERE id = %s", [row.pk])
        assert number in (0, 1)


def switched_off_log(project: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE moderation_actionlog DISABLE TRIGGER action_log_append_only")


def a_day_too_much(project: Project) -> None:
    RevenueDay.objects.create(
        project=project, mode="test", currency="usd", day="2026-01-01", payments=1, succeeded=1, gross_cents=5
    )


def held_wrongly(project: Project) -> None:
    row = create_subscription(project, end_user=create_end_user(project))
    Entitlement.objects.for_project(project).filter(end_user=row.end_user_id).update(active=False)


PLANTS: list[tuple[str, str, Callable[[Project], Any]]] = [
    ("I1", "evt_twice has 2 rows", doubled_event),
    ("I1", "yet leased", lambda project: event(project, lease_token=uuid7())),
    ("I1", "without a time", lambda project: event(project, handled_at=None)),
    ("I2", "is due since", lambda project: event(project, status="pending", next_attempt_at=timezone.now() - HOUR)),
    (
        "I2",
        "unfinished since",
        lambda project: event(
            project, status="pending", received_at=timezone.now() - 30 * HOUR, next_attempt_at=timezone.now() + HOUR
        ),
    ),
    ("I3", "pi_twice has 2 rows", doubled_effect),
    ("I3", "done without a time", lambda project: effects(project, "mail:x", status="done")),
    ("I4", "action_log_append_only", switched_off_log),
    ("I5", "pi_twice has 2 rows", doubled_payment),
    ("I5", "its payments are 0", invoice),
    (
        "I5",
        "its payments are 900",
        lambda project: create_payment(project, amount_cents=900, stripe_invoice_id=invoice(project).stripe_invoice_id),
    ),
    (
        "I5",
        "the invoice is draft",
        lambda project: create_payment(
            project, stripe_invoice_id=invoice(project, status="draft", amount_paid_cents=0).stripe_invoice_id
        ),
    ),
    ("I6", "2026-01-01 in usd differs", a_day_too_much),
    (
        "I6",
        "active subscriptions differs by -3",
        lambda project: SubscriptionGauge.objects.create(
            project=project, mode="test", status="active", subscriptions=3
        ),
    ),
    ("I9", "holds other than subscription", held_wrongly),
    ("I7", "by mode", lambda project: create_payment(project, mode="live", subscription=create_subscription(project))),
    ("I8", "payments_webhookevent holds", lambda project: event(project, payload={"data": SECRET})),
    ("I8", "payments_transaction holds", lambda project: create_payment(project, description=f"paid by {SECRET}")),
]


@pytest.mark.parametrize(
    ("name", "text", "plant"), PLANTS, ids=[f"{number}-{plant[0]}" for number, plant in enumerate(PLANTS)]
)
def test_a_violation_is_noticed(acme: Project, name: str, text: str, plant: Callable[[Project], Any]) -> None:
    with undone():
        plant(acme)
        found = check_invariants(project_id=acme.pk)
    told = [str(violation) for violation in found if violation.invariant == name]
    expected = text if text != "by mode" else "payments_transaction"
    assert any(expected in line for line in told), found
    assert not any(SECRET in line for line in told)
    assert check_invariants(project_id=acme.pk) == []


def test_i7_every_reference_between_projects_is_noticed(acme: Project, other_project: Project) -> None:
    theirs = create_end_user(other_project)
    with undone():
        row = create_subscription(acme, end_user=theirs, plan=create_plan(other_project))
        told = [violation.text for violation in check_invariants(project_id=acme.pk, only="I7")]
        assert {text.rsplit(" ", 1)[-1] for text in told if str(row.pk) in text} == {"end_user", "plan"}


def test_i2_a_mirror_that_has_fallen_behind_is_noticed(life: Life) -> None:
    from payments.models import Subscription

    life.buy()
    deliver(life.shop, events_of(life.shop))
    assert check_invariants(project_id=life.shop.project.pk) == []
    with undone():
        old = timezone.now() - 30 * HOUR
        Subscription.objects.for_project(life.shop.project).update(status="unpaid", synced_at=old)
        (violation,) = check_invariants(project_id=life.shop.project.pk, only="I2")
        assert violation.text.startswith("the mirror has active for sub_") and violation.text.endswith("unpaid")


def test_a_whole_life_breaks_no_rule(life: Life) -> None:
    for step in life.steps():
        step()
    deliver(life.shop, events_of(life.shop))
    assert check_invariants(project_id=life.shop.project.pk) == []


def test_another_projects_violation_is_not_told(acme: Project, other_project: Project) -> None:
    with undone():
        invoice(acme)
        assert check_invariants(project_id=other_project.pk) == []
        assert any(violation.project_id == acme.pk for violation in check_invariants(only="I5"))


def test_the_command_says_what_is_broken_and_exits_with_1(acme: Project) -> None:
    with undone():
        broken = invoice(acme)
        code, said = run_command("check_invariants", "--project", acme.slug)
        assert code == 1 and broken.stripe_invoice_id in said and f"I5 project {acme.pk} test" in said
        assert run_command("check_invariants", "--project", acme.slug, "--only", "I7")[0] == 0
    code, said = run_command("check_invariants", "--project", acme.slug)
    assert (code, said.strip()) == (0, "I1 to I10 hold.")


def test_the_statement_time_out_of_requests_is_left_as_it_was(acme: Project) -> None:
    def current() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    before = current()
    with transaction.atomic():
        check_invariants(project_id=acme.pk, only="I5")
        assert current() == before
    assert current() == before


def test_the_nightly_check_puts_a_violation_before_the_staff_once_a_day(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    broken = invoice(shop.project)
    try:
        nightly_check()
        nightly_check()
        item = ReviewItem.objects.for_project(shop.project).get(kind="invariant")
        assert item.title.startswith("I5") and item.mode == "test"
        assert any(broken.stripe_invoice_id in text for text in item.details["violations"])
    finally:
        broken.delete()


def test_every_rule_has_a_query_that_runs(acme: Project) -> None:
    assert list(QUERIES) == [f"I{number}" for number in range(1, 11)]
    for name in QUERIES:
        assert check_invariants(project_id=acme.pk, only=name) == []
