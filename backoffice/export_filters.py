"""From a list of the admin to an export of the same rows: the list's address says which, and the list itself reads it."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.messages import MessageFailure
from django.core.exceptions import SuspiciousOperation
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict

from accounts.models import User
from backoffice.services.exports.listings import FILTERS_CHARS_MAX, FilterRefused

# What an address of a list says besides which rows: their order, the page, how they are shown.
BESIDES = ("o", "p", "all", "e", "_popup", "_to_field", "_facets", "_changelist_filters")


def filters_of(request: HttpRequest) -> str:
    """Write which rows a list shows, as it stands in its address; "" for all of them."""
    kept = request.GET.copy()
    for name in BESIDES:
        kept.pop(name, None)
    return kept.urlencode()


def rows_of_list(*, user: User, model: type[Model], filters: str) -> QuerySet[Any]:
    """Return the rows that a list shows somebody under these filters, as the list finds them. Raises: FilterRefused (422)."""
    page = admin.site._registry[model]
    request = HttpRequest()
    request.method, request.user = "GET", user
    given: Any = QueryDict(filters[:FILTERS_CHARS_MAX], mutable=True)
    for name in BESIDES:
        given.pop(name, None)
    request.GET = given
    if not page.has_view_permission(request):
        return model._default_manager.none()
    try:
        shown: QuerySet[Any] = page.get_changelist_instance(request).get_queryset(request)
    # A search that the list would not even try is told by a message, for which there is no page here.
    except (
        IncorrectLookupParameters,
        SuspiciousOperation,
        MessageFailure,
        ValueError,
        OverflowError,
        DataError,
    ) as error:
        raise FilterRefused() from error
    return shown.order_by().select_related(None)
