"""Finds events that were never delivered, in Stripe's own list of the last 30 days, and puts them into the inbox.

Invariant: an event that is stored is processed as if it had been delivered. The cursor moves only past events that are in the
inbox or of no interest, and is committed page by page. A search that was told to begin later than the cursor leaves it where it is.
Source: https://docs.stripe.com/api/events/list
"""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from common import clock
from common.clock import from_unix
from payments.event_body import MalformedEvent, read_event_body
from payments.models import EventCursor, WebhookEvent
from payments.services.inbox import store_event
from payments.services.reconcile.accounts import Followed, ours_among
from payments.services.reconcile.compare import Difference
from payments.services.reconcile.runs import Progress
from payments.services.snapshot import StripeObject
from payments.stripe_api import StripeRefused, unix

PAGES_MAX = 100_000
# Stripe keeps events for 30 days.
KEPT = dt.timedelta(days=30)
# How far back the list of undelivered events is looked through; Stripe tries for three days.
UNDELIVERED_SINCE = dt.timedelta(days=3)
FORWARD, BACKWARD, UNDELIVERED = "forward", "backward", "undelivered"


@dataclass(frozen=True)
class EventSearch:
    """How events are looked for."""

    types: Collection[str]
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    dry_run: bool = False
    # Of events before this moment nothing is caused but state; None = as the account's own beginning says.
    effects_from: dt.datetime | None = None
    without_effects: bool = False
    # Events that are so young that Stripe's own delivery may still be on the way.
    young: set[str] = field(default_factory=set)


def find_events(followed: Followed, progress: Progress, search: EventSearch) -> None:
    """Store what Stripe lists and the inbox lacks. Raises: RunLost, StripeFailure.

    With a cursor and no `since`, everything after the cursor, oldest first; else from the newest back to `since`.
    """
    walk = progress.cursors.get("walk")
    if walk is None:
        cursor = _cursor_of(followed)
        walk = {"way": FORWARD if cursor.last_event_id and search.since is None else BACKWARD, "at": ""}
        progress.cursors["walk"] = walk
    if walk["way"] == FORWARD:
        try:
            _walk_forward(followed, progress, search)
        except StripeRefused:
            # The event that the cursor stands on has left Stripe's list.
            walk.update(way=BACKWARD, at="")
    if walk["way"] == BACKWARD:
        try:
            _walk_backward(followed, progress, search)
        except StripeRefused:
            if not walk["at"]:
                raise
            # What an interrupted search stands on has left the list too: it is begun anew, or it could never go on.
            walk["at"] = ""
            walk.pop("newest", None)
            _walk_backward(followed, progress, search)
    walk["way"] = UNDELIVERED
    _look_at_undelivered(followed, progress, search)
    _tell_of_young(followed, progress, search)


def _tell_of_young(followed: Followed, progress: Progress, search: EventSearch) -> None:
    """Say how many events were left alone because Stripe may still deliver them, so that nobody takes them for found."""
    inbox = WebhookEvent.objects.for_project(followed.project_id).filter(mode=followed.mode)
    left = len(search.young) - inbox.filter(event_id__in=search.young).count() if search.young else 0
    if left:
        what = f"{left} event{'' if left == 1 else 's'} younger than {settings.RECONCILE_SETTLE_SECONDS} s"
        progress.tell(f"  {what} left to Stripe's own delivery")


def _walk_forward(followed: Followed, progress: Progress, search: EventSearch) -> None:
    cursor = _cursor_of(followed)
    at = progress.cursors["walk"]["at"] or cursor.last_event_id
    for _ in range(PAGES_MAX):
        page = followed.stripe.list("events", {"limit": settings.RECONCILE_PAGE_SIZE, "ending_before": at})
        _note_young(search, page["data"])
        settled = _leading_settled(list(reversed(page["data"])))
        _take_in(followed, progress, search, settled)
        if settled:
            at = progress.cursors["walk"]["at"] = settled[-1]["id"]
            if not search.dry_run:
                _move_cursor(cursor, settled[-1])
        progress.save_page("events", seen=len(settled))
        if not page.get("has_more") or len(settled) < len(page["data"]):
            return


def _walk_backward(followed: Followed, progress: Progress, search: EventSearch) -> None:
    walk, cursor = progress.cursors["walk"], _cursor_of(followed)
    query: dict[str, Any] = {
        "limit": settings.RECONCILE_PAGE_SIZE,
        "created": {"gte": unix(_beginning(followed, cursor, search))},
    }
    for _ in range(PAGES_MAX):
        page = followed.stripe.list("events", query | ({"starting_after": walk["at"]} if walk["at"] else {}))
        _note_young(search, page["data"])
        settled = [event for event in page["data"] if _is_settled(event)]
        _take_in(followed, progress, search, list(reversed(settled)))
        if settled and "newest" not in walk:
            walk["newest"] = {"id": settled[0]["id"], "created": settled[0]["created"]}
        if page["data"]:
            walk["at"] = page["data"][-1]["id"]
        progress.save_page("events", seen=len(settled))
        if not page.get("has_more") or not page["data"]:
            break
    newest = walk.get("newest")
    known_at = cursor.last_event_created_at
    is_newer = newest and (known_at is None or unix(known_at) <= newest["created"])
    if is_newer and not search.dry_run and _leaves_no_gap(followed, cursor, search):
        _move_cursor(cursor, newest)


