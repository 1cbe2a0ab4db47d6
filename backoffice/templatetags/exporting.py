"""The way from a list to an export of what it shows."""

from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse

register = template.Library()


@register.simple_tag(takes_context=True)
def export_address(context: Any, cl: Any) -> str:
    """Write where the rows of a list are exported as they are filtered; "" where the viewer may not, or there is no such export."""
    # The admin reads template libraries while it is being imported itself.
    from accounts.models import User
    from backoffice.export_filters import filters_of
    from backoffice.services.exports.listings import FILTERS_CHARS_MAX, LISTINGS, may_export

    request = context.get("request")
    what = next((name for name, listing in LISTINGS.items() if listing.model is cl.model), "")
    if (
        request is None
        or not what
        or not isinstance(request.user, User)
        or not may_export(request.user, LISTINGS[what])
    ):
        return ""
    filters = filters_of(request)
    query = {"what": what} | ({"filters": filters} if 0 < len(filters) <= FILTERS_CHARS_MAX else {})
    return f"{reverse('admin:backoffice_export_add')}?{urlencode(query)}"
