"""The mail that credits run low: once per crossing and day, at the project's threshold."""

import datetime as dt
from typing import Any

from entitlements.models import CreditPolicy
from entitlements.services import ledger
from notifications.models import OutboxRow
from projects.models import Project
from tests.cast import AppUser

MORNING = dt.datetime(2026, 11, 21, 8, tzinfo=dt.UTC)


def move(user: AppUser, amount: int, key: str, **more: Any) -> None:
    whose: dict[str, Any] = {
        "project_id": user.end_user.project_id, "mode": "test", "end_user_id": user.end_user.pk,
    }  # fmt: skip
    options: dict[str, Any] = {"key": key, "at": MORNING} | more
    if amount > 0:
        ledger.grant_credits(bucket="bonus", amount=amount, **options, **whose)
    else:
        ledger.spend_credits(amount=-amount, **options, **whose)


def mails(project: Project) -> list[tuple[str, Any]]:
    rows = OutboxRow.objects.for_project(project).filter(kind="mail").order_by("effect_key")
    return [(row.effect_key.rpartition(":")[2], row.payload["context"]["credits_left"]) for row in rows]


def test_a_crossing_is_mailed_once_a_day(acme: Project, dana: AppUser, erin: AppUser) -> None:
    acme.default_return_url = "https://app.example/account"
    acme.save()
    move(dana, 10, "first")
    move(dana, -5, "not yet")
    assert mails(acme) == []
    move(dana, -1, "now")
    move(dana, -1, "now")
    move(dana, -1, "lower")
    assert mails(acme) == [("2026-11-21", 4)]
    move(dana, 10, "second")
    move(dana, -10, "again", at=MORNING + dt.timedelta(hours=15))
    assert mails(acme) == [("2026-11-21", 4)]
    move(dana, 10, "third")
    move(dana, -9, "tomorrow", at=MORNING + dt.timedelta(hours=16))
    assert mails(acme) == [("2026-11-21", 4), ("2026-11-22", 4)]
    row = OutboxRow.objects.for_project(acme).filter(kind="mail").earliest("created_at")
    assert (row.payload["template"], row.end_user_id) == ("credits_low", dana.end_user.pk)
    assert row.payload["context"]["url"] == "https://app.example/account"
    move(erin, 5, "hers")
    move(erin, -1, "hers too")
    assert len(mails(acme)) == 3


def test_the_threshold_is_the_projects(acme: Project, dana: AppUser) -> None:
    policy = CreditPolicy.objects.create(project=acme, low_at=0)
    move(dana, 100, "given")
    move(dana, -99, "nobody is told")
    policy.low_at = 50
    policy.save()
    move(dana, 60, "more")
    move(dana, -12, "now")
    assert mails(acme) == [("2026-11-21", 49)]