def _look_at_undelivered(followed: Followed, progress: Progress, search: EventSearch) -> None:
    """Read what Stripe itself counts as undelivered, newest first, until a page that is wholly known."""
    since = clock.now() - UNDELIVERED_SINCE
    query: dict[str, Any] = {
        "limit": settings.RECONCILE_PAGE_SIZE,
        "delivery_success": "false",
        "created": {"gte": unix(since)},
    }
    for _ in range(PAGES_MAX):
        page = followed.stripe.list("events", query)
        _note_young(search, page["data"])
        settled = [event for event in page["data"] if _is_settled(event)]
        found = _take_in(followed, progress, search, list(reversed(settled)))
        progress.save_page("events that were not delivered", seen=0)
        if not found or not page.get("has_more"):
            return
        query["starting_after"] = page["data"][-1]["id"]


def _take_in(followed: Followed, progress: Progress, search: EventSearch, events: Sequence[StripeObject]) -> int:
    """Store the events of interest that the inbox lacks; returns how many."""
    wanted = [event for event in events if _is_wanted(event, search)]
    inbox = WebhookEvent.objects.for_project(followed.project_id).filter(mode=followed.mode)
    known = set(inbox.filter(event_id__in=[event["id"] for event in wanted]).values_list("event_id", flat=True))
    missing = [event for event in wanted if event["id"] not in known]
    stored = [event for event in missing if search.dry_run or _store(followed, search, event)]
    about = {id(event): _object_of(event) for event in stored}
    ours = {id(found) for found in ours_among(followed, [found for found in about.values() if found])}
    progress.note(
        [
            Difference("event", event["id"], "", None, {"type": event["type"], "created": event["created"]})
            for event in stored
            if id(about[id(event)]) in ours
        ],
        healed=not search.dry_run,
    )
    return len(stored)


def _store(followed: Followed, search: EventSearch, event: StripeObject) -> bool:
    try:
        incoming = read_event_body(json.dumps(event).encode())
    except MalformedEvent:
        return False
    created = from_unix(event.get("created"))
    # Stripe tells whole seconds: what happened in the second in which following began counts as followed, while what
    # happened in the second of a restore was most likely sent before the loss.
    since = followed.since.replace(microsecond=0) if followed.since else None
    before = search.effects_from or since
    is_past = created is not None and before is not None and created < before
    return store_event(
        project_id=followed.project_id,
        mode=followed.mode,
        event=incoming,
        source="reconcile",
        without_effects=search.without_effects or is_past,
    )


def _object_of(event: StripeObject) -> StripeObject:
    found = (event.get("data") or {}).get("object")
    return (
        found if isinstance(found, dict) and found.get("id") else {"id": "", "metadata": (found or {}).get("metadata")}
    )


def _is_wanted(event: StripeObject, search: EventSearch) -> bool:
    created = from_unix(event.get("created"))
    if search.until is not None and created is not None and created >= search.until:
        return False
    return event.get("type") in search.types


def _is_settled(event: StripeObject) -> bool:
    """Say whether Stripe's own delivery of an event has had its time. On a test clock, events are of any time."""
    return bool(abs(unix(clock.now()) - event["created"]) >= settings.RECONCILE_SETTLE_SECONDS)


def _note_young(search: EventSearch, events: Iterable[StripeObject]) -> None:
    search.young.update(event["id"] for event in events if _is_wanted(event, search) and not _is_settled(event))


def _leading_settled(events: Sequence[StripeObject]) -> list[StripeObject]:
    """Keep the events before the first one that is too young: the cursor must not pass it."""
    found: list[StripeObject] = []
    for event in events:
        if not _is_settled(event):
            break
        found.append(event)
    return found


def _beginning(followed: Followed, cursor: EventCursor, search: EventSearch) -> dt.datetime:
    """Say from when on events are read: as told, else an hour before the last one read, else since the account is followed."""
    oldest = clock.now() - KEPT
    if search.since is not None:
        return max(search.since, oldest)
    if cursor.last_event_created_at is not None:
        return max(cursor.last_event_created_at - dt.timedelta(hours=1), oldest)
    return max(followed.since or oldest, oldest)


def _leaves_no_gap(followed: Followed, cursor: EventCursor, search: EventSearch) -> bool:
    """Say whether a search backward has met what was read before, or all that Stripe still has."""
    oldest = clock.now() - KEPT
    read_before = cursor.last_event_created_at or followed.since or oldest
    return search.since is None or search.since <= max(read_before, oldest)


def _cursor_of(followed: Followed) -> EventCursor:
    keys = {"project_id": followed.project_id, "mode": followed.mode}
    return EventCursor.objects.filter(**keys).first() or EventCursor(**keys)


def _move_cursor(cursor: EventCursor, event: StripeObject) -> None:
    """Note up to which event the list was read; the page's own events are committed already."""
    values = {
        "last_event_id": event["id"],
        "last_event_created_at": from_unix(event["created"]),
        "read_at": Now(),
    }
    EventCursor.objects.update_or_create(project_id=cursor.project_id, mode=cursor.mode, defaults=values)
