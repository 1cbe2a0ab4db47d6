"""Re-encrypt every stored secret under the first key of the ring, while the service runs.

A model that stores ciphertexts names their columns in `ENCRYPTED_COLUMNS` and says in `encryption_context(column)` what
each is bound to; nothing else needs to be registered. Each batch is one short transaction over locked rows, and a
finished row is recognised by its key id, so a run that was killed is continued by starting it again.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Count, F, Func, Q, Value

from common.encryption import VERSION, DecryptionError, decrypt, encrypt, key_id_of, primary_key_id

BATCH_SIZE = 200
# A writer that read a row before its rotation may put the old ciphertext back; another pass finds it.
MAX_PASSES = 5


@dataclass
class RotationReport:
    """What a run did. `failures` name row, column and key id, never a value."""

    rotated: int = 0
    failures: list[str] = field(default_factory=list)


def encrypted_columns() -> Iterator[tuple[type[models.Model], str]]:
    """Yield every column of every model that holds ciphertexts."""
    for model in apps.get_models():
        for column in getattr(model, "ENCRYPTED_COLUMNS", ()):
            yield model, column


def count_by_key() -> dict[str, Counter[str]]:
    """Count the stored secrets per column and key id."""
    counts: dict[str, Counter[str]] = {}
    for model, column in encrypted_columns():
        key_id = Func(F(column), Value(":"), Value(2), function="split_part", output_field=models.TextField())
        rows = _manager(model).exclude(**{column: ""}).annotate(key_id=key_id).values("key_id").annotate(n=Count("pk"))
        counter = Counter({row["key_id"]: row["n"] for row in rows.order_by("key_id")})
        counts[f"{model._meta.db_table}.{column}"] = counter
    return counts


def remaining() -> int:
    """Count the secrets that are not yet under the key that writes."""
    primary = primary_key_id()
    return sum(n for counter in count_by_key().values() for key_id, n in counter.items() if key_id != primary)


def rotate_keys(*, batch_size: int = BATCH_SIZE) -> RotationReport:
    """Bring every secret under the first key of the ring. A secret that does not decrypt is reported and left alone."""
    report = RotationReport()
    for _ in range(MAX_PASSES):
        report.failures = []
        before = report.rotated
        for model in dict.fromkeys(model for model, _ in encrypted_columns()):
            _rotate_model(model, batch_size, report)
        if report.rotated == before or not remaining():
            break
    return report


def _rotate_model(model: type[models.Model], batch_size: int, report: RotationReport) -> None:
    columns: tuple[str, ...] = model.ENCRYPTED_COLUMNS  # type: ignore[attr-defined]
    prefix = f"{VERSION}:{primary_key_id()}:"
    stale = Q()
    for column in columns:
        stale |= ~Q(**{column: ""}) & ~Q(**{f"{column}__startswith": prefix})
    last_pk: Any = None
    while True:
        with transaction.atomic():
            rows = _manager(model).filter(stale).order_by("pk").select_for_update(no_key=True)
            if last_pk is not None:
                rows = rows.filter(pk__gt=last_pk)
            batch = list(rows[:batch_size])
            for row in batch:
                _rotate_row(row, columns, report)
        if len(batch) < batch_size:
            return
        last_pk = batch[-1].pk


def _rotate_row(row: Any, columns: tuple[str, ...], report: RotationReport) -> None:
    """Re-encrypt one locked row. Only the columns that changed are written, so nothing else of the row is touched."""
    changed = {}
    for column in columns:
        stored = getattr(row, column)
        context = row.encryption_context(column)
        try:
            if stored and key_id_of(stored) != primary_key_id():
                changed[column] = encrypt(decrypt(stored, context), context)
        except DecryptionError as error:
            report.failures.append(f"{row._meta.db_table} {row.pk}: {error}")
    if changed:
        _manager(type(row)).filter(pk=row.pk).update(**changed)
        report.rotated += len(changed)


def _manager(model: type[models.Model]) -> "models.Manager[Any]":
    return model._base_manager
