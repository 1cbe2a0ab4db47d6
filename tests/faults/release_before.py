"""The release before this one: its code in a folder of its own, and a database with its schema."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from config.embedded import find_postgres
from tests.servers import CACHE, ROOT, database_name

COMMAND_SECONDS = 240
# Joined migrations make what those before them made: to join them changes no schema.
OF_THE_SCHEMA = ("--", "*/migrations/*.py", ":(exclude)*/migrations/*squashed_*.py")
# Run by the release before, with its own models: a project wired to an account, and a user with a token.
MAKE_A_SHOP = """
import json, sys
import django
django.setup()
from types import SimpleNamespace
from tests.cast import create_app_user, create_developer, create_project
from tests.payments.deliveries import set_webhook_secret
from tests.payments.shop import connect_stripe
project = create_project(create_developer("alice"), "Acme")
connect_stripe(project, SimpleNamespace(**json.loads(sys.argv[1])))
set_webhook_secret(project)
user = create_app_user(project, "dana")
print(json.dumps({"project_id": str(project.pk), "access_token": user.access_token}))
"""


def find_commit() -> str:
    """Name the commit before the first change of the schema since the last release; empty where the history is not there.

    The last release is RELEASE_BEFORE (a tag, branch or commit), else the newest tag. Without either it cannot be told, and the
    newest change of the schema is taken for the only one.
    """
    release = os.environ.get("RELEASE_BEFORE") or _git("describe", "--tags", "--abbrev=0", "HEAD^")
    if release:
        # A name that is not known is returned as it is: to check it out fails, where to find nothing would skip the test.
        return _before_the_first(_git("log", "--format=%H", f"{release}..HEAD", *OF_THE_SCHEMA)) or release
    return _before_the_first(_git("log", "-1", "--format=%H", *OF_THE_SCHEMA))


def _before_the_first(newest_first: str) -> str:
    return _commit(f"{newest_first.split()[-1]}^") if newest_first else ""


def _commit(name: str) -> str:
    return _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def check_out(commit: str, directory: Path) -> None:
    """Put that commit's files into a folder, without touching this checkout."""
    directory.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(directory)], input=packed.stdout, check=True)


def create_database(name: str) -> str:
    """Create an empty database in the cluster of the tests and return its address."""
    cluster = find_postgres(CACHE / "postgres", f"{database_name()}_{name}")
    assert cluster is not None, "the test cluster has gone"
    maintenance = cluster.url.rpartition("/")[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"{database_name()}_{name}")))
    return cluster.url


def run_python(root: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a checkout with the settings of the product."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def migrate(root: Path, environment: Mapping[str, str]) -> None:
    """Bring the database to the schema of a checkout."""
    done = run_python(root, environment, "manage.py", "migrate", "--noinput", "-v", "0")
    assert done.returncode == 0, done.stderr[-2000:]


def make_a_shop(root: Path, environment: Mapping[str, str], account: Any) -> dict[str, str]:
    """Let a checkout's own code make a project and a user; returns the project's id and the user's token."""
    done = run_python(root, environment, "-c", MAKE_A_SHOP, json.dumps(vars(account)))
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))
