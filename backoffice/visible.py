"""What the viewer of a page may see: exactly the rows that the admin's own lists show, by the very same rules."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import Http404, HttpRequest

from common.modes import LIVE
from payments.models import StripeCredentials
from projects.models import Project

# A page over all projects adds up no more than these, and says so.
PROJECTS_MAX = 5000


@dataclass(frozen=True)
class SeenProject:
    """A project that the viewer may see. `sells_live`: its live mode was opened."""

    id: uuid.UUID
    name: str
    sells_live: bool


def page_of(model: type[Model]) -> Any:
    """Return the admin page of a model."""
    return admin.site._registry[model]


def rows_of(request: HttpRequest, model: type[Model]) -> QuerySet[Any]:
    """Return the rows of a model that its list would show this viewer; none when the list is not theirs to open."""
    page = page_of(model)
    rows: QuerySet[Any] = (
        page.get_queryset(request) if page.has_view_permission(request) else model._default_manager.none()
    )
    return rows.order_by()


def row_or_404(request: HttpRequest, model: type[Model], key: Any, *joined: str) -> Any:
    """Return one row; what does not exist and what is not the viewer's to see answer alike. Raises: Http404."""
    rows = rows_of(request, model)
    row = (rows.select_related(*joined) if joined else rows).filter(pk=key).first()
    if row is None:
        raise Http404
    return row


def projects_of(request: HttpRequest) -> list[SeenProject]:
    """List the projects that the viewer may see, by name, at most PROJECTS_MAX. One query."""
    opened = StripeCredentials.objects.filter(project=OuterRef("pk"), mode=LIVE, opened_at__isnull=False)
    rows = rows_of(request, Project).filter(deleted_at__isnull=True).annotate(sells_live=Exists(opened))
    return [
        SeenProject(*row) for row in rows.order_by("name", "pk").values_list("pk", "name", "sells_live")[:PROJECTS_MAX]
    ]
