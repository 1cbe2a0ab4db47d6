"""manage.py rotate_encryption_keys."""

import base64
import io
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, models

from common.encryption import UnknownEncryptionKey, key_id_of
from common.key_rotation import count_by_key, encrypted_columns, remaining, rotate_keys
from payments.models import StripeConfig, StripeCredentials
from payments.services.stripe_config import put_stripe_config
from projects.models import IdentityProvider
from tests.faults.own_database import orm_on
from tests.payments.actors import create_project
from tests.servers import CACHE, create_run_database, drop_database, find_postgres

NEW_KEY = f"n2:{base64.b64encode(b'n' * 32).decode()}"


@pytest.fixture(scope="module", autouse=True)
def own_database(run_database: str, django_db_blocker: Any) -> Iterator[str]:
    """A database of this file's own; returns its address.

    Rotating goes over every row, and other tests leave secrets that nothing can read.
    """
    with django_db_blocker.unblock():
        name = create_run_database(f"{run_database}_rotation")
        cluster = find_postgres(CACHE / "postgres", name)
        assert cluster is not None
        with orm_on(cluster.url):
            yield cluster.url
        drop_database(name)


@pytest.fixture
def old_key(settings: Any) -> Iterator[str]:
    """The ring's only key before; afterwards everything in this database is brought back under it."""
    before = str(settings.ENCRYPTION_KEYS)
    yield before
    settings.ENCRYPTION_KEYS = f"{before},{NEW_KEY}"
    assert not rotate_keys().failures
    settings.ENCRYPTION_KEYS = before


def create_credentials(mode: str = "test") -> StripeCredentials:
    project = create_project()
    row = StripeCredentials(config=StripeConfig.objects.create(project=project), project=project, mode=mode)
    for field in ("secret_key", "publishable_key", "webhook_secret", "previous_webhook_secret"):
        row.set_secret(field, f"{field}-{uuid.uuid4().hex}")
    row.save()
    return row


def secrets_of(row: StripeCredentials) -> dict[str, str]:
    row.refresh_from_db()
    return {field: row.get_secret(field) for field in StripeCredentials.ENCRYPTED_COLUMNS}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate_encryption_keys", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_every_secret_comes_under_the_first_key_and_reads_the_same(settings: Any, old_key: str) -> None:
    rows = [create_credentials(), create_credentials("live")]
    provider = IdentityProvider(project=create_project(), kind="hs256", issuer="i", audience="a")
    provider.set_hs256_secret("shared-secret-canary-0123456789abcdef")
    provider.save()
    before = [secrets_of(row) for row in rows]
    settings.ENCRYPTION_KEYS = f"{NEW_KEY},{old_key}"
    with pytest.raises(CommandError, match="still need a key"):
        run("--check")
    output = run()
    assert "payments_stripecredentials.secret_key  n2: " in output
    assert "projects_identityprovider.hs256_secret_encrypted  n2: " in output
    assert "canary" not in output
    run("--check")
    settings.ENCRYPTION_KEYS = NEW_KEY
    assert [secrets_of(row) for row in rows] == before
    provider.refresh_from_db()
    assert provider.hs256_secret() == "shared-secret-canary-0123456789abcdef"


def test_a_second_run_changes_nothing(settings: Any, old_key: str) -> None:
    row = create_credentials()
    settings.ENCRYPTION_KEYS = f"{NEW_KEY},{old_key}"
    run()
    row.refresh_from_db()
    stored = row.secret_key
    assert run().startswith("0 secrets re-encrypted")
    row.refresh_from_db()
    assert row.secret_key == stored


