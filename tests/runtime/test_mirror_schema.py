"""The one-step migration of the mirror's tables makes what dj-stripe's own migrations make (docs/adr/0006).

Those take a minute, so what they make is kept in a file, together with the hash of the migrations that made it. After an update of
dj-stripe: SOAK=1 WRITE_SCHEMA=1 .venv/bin/python -m pytest tests/runtime/test_mirror_schema.py
"""

import hashlib
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import djstripe
import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from config.embedded import POSTGRES_MAJOR, postgres_binary

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("djstripe_schema.txt")
TABLE = re.compile(r"CREATE TABLE (\S+) \((.*?)\n\);", re.DOTALL)


def schema_of(url: str) -> set[str]:
    """Return every statement of a schema, each table's columns as a set: their order differs and means nothing."""
    done = subprocess.run(
        [postgres_binary("pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "-t", "public.djstripe_*", url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    parts = set()
    for table, columns in TABLE.findall(done.stdout):
        parts |= {f"{table}: {column.strip().rstrip(',')}" for column in columns.strip().split("\n")}
    for statement in TABLE.sub("", done.stdout).split(";\n"):
        lines = [line for line in statement.split("\n") if line and not line.startswith(("--", "\\"))]
        parts.add(" ".join(lines))
    return parts


def upstream_hash() -> str:
    """Return the hash of dj-stripe's own migrations as they are installed, and of what writes a schema down."""
    digest = hashlib.sha256(str(POSTGRES_MAJOR).encode())
    for path in sorted((Path(djstripe.__file__).parent / "migrations").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def test_the_mirror_has_the_schema_of_dj_stripes_own_migrations(run_database: str) -> None:
    made_by, *upstream = KEPT.read_text().splitlines()
    assert made_by == upstream_hash(), "dj-stripe's migrations are others now: write their schema down anew (above)"
    assert len(upstream) > 500
    ours = schema_of(f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{run_database}")
    assert ours == set(upstream)


@pytest.mark.timeout(400)
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes a minute; make soak runs it")
def test_the_kept_schema_is_what_dj_stripes_own_migrations_make() -> None:
    base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    name = f"run_{os.getpid()}_upstream_{uuid.uuid4().hex[:8]}"
    assert settings.MIGRATION_MODULES == {"djstripe": "payments.djstripe_migrations"}
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "djstripe", "-v0", "--skip-checks"],
            cwd=ROOT,
            env={
                **{key: value for key, value in os.environ.items() if key != "PYTEST_VERSION"},
                "DATABASE_URL": f"{base}/{name}",
                "DJANGO_SETTINGS_MODULE": "tests.runtime.upstream_settings",
                "PYTHONPATH": str(ROOT),
            },
            check=True,
            timeout=360,
        )
        upstream = schema_of(f"{base}/{name}")
    finally:
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    made = "".join(f"{line}\n" for line in [upstream_hash(), *sorted(upstream)])
    if os.environ.get("WRITE_SCHEMA"):
        KEPT.write_text(made)
    assert KEPT.read_text() == made
