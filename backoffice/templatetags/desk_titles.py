"""What stands at the top of a page of the admin: the names of the side menu, and ids as they are written."""

from typing import Any

from django import template
from django.contrib import admin
from django.urls import NoReverseMatch, reverse

from backoffice.navigation import place_of

register = template.Library()


@register.simple_tag(takes_context=True)
def desk_title_parts(context: Any) -> list[dict[str, Any]]:
    """Return the way to the page: the group of the menu, the list, the row."""
    row = context.get("original") or context.get("object")
    row = None if isinstance(row, str) else row
    options = getattr(row, "_meta", None) or context.get("opts")
    if not options:
        return []
    group, title = place_of(options)
    parts: list[dict[str, Any]] = [{"title": group, "link": None}] if group and group != title else []
    parts.append({"title": title, "link": _link(options, "changelist")})
    if row is not None:
        parts.append({"title": str(row), "link": _link(options, "change", row.pk)})
    return parts


@register.simple_tag
def list_title(options: Any) -> str:
    """Return what the menu calls a list, for the browser's tab."""
    return place_of(options)[1]


def _link(options: Any, page: str, *key: Any) -> str | None:
    if options.model not in admin.site._registry:
        return None
    try:
        return reverse(f"admin:{options.app_label}_{options.model_name}_{page}", args=key)
    except NoReverseMatch:
        return None
