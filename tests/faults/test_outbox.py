"""A worker that dies between handing a mail over and noting it: every mail arrives, a second copy bears the same Message-ID (F3).

Afterwards two workers share what is left, and carry out each effect once.
"""

import email
from collections import Counter
from pathlib import Path

import psutil
import pytest
from django.db import transaction

from notifications.models import OutboxRow
from notifications.services.outbox import record_effect
from notifications.services.running import ROWS_PER_ACCOUNT_MAX
from projects.models import Project
from tests.live import running_service, wait_until
from tests.notifications.smtp import mail_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MAILS = 12


def ask(project: Project, number: int) -> None:
    payload = {"template": "receipt", "to": f"buyer{number}@example.com", "context": {"amount": f"{number}.00 USD"}}
    with transaction.atomic():
        record_effect(
            project_id=project.pk, mode="test", kind="mail", effect_key=f"mail:receipt:pi_{number}", payload=payload
        )


def is_dead(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_no_mail_is_lost_and_a_second_copy_can_be_told(
    acme: Project, tmp_path: Path, sandbox: object, run_database: str
) -> None:
    for number in range(MAILS):
        ask(acme, number)
    rows = OutboxRow.objects.for_project(acme)
    with mail_server() as server:
        env = {
            "FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "outbox.before_stamp",
            "FAIL_ONCE_FILE": str(tmp_path / "once"), "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
            "EVENT_LEASE_SECONDS": "2",
        }  # fmt: skip
        with running_service(tmp_path, "http://127.0.0.1:9", env=env, parts=("worker",)) as service:
            killed = service.processes["worker"]
            wait_until(lambda: is_dead(killed), seconds=40, what="the worker died at the stamp")
            service.processes.pop("worker")
            handed_over = len(server.mails)
            assert handed_over >= 1 and rows.filter(status="done").count() < handed_over
            service.start("worker")
            service.processes["first worker"] = service.processes.pop("worker")
            service.start("worker")
            wait_until(lambda: not rows.unfinished().exists(), seconds=40, what="all mails sent")
    assert set(rows.values_list("status", flat=True)) == {"done"}
    sent = Counter(str(email.message_from_bytes(each)["Message-ID"]) for each in server.mails)
    # Mails that other cases left waiting may go out beside these.
    assert set(sent) >= {f"<{pk}@127.0.0.1>" for pk in rows.values_list("pk", flat=True)}
    twice = [message_id for message_id, times in sent.items() if times > 1]
    assert 1 <= len(twice) <= ROWS_PER_ACCOUNT_MAX and max(sent.values()) == 2
    assert Counter(server.recipients).keys() >= {f"buyer{number}@example.com" for number in range(MAILS)}
