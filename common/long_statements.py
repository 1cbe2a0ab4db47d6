"""The statement time-out of requests, lifted for work that nobody waits for and that reads whole tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def long_statements() -> Iterator[Any]:
    """Open a transaction, or a savepoint, whose statements may take any time; what was allowed before holds again after it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield cursor
        # After an error the roll-back puts it back.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
