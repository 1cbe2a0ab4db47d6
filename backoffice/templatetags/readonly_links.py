"""Columns that are only shown: whom they name is a link for those alone who may open it."""

from typing import Any

from django import template
from django.contrib import admin
from django.db.models import ForeignKey

register = template.Library()


@register.simple_tag(takes_context=True)
def text_without_link(context: Any, field: Any) -> str:
    """Return the words for a related row that the viewer may not open; "" for everything else.

    Django links every related row that has a page, and the page then answers 403.
    """
    column, _, related = getattr(field, "resolved_field", None) or (None, "", None)
    if related is None or not isinstance(column, ForeignKey):
        return ""
    shown_by = admin.site._registry.get(type(related))
    if shown_by is None or shown_by.has_view_permission(context["request"], related):
        return ""
    return str(related)
