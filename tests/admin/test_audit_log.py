"""The audit log of changed rows: who changed what from what to what, by the API and in the admin, and no secret."""

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from backoffice.audited import COLUMNS
from backoffice.services.audit_retention import forget_old_entries
from common import clock
from entitlements.models import Plan, PlanPrice
from projects.models import ApiKey, Project
from tests.admin.test_payments_pages import sign_in
from tests.cast import Developer, create_developer
from tests.payments.rows import create_plan

# What a caller says about themselves, and is not believed.
CLAIMED = {"X-Forwarded-For": "not an address", "X-Forwarded-Port": "9" * 12, "X-Correlation-Id": "c" * 400}


def entries(row: Any) -> list[LogEntry]:
    return list(LogEntry.objects.get_for_object(row).order_by("timestamp", "id"))


def test_what_a_developer_changes_by_the_api_is_written_down_with_who_and_from_where(
    acme: Project, alice: Developer
) -> None:
    path = f"/api/v1/projects/{acme.pk}"
    origins = {"name": "Acme Two", "allowed_origins": ["https://two.example"]}
    answer = alice.client.put(path, origins, content_type="application/json", headers=CLAIMED)
    assert answer.status_code == 200, answer.content
    line = entries(acme)[-1]
    assert line.changes["name"][1] == "Acme Two" and "two.example" in line.changes["allowed_origins"][1]
    assert (line.actor, line.remote_addr, line.remote_port) == (alice.user, "127.0.0.1", None)
    assert line.cid and len(line.cid) == len(str(uuid.uuid4()))
    made = alice.client.post(f"{path}/api-keys", {"name": "Server"}, content_type="application/json", headers=CLAIMED)
    key = ApiKey.objects.get(pk=made.json()["id"])
    line = entries(key)[0]
    assert line.actor == alice.user and line.changes["name"][1] == "Server"
    assert key.key_hash not in json.dumps(line.changes) and made.json()["key"] not in json.dumps(line.changes)
    assert alice.client.delete(f"{path}/api-keys/{key.pk}").status_code == 204
    gone = LogEntry.objects.filter(object_pk=str(made.json()["id"])).latest("timestamp")
    assert (gone.action, gone.actor) == (LogEntry.Action.DELETE, alice.user)


def test_roles_and_prices_that_staff_change_are_there_and_only_the_role_admin_reads_it(acme: Project) -> None:
    someone = create_developer("someone").user
    plan: Plan = create_plan(acme, code="maker", name="Maker")
    price = PlanPrice.objects.create(project=acme, plan=plan, mode="test", amount_cents=900, currency="usd")
    boss = sign_in(group="Admin")
    support = Group.objects.get(name="Support")
    form = {"email": someone.email, "full_name": "", "is_active": "on", "is_staff": "on", "groups": [str(support.pk)]}
    assert boss.post(reverse("admin:accounts_user_change", args=[someone.pk]), form).status_code == 302
    changed = {name: value for line in entries(someone) for name, value in line.changes.items()}
    assert changed["is_staff"] == ["False", "True"] and changed["groups"]["objects"] == ["Support"]
    price.amount_cents = 100
    price.save()
    assert entries(price)[-1].changes == {"amount_cents": ["900", "100"]}
    listed = reverse("admin:auditlog_logentry_changelist")
    page = boss.get(listed, {"q": str(price.pk)})
    assert page.status_code == 200 and "amount" in page.content.decode()
    assert boss.get(reverse("admin:auditlog_logentry_change", args=[entries(price)[-1].pk])).status_code == 200
    for group in ("Moderator", "Support"):
        assert sign_in(group=group).get(listed).status_code == 403


def test_the_audit_log_refuses_every_change_and_forgets_in_time(acme: Project, settings: Any) -> None:
    """S47: append-only, for a superuser's session, too; a deleted account leaves what it did."""
    someone = create_developer("leaving").user
    entry = LogEntry.objects.create(
        content_type_id=entries(acme)[0].content_type_id, object_pk="x", object_repr="x", action=1, actor=someone
    )
    rows = LogEntry.objects.filter(pk=entry.pk)
    tries: list[Callable[[], Any]] = [
        lambda: rows.update(object_repr="another"),
        lambda: rows.update(actor=None, remote_addr="192.0.2.1"),
        rows.delete,
        lambda: connection.cursor().execute("TRUNCATE auditlog_logentry"),
    ]
    for change in tries:
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()
    rows.update(actor=None)
    assert (rows.get().object_repr, rows.get().actor) == ("x", None)
    now = clock.now()
    old, kept = (
        LogEntry.objects.create(
            content_type=entry.content_type,
            object_pk="x",
            object_repr="x",
            action=1,
            timestamp=now - dt.timedelta(days=days),
        )
        for days in (731, 729)
    )
    assert forget_old_entries() >= 1
    assert set(LogEntry.objects.filter(pk__in=[old.pk, kept.pk, entry.pk])) == {kept, entry}
    settings.AUDIT_LOG_RETENTION_DAYS = 90
    assert forget_old_entries(batch=1) >= 1
    assert list(LogEntry.objects.filter(pk__in=[kept.pk, entry.pk])) == [entry]


def test_no_column_that_holds_a_secret_is_audited() -> None:
    """S11: each column is named, and none of those that hold ciphertexts, digests or addresses with tokens."""
    secret = ("secret", "hash", "password", "token", "master_key", "jwks_document", "webhook_url", "encrypted")
    for label, columns in COLUMNS.items():
        model = apps.get_model(label)
        assert auditlog.contains(model)
        audited = set(auditlog.get_model_fields(model)["include_fields"])
        assert set(columns) <= audited
        found = {name for name in audited if any(word in name for word in secret)}
        assert found <= {"token_budget", "token_login"}, label
        assert not audited & set(getattr(model, "ENCRYPTED_COLUMNS", ())), label
