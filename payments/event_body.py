"""Reads a verified delivery's body into what the inbox stores. Anything that is no event is a 400, never a 500.

Invariant: a signed event is stored whatever text it carries: what PostgreSQL's jsonb cannot hold (NUL, halves of surrogate pairs)
is replaced by U+FFFD, since losing a character beats losing the event. Client secrets are left out.
"""

import datetime as dt
import json
import re
from typing import Any, NoReturn

from common.errors import ApiError
from payments.services.inbox import IncomingEvent
from payments.services.snapshot import DROPPED_KEYS, id_of, root_of, without_client_secrets

EVENT_OBJECTS = ("event", "v2.core.event")
ID_CHARS_MAX = 255
TYPE_CHARS_MAX = 128
VERSION_CHARS_MAX = 64
_ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)
_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})")
_YEAR_3000 = 32_503_680_000


class MalformedEvent(ApiError):
    """400: the body is signed and yet no event."""

    code = "malformed_event"
    detail = "The body is not a Stripe event."


def read_event_body(body: bytes) -> IncomingEvent:
    """Read a v1 event, or a v2 one whose object is only named. Raises: MalformedEvent (400)."""
    try:
        text = _storable(body.decode("utf-8"))
        event = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
        if "lat_" in text or any(f'"{name}"' in text for name in DROPPED_KEYS):
            event = without_client_secrets(event)
            text = json.dumps(event)
        return _columns(event, text)
    except (ValueError, RecursionError, TypeError, AttributeError, OverflowError):
        raise MalformedEvent() from None


def _storable(text: str) -> str:
    if not _ODD_ESCAPE.search(text):
        return text
    return _ESCAPE.sub(lambda found: r"\ufffd" if _UNSTORABLE.fullmatch(found.group()) else found.group(), text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number


def _columns(event: Any, text: str) -> IncomingEvent:
    if not isinstance(event, dict) or event.get("object") not in EVENT_OBJECTS:
        raise MalformedEvent()
    livemode = event.get("livemode")
    if livemode is not None and not isinstance(livemode, bool):
        raise MalformedEvent()
    if livemode is None and event["object"] == "event":
        raise MalformedEvent()
    found = _object_of(event)
    object_id = id_of(found)
    event_id = _text(event, "id", ID_CHARS_MAX)
    return IncomingEvent(
        event_id=event_id,
        type=_text(event, "type", TYPE_CHARS_MAX),
        livemode=livemode,
        api_version=str(event.get("api_version") or "")[:VERSION_CHARS_MAX],
        account_id=id_of(event.get("account") or event.get("context"))[:ID_CHARS_MAX],
        created_at=_time(event.get("created")),
        object_id=object_id[:ID_CHARS_MAX],
        root=(_former_customer(event, found) or root_of(found) or event_id)[:ID_CHARS_MAX],
        text=text,
    )


def _object_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return the object that the event is about; a v2 event names it only."""
    data = event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    found = found if isinstance(found, dict) else event.get("related_object")
    return found if isinstance(found, dict) else {}


def _former_customer(event: dict[str, Any], found: dict[str, Any]) -> str:
    """Name the customer that something was taken from: a detached payment method names nobody any more."""
    before = (event.get("data") or {}).get("previous_attributes") if not found.get("customer") else None
    return id_of(before.get("customer")) if isinstance(before, dict) else ""


def _text(event: dict[str, Any], name: str, chars_max: int) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= chars_max or not value.isprintable():
        raise MalformedEvent()
    return value


def _time(value: Any) -> dt.datetime | None:
    """Read Unix seconds (v1) or ISO-8601 (v2); a time that makes no sense is left out, since nothing depends on it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _YEAR_3000:
        return dt.datetime.fromtimestamp(value, tz=dt.UTC)
    if isinstance(value, str):
        try:
            return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            return None
    return None
