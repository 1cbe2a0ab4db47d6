"""The PostgreSQL and Valkey that a test run works on.

One PostgreSQL cluster under .cache/test serves every run in this checkout, also runs at the same time: it starts with
the first and stops with the last. Each pytest process gets a database of its own, cloned from a template that is
migrated once per state of the migrations, and a Valkey of its own.
"""

import atexit
import base64
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from psycopg import sql

from config.embedded import (
    NOT_DURABLE,
    POSTGRES_MAJOR,
    Server,
    find_postgres,
    postgres_binary,
    start_postgres,
    start_redis,
    stop_process,
    write_private,
)

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "test"
TEMPLATES = CACHE / "templates"
TEMPLATE_UNUSED_SECONDS = 6 * 3600
LIMITED_BY_ADDRESS = ("checkout", "billing", "entitlement-tokens", "refused-tokens", "reports")
DATABASE_NAME = re.compile(r"^run_(?P<pid>\d+)_")

_users_lock: IO[str] | None = None
_redis: Server | None = None


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold a lock among all test runs of this checkout."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def database_name() -> str:
    """Return the name of this process's own database; the pid in it tells whose it is."""
    return f"run_{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def environment() -> dict[str, str]:
    """Start what the run needs and return the settings' environment.

    Everything is overridden, so that a developer's own DATABASE_URL is never touched by a test.
    """
    global _users_lock, _redis
    with _locked("admin.lock"):
        # Opened for as long as this process lives: the kernel drops the lock however the process ends.
        _users_lock = (CACHE / "users.lock").open("a")
        fcntl.flock(_users_lock, fcntl.LOCK_SH)
        # Workers inherit the cluster that the first process started; each holds its own share of the lock.
        cluster = find_postgres(CACHE / "postgres") or start_postgres(
            CACHE / "postgres", settings=NOT_DURABLE | {"max_connections": "400"}, outlives_parent=True
        )
        keys = _keys()
    atexit.register(_release)
    atexit.register(close_connections)
    var_dir = Path(tempfile.mkdtemp(prefix="payments-test-"))
    atexit.register(shutil.rmtree, var_dir, ignore_errors=True)
    _redis = start_redis(var_dir / "redis", persistent=False)
    atexit.register(_redis.stop)
    return keys | {
        "DATABASE_URL": f"{cluster.url.rpartition('/')[0]}/{database_name()}",
        "DATABASE_POOL": "false",
        "REDIS_URL": _redis.url,
        "VAR_DIR": str(var_dir),
        "DEMO": "false",
        "DEBUG": "false",
        "PUBLIC_BASE_URL": "http://testserver",
        "ALLOWED_HOSTS": "testserver,127.0.0.1,localhost",
        # Nothing listens there: a test that means to reach Stripe asks for the fixture `sandbox`.
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "GITHUB_API_BASE": "http://127.0.0.1:9",
        "STRIPE_MAX_NETWORK_RETRIES": "0",
        # The sandbox lets any number of calls through; the tests of the budget set figures of their own.
        "STRIPE_CALLS_PER_SECOND_LIVE": "0",
        "STRIPE_CALLS_PER_SECOND_TEST": "0",
        "OUTGOING_ALLOWED_HOSTS": "",
        "WEBHOOK_ALLOWED_HOSTS": "",
        "TRUSTED_PROXY_COUNT": "0",
        # All tests of a run come from one address. Those about limits set figures of their own.
        "RATE_LIMITS": ",".join(f"{name}-address=1000000/60" for name in LIMITED_BY_ADDRESS),
        "CLOCK_FILE": "",
        # Playwright's synchronous API keeps an event loop running in this thread, which Django takes for async code.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
    }


