"""I10 of `manage.py check_invariants`: what must hold of licences is noticed when it does not."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db import transaction

from common import clock
from common.ids import uuid7
from licenses.models import License, LicenseActivation, LicenseSeat
from notifications.models import OutboxRow
from payments.models import LicensePurchase
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.licenses.licensing import license_in_hand

DAY = dt.timedelta(days=1)


def told(project: Project) -> list[str]:
    return [one.text for one in check_invariants(project_id=project.pk, only="I10")]


def held(project: Project, **fields: Any) -> License:
    """Have a licence with the seat that belongs to it, then change it as nothing in the service does."""
    row = license_in_hand(project)
    seat(row)
    License.objects.filter(pk=row.pk).update(**fields)
    return row


def seat(row: License, *, revision: int = 1) -> LicenseSeat:
    return LicenseSeat.objects.create(
        project=row.project, mode=row.mode, license=row, revision=revision, github_user_id=1, login="mona",
        organization="acme", team_slug="customers",
    )  # fmt: skip


def purchase(project: Project, **fields: Any) -> LicensePurchase:
    product = held(project).product
    values = {"stripe_session_id": f"cs_{uuid7().hex}", "amount_cents": 4900, "currency": "usd", "status": "complete"}
    return LicensePurchase.objects.create(project=project, mode="test", product=product, **values | fields)


def effect(project: Project, key: str, kind: str, status: str) -> None:
    OutboxRow.objects.create(
        project=project, mode="test", kind=kind, effect_key=key, payload={}, status=status,
        done_at=clock.now() if status == "done" else None,
    )  # fmt: skip


def test_what_breaks_a_rule_of_licences_is_noticed_and_nothing_else(acme: Project) -> None:
    good = held(acme)
    effect(acme, f"mail:license_invited:{good.pk}:again:{uuid7()}", "license_mail", "done")
    assert told(acme) == []
    gone = {"state": "revoked", "revoked_at": clock.now() - 2 * DAY, "revoked_because": "staff"}
    long_ago = {"purchased_at": clock.now() - 9 * DAY, "username_submitted_at": clock.now() - 9 * DAY}

    def kept() -> None:
        held(acme, **gone, **long_ago, invited_at=clock.now() - 9 * DAY)

    def waiting() -> None:
        row = held(acme, **gone, **long_ago, invited_at=clock.now() - 9 * DAY)
        effect(acme, f"github:remove:{row.seats.get().pk}:x", "github_remove", "pending")

    def used() -> None:
        row = held(acme, **gone | {"revoked_at": clock.now()})
        LicenseActivation.objects.create(project=acme, mode="test", license=row, device_hash="0" * 64)

    def mailed() -> None:
        effect(acme, f"mail:license_invited:{held(acme).pk}:1", "license_mail", "done")

    def replaced() -> None:
        seat(held(acme, **long_ago, revision=2, invited_at=clock.now() - 2 * DAY), revision=2)

    plants: list[tuple[str, Callable[[], Any]]] = [
        ("is issued, and there is no licence", lambda: purchase(acme, issued_at=clock.now())),
        ("its licence was never made", lambda: purchase(acme, payment_status="paid")),
        ("stamps that are out of order", lambda: held(acme, username_submitted_at=clock.now() + DAY)),
        ("has no seat", lambda: held(acme, revision=2)),
        ("neither given up nor", kept),
        ("neither given up nor", replaced),
        ("is revoked, and its key is in use on 1", used),
        ("invitation_mail_sent_at is empty", mailed),
    ]
    for text, plant in plants:
        with transaction.atomic():
            plant()
            found = told(acme)
            transaction.set_rollback(True)
        assert found and all(text in line for line in found), (text, found)
    with transaction.atomic():
        waiting()
        assert told(acme) == [], "a removal that waits for a connection is known about"
        transaction.set_rollback(True)
    good.delete()
