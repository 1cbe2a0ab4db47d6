"""Adjusting credits by hand: with a reason, written down, once; in the admin after a confirmation, by those who may."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import User
from common.errors import FieldError
from entitlements.models import CreditPolicy, CreditWallet
from entitlements.services.credit_adjustments import adjust_credits
from entitlements.services.ledger import InsufficientCredits
from moderation.models import ActionLog
from projects.models import Membership, Project
from tests.cast import AppUser, Developer
from tests.entitlements.credits import (
    assert_ledger_holds,
    available,
    entries_of,
    give,
    kinds,
    transactions_of,
    wallet_of,
)


def sign_in(project: Project | None = None, role: str = "", group: str = "") -> Client:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def page(user: AppUser, name: str = "adjust") -> str:
    wallet = CreditWallet.objects.get(end_user=user.end_user)
    return reverse(f"admin:entitlements_creditwallet_{name}", args=[wallet.pk])


def hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None, html[:2000]
    return found.group(1)


# Works


def test_credits_are_given_and_taken_with_a_reason_that_the_log_keeps(
    acme: Project, dana: AppUser, alice: Developer
) -> None:
    given = adjust_credits(**wallet_of(dana), amount=50, reason="Sorry for the outage", actor=alice.user, key="a1")
    taken = adjust_credits(**wallet_of(dana), amount=-20, reason="Too many", actor=alice.user, key="a2")
    assert (given.available, taken.available) == (50, 30)
    assert kinds(transactions_of(dana)) == [("adjustment", 50), ("adjustment", -20)]
    assert {row.actor for row in transactions_of(dana)} == {alice.user.email}
    lines = list(ActionLog.objects.for_project(acme).filter(action="credits.adjusted").order_by("at", "id"))
    assert [(line.actor_label, line.reason, line.details["amount"]) for line in lines] == [
        (alice.user.email, "Sorry for the outage", 50), (alice.user.email, "Too many", -20),
    ]  # fmt: skip
    assert_ledger_holds(acme)


def test_the_admin_asks_twice_and_then_adjusts_once(acme: Project, dana: AppUser) -> None:
    give(dana, 10)
    client = sign_in(acme, "developer")
    form = client.get(page(dana)).content.decode()
    body = {"amount": "-4", "reason": "<b>Abuse</b>", "request": hidden(form, "request")}
    asked = client.post(page(dana), body)
    assert asked.status_code == 200 and "Take 4 credits away?" in asked.content.decode()
    assert "<b>Abuse" not in asked.content.decode() and available(dana) == 10
    for _ in range(2):
        assert client.post(page(dana), body | {"confirmed": "yes"}).status_code == 302
    assert available(dana) == 6
    assert ActionLog.objects.for_project(acme).filter(action="credits.adjusted").count() == 1
    shown = client.get(page(dana, "change")).content.decode()
    assert "Available: 6" in shown and "Adjusted -4 → 6" in shown and "&lt;b&gt;Abuse" in shown
    ledger_page = client.get(reverse("admin:entitlements_credittransaction_changelist"))
    assert ledger_page.status_code == 200
    row = transactions_of(dana)[-1]
    entries = client.get(reverse("admin:entitlements_credittransaction_change", args=[row.pk])).content.decode()
    assert "Issued: +4" in entries
    assert_ledger_holds(acme)


def test_the_policy_is_changed_in_the_admin_and_the_log_says_so(acme: Project) -> None:
    client = sign_in(acme, "developer")
    body = {"project": str(acme.pk), "shortfall": "floor", "low_at": "20"}
    assert client.post(reverse("admin:entitlements_creditpolicy_add"), body).status_code == 302
    policy = CreditPolicy.objects.for_project(acme).get()
    assert (policy.shortfall, policy.low_at) == ("floor", 20)
    line = ActionLog.objects.for_project(acme).get(action="credit_policy.changed")
    assert line.details == {"shortfall": "floor", "low_at": 20}


# Refuses


def test_no_adjustment_without_a_reason_or_an_amount_or_beyond_what_is_there(
    acme: Project, dana: AppUser, alice: Developer
) -> None:
    give(dana, 10)
    before = entries_of(dana)
    for amount, reason in ((5, " "), (5, "x" * 501), (0, "why"), (10**13, "why")):
        with pytest.raises(FieldError):
            adjust_credits(**wallet_of(dana), amount=amount, reason=reason, actor=alice.user, key="a")
    with pytest.raises(InsufficientCredits):
        adjust_credits(**wallet_of(dana), amount=-11, reason="why", actor=alice.user, key="a")
    client = sign_in(acme, "developer")
    form = client.get(page(dana)).content.decode()
    body = {"reason": "why", "request": hidden(form, "request"), "confirmed": "yes"}
    missing = client.post(page(dana), body | {"amount": "-11"})
    assert missing.status_code == 200 and "1 are missing" in missing.content.decode()
    for wrong in ({"amount": "0"}, {"amount": "1.5"}, {"amount": "5", "reason": ""}):
        assert client.post(page(dana), body | wrong).status_code == 200
    assert (entries_of(dana), available(dana)) == (before, 10)
    assert not ActionLog.objects.for_project(acme).filter(action="credits.adjusted").exists()


def test_viewers_support_and_other_projects_do_not_adjust(acme: Project, other_project: Project, dana: AppUser) -> None:
    give(dana, 10)
    body: dict[str, Any] = {"amount": "5", "reason": "why", "request": str(uuid.uuid4()), "confirmed": "yes"}
    for client in (sign_in(acme, "viewer"), sign_in(other_project, "owner"), sign_in(group="Support"), sign_in()):
        assert client.post(page(dana), body).status_code in (302, 403, 404)
    assert available(dana) == 10
    assert sign_in(group="Moderator").post(page(dana), body).status_code == 302
    assert available(dana) == 15


def test_the_ledger_is_changed_by_nobody_in_the_admin(acme: Project, dana: AppUser) -> None:
    give(dana, 10)
    user = User.objects.create_superuser(f"{uuid.uuid4().hex}@example.com", "x" * 12)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    row = transactions_of(dana)[0]
    for name in ("creditwallet", "credittransaction"):
        pk = row.pk if name == "credittransaction" else row.wallet_id
        assert client.get(reverse(f"admin:entitlements_{name}_add")).status_code == 403
        assert client.post(reverse(f"admin:entitlements_{name}_change", args=[pk]), {"amount": "1"}).status_code == 403
        assert client.post(reverse(f"admin:entitlements_{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert available(dana) == 10


# Replay


def test_one_request_sent_twice_adjusts_once(acme: Project, dana: AppUser, alice: Developer) -> None:
    for _ in range(2):
        adjust_credits(**wallet_of(dana), amount=50, reason="Sorry", actor=alice.user, key="a1")
    assert available(dana) == 50
    assert ActionLog.objects.for_project(acme).filter(action="credits.adjusted").count() == 1
