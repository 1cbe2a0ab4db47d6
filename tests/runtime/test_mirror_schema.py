"""The one-step migration of the mirror's tables makes what dj-stripe's own migrations make (docs/adr/0006)."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from config.embedded import postgres_binary

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.timeout(400)
def test_the_mirror_has_the_schema_of_dj_stripes_own_migrations(run_database: str) -> None:
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
    ours = schema_of(f"{base}/{run_database}")
    assert len(upstream) > 500
    assert ours == upstream