def offline_environment() -> dict[str, str]:
    """Return an environment that lets the settings load where no server is needed (mypy, makemigrations --check)."""
    with _locked("admin.lock"):
        return _keys() | {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none", "DATABASE_POOL": "false"}


def _release() -> None:
    """Drop this process's database; stop the cluster when no other run uses it."""
    if _users_lock is None:
        return
    with _locked("admin.lock"):
        cluster = find_postgres(CACHE / "postgres")
        if cluster is not None:
            with suppress(psycopg.Error), psycopg.connect(cluster.url, autocommit=True) as connection:
                _drop(connection, database_name())
        fcntl.flock(_users_lock, fcntl.LOCK_UN)
        try:
            fcntl.flock(_users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if cluster is not None:
            stop_process(cluster.process, signal.SIGINT)


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def template_key() -> str:
    """Return the hash of everything that decides the schema: our migrations and the locked versions of the others."""
    digest = hashlib.sha256(str(POSTGRES_MAJOR).encode())
    files = sorted(path for path in ROOT.glob("*/*migrations/*.py") if ".venv" not in path.parts)
    for path in [*files, ROOT / "requirements" / "run.lock"]:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def create_run_database(name: str = "") -> str:
    """Clone the migrated template under this process's name (or another) and return the name.

    Needs Django to be set up with this name, since the first run after a change migrates the template.
    """
    name = name or database_name()
    template = f"template_{template_key()}"
    cluster = find_postgres(CACHE / "postgres")
    assert cluster is not None, "the test cluster has gone"
    with _locked("template.lock"), psycopg.connect(cluster.url, autocommit=True) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        if template not in names:
            _build_template(connection, template)
        _used(template)
        _keep_dump(template)
        _drop_abandoned(connection, names - {template})
        _drop(connection, name)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


def drop_database(name: str) -> None:
    """Drop one database of the test cluster, closing whatever is connected to it."""
    cluster = find_postgres(CACHE / "postgres")
    if cluster is not None:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            _drop(connection, name)


def _build_template(connection: psycopg.Connection, template: str) -> None:
    """Make the template: from its dump where one was kept, else by migrating, which takes ten times as long."""
    building = f"building_{template}"
    _drop(connection, building)
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(building)))
    cluster = find_postgres(CACHE / "postgres", building)
    assert cluster is not None, "the test cluster has gone"
    dump = TEMPLATES / f"{template}.sql"
    if dump.exists():
        _load(dump, cluster.url)
    else:
        _migrate(building)
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building), sql.Identifier(template))
    )


def _load(dump: Path, url: str) -> None:
    load = [str(postgres_binary("psql")), "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", str(dump)]
    subprocess.run([*load, url], stdout=subprocess.DEVNULL, check=True, timeout=60)


def migrate_cluster(data_dir: Path) -> None:
    """Give the database of a cluster of its own the schema, where it is kept already: to migrate takes some seconds."""
    dump = TEMPLATES / f"template_{template_key()}.sql"
    if dump.exists():
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        server = start_postgres(data_dir, database="payments")
        try:
            _load(dump, server.url)
        finally:
            server.stop()


def _keep_dump(template: str) -> None:
    dump = TEMPLATES / f"{template}.sql"
    if dump.exists():
        return
    cluster = find_postgres(CACHE / "postgres", template)
    assert cluster is not None, "the test cluster has gone"
    made = dump.with_suffix(f".{os.getpid()}")
    arguments = [str(postgres_binary("pg_dump")), "--no-owner", "-f", str(made), cluster.url]
    subprocess.run(arguments, check=True, timeout=60)
    made.rename(dump)


def _migrate(building: str) -> None:
    from django.core.management import call_command
    from django.db import connections

    django_connection = connections["default"]
    own_name = django_connection.settings_dict["NAME"]
    close_connections()
    try:
        django_connection.settings_dict["NAME"] = building
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        close_connections()
        django_connection.settings_dict["NAME"] = own_name


def close_connections() -> None:
    """End this thread's connection and those that wait in the pool: the next one goes where the settings then say."""
    from django.db import connections

    connection: Any = connections["default"]
    connection.close()
    connection.close_pool()


def _used(template: str) -> None:
    TEMPLATES.mkdir(exist_ok=True)
    (TEMPLATES / template).touch()


def _drop_abandoned(connection: psycopg.Connection, names: set[str]) -> None:
    """Drop databases of runs that were killed, and templates that nobody used for hours."""
    for name in names:
        match = DATABASE_NAME.match(name)
        if match and not psutil.pid_exists(int(match["pid"])):
            _drop(connection, name)
        if name.startswith("template_"):
            stamp = TEMPLATES / name
            if not stamp.exists() or time.time() - stamp.stat().st_mtime > TEMPLATE_UNUSED_SECONDS:
                _drop(connection, name)
                stamp.unlink(missing_ok=True)
                stamp.with_suffix(".sql").unlink(missing_ok=True)


def _keys() -> dict[str, str]:
    """Return keys for tests, made once per checkout since an RSA key takes a while."""
    rsa_file, ed_file = CACHE / "oidc.pem", CACHE / "entitlement.pem"
    if not rsa_file.exists():
        write_private(rsa_file, _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    if not ed_file.exists():
        write_private(ed_file, _pem(ed25519.Ed25519PrivateKey.generate()))
    return {
        "SECRET_KEY": "tests-only-0123456789abcdefghijklmnopqrstuvwxyz-0123456789",
        "ENCRYPTION_KEYS": f"t1:{base64.b64encode(bytes(range(32))).decode()}",
        "OIDC_PRIVATE_KEY": rsa_file.read_text(),
        "ENTITLEMENT_SIGNING_KEY": ed_file.read_text(),
    }


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
