"""What moderators may give away: of one payment, in one day, in which currencies; nobody finds more room by asking at once."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured

from accounts.models import User
from common.errors import ApiError
from config.environment import read_amounts
from entitlements.models import Entitlement
from entitlements.services.credit_adjustments import adjust_credits
from moderation.models import ActionLog
from moderation.services.limits import BeyondLimit
from notifications.models import OutboxRow
from payments.services.given_plans import put_on_plan
from payments.services.refunds import RefundRequest, check_refund, request_refund
from payments.services.staff_subscriptions import FREE_DAYS, StaffChange, request_staff_change
from projects.models import Project
from tests.builders import waits_until_free
from tests.cast import Developer, create_developer
from tests.payments.rows import create_end_user, create_payment, create_plan, create_refund, create_subscription
from tests.payments.shop import at_once


def staff(group: str) -> User:
    user = create_developer(group.lower(), is_staff=True).user
    user.groups.add(Group.objects.get(name=group))
    return user


@pytest.fixture
def limits(settings: Any) -> None:
    settings.MODERATOR_REFUND_LIMITS = {"usd": 1000, "jpy": 5000}
    settings.MODERATOR_REFUND_LIMITS_DAY = {"usd": 2500}
    settings.MODERATOR_CREDITS_LIMIT_DAY = 100
    settings.MODERATOR_FREE_DAYS_LIMIT = 10
    settings.MODERATOR_FREE_DAYS_LIMIT_DAY = 15
    settings.MODERATOR_PLANS_LIMIT_DAY = 2


def refund(payment: Any, actor: User, amount: int | None = None) -> Any:
    request = RefundRequest(uuid.uuid4(), amount, "keep", False, "The customer asked.")
    return request_refund(payment=payment, request=request, actor=actor)


def asked_of(project: Project) -> list[int]:
    rows = OutboxRow.objects.for_project(project).filter(kind="stripe_refund")
    return sorted(rows.values_list("payload__amount_cents", flat=True))


def test_a_moderator_refunds_up_to_the_limit_of_a_payment_and_of_a_day(acme: Project, limits: None) -> None:
    moderator = staff("Moderator")
    large = create_payment(acme, amount_cents=5000)
    with pytest.raises(BeyondLimit, match=r"at most 10.00 USD of one payment"):
        refund(large, moderator)
    with pytest.raises(BeyondLimit):
        check_refund(payment=large, request=RefundRequest(uuid.uuid4(), 1001, "keep", False, "Why"), actor=moderator)
    refund(large, moderator, 600)
    # What was asked for already, and what went back before, count: a large refund is not made of small ones.
    with pytest.raises(BeyondLimit):
        refund(large, moderator, 401)
    other = create_payment(acme, amount_cents=5000, refunded_amount_cents=0)
    create_refund(other, amount_cents=900)
    type(other).objects.filter(pk=other.pk).update(refunded_amount_cents=900)
    other.refresh_from_db()
    with pytest.raises(BeyondLimit):
        refund(other, moderator, 101)
    refund(create_payment(acme), moderator)
    refund(create_payment(acme), moderator, 900)
    with pytest.raises(BeyondLimit, match=r"at most 25.00 USD in 24 hours"):
        refund(create_payment(acme), moderator, 1)
    assert asked_of(acme) == [600, 900, 1000]
    assert ActionLog.objects.filter(actor=moderator.pk, action="payment.refund").count() == 3
    # Another moderator has a day of their own; the role Admin and superusers have no limits.
    refund(create_payment(acme), staff("Moderator"))
    refund(large, staff("Admin"))
    refund(create_payment(acme, amount_cents=9000), create_developer("root", is_staff=True, is_superuser=True).user)
    assert asked_of(acme) == [600, 900, 1000, 1000, 4400, 9000]


def test_a_currency_that_is_not_named_is_for_the_role_admin(acme: Project, limits: None) -> None:
    moderator = staff("Moderator")
    for currency in ("eur", "jpy"):
        with pytest.raises(BeyondLimit):
            refund(create_payment(acme, currency=currency, amount_cents=100), moderator)
    refund(create_payment(acme, currency="eur", amount_cents=100), staff("Admin"))
    assert asked_of(acme) == [100]


def test_two_refunds_at_once_do_not_both_find_the_days_last_room(acme: Project, limits: None) -> None:
    moderator = staff("Moderator")
    refund(create_payment(acme), moderator)
    payments = [create_payment(acme) for _ in range(3)]

    def ask(number: int) -> str:
        try:
            return str(refund(payments[number], moderator).status)
        except ApiError as refusal:
            return str(refusal.code)

    assert sorted(at_once(3, ask)) == ["beyond_limit", "beyond_limit", "pending"]
    assert asked_of(acme) == [1000, 1000]


def test_a_refund_waits_for_the_one_before_it(acme: Project, limits: None) -> None:
    moderator, payment = staff("Moderator"), create_payment(acme)
    held = User.objects.select_for_update(no_key=True).filter(pk=moderator.pk)
    assert waits_until_free(held, lambda: refund(payment, moderator).status) == "pending"


def test_credits_and_free_days_have_limits_for_moderators_and_none_for_the_projects_developers(
    acme: Project, alice: Developer, limits: None
) -> None:
    moderator, end_user = staff("Moderator"), create_end_user(acme)
    wallet: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": end_user.pk}

    def give(actor: User, amount: int, key: str) -> int:
        return adjust_credits(**wallet, amount=amount, reason="Sorry", actor=actor, key=key).available

    assert give(moderator, 60, "m1") == 60
    with pytest.raises(BeyondLimit, match="at most 100 credits"):
        give(moderator, 41, "m2")
    assert (give(moderator, 40, "m3"), give(moderator, 40, "m3"), give(moderator, -10, "m4")) == (100, 100, 90)
    assert (give(alice.user, 5000, "a1"), give(staff("Admin"), 5000, "a2")) == (5090, 10090)
    row = create_subscription(acme, end_user=end_user)
    asked = StaffChange(uuid.uuid4(), FREE_DAYS, "Sorry", 11)
    with pytest.raises(BeyondLimit, match="at most 10 free days a year"):
        request_staff_change(subscription=row, asked=asked, actor=moderator)
    assert not OutboxRow.objects.for_project(acme).filter(kind="stripe_staff_change").exists()
    for actor in (alice.user, staff("Admin")):
        request_staff_change(subscription=row, asked=StaffChange(uuid.uuid4(), FREE_DAYS, "Sorry", 90), actor=actor)
    assert OutboxRow.objects.for_project(acme).filter(kind="stripe_staff_change").count() == 2


def test_free_days_are_not_made_for_ever_by_giving_them_again(acme: Project, limits: None) -> None:
    moderator, end_user = staff("Moderator"), create_end_user(acme)
    first, second = (create_subscription(acme, end_user=end_user) for _ in range(2))

    def give(row: Any, days: int, actor: User = moderator) -> None:
        request_staff_change(subscription=row, asked=StaffChange(uuid.uuid4(), FREE_DAYS, "Sorry", days), actor=actor)

    give(first, 7)
    for actor in (moderator, staff("Moderator")):
        with pytest.raises(BeyondLimit, match="at most 10 free days a year"):
            give(first, 4, actor)
    give(first, 3)
    # Another subscription has a year of its own, and the person one day for all of them.
    with pytest.raises(BeyondLimit, match="at most 15 free days in 24 hours"):
        give(second, 6)
    give(second, 5)
    days = (
        OutboxRow.objects.for_project(acme).filter(kind="stripe_staff_change").values_list("payload__days", flat=True)
    )
    assert sorted(days) == [3, 5, 7]


def test_a_moderator_gives_so_many_plans_a_day_and_takes_back_what_was_given(
    acme: Project, alice: Developer, limits: None
) -> None:
    create_plan(acme, code="maker", name="Maker")
    moderator, users = staff("Moderator"), [create_end_user(acme) for _ in range(3)]

    def put(number: int, code: str | None, actor: User = moderator) -> bool:
        return put_on_plan(
            project=acme, mode="test", end_user=users[number], code=code, reason="Sorry", actor=actor
        ).given

    assert (put(0, "maker"), put(1, "maker")) == (True, True)
    with pytest.raises(BeyondLimit, match="at most 2 plans by hand in 24 hours"):
        put(2, "maker")
    assert not Entitlement.objects.for_project(acme).filter(end_user=users[2], active=True).exists()
    assert ActionLog.objects.for_project(acme).filter(action="plan.give").count() == 2
    assert put(1, None) is False
    assert (put(2, "maker", alice.user), put(1, "maker", staff("Admin"))) == (True, True)


@pytest.mark.no_db
def test_limits_are_amounts_by_currency_or_the_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import environ

    env = environ.Env()
    monkeypatch.setenv("LIMITS", "usd=10000, EUR=1")
    assert read_amounts(env, "LIMITS", default="") == {"usd": 10000, "eur": 1}
    monkeypatch.setenv("LIMITS", "")
    assert read_amounts(env, "LIMITS", default="usd=1") == {}
    for wrong in ("usd", "usd=-1", "usd=1.5", "dollars=1", "usd=1000=2", "us1=3"):
        monkeypatch.setenv("LIMITS", wrong)
        with pytest.raises(ImproperlyConfigured, match="LIMITS must be amounts"):
            read_amounts(env, "LIMITS", default="")
