"""Rows of several tables, written in one statement: one round trip, and all of them or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.db.models.constants import OnConflict
from django.db.models.sql import InsertQuery


@dataclass(frozen=True)
class Rows:
    """Rows of one table. One whose key is taken is left as it is, or overwritten in `update_fields` when they are given."""

    of: Sequence[Model]
    update_fields: Sequence[str] = ()
    unique_fields: Sequence[str] = ()


def insert_together(*parts: Rows) -> int:
    """Insert rows of one or more tables in one statement; returns how many of the last part with rows were written.

    Give each row its id; signals and `save` are not called. The parts do not see each other's rows; foreign keys among them
    are checked when all are there.
    """
    statements = [_compiled(part) for part in parts if part.of]
    if not statements:
        return 0
    *first, (last, last_params) = statements
    named = ", ".join(f"part_{number} AS ({sql})" for number, (sql, _) in enumerate(first))
    params = [param for _, given in first for param in given] + list(last_params)
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(f"WITH {named} {last}" if named else last, params)
        return int(cursor.rowcount)


def _compiled(part: Rows) -> tuple[str, tuple[Any, ...]]:
    meta = type(part.of[0])._meta
    query = InsertQuery(
        type(part.of[0]),
        on_conflict=OnConflict.UPDATE if part.update_fields else OnConflict.IGNORE,
        update_fields=[meta.get_field(name) for name in part.update_fields],
        unique_fields=[meta.get_field(name) for name in part.unique_fields],
    )
    query.insert_values(meta.local_concrete_fields, list(part.of))
    ((sql, params),) = query.get_compiler(connection=connection).as_sql()
    return sql, tuple(params)
