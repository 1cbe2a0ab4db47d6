"""A PostgreSQL of a test's own, as durable as production's, which may be stopped, killed and made read-only.

The service's processes and the test's own ORM both work on it; every other test keeps the cluster that all runs share.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import environ
import psutil
import psycopg
from django.db import connections

from config.embedded import Server, find_postgres, postgres_binary, start_postgres
from tests.servers import CACHE, close_connections, create_run_database, database_name, drop_database

NAME = "payments"
STOP_SECONDS = 20


@dataclass
class OwnDatabase:
    """One cluster that can be hurt and started again on its port."""

    directory: Path
    server: Server

    @property
    def url(self) -> str:
        """The address of its database."""
        return self.server.url

    def stop_at_once(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: every session is cut off, nothing is flushed in order."""
        self.server.process.send_signal(signal.SIGQUIT)
        self.server.process.wait(STOP_SECONDS)

    def crash(self) -> None:
        """Kill the server with all its processes: what was in its memory only is gone."""
        processes = [self.server.process, *self.server.process.children(recursive=True)]
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=STOP_SECONDS)

    def start(self) -> None:
        """Start again, recovering what the log holds."""
        self.server = start_postgres(self.directory, port=self.server.port, database=NAME)
        connections["default"].close()

    def set_for_all(self, name: str, value: str) -> None:
        """Change a setting of the running server for sessions that exist and for those to come."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(
                psycopg.sql.SQL("ALTER SYSTEM SET {} = {}").format(
                    psycopg.sql.Identifier(name), psycopg.sql.Literal(value)
                )
            )
            connection.execute("SELECT pg_reload_conf()")

    def show(self, name: str) -> str:
        """Return a setting as a new session has it."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(psycopg.sql.SQL("SHOW {}").format(psycopg.sql.Identifier(name))).fetchone()
        assert row is not None
        return str(row[0])


def make_own_database(directory: Path) -> OwnDatabase:
    """Start a cluster and copy a freshly migrated database into it."""
    database = OwnDatabase(directory, start_postgres(directory, database=NAME))
    # A clone, since a session on the template would keep other runs from cloning it.
    pristine = create_run_database(f"{database_name()}_pristine")
    shared = find_postgres(CACHE / "postgres", pristine)
    assert shared is not None, "the test cluster has gone"
    dumped = subprocess.run(
        [postgres_binary("pg_dump"), "--no-owner", shared.url], capture_output=True, check=True, timeout=60
    )
    drop_database(pristine)
    subprocess.run(
        # One commit: each of a thousand would wait for the disk.
        [postgres_binary("psql"), "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", database.url],
        input=dumped.stdout,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    return database


@contextmanager
def orm_on(url: str) -> Iterator[None]:
    """Let this process's ORM work on another database meanwhile."""
    connection = connections["default"]
    close_connections()
    before = dict(connection.settings_dict)
    wanted = environ.Env.db_url_config(url)
    connection.settings_dict.update({key: wanted[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")})
    # It dies and comes back: connections that were kept would be dead ones.
    kept = {name: value for name, value in before["OPTIONS"].items() if name != "pool"}
    connection.settings_dict["OPTIONS"] = kept
    try:
        yield
    finally:
        close_connections()
        connection.settings_dict.update(before)
