"""The three mails of a licence: stamped only after the hand-over, sent once by themselves, and true when they are sent."""

from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction

from licenses.models import License
from licenses.services.mails import mail_buyer
from notifications.models import OutboxRow
from projects.models import Project
from tests.licenses.licensing import license_in_hand, work_off


def mailed(held: License, template: str = "license_invited", key: str = "1") -> OutboxRow:
    with transaction.atomic():
        mail_buyer(held, template, key=key)
    return OutboxRow.objects.for_project(held.project).filter(kind="license_mail").latest("created_at")


@pytest.fixture
def held(acme: Project) -> License:
    row = license_in_hand(acme)
    License.objects.filter(pk=row.pk).update(email=f"{row.pk.hex[-12:]}@example.com", invitation_ended_as="")
    return License.objects.get(pk=row.pk)


def sent_to(held: License) -> list[Any]:
    return [one for one in mail.outbox if one.to == [held.email]]


def test_a_mail_that_fails_leaves_the_stamp_empty_and_is_sent_once_later(
    held: License, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = mailed(held)

    def refuse(self: EmailBackend, messages: Any) -> int:
        raise ConnectionError("the mail server is away")

    with monkeypatch.context() as patch:
        patch.setattr(EmailBackend, "send_messages", refuse)
        assert work_off(row).status == "pending"
    assert License.objects.get(pk=held.pk).invitation_mail_sent_at is None and sent_to(held) == []
    assert work_off(row).status == "done"
    stamped = License.objects.get(pk=held.pk).invitation_mail_sent_at
    assert stamped is not None and len(sent_to(held)) == 1
    assert work_off(mailed(held, key="again")).status == "done"
    assert License.objects.get(pk=held.pk).invitation_mail_sent_at == stamped and len(sent_to(held)) == 2


def test_a_key_is_mailed_once_and_what_is_no_longer_true_is_not(held: License) -> None:
    mailed(held)
    mailed(held)
    rows = OutboxRow.objects.for_project(held.project).filter(kind="license_mail")
    assert rows.count() == 1
    License.objects.filter(pk=held.pk).update(state="pending")
    assert work_off(rows.get()).status == "skipped"
    assert sent_to(held) == [] and License.objects.get(pk=held.pk).invitation_mail_sent_at is None


def test_the_link_is_in_the_mail_and_nowhere_else(held: License) -> None:
    row = work_off(mailed(held))
    (sent,) = sent_to(held)
    assert "token=lat_" in sent.body and held.stripe_session_id in sent.body
    assert "lat_" not in str([row.payload, row.result, row.error]) and "\n" not in sent.subject
