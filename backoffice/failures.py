"""What staff are shown where nothing is: a page like the others, with the menu and the search."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from common import errors


def missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that nothing is at this address, or nothing of the viewer's. Whoever is not signed in gets the contract's shape."""
    user: Any = getattr(request, "user", None)
    if user is None or not (user.is_active and user.is_staff):
        return errors.page_not_found(request, exception)
    context = {**admin.site.each_context(request), "title": "Nothing here"}
    return render(request, "backoffice/missing.html", context, status=404)
