"""Actions on chosen rows: for those who may change the row's project, and only after a confirmation by POST."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

ROWS_SHOWN = 100


class ProjectActionsAdmin(ProjectScopedAdmin):
    """An admin whose actions developers may use on their own projects, and staff with Django's permission to change."""

    def may_act(self, request: HttpRequest) -> bool:
        """Say whether there is any project that the viewer may act in; support, who only read, may not."""
        return self._is_staff_for(request, "change") or self._is_member(request, None, Role.DEVELOPER)

    def actionable(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows of projects that the viewer may act in."""
        if self._is_staff_for(request, "change"):
            return rows
        return rows.filter(**{f"{self.project_lookup}__in": self._projects(request, Role.DEVELOPER)})

    def ask_first(
        self,
        request: HttpRequest,
        *,
        title: str,
        action: str,
        question: str,
        rows: Sequence[Any],
        ask_reason: bool = False,
        problem: str = "",
    ) -> HttpResponse:
        """Ask whether an action is meant for these rows; the answer comes back to the same action with `confirmed`.

        With `ask_reason` it comes with a `reason` too.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "action_name": action,
            "question": question,
            "rows": rows[:ROWS_SHOWN],
            "more": max(0, len(rows) - ROWS_SHOWN),
            "chosen": [str(row.pk) for row in rows],
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "ask_reason": ask_reason,
            "problem": problem,
        }
        return TemplateResponse(request, "payments/admin/action_confirmation.html", context)
