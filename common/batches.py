"""Statements that work off a large table in small steps."""

import time
from typing import Any

from django.db import connection


def repeat_statement(statement: str, values: list[Any], *, batch: int, seconds_max: float) -> int:
    """Run a statement, whose last value is how many rows it takes at most, until it takes fewer; returns how many in all.

    Each batch is committed by itself: a run that is cut off after `seconds_max` has lost nothing, and the next one goes on.
    """
    give_up_at = time.monotonic() + seconds_max
    done = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, [*values, batch])
            done += cursor.rowcount
            if cursor.rowcount < batch or time.monotonic() >= give_up_at:
                return done
