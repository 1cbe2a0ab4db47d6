"""A licence whose workers die and freeze: its mails arrive and are stamped afterwards, GitHub invites once (F3, F36).

The guarantee of a mail falls on "at least once": the stamp is empty until a worker lives to see the mail taken, and a second copy
bears the same Message-ID. An invitation is looked for before it is sent, so that of it there is one.
"""

import email
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now

from licenses.models import License, LicenseSeat
from licenses.services.mails import WELCOME, mail_buyer
from licenses.services.usernames import submit_username
from notifications.models import OutboxRow
from projects.models import Project
from tests.faults.test_outbox import is_dead
from tests.licenses.licensing import connect_github, create_product
from tests.live import LiveService, running_service, wait_until
from tests.notifications.smtp import MailServer, mail_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BUYER = "licence-buyer@example.com"
SILENCE_SECONDS = 8


def buy(project: Project) -> License:
    """Write a licence that was just paid for, with its welcome mail."""
    with transaction.atomic():
        row = License.objects.create(
            project=project, mode="test", product=create_product(project), email=BUYER, stripe_session_id="cs_test_1",
            amount_cents=4900, currency="usd", purchased_at=Now(),
        )  # fmt: skip
        mail_buyer(row, WELCOME, key="purchase")
    return License.objects.get(pk=row.pk)


def sent(server: MailServer) -> Counter[str]:
    """Count the copies of each mail to the buyer."""
    mails = [email.message_from_bytes(each) for each in server.mails]
    return Counter(str(one["Message-ID"]) for one in mails if one["To"] == BUYER)


def message_id(row: OutboxRow) -> str:
    return f"<{row.pk}@127.0.0.1>"


def check_mail_is_stamped_after_it_was_taken(service: LiveService, server: MailServer, bought: License) -> None:
    killed = service.processes["worker"]
    row = OutboxRow.objects.for_project(bought.project_id).get(kind="license_mail")
    wait_until(lambda: is_dead(killed), seconds=40, what="the worker died at the stamp")
    service.processes.pop("worker")
    bought.refresh_from_db()
    row.refresh_from_db()
    assert sent(server) == {message_id(row): 1} and (bought.welcome_sent_at, row.status) == (None, "processing")
    service.start("worker")
    wait_until(
        lambda: License.objects.get(pk=bought.pk).welcome_sent_at, seconds=40, what="the welcome mail was stamped"
    )
    row.refresh_from_db()
    assert row.status == "done" and sent(server) == {message_id(row): 2}


def test_a_licence_outlives_its_workers(acme: Project, sandbox: Any, tmp_path: Path, run_database: str) -> None:
    left = OutboxRow.objects.exclude(project=acme).filter(status__in=["pending", "processing"])
    left.update(status="skipped", done_at=Now(), lease_token=None, lease_until=None, error="left by an earlier test")
    org = connect_github(acme, sandbox.url)
    login, _ = org.person()
    bought = buy(acme)
    with mail_server() as server:
        env = {
            "FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "outbox.before_stamp", "EVENT_LEASE_SECONDS": "2",
            "FAIL_ONCE_FILE": str(tmp_path / "once"), "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
        }  # fmt: skip
        with running_service(tmp_path, sandbox.url, env=env, parts=("worker",)) as service:
            check_mail_is_stamped_after_it_was_taken(service, server, bought)
            # GitHub invites and says nothing; the worker freezes before it could write that down.
            org.fault("PUT *", "timeout_after_effect", seconds=SILENCE_SECONDS)
            submit_username(project_id=acme.pk, license_id=bought.pk, username=login)
            wait_until(lambda: org.invited() == [login], seconds=20, what="the invitation arrived at GitHub")
            frozen = service.processes["worker"]
            frozen.suspend()
            bought.refresh_from_db()
            assert (bought.state, bought.invited_at) == ("username_submitted", None)
            service.start("second worker")
            wait_until(
                lambda: License.objects.get(pk=bought.pk).invitation_mail_sent_at, seconds=40,
                what="another worker found the invitation and mailed about it",
            )  # fmt: skip
            frozen.resume()
            wait_until(lambda: "outbox_lease_lost" in service.logs(), seconds=20, what="the frozen one came too late")
            rows = OutboxRow.objects.for_project(acme)
            wait_until(lambda: not rows.unfinished().exists(), seconds=20, what="nothing is left to do")
    bought.refresh_from_db()
    seat = LicenseSeat.objects.for_project(acme).get()
    assert (bought.state, bought.revision, seat.removed_at) == ("invited", 1, None)
    assert org.invited() == [login] and len(org.requests("PUT")) == 1
    assert not rows.filter(kind="github_remove").exists()
    assert sent(server)[message_id(rows.get(payload__template="license_invited"))] == 1
    assert sum(sent(server).values()) == 3
