"""Refunds that staff ask for: checked, logged, made once whatever goes wrong between us and Stripe, and asked twice first."""

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from accounts.models import User
from common import clock
from common.errors import ApiError, FieldError
from moderation.models import ActionLog
from notifications.models import OutboxRow
from notifications.services.outbox import executor_of
from notifications.services.running import carry_out_row, lease_due_rows
from payments.models import Refund, StripeCredentials, Subscription, Transaction
from payments.services.refunds import STRIPE_REFUND, NotRefundable, RefundRequest, refundable_cents, request_refund
from payments.services.stripe_config import put_stripe_config
from payments.stripe_api import StripeRefused, StripeUnavailable
from projects.models import Project, Role
from tests.cast import AppUser, Developer, add_member, create_developer
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret
from tests.payments.rows import create_dispute, create_invoice, create_payment, create_subscription
from tests.payments.shop import Shop, at_once


@pytest.fixture
def payment(shop: Shop, dana: AppUser) -> Transaction:
    """Dana's payment of 10.00 for her subscription."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Transaction.objects.for_project(shop.project).get()


def asked(**changes: Any) -> RefundRequest:
    values: dict[str, Any] = {
        "key": uuid.uuid4(),
        "amount_cents": None,
        "access": "keep",
        "cancel_subscription": False,
        "reason": "The customer asked.",
    }
    return RefundRequest(**values | changes)


def carry_out(row: OutboxRow) -> None:
    """Carry the row out as a worker would, until no attempt is due."""
    OutboxRow.objects.filter(pk=row.pk).update(next_attempt_at="2020-01-01T00:00Z")
    for leased in lease_due_rows(limit=500):
        if leased.pk == row.pk:
            carry_out_row(leased)
    row.refresh_from_db()


def requests_of(payment: Transaction) -> Any:
    return OutboxRow.objects.for_project(payment.project_id).filter(kind=STRIPE_REFUND)


# Works


def test_a_refund_is_requested_logged_made_and_written(shop: Shop, payment: Transaction, alice: Developer) -> None:
    request = asked(amount_cents=400, access="revoke", cancel_subscription=True)
    row = request_refund(payment=payment, request=request, actor=alice.user)
    assert shop.objects("refunds") == [] and row.status == "pending"
    assert refundable_cents(payment) == 600
    line = ActionLog.objects.for_project(shop.project).get()
    assert (line.action, line.subject, line.actor, line.reason, line.details["amount_cents"]) == (
        "payment.refund", payment.payment_intent_id, alice.user, "The customer asked.", 400,
    )  # fmt: skip
    carry_out(row)
    (made,) = shop.objects("refunds")
    assert (row.status, row.result) == ("done", {"refund_id": made["id"], "status": "succeeded"})
    assert (made["amount"], made["metadata"]["access"]) == (400, "revoke")
    payment.refresh_from_db()
    assert (payment.status, payment.refunded_amount_cents) == ("partially_refunded", 400)
    subscription = Subscription.objects.for_project(shop.project).get()
    assert (subscription.access_revoked_by, shop.objects("subscriptions", status="all")[0]["status"]) == (
        made["id"], "canceled",
    )  # fmt: skip
    deliver(shop, events_of(shop))
    assert Refund.objects.for_project(shop.project).get().revokes_access


# Refuses


@pytest.mark.parametrize(
    ("changes", "status_code", "field"),
    [
        ({"amount_cents": 1001}, 422, "amount_cents"),
        ({"amount_cents": 0}, 422, "amount_cents"),
        ({"amount_cents": -5}, 422, "amount_cents"),
        ({"reason": "  "}, 422, "reason"),
        ({"reason": "x" * 1001}, 422, "reason"),
        ({"access": "perhaps"}, 422, "access"),
        ({"cancel_subscription": True}, 422, "cancel_subscription"),
    ],
)
def test_what_cannot_be_is_refused_by_the_field(
    acme: Any, alice: Developer, changes: dict[str, Any], status_code: int, field: str
) -> None:
    payment = create_payment(acme)
    with pytest.raises(FieldError) as refused:
        request_refund(payment=payment, request=asked(**changes), actor=alice.user)
    assert (refused.value.status_code, refused.value.errors[0]["loc"]) == (status_code, [field])
    assert not requests_of(payment).exists() and not ActionLog.objects.for_project(acme).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "failed"},
        {"status": "pending"},
        {"status": "refunded", "refunded_amount_cents": 1000},
        {"payment_intent_id": "in_outside", "stripe_invoice_id": "in_outside"},
    ],
)
def test_a_payment_without_money_at_stripe_is_not_refundable(
    acme: Any, alice: Developer, fields: dict[str, Any]
) -> None:
    payment = create_payment(acme, **fields)
    with pytest.raises(NotRefundable) as refused:
        request_refund(payment=payment, request=asked(), actor=alice.user)
    assert refused.value.status_code == 409
    assert not requests_of(payment).exists()


def test_what_stripe_refuses_becomes_a_dead_letter(shop: Shop, payment: Transaction, alice: Developer) -> None:
    row = request_refund(payment=payment, request=asked(), actor=alice.user)
    shop.api("POST", "refunds", payment_intent=payment.payment_intent_id)
    execute = executor_of(STRIPE_REFUND)
    assert execute is not None
    with pytest.raises(StripeRefused):
        execute(row)
    carry_out(row)
    assert row.status == "dead" and "charge_already_refunded" in row.error
    assert len(shop.objects("refunds")) == 1


# Race and lost answers


def test_two_requests_at_once_never_exceed_the_payment(shop: Shop, payment: Transaction, alice: Developer) -> None:
    def ask(_: int) -> str:
        try:
            return str(request_refund(payment=payment, request=asked(amount_cents=600), actor=alice.user).status)
        except ApiError as error:
            return type(error).__name__

    assert sorted(at_once(4, ask)) == ["FieldError"] * 3 + ["pending"]
    assert requests_of(payment).count() == ActionLog.objects.for_project(shop.project).count() == 1


def test_pressing_twice_asks_once(payment: Transaction, alice: Developer) -> None:
    request = asked(amount_cents=300)
    rows = at_once(3, lambda _: request_refund(payment=payment, request=request, actor=alice.user).pk)
    assert len(set(rows)) == 1 and requests_of(payment).count() == 1
    assert ActionLog.objects.for_project(payment.project_id).count() == 1


def test_an_answer_that_is_lost_after_the_refund_was_made_refunds_once(
    shop: Shop, payment: Transaction, alice: Developer, short_patience: None
) -> None:
    row = request_refund(payment=payment, request=asked(amount_cents=400), actor=alice.user)
    shop.fault("POST /v1/refunds", "timeout_after_effect", times=10)
    carry_out(row)
    assert row.status == "pending" and row.attempts == 1
    shop.clear_faults()
    carry_out(row)
    assert row.status == "done"
    (made,) = shop.objects("refunds")
    assert row.result == {"refund_id": made["id"], "status": "succeeded"}


def test_the_same_key_is_sent_again_when_nothing_was_made(
    shop: Shop, payment: Transaction, alice: Developer, short_patience: None
) -> None:
    row = request_refund(payment=payment, request=asked(amount_cents=400), actor=alice.user)
    shop.fault("POST /v1/refunds", "status:503", times=10)
    execute = executor_of(STRIPE_REFUND)
    assert execute is not None
    with pytest.raises(StripeUnavailable):
        execute(row)
    shop.clear_faults()
    carry_out(row)
    assert row.status == "done" and len(shop.objects("refunds")) == 1
    sent = [entry for entry in shop.requests("/v1/refunds") if entry["method"] == "POST"]
    assert {entry["idempotency_key"] for entry in sent} == {row.payload["idempotency_key"]}


def test_f33_a_refund_waits_for_a_mended_key_without_using_up_attempts(
    shop: Shop, payment: Transaction, alice: Developer, settings: Any
) -> None:
    settings.OUTBOX_MAX_ATTEMPTS = 2
    rows = [request_refund(payment=payment, request=asked(amount_cents=300), actor=alice.user) for _ in range(2)]
    mended = {"test_secret_key": shop.account.test_secret_key}
    shop.fault("* /v1/*", "status:401", times=1000)
    for _ in range(3):
        carry_out(rows[0])
        assert (rows[0].status, rows[0].wait_reason, rows[0].attempts) == ("pending", "config_error", 0)
    assert "rejected" in rows[0].error and refundable_cents(payment) == 400
    shop.clear_faults()
    StripeCredentials.objects.for_project(shop.project).filter(mode="test").update(secret_key="")
    carry_out(rows[0])
    assert (rows[0].status, rows[0].wait_reason, rows[0].attempts) == ("pending", "config_error", 0)
    assert shop.objects("refunds") == []
    put_stripe_config(project=shop.project, changes=mended)
    for row in rows:
        for leased in lease_due_rows(limit=500):
            if leased.kind == STRIPE_REFUND and leased.project_id == shop.project.pk:
                carry_out_row(leased)
        row.refresh_from_db()
        assert (row.status, row.wait_reason, row.attempts, row.error) == ("done", "", 1, "")
    assert [made["amount"] for made in shop.objects("refunds")] == [300, 300]


def test_a_refund_of_a_deleted_project_waits_for_nobody(shop: Shop, payment: Transaction, alice: Developer) -> None:
    row = request_refund(payment=payment, request=asked(), actor=alice.user)
    StripeCredentials.objects.for_project(shop.project).update(secret_key="")
    Project.objects.filter(pk=shop.project.pk).update(deleted_at=Now())
    carry_out(row)
    assert (row.status, row.error) == ("skipped", "The project was deleted.")


def test_a_key_that_stripe_has_forgotten_refunds_once(shop: Shop, payment: Transaction, alice: Developer) -> None:
    row = request_refund(payment=payment, request=asked(amount_cents=400), actor=alice.user)
    execute = executor_of(STRIPE_REFUND)
    assert execute is not None
    first = execute(row)
    # A day later the key is as good as a new one.
    row.payload["idempotency_key"] += "-forgotten"
    assert execute(row) == first
    assert len(shop.objects("refunds")) == 1


def test_a_disputed_payment_is_not_refundable(shop: Shop, payment: Transaction, alice: Developer) -> None:
    control(shop, f"charges/{payment.stripe_charge_id}/dispute", reason="fraudulent")
    deliver(shop, events_of(shop))
    with pytest.raises(NotRefundable):
        request_refund(payment=payment, request=asked(), actor=alice.user)


# The page


def staff(group: str = "", *, superuser: bool = False) -> tuple[Client, User]:
    user = create_developer("staff", is_staff=True, is_superuser=superuser).user
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client, user


def page(payment: Transaction) -> str:
    return reverse("admin:payments_transaction_refund", args=[payment.pk])


def form(**changes: str) -> dict[str, str]:
    return {"amount": "2.50", "access": "keep", "reason": "Asked by mail", "request": str(uuid.uuid4())} | changes


@pytest.mark.parametrize("group", ["Admin", "Moderator"])
def test_staff_with_the_right_refund_after_a_confirmation(acme: Any, group: str) -> None:
    payment = create_payment(acme)
    client, user = staff(group)
    shown = client.get(page(payment))
    assert shown.status_code == 200 and "At most 10.00 USD" in shown.content.decode()
    assert page(payment) in client.get(reverse("admin:payments_transaction_change", args=[payment.pk])).content.decode()
    sent = form()
    asking = client.post(page(payment), sent)
    assert asking.status_code == 200 and "Refund 2.50 USD?" in asking.content.decode()
    assert not requests_of(payment).exists()
    for _ in range(2):
        assert client.post(page(payment), sent | {"confirmed": "yes"}).status_code == 302
    (row,) = requests_of(payment)
    assert (row.payload["amount_cents"], row.payload["access"], row.cause) == (250, "keep", f"staff:{user.pk}")
    landed = client.get(reverse("admin:payments_transaction_change", args=[payment.pk])).content.decode()
    assert "Going back now" in landed and "2.50 USD" in landed, "the figures alone are those of before"
    assert LogEntry.objects.filter(object_id=str(payment.pk), user_id=user.pk, change_message__contains="2.50").exists()
    assert ActionLog.objects.for_project(acme).get().actor == user


def test_support_developers_and_strangers_cannot_refund(acme: Any, alice: Developer) -> None:
    payment = create_payment(acme)
    owner, owner_user = staff()
    add_member(acme, Developer(owner_user, ""), Role.DEVELOPER)
    for client in (staff("Support")[0], owner, staff()[0], Client()):
        assert client.get(page(payment)).status_code in (302, 403)
        assert client.post(page(payment), form(confirmed="yes")).status_code in (302, 403)
    shown = staff("Support")[0].get(reverse("admin:payments_transaction_change", args=[payment.pk]))
    assert shown.status_code == 200 and page(payment) not in shown.content.decode()
    assert not requests_of(payment).exists()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"amount": "10.01"}, "at most 10.00 USD"),
        ({"amount": "1.005"}, "decimal"),
        ({"amount": "NaN"}, "Enter a number"),
        ({"amount": "1e30"}, "no more than 15 digits"),
        ({"reason": ""}, "required"),
        ({"access": "x"}, "not one of the available choices"),
    ],
)
def test_the_page_says_what_is_wrong(acme: Any, changes: dict[str, str], shown: str) -> None:
    payment = create_payment(acme)
    client, _ = staff(superuser=True)
    answer = client.post(page(payment), form(confirmed="yes", **changes))
    assert answer.status_code == 200 and shown in answer.content.decode()
    assert not requests_of(payment).exists()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"amount": "0"}, "Give an amount above zero"),
        ({"amount": "-1"}, "Give an amount above zero"),
        ({"amount": "10.01"}, "at most 10.00 USD"),
        ({"reason": "  "}, "required"),
        ({"access": ""}, "required"),
    ],
)
def test_what_is_wrong_is_said_before_anybody_is_asked_to_confirm(
    acme: Any, changes: dict[str, str], shown: str
) -> None:
    payment = create_payment(acme)
    client, _ = staff(superuser=True)
    answer = client.post(page(payment), form(**changes)).content.decode()
    (name,) = changes
    at_the_field = answer.split(f'name="{name}"')[-1]
    assert shown in at_the_field and 'name="confirmed"' not in answer


def test_the_form_chooses_nothing_and_tells_that_a_subscription_goes_on_billing(acme: Any) -> None:
    client, _ = staff(superuser=True)
    once = client.get(page(create_payment(acme))).content.decode()
    assert 'name="access"' in once and not re.search(r'name="access"[^>]*\schecked[\s>]', once)
    assert "goes on billing" not in once
    row = create_subscription(acme)
    payment = create_payment(acme, subscription=row, end_user=row.end_user)
    assert "goes on billing" in client.get(page(payment)).content.decode()
    assert "not canceled: it goes on billing" in client.post(page(payment), form(access="revoke")).content.decode()
    kept = client.post(page(payment), form(access="keep")).content.decode()
    assert "Refund 2.50 USD?" in kept and "goes on billing" not in kept


@pytest.mark.parametrize("confirmed", ["", "yes"])
def test_a_disputed_payments_page_says_why_and_has_no_form(acme: Any, confirmed: str) -> None:
    payment = create_payment(acme)
    create_dispute(payment)
    client, _ = staff(superuser=True)
    for answer in (client.get(page(payment)), client.post(page(payment), form(confirmed=confirmed))):
        shown = answer.content.decode()
        assert (
            "Stripe refuses refunds of it" in shown and 'name="reason"' not in shown and "can be refunded." not in shown
        )
    assert not requests_of(payment).exists()


def test_yen_are_entered_whole(acme: Any) -> None:
    payment = create_payment(acme, currency="jpy", amount_cents=1200)
    client, _ = staff(superuser=True)
    assert "no decimals" in client.post(page(payment), form(confirmed="yes", amount="2.5")).content.decode()
    assert client.post(page(payment), form(confirmed="yes", amount="200")).status_code == 302
    assert requests_of(payment).get().payload["amount_cents"] == 200


@pytest.mark.parametrize(
    ("currency", "paid", "entered", "cents", "refused", "step"),
    [("ugx", 380_000, "3500", 350_000, "3500.50", "1.00 UGX"), ("kwd", 12_500, "3.25", 3_250, "3.255", "0.010 KWD")],
)
def test_what_stripe_takes_in_steps_is_entered_in_steps(
    acme: Any, currency: str, paid: int, entered: str, cents: int, refused: str, step: str
) -> None:
    payment = create_payment(acme, currency=currency, amount_cents=paid)
    client, _ = staff(superuser=True)
    assert f"multiples of {step}" in client.post(page(payment), form(confirmed="yes", amount=refused)).content.decode()
    assert not requests_of(payment).exists()
    assert client.post(page(payment), form(confirmed="yes", amount=entered)).status_code == 302
    assert requests_of(payment).get().payload["amount_cents"] == cents
    shown = client.get(page(payment)).content.decode()
    assert ("3,800.00 UGX" if currency == "ugx" else "12.500 KWD") in shown


def test_the_form_says_what_goes_with_a_payment_after_which_something_newer_was_paid(acme: Any) -> None:
    bought, moment = create_subscription(acme), clock.now()
    payments = []
    for days in (30, 0):
        paid_at = moment - dt.timedelta(days=days)
        invoice = create_invoice(acme, subscription=bought, paid_at=paid_at, created_at=paid_at)
        payments.append(create_payment(acme, subscription=bought, stripe_invoice_id=invoice.stripe_invoice_id))
    # One of nothing, as of a downgrade, is nothing newer.
    create_invoice(acme, subscription=bought, paid_at=moment + dt.timedelta(days=1), amount_paid_cents=0)
    client, _ = staff(superuser=True)
    older, latest = (client.get(page(payment)).content.decode() for payment in payments)
    assert "Something newer was paid for this subscription since" in older and "after a full refund" not in older
    assert "Something newer" not in latest and "after a full refund" in latest
