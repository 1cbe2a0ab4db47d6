"""Carries out one group of leased events: whose they are, one read per object, one write, and what is done about failures.

Invariant: an event is marked as processed in the transaction that writes what was read for it, and its own failure never keeps the
other events of the group from being processed.
"""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Exists

from common.encryption import DecryptionError
from common.failpoints import failpoint
from payments.models import StripeCredentials, StripeCustomer, WebhookEvent
from payments.services.inbox import (
    BUSY_WAIT_SECONDS,
    EventGroup,
    fail_events,
    finish_events,
    finish_with_ignored,
    hold_for_config,
    hold_for_outage,
    hold_for_permission,
    move_to_root,
    put_back,
)
from payments.services.leases import Lease, LeaseLost, SyncBusy, end_lease, take_lease, writing_under
from payments.services.ownership import Cause, Scope, names_project
from payments.services.snapshot import Snapshot, StripeObject, id_of, names_no_customer, root_of
from payments.services.standing import follow_standings
from payments.services.sync import Collect, write_mirror, write_snapshot
from payments.stripe_api import (
    StripeKeyRejected,
    StripeNotConfigured,
    StripePermissionMissing,
    StripeUnavailable,
    account_of,
)
from projects.models import Project

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status
NO_HANDLER = WebhookEvent.NOT_FOLLOWED
FOREIGN = "The event belongs to another project on the same Stripe account."
FOREIGN_SINCE_EMPTIED = (
    "Whose event this is stood only in its body, which retention has emptied, and several projects use the account."
)
PROJECT_DELETED = "The project was deleted."


# Records an event's own effects, each under its own key, in the transaction that writes what was read for it.
Effects = Callable[[Scope, WebhookEvent, Snapshot], None]


@dataclass(frozen=True)
class Handler:
    """What an event type makes us read, why we listen to it at all, and what it causes besides the state.

    `locate` names what is read where that is not the event's own object: an event without an id, or an object that is stored
    with another one. It may take ids from the payload and nothing else.
    `of_account` marks what has no owner: every project on the account compares it with its own rows.
    """

    collect: Collect
    retrieves: str
    reason: str
    effects: Effects | None = None
    locate: Callable[[WebhookEvent], str] | None = None
    of_account: bool = False


Handlers = Mapping[str, Handler]


class ObjectMissingInEvent(Exception):
    """An event of a type that we follow names no object."""


def process_group(group: EventGroup, handlers: Handlers) -> None:
    """Process the events of one leased group; every outcome is committed, and nothing but a lost database is raised."""
    try:
        credentials = _credentials(group)
        ours = _sort_out(group, credentials, handlers)
        try:
            if ours:
                scope = Scope(group.project_id, group.mode, credentials.stripe_account_id)
                _follow_under_lease(group, ours, handlers, Snapshot(account_of(credentials)), scope)
        finally:
            finish_events(group, group.not_followed, status=Status.IGNORED, reason=NO_HANDLER)
        for root, events in group.without_customer.items():
            process_group(EventGroup(group.project_id, group.mode, root, group.token, events), handlers)
    except (StripeNotConfigured, StripeKeyRejected, DecryptionError) as error:
        if Project.objects.existing().filter(pk=group.project_id).exists():
            hold_for_config(group, error)
        else:
            # Nobody will save a key any more.
            finish_events(group, group.events, status=Status.IGNORED, reason=PROJECT_DELETED)
    except (SyncBusy, LeaseLost):
        put_back(group, group.events, seconds=BUSY_WAIT_SECONDS)
    except Exception as error:
        _note_failure(group, group.events, error)


def _follow_under_lease(
    group: EventGroup, events: Sequence[WebhookEvent], handlers: Handlers, snapshot: Snapshot, scope: Scope
) -> None:
    lease = take_lease(project_id=group.project_id, mode=group.mode, root=group.root, token=group.token)
    try:
        _follow(group, events, handlers, snapshot, scope, lease)
    finally:
        end_lease(lease)


def _credentials(group: EventGroup) -> StripeCredentials:
    """Read the account's keys, and with them what tells whose an event is: one query. Raises: StripeNotConfigured."""
    usable = StripeCredentials.objects.for_project(group.project_id).usable().filter(mode=group.mode)
    customers = StripeCustomer.objects.for_project(group.project_id)
    found = usable.exclude(secret_key="").with_sharing()
    known = customers.filter(mode=group.mode, stripe_customer_id=group.root)
    row = found.annotate(customer_is_known=Exists(known)).first()
    if row is None:
        raise StripeNotConfigured()
    return row


def _sort_out(group: EventGroup, credentials: StripeCredentials, handlers: Handlers) -> list[WebhookEvent]:
    """Lay aside what is another project's or of no interest; return the rest, some of it to be decided once it is read.

    What nothing follows is left in `group.not_followed`: it is finished with the others, in one statement.
    """
    everything_is_ours = credentials.customer_is_known or not credentials.account_is_shared  # type: ignore[attr-defined]
    ours, foreign = [], []
    for event in group.events:
        handler = handler_of(event, handlers)
        if handler is None:
            group.not_followed.append(event)
        elif everything_is_ours or handler.of_account or _names_project(event):
            ours.append(event)
        elif _names_customer(event) or event.emptied_at:
            foreign.append(event)
        else:
            group.undecided.add(event.pk)
            ours.append(event)
    emptied = [event for event in foreign if event.emptied_at]
    told = [event for event in foreign if not event.emptied_at]
    finish_events(group, told, status=Status.IGNORED, reason=FOREIGN)
    finish_events(group, emptied, status=Status.IGNORED, reason=FOREIGN_SINCE_EMPTIED)
    return ours


