"""The migrations of version 0.1.0 are joined, one per app: cheap for a new database, nothing for an old one (docs/adr/0045).

What both ways make is compared by `SOAK=1 .venv/bin/python -m pytest tests/runtime/test_migrations.py`, which takes a minute.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState, StateApps

from config.embedded import postgres_binary
from tests.faults.release_before import create_database, run_python
from tests.live import ROOT
from tests.servers import database_name, drop_database

JOINED = {"projects", "notifications", "moderation", "entitlements", "licenses", "payments", "backoffice"}
# 1,516 when they were joined, 23,515 before; a migration that changes one table adds up to two hundred.
MOST_RENDERED_MODELS = 6000
RIGHTS = """
    SELECT g.name, c.app_label, p.codename, p.name FROM auth_group g
    JOIN auth_group_permissions o ON o.group_id = g.id JOIN auth_permission p ON p.id = o.permission_id
    JOIN django_content_type c ON c.id = p.content_type_id ORDER BY 1, 2, 3
"""
# An installation of a while ago: some apps where the joined migrations end, some before, one not there yet.
OF_BEFORE = """
import django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
executor.loader.replace_migrations = False
executor.loader.build_graph()
executor.migrate([
    ("projects", "0004_backoffice_reads"),
    ("notifications", "0006_staff_senders"),
    ("moderation", "0006_action_log_forgets_people"),
    ("entitlements", "0025_credit_texts_can_be_redacted"),
    ("licenses", "0009_checks_asked_for"),
    ("payments", "0013_license_purchases"),
])
"""


@contextmanager
def empty_database(alias: str) -> Iterator[DatabaseWrapper]:
    """Give an empty database a name of its own among Django's connections."""
    url = create_database(alias)
    settings = {**connections["default"].settings_dict, "NAME": url.rpartition("/")[2], "OPTIONS": {}}
    connection = connections[alias] = DatabaseWrapper(settings, alias)
    try:
        yield connection
    finally:
        connection.close()
        del connections[alias]
        drop_database(f"{database_name()}_{alias}")


def schema_of(url: str) -> list[str]:
    """Return the lines of a schema but for empty ones, of which some functions had other ones before."""
    dump = [str(postgres_binary("pg_dump")), "--schema-only", "--no-owner", "--restrict-key=0", url]
    done = subprocess.run(dump, capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.split("\n") if line.strip()]


def rights_in(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url) as session:
        return session.execute(RIGHTS).fetchall()


def test_an_empty_database_is_made_by_one_migration_per_app_that_replaces_all_of_before() -> None:
    loader = MigrationLoader(None)
    assert {app for app, _ in loader.replacements} == JOINED
    for (app, name), migration in loader.replacements.items():
        last = int(name.split("_")[2])
        of_before = {
            key for key in loader.disk_migrations if key[0] == app and key[1] != name and int(key[1][:4]) <= last
        }
        assert set(migration.replaces) == of_before
        assert len(migration.replaces) == len(of_before) == last
        assert not of_before & set(loader.graph.nodes)
        assert loader.graph.root_nodes(app) == [(app, name)]


def test_a_database_of_before_has_nothing_to_do_but_to_note_it() -> None:
    with empty_database("noted") as connection:
        recorder = MigrationRecorder(connection)
        recorder.ensure_schema()
        disk = MigrationLoader(None)
        for app, name in set(disk.disk_migrations) - set(disk.replacements):
            recorder.record_applied(app, name)
        executor = MigrationExecutor(connection)
        targets = executor.loader.graph.leaf_nodes()
        assert executor.migration_plan(targets) == []
        executor.migrate(targets)
        assert set(disk.replacements) <= set(recorder.applied_migrations())
        assert connection.introspection.table_names() == ["django_migrations"]


def test_making_a_database_does_not_render_every_model_for_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = 0
    render_multiple = StateApps.render_multiple

    def count(apps: StateApps, states: list[object]) -> None:
        nonlocal rendered
        rendered += len(states)
        render_multiple(apps, states)  # type: ignore[arg-type]

    monkeypatch.setattr(StateApps, "render_multiple", count)
    loader = MigrationLoader(None)
    state = ProjectState(real_apps=loader.unmigrated_apps)
    plan = dict.fromkeys(key for leaf in loader.graph.leaf_nodes() for key in loader.graph.forwards_plan(leaf))
    for key in plan:
        # Rendered before each, as Django's executor has it.
        assert state.apps
        loader.graph.nodes[key].mutate_state(state, preserve=False)
    assert 0 < rendered <= MOST_RENDERED_MODELS, "a new migration is dear on an empty database: see docs/adr/0045"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes a minute; make soak runs it")
def test_the_migrations_of_before_make_the_same_schema_and_rights(
    run_database: str, request: pytest.FixtureRequest
) -> None:
    url = create_database("by_steps")
    request.addfinalizer(lambda: drop_database(f"{database_name()}_by_steps"))
    environment = {"DATABASE_URL": url, "DATABASE_POOL": "false"}
    done = run_python(ROOT, environment, "-c", OF_BEFORE)
    assert done.returncode == 0, done.stderr[-2000:]
    done = run_python(ROOT, environment, "manage.py", "migrate", "--noinput")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "payments.0014_rights_of_roles... OK" in done.stdout and "0001_squashed_0017" not in done.stdout
    at_once = f"{url.rpartition('/')[0]}/{run_database}"
    assert schema_of(url) == schema_of(at_once)
    assert rights_in(url) == rights_in(at_once)