def test_without_the_old_key_only_unrotated_rows_fail_and_are_named(settings: Any, old_key: str) -> None:
    rotated, left = create_credentials(), create_credentials()
    settings.ENCRYPTION_KEYS = f"{NEW_KEY},{old_key}"
    run()
    settings.ENCRYPTION_KEYS = old_key
    left.set_secret("secret_key", "sk_test_left0123456789")
    left.save()
    settings.ENCRYPTION_KEYS = NEW_KEY
    assert secrets_of(rotated)["secret_key"].startswith("secret_key-")
    with pytest.raises(UnknownEncryptionKey, match=r"payments_stripecredentials.secret_key .*'t1'"):
        secrets_of(left)
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("rotate_encryption_keys", stdout=out, stderr=out)
    assert str(left.pk) in out.getvalue()
    assert "left0123456789" not in out.getvalue()


def test_a_run_that_was_killed_is_continued(settings: Any, old_key: str, own_database: str) -> None:
    rows = [create_credentials() for _ in range(150)]
    before = [secrets_of(row) for row in rows]
    ring = f"{NEW_KEY},{old_key}"
    settings.ENCRYPTION_KEYS = ring
    settings_of_it = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENCRYPTION_KEYS": ring,
        "DATABASE_URL": own_database,
    }
    environment = os.environ | settings_of_it
    command = [sys.executable, "manage.py", "rotate_encryption_keys", "--batch-size", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while count_by_key()["payments_stripecredentials.secret_key"]["n2"] < 5:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert remaining() > 0
    # Nothing is half done: whichever key a secret is under now, it reads the same.
    assert [secrets_of(row) for row in rows] == before
    run()
    assert remaining() == 0
    settings.ENCRYPTION_KEYS = NEW_KEY
    assert [secrets_of(row) for row in rows] == before


def test_keys_saved_meanwhile_are_not_lost(settings: Any, old_key: str) -> None:
    rows = [create_credentials() for _ in range(20)]
    settings.ENCRYPTION_KEYS = f"{NEW_KEY},{old_key}"
    done = threading.Event()

    def rotate() -> None:
        while not done.is_set():
            rotate_keys(batch_size=1)
        connection.close()

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        for row in rows:
            changes = {"test_publishable_key": f"pk_test_{row.pk.hex}", "test_webhook_secret": f"whsec_{row.pk.hex}"}
            put_stripe_config(project=row.project, changes=changes)
    finally:
        done.set()
        thread.join(timeout=60)
    run()
    settings.ENCRYPTION_KEYS = NEW_KEY
    for row in rows:
        stored = secrets_of(row)
        assert stored["publishable_key"] == f"pk_test_{row.pk.hex}"
        assert stored["webhook_secret"] == f"whsec_{row.pk.hex}"
        assert stored["secret_key"].startswith("secret_key-")
        assert stored["previous_webhook_secret"].startswith("webhook_secret-")


def test_no_ciphertext_lies_in_a_column_that_the_rotation_does_not_know() -> None:
    create_credentials()
    known = {(model._meta.db_table, column) for model, column in encrypted_columns()}
    found = set()
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            if isinstance(field, models.CharField | models.TextField):
                rows = model._base_manager.filter(
                    **{f"{field.attname}__regex": "^v1:[A-Za-z0-9]+:[A-Za-z0-9+/=]{28,}$"}
                )
                if rows.exists():
                    found.add((model._meta.db_table, field.column))
    assert ("payments_stripecredentials", "secret_key") in found
    assert found <= known


def test_a_batch_size_of_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        run("--batch-size", "0")


def test_the_stored_secret_of_another_project_or_mode_does_not_open_here() -> None:
    one, two = create_credentials(), create_credentials()
    live = StripeCredentials(config=one.config, project=one.project, mode="live", secret_key=one.secret_key)
    swapped = StripeCredentials(config=one.config, project=one.project, mode="test", publishable_key=one.secret_key)
    two.secret_key = one.secret_key
    for row, field in ((two, "secret_key"), (live, "secret_key"), (swapped, "publishable_key")):
        assert key_id_of(getattr(row, field)) == "t1"
        with pytest.raises(Exception, match="does not decrypt"):
            row.get_secret(field)
