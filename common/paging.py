"""Lists: pages with a total, or a keyset cursor whose cost does not grow with depth. Newest first, ties by id."""

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from common.errors import FieldError

M = TypeVar("M", bound=Model)

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100
MAX_PAGE = 1_000_000


@dataclass(frozen=True)
class PageRequest:
    """What the query asked for. `cursor` is None in page mode and "" at the start of cursor mode."""

    page: int
    page_size: int
    cursor: str | None


def read_page_request(query: Mapping[str, str]) -> PageRequest:
    """Read page, page_size and cursor. Raises FieldError (422) that names the parameter and its range."""
    return PageRequest(
        page=_integer(query, "page", default=1, maximum=MAX_PAGE),
        page_size=_integer(query, "page_size", default=DEFAULT_PAGE_SIZE, maximum=MAX_PAGE_SIZE),
        cursor=query.get("cursor"),
    )


def paginate(
    rows: "QuerySet[M]",
    query: Mapping[str, str],
    *,
    key: str,
    render: Callable[[list[M]], Any],
    order_field: str = "created_at",
) -> dict[str, Any]:
    """Return one page of `rows` under `key`. Raises FieldError (422) on bad paging parameters."""
    request = read_page_request(query)
    ordered = rows.order_by(f"-{order_field}", "-pk")
    if request.cursor is not None:
        return _cursor_page(ordered, request, key=key, render=render, order_field=order_field)
    start = (request.page - 1) * request.page_size
    found = list(ordered[start : start + request.page_size])
    return {key: render(found), "total": rows.count(), "page": request.page, "page_size": request.page_size}


def encode_cursor(at: dt.datetime, pk: uuid.UUID) -> str:
    """Name a position in a list. Opaque to clients."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), str(pk)]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[dt.datetime, uuid.UUID]:
    """Read a position back. Raises FieldError (422) on anything that this service did not make."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at_text, pk_text = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        at = dt.datetime.fromisoformat(at_text)
        if at.tzinfo is None or not 1970 <= at.year <= 9998:
            raise ValueError("not an instant of ours")
        return at, uuid.UUID(pk_text)
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error, UnicodeError) as error:
        raise FieldError("query", "cursor", msg="No list gave this cursor; leave it empty to start.") from error


def _cursor_page(
    ordered: "QuerySet[M]", request: PageRequest, *, key: str, render: Callable[[list[M]], Any], order_field: str
) -> dict[str, Any]:
    if request.cursor:
        at, pk = decode_cursor(request.cursor)
        ordered = ordered.filter(**{f"{order_field}__lte": at}).exclude(**{order_field: at, "pk__gte": pk})
    found = list(ordered[: request.page_size + 1])
    shown = found[: request.page_size]
    more = len(found) > request.page_size
    next_cursor = encode_cursor(getattr(shown[-1], order_field), shown[-1].pk) if more else None
    return {key: render(shown), "page_size": request.page_size, "next_cursor": next_cursor}


def _integer(query: Mapping[str, str], name: str, *, default: int, maximum: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= maximum:
        raise FieldError("query", name, msg=f"Give a whole number from 1 to {maximum}.", type="int_range")
    return int(text)
