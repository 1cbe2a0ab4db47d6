"""Records effects, each once. Call `record_effect` in the transaction that writes their cause.

Apps register what carries out a kind with `register_executor` when they start: a lower app's outbox can so reach upward.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict, Unpack

import structlog
from django.db import connection
from django.db.models.expressions import RawSQL

from common.ids import uuid7
from common.inserts import Rows, insert_together
from notifications.event_types import APP_EVENT, patterns_of
from notifications.models import OutboxRow

Status = OutboxRow.Status
# Carries out one row and returns what the peer answered. Raise an error with `retryable = False` to make a dead letter at once,
# EffectSkipped when nothing is to be done after all, EffectWaits when somebody has to mend something first; anything else is tried
# again.
Executor = Callable[[OutboxRow], Mapping[str, Any] | None]
# Told of a row that became a dead letter, in the transaction that says so.
DeadLetterNotice = Callable[[OutboxRow], None]
# Told of a row that its peer has taken, in the transaction that marks it as done: whoever stamps `…_sent_at` does it here.
DoneNotice = Callable[[OutboxRow], None]

NO_LISTENER = "No endpoint listens."
# Asked by the statement that writes the row: it costs none of its own, and whoever begins to listen a moment later is told of
# nothing that came before.
_LISTENED_TO = """CASE WHEN EXISTS (
        SELECT 1 FROM notifications_webhookendpoint listener WHERE listener.project_id = %s AND listener.mode = %s
          AND listener.disabled_at IS NULL AND listener.event_types && %s::varchar[]
    ) THEN %s ELSE %s END"""

_executors: dict[str, Executor] = {}
_peers: dict[str, str] = {}
_dead_letter_notices: list[DeadLetterNotice] = []
_done_notices: dict[str, list[DoneNotice]] = {}


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


def register_executor(kind: str, executor: Executor, *, peer: str = "") -> None:
    """Say what carries out rows of a kind. Once per kind and process, in `AppConfig.ready`.

    `peer` names what the kinds of several accounts ask: while it hangs, it may take up a part of a worker's threads only.
    """
    if kind in _executors and _executors[kind] is not executor:
        raise RuntimeError(f"two executors for outbox rows of kind {kind}")
    _executors[kind] = executor
    if peer:
        _peers[kind] = peer


def executor_of(kind: str) -> Executor | None:
    """Return what carries out rows of a kind; None when no app of this process does."""
    return _executors.get(kind)


def peers_of_kinds() -> dict[str, str]:
    """Name the peer of each kind that shares one."""
    return dict(_peers)


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


def register_done_notice(kind: str, notice: DoneNotice) -> None:
    """Say who is told when rows of a kind are done; once per process, in `AppConfig.ready`."""
    notices = _done_notices.setdefault(kind, [])
    if notice not in notices:
        notices.append(notice)


def done_notices(kind: str) -> list[DoneNotice]:
    """Return who is told when rows of a kind are done."""
    return list(_done_notices.get(kind, ()))


class Effect(TypedDict):
    """What an effect is. `lane` keeps an order, `skipped_because` takes the key and lets nothing happen."""

    kind: str
    effect_key: str
    payload: Mapping[str, Any]
    end_user_id: NotRequired[uuid.UUID | None]
    lane: NotRequired[str]
    skipped_because: NotRequired[str]


class AccountEffect(Effect):
    """An effect with the project and mode that it is of, and the event, request or person that caused it."""

    project_id: uuid.UUID
    mode: str
    cause: NotRequired[str]


def record_effect(**effect: Unpack[AccountEffect]) -> bool:
    """Record an effect in the current transaction; False when its key was recorded before, which changes nothing.

    One statement.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("an effect is recorded in the transaction of its cause")
    return insert_together(Rows([effect_row(**effect)])) == 1


def _request_in_hand() -> str:
    """Name the request that is being answered, by the id that its log lines have."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return f"request:{request_id}" if request_id else ""


def effect_row(**effect: Unpack[AccountEffect]) -> OutboxRow:
    """Return an effect's row unsaved, for a caller that inserts it together with other rows of the same transaction.

    An event for the app that no endpoint listens to is written as skipped: it is kept, and leads to nothing.
    """
    skipped_because = effect.get("skipped_because", "")
    row = OutboxRow(
        id=uuid7(),
        project_id=effect["project_id"],
        mode=effect["mode"],
        kind=effect["kind"],
        effect_key=effect["effect_key"][:255],
        payload=dict(effect["payload"]),
        end_user_id=effect.get("end_user_id"),
        cause=(effect.get("cause") or _request_in_hand())[:255],
        lane=effect.get("lane", "")[:255],
        status=Status.SKIPPED if skipped_because else Status.PENDING,
        error=skipped_because,
    )
    if row.kind == APP_EVENT and not skipped_because:
        patterns = patterns_of(str(row.payload["type"]))
        asked = (row.project_id, row.mode, patterns)
        # A query of our own; everything else is a parameter.
        row.status = RawSQL(_LISTENED_TO, (*asked, Status.PENDING, Status.SKIPPED))  # nosec B611
        row.error = RawSQL(_LISTENED_TO, (*asked, "", NO_LISTENER))  # nosec B611
    return row
