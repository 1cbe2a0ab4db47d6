"""A new release is rolled out while webhooks arrive: the release before works on the new schema, and DDL waits briefly (F40)."""

import threading
import uuid
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from django.db import connections, transaction

from payments.models import SyncLease
from projects.models import Project
from tests.cast import AppUser
from tests.faults import release_before
from tests.faults.own_database import orm_on
from tests.faults.sender import Sender, check_invariants_of
from tests.live import ROOT, LiveService, running_service, wait_until
from tests.payments.deliveries import an_event, set_webhook_secret
from tests.payments.shop import STRIPE, Shop, checkout_body
from tests.scenarios.lifecycle import Life
from tests.servers import database_name, drop_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

# Between the deliveries of the background traffic, each about another customer.
PAUSE_SECONDS = 0.1
TAKES_A_LOCK = """
import sys
sys.argv = ["manage.py", "migrate"]
import django
django.setup()
from django.db import connection
with connection.schema_editor() as editor:
    editor.execute("ALTER TABLE payments_synclease ADD COLUMN of_the_next_release integer")
"""


class ByHand(Life):
    """A life that begins at the running service over HTTP, since this process's models are newer than its schema."""

    def buy_at(self, service: LiveService, token: str) -> None:
        """Open a checkout there and pay on Stripe's page."""
        answer = httpx.post(
            f"{service.url}{STRIPE}/checkout-session",
            json=checkout_body(self.prices[0]),
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        assert self.shop.pay(answer.json()["checkout_url"]).status_code == 303


class Traffic:
    """Deliveries without an end, in a thread of their own; a refused one comes again, as Stripe's would."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.refused = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            event = an_event("customer.subscription.updated")
            while self.sender.send(event) != 200 and not self._stop.wait(0.1):
                self.refused += 1
            self._stop.wait(PAUSE_SECONDS)


@pytest.mark.skipif(not release_before.find_commit(), reason="the commit before is not in this copy's history")
def test_f40_the_release_before_works_on_the_new_schema_and_hands_over_without_a_loss(
    tmp_path: Path, run_database: str, sandbox: Any, rng: Random, request: pytest.FixtureRequest
) -> None:
    old = tmp_path / "release-before"
    release_before.check_out(release_before.find_commit(), old)
    url = release_before.create_database("rolling")
    request.addfinalizer(lambda: drop_database(f"{database_name()}_rolling"))
    env = {"DATABASE_URL": url, "DATABASE_POOL": "true", "STRIPE_API_BASE": sandbox.url}
    release_before.migrate(old, env)
    account = sandbox.create_account("Acme")
    with running_service(tmp_path, sandbox.url, env=env, parts=("web", "worker"), root=old) as service:
        env["PUBLIC_BASE_URL"] = service.url
        made = release_before.make_a_shop(old, env, account)
        shop = Shop(Project(pk=uuid.UUID(made["project_id"])), account, sandbox)
        life = ByHand(shop, AppUser(None, ""), (shop.price(1000), shop.price(2500)))  # type: ignore[arg-type]
        life.buy_at(service, made["access_token"])
        sender = Sender(service.url, shop, rng)
        with Traffic(sender) as traffic:
            sender.send_all()
            release_before.migrate(ROOT, env)
            for step in (life.upgrade, life.ask_to_end, life.change_mind, life.renew):
                step()
            sender.send_all()
        assert traffic.refused == 0, sender.broken
        with orm_on(url):
            # The old worker alone finishes what it has in hand, on the new schema.
            sender.wait_drained()
        service.root = ROOT
        service.processes["old worker"] = service.processes.pop("worker")
        service.start("worker")
        with Traffic(sender):
            for step in (life.fail_to_renew, life.recover, life.refund_a_part):
                step()
            sender.send_all()
            service.stop("web")
            service.start("web")
            wait_until(service.is_up, seconds=40, what="the new web part")
            service.stop("old worker")
            life.end()
            sender.send_all()
        with orm_on(url):
            service.wait_ready()
            sender.wait_drained()
            sender.check_effects_once()
            check_invariants_of(shop.project)


def test_f40_ddl_gives_up_its_wait_before_webhooks_have_waited_long(acme: Project) -> None:
    set_webhook_secret(acme)
    SyncLease.objects.create(project=acme, mode="test", root="cus_1", token=uuid.uuid4(), until="2026-01-01T00:00:00Z")
    held, done = threading.Event(), threading.Event()

    def report() -> None:
        # A long reader, which DDL has to wait for, and behind the DDL everybody else who wants the table.
        with transaction.atomic():
            assert SyncLease.objects.filter(project=acme).count() == 1
            held.set()
            done.wait(30)
        connections.close_all()

    reader = threading.Thread(target=report)
    reader.start()
    held.wait(10)
    try:
        ddl = release_before.run_python(ROOT, {}, "-c", TAKES_A_LOCK)
        assert reader.is_alive()
    finally:
        done.set()
        reader.join()
    assert ddl.returncode != 0 and "lock timeout" in ddl.stderr, ddl.stderr[-2000:]