def handler_of(event: WebhookEvent, handlers: Handlers) -> Handler | None:
    """Return what follows an event; a thin event of a v1 object is named `v1.` + its type."""
    return handlers.get(event.type) or handlers.get(event.type.removeprefix("v1."))


def _names_project(event: WebhookEvent) -> bool:
    return names_project(_object_in(event), event.project_id)


def _names_customer(event: WebhookEvent) -> bool:
    """Say whether an event tells whose its object is; that of a dispute, a refund or a thin event shows only when it is read."""
    found = _object_in(event)
    return found.get("object") == "customer" or bool(id_of(found.get("customer")))


def _object_in(event: WebhookEvent) -> StripeObject:
    data = (event.payload or {}).get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _follow(
    group: EventGroup,
    events: Sequence[WebhookEvent],
    handlers: Handlers,
    snapshot: Snapshot,
    scope: Scope,
    lease: Lease,
) -> None:
    """Read for all events, then write for all; when one of them spoils it, go event by event."""
    read: list[WebhookEvent] = []
    for place, event in enumerate(events):
        part = snapshot.part()
        try:
            root = _collect(event, handlers, part)
        except StripePermissionMissing as error:
            hold_for_permission(group, [event], error)
            continue
        except StripeKeyRejected:
            raise
        except StripeUnavailable as error:
            # The others would meet the same silence, each for as long as a time-out lasts: they wait together.
            _note_failure(group, events[place:], error)
            hold_for_outage(group, attempts=event.attempts + 1)
            break
        except Exception as error:
            _note_failure(group, [event], error)
            continue
        if root and root != group.root:
            # Its object is somebody else's to write: what was read of it stays out.
            _leave(group, event, root)
        elif event.pk in group.undecided and not _shows_project(part, event.project_id):
            finish_events(group, [event], status=Status.IGNORED, reason=FOREIGN)
        else:
            snapshot.add(part)
            read.append(event)
    if not read:
        return
    try:
        _write(group, read, handlers, snapshot, scope, lease)
    except LeaseLost:
        raise
    except Exception as error:
        if len(read) == 1:
            _note_failure(group, read, error)
            return
        for event in read:
            _follow_alone(group, event, handlers, snapshot, scope, lease)
        return
    failpoint("handler.after_commit")
    write_mirror(lease, scope, snapshot)


def _leave(group: EventGroup, event: WebhookEvent, root: str) -> None:
    """Give an event to the root that it belongs to. One without a customer is next: leasing would bring it back here."""
    if names_no_customer(root):
        group.without_customer.setdefault(root, []).append(event)
    else:
        move_to_root(group, [event], root=root)


def _shows_project(part: Snapshot, project_id: uuid.UUID) -> bool:
    """Say whether anything that was read for an event names the project."""
    return any(names_project(found, project_id) for found in part.objects.values() if found is not None)


def _follow_alone(
    group: EventGroup, event: WebhookEvent, handlers: Handlers, together: Snapshot, scope: Scope, lease: Lease
) -> None:
    """Write what one event is about, in a transaction of its own; what was read already is not read again."""
    alone = together.part()
    try:
        _collect(event, handlers, alone)
        _write(group, [event], handlers, alone, Scope(scope.project_id, scope.mode, scope.account_id), lease)
    except StripePermissionMissing as error:
        hold_for_permission(group, [event], error)
    except (LeaseLost, StripeKeyRejected):
        raise
    except Exception as error:
        _note_failure(group, [event], error)


def _collect(event: WebhookEvent, handlers: Handlers, snapshot: Snapshot) -> str:
    """Read what an event is about; returns the root that its object belongs to, "" when Stripe has no such object."""
    handler = handler_of(event, handlers)
    object_id = (handler.locate(event) if handler.locate else event.object_id) if handler else ""
    if handler is None or not object_id:
        if event.emptied_at:
            raise ObjectMissingInEvent(
                f"What {event.type} is about stood only in its body, which retention has emptied"
            )
        raise ObjectMissingInEvent(f"{event.type} names no object")
    found = handler.collect(snapshot, object_id)
    return root_of(found) if found else ""


def _write(
    group: EventGroup,
    events: Sequence[WebhookEvent],
    handlers: Handlers,
    snapshot: Snapshot,
    scope: Scope,
    lease: Lease,
) -> None:
    _note_causes(scope, events)
    with writing_under(lease):
        write_snapshot(scope, snapshot)
        follow_standings(scope, snapshot)
        for event in events:
            handler = handler_of(event, handlers)
            if handler and handler.effects:
                handler.effects(scope, event, snapshot)
        failpoint("handler.mid_tx")
        finish_with_ignored(group, events)
    group.not_followed = []


def cause_of_event(event: WebhookEvent) -> Cause:
    """Say that an event made us look."""
    return Cause(event.source, event.event_id, event.type, event.stripe_created_at, event.without_effects)


def _note_causes(scope: Scope, events: Sequence[WebhookEvent]) -> None:
    """Tell the writers which event is the newest about each object, for the history."""
    for event in sorted(events, key=lambda event: (event.stripe_created_at or event.received_at, event.event_id)):
        scope.cause = cause_of_event(event)
        scope.causes[event.object_id] = scope.cause


def _note_failure(group: EventGroup, events: Sequence[WebhookEvent], error: Exception) -> None:
    logger.warning("events_failed project=%s root=%s error=%s", group.project_id, group.root, type(error).__name__)
    fail_events(group, events, error)
