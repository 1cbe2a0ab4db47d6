"""manage.py after_restore: a backup of six hours ago catches up with Stripe, and nobody gets a mail twice (F41)."""

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from config.embedded import postgres_binary
from notifications.models import OutboxRow
from notifications.tasks import run_outbox
from payments.models import WebhookEvent
from tests.payments.deliveries import deliver, events_of
from tests.reconcile.runs import FOLLOWING, run_command
from tests.scenarios.lifecycle import Life
from tests.servers import drop_database

ROOT = Path(__file__).resolve().parents[2]
RESTORED = "restored"
MAILS = ("mail", "alert")


def address(name: str) -> str:
    """Return the test cluster's address with another database's name."""
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def postgres(program: str, *arguments: str) -> None:
    done = subprocess.run([str(postgres_binary(program)), *arguments], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()


@contextmanager
def restored(dump: Path) -> Iterator[str]:
    """Put a dump into a database of its own, which Django knows under the alias RESTORED; yields its address."""
    name = f"{connections['default'].settings_dict['NAME']}_restored"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as cluster:
        cluster.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    postgres("pg_restore", "--no-owner", "--jobs", "2", "--dbname", address(name), str(dump))
    connections.settings[RESTORED] = {**connections.settings["default"], "NAME": name}
    try:
        yield address(name)
    finally:
        connection: Any = connections[RESTORED]
        connection.close()
        connection.close_pool()
        del connections[RESTORED]
        del connections.settings[RESTORED]
        drop_database(name)


def manage(url: str, stripe: str, *arguments: str) -> str:
    """Run a command of ours on another database."""
    environment = {
        **os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings", "STRIPE_API_BASE": stripe,
        "RECONCILE_SETTLE_SECONDS": "0", "ALLOWED_HOSTS": "127.0.0.1", "DEMO": "true",
    }  # fmt: skip
    environment.pop("PYTEST_VERSION", None)
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def rows_in(alias: str, project_id: Any) -> dict[str, list[dict[str, Any]]]:
    """Return every row that follows Stripe, without our own times."""
    found = {}
    for model in FOLLOWING:
        left_out = {"synced_at"} | ({"created_at"} if model.__name__ == "StripeCustomer" else set())
        rows = model._base_manager.using(alias).filter(project_id=project_id).order_by("pk").values()
        found[model.__name__] = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    return found


def process(url: str, stripe: str) -> None:
    manage(url, stripe, "shell", "-c", "from payments.tasks import process_due_events; process_due_events()")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_f41_a_restored_backup_catches_up_and_sends_nothing_twice(life: Life, tmp_path: Path) -> None:
    shop, project_id = life.shop, life.shop.project.pk
    life.buy()
    deliver(shop, events_of(shop))
    # The mails of the purchase wait in the outbox when the backup is made, and go out afterwards.
    waiting = OutboxRow.objects.for_project(project_id).filter(kind="mail", status="pending").count()
    assert waiting > 0
    dump, backup_made_at = tmp_path / "backup.dump", timezone.now().isoformat()
    postgres("pg_dump", "--format=custom", "--no-owner", "--dbname", os.environ["DATABASE_URL"], "--file", str(dump))
    life.renew()
    life.fail_to_renew()
    life.recover()
    life.refund_a_part()
    deliver(shop, events_of(shop))
    run_outbox()
    sent = OutboxRow.objects.for_project(project_id).filter(kind__in=MAILS, status="done")
    assert sent.count() > waiting
    before_the_loss = rows_in("default", project_id)
    with restored(dump) as url:
        assert rows_in(RESTORED, project_id) != before_the_loss
        said = manage(url, shop.sandbox.url, "after_restore", "--since", backup_made_at, "--project", shop.project.slug)
        assert f"{waiting} mails and alerts skipped" in said
        process(url, shop.sandbox.url)
        assert rows_in(RESTORED, project_id) == before_the_loss
        effects = OutboxRow._base_manager.using(RESTORED).filter(project_id=project_id)
        assert not effects.filter(kind__in=MAILS, status__in=["pending", "processing"]).exists()
        assert set(sent.values_list("effect_key", flat=True)) <= set(effects.values_list("effect_key", flat=True))
        inbox = WebhookEvent._base_manager.using(RESTORED).filter(project_id=project_id)
        followed = WebhookEvent.objects.for_project(project_id).exclude(status="ignored")
        assert set(followed.values_list("event_id", flat=True)) <= set(inbox.values_list("event_id", flat=True))
        assert not inbox.filter(source="reconcile", without_effects=False).exists()
        # What happens from now on is told as always.
        time.sleep(1.1)
        life.end()
        manage(url, shop.sandbox.url, "reconcile", "--kind", "events", "--project", shop.project.slug)
        process(url, shop.sandbox.url)
        ended = effects.get(effect_key__startswith="mail:subscription_canceled")
        assert ended.status == "pending"


def test_what_happened_after_the_loss_causes_what_it_always_does(life: Life) -> None:
    shop = life.shop
    life.buy()
    lost_at = timezone.now() - dt.timedelta(hours=1)
    since = (lost_at - dt.timedelta(hours=6)).isoformat()
    code, said = run_command(
        "after_restore", "--since", since, "--until", lost_at.isoformat(), "--project", shop.project.slug
    )
    assert code == 0, said
    assert set(WebhookEvent.objects.for_project(shop.project).values_list("without_effects", flat=True)) == {False}


def test_refuses_a_time_that_is_none_and_a_loss_before_the_backup(life: Life) -> None:
    life.buy()
    assert run_command("after_restore", "--since", "lately")[0] == 1
    assert run_command("after_restore", "--since", "1h", "--until", "2h")[0] == 1
    assert not WebhookEvent.objects.for_project(life.shop.project).exists()
