"""One search over all projects: e-mail, Stripe id, the app's user id, GitHub name, or an id of ours."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from backoffice.navigation import sidebar
from backoffice.services.search import CHARS_MAX, CHARS_MIN, Found, Search
from backoffice.visible import projects_of, rows_of
from common.modes import MODES
from licenses.models import License
from payments.models import StripeCustomer, WebhookEvent
from projects.models import EndUser, Project

# What fits below the field of the menu.
MENU_ENTRIES, MENU_ROWS = 5, 6


@require_safe
def search_page(request: HttpRequest) -> HttpResponse:
    """Show what was found; one end user alone, or one event, is opened at once."""
    query = request.GET.get("q", "").strip()[:CHARS_MAX]
    project_ids = [one.id for one in projects_of(request)]
    found = Search(query, lambda model: rows_of(request, model), project_ids).run() if query else []
    if "menu" in request.GET:
        return TemplateResponse(
            request, "backoffice/menu_search.html", {"results": _below_the_field(request, query, found)}
        )
    mode = request.GET.get("mode", "") if request.GET.get("mode") in MODES else ""
    only = _only_answer(found)
    if only is not None:
        return HttpResponseRedirect(address_of(only) + (f"?mode={mode}" if mode else ""))
    context = {
        **admin.site.each_context(request),
        "title": "Search",
        "query": query,
        "mode": mode,
        "too_short": 0 < len(query) < CHARS_MIN,
        "groups": [_group(one) for one in found],
    }
    return TemplateResponse(request, "backoffice/search.html", context)


search = admin.site.admin_view(search_page)


def _below_the_field(request: HttpRequest, query: str, found: Sequence[Found]) -> list[dict[str, str]]:
    """List pages by name, then people and things; the whole search comes last."""
    if not query:
        return []
    entries = [item for group in sidebar(request) for item in group["items"] if query.lower() in item["title"].lower()]
    results = [{"text": item["title"], "link": item["link"], "detail": ""} for item in entries[:MENU_ENTRIES]]
    rows = [(str(one.model._meta.verbose_name), row) for one in found for row in one.rows]
    results += [
        {"text": _text(row), "link": address_of(row), "detail": _detail(row) or kind} for kind, row in rows[:MENU_ROWS]
    ]
    everything = f"{reverse('backoffice:search')}?{urlencode({'q': query})}"
    return [*results, {"text": "Search everything", "link": everything, "detail": ""}]


def _only_answer(found: Sequence[Found]) -> Any | None:
    """Return what is meant beyond doubt: the one row, or the one end user whom all that was found by a name belongs to."""
    rows = [row for kind in found for row in kind.rows]
    if len(rows) == 1 and isinstance(rows[0], EndUser | WebhookEvent | Project):
        return rows[0]
    users = [row for row in rows if isinstance(row, EndUser)]
    theirs = [row for row in rows if not isinstance(row, EndUser)]
    if len(users) == 1 and all(getattr(row, "end_user_id", None) == users[0].pk for row in theirs):
        return users[0]
    return None


def address_of(row: Any) -> str:
    """Return the page on which support looks at a row."""
    if isinstance(row, EndUser):
        return reverse("backoffice:end-user", args=[row.pk])
    if isinstance(row, WebhookEvent):
        return reverse("backoffice:event", args=[row.pk])
    if isinstance(row, Project):
        return reverse("backoffice:project", args=[row.pk])
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def _group(found: Found) -> dict[str, Any]:
    meta = found.model._meta
    return {
        "title": str(meta.verbose_name_plural).capitalize(),
        "more": found.more,
        "rows": [
            {
                "text": _text(row),
                "link": address_of(row),
                "detail": _detail(row),
                "project": None if isinstance(row, Project) else row.project,
                "mode": getattr(row, "mode", ""),
                "user": getattr(row, "end_user", None) if not isinstance(row, License) else None,
                "user_link": _user_link(row),
            }
            for row in found.rows
        ],
    }


def _text(row: Any) -> str:
    if isinstance(row, License):
        return row.email or str(row.pk)
    return str(row)


def _detail(row: Any) -> str:
    if isinstance(row, EndUser):
        return row.email or ""
    if isinstance(row, StripeCustomer):
        return row.email
    if isinstance(row, License):
        return f"{row.get_state_display()}{f', GitHub {row.username}' if row.username else ''}"
    if isinstance(row, Project):
        return row.slug
    return str(getattr(row, "get_status_display", lambda: getattr(row, "status", ""))())


def _user_link(row: Any) -> str:
    key = getattr(row, "end_user_id", None)
    if not key:
        return ""
    return reverse("backoffice:end-user-in-mode", args=[key, row.mode])
