"""Records effects, each once. Call `record_effect` in the transaction that writes their cause.

Apps register what carries out a kind with `register_executor` when they start: a lower app's outbox can so reach upward.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection, transaction

from common.ids import uuid7
from notifications.models import OutboxRow

Status = OutboxRow.Status
# Carries out one row and returns what the peer answered. Raise an error with `retryable = False` to make a dead letter at once,
# EffectSkipped when nothing is to be done after all, EffectWaits when somebody has to mend something first; anything else is tried
# again.
Executor = Callable[[OutboxRow], Mapping[str, Any] | None]
# Told of a row that became a dead letter, in the transaction that says so.
DeadLetterNotice = Callable[[OutboxRow], None]

_executors: dict[str, Executor] = {}
_dead_letter_notices: list[DeadLetterNotice] = []


class EffectSkipped(Exception):
    """The effect is not to happen any more; the text says why and is kept."""


class EffectWaits(Exception):
    """The effect waits for a person to mend something, without using up attempts: `reason` is for machines, the text for people.

    With `holds_its_kind` the account's other effects of the kind wait as well: they would all meet the same.
    """

    def __init__(self, reason: str, text: str, *, holds_its_kind: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.holds_its_kind = holds_its_kind


def register_executor(kind: str, executor: Executor) -> None:
    """Say what carries out rows of a kind. Once per kind and process, in `AppConfig.ready`."""
    if kind in _executors and _executors[kind] is not executor:
        raise RuntimeError(f"two executors for outbox rows of kind {kind}")
    _executors[kind] = executor


def executor_of(kind: str) -> Executor | None:
    """Return what carries out rows of a kind; None when no app of this process does."""
    return _executors.get(kind)


def executable_kinds() -> list[str]:
    """Name the kinds that this process can carry out: rows of a newer release's kinds are left to its workers."""
    return sorted(_executors)


def register_dead_letter_notice(notice: DeadLetterNotice) -> None:
    """Say who is told of dead letters; once per process, in `AppConfig.ready`."""
    if notice not in _dead_letter_notices:
        _dead_letter_notices.append(notice)


def dead_letter_notices() -> list[DeadLetterNotice]:
    """Return who is told of dead letters."""
    return list(_dead_letter_notices)


def record_effect(
    *,
    project_id: uuid.UUID,
    mode: str,
    kind: str,
    effect_key: str,
    payload: Mapping[str, Any],
    end_user_id: uuid.UUID | None = None,
    cause: str = "",
    lane: str = "",
    skipped_because: str = "",
) -> bool:
    """Record an effect in the current transaction; False when its key was recorded before, which changes nothing.

    With `skipped_because` the key is taken and nothing will happen. One statement.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("an effect is recorded in the transaction of its cause")
    row = effect_row(
        project_id=project_id,
        mode=mode,
        kind=kind,
        effect_key=effect_key,
        payload=payload,
        end_user_id=end_user_id,
        cause=cause,
        lane=lane,
        skipped_because=skipped_because,
    )
    return _insert(row)


def effect_row(
    *,
    project_id: uuid.UUID,
    mode: str,
    kind: str,
    effect_key: str,
    payload: Mapping[str, Any],
    end_user_id: uuid.UUID | None = None,
    cause: str = "",
    lane: str = "",
    skipped_because: str = "",
) -> OutboxRow:
    """Return an effect's row unsaved, for a caller that inserts it together with other rows of the same transaction."""
    return OutboxRow(
        id=uuid7(),
        project_id=project_id,
        mode=mode,
        kind=kind,
        effect_key=effect_key[:255],
        payload=dict(payload),
        end_user_id=end_user_id,
        cause=cause[:255],
        lane=lane[:255],
        status=Status.SKIPPED if skipped_because else Status.PENDING,
        error=skipped_because,
    )


_INSERT = """
    INSERT INTO notifications_outboxrow
        (id, project_id, mode, kind, effect_key, end_user_id, payload, cause, lane, status, attempts, error)
    VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, 0, %s)
    ON CONFLICT (project_id, mode, effect_key) DO NOTHING
"""


def _insert(row: OutboxRow) -> bool:
    payload = OutboxRow._meta.get_field("payload").get_db_prep_save(row.payload, connection)
    values = [
        row.id, row.project_id, row.mode, row.kind, row.effect_key, row.end_user_id, payload, row.cause, row.lane,
        str(row.status), row.error,
    ]  # fmt: skip
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        return bool(cursor.rowcount == 1)
