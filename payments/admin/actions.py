"""Actions on chosen rows: for those who have the right to act on them, and only after a confirmation by POST, with a reason."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from projects.admin_scope import ProjectScopedAdmin

ROWS_SHOWN = 100
REASON_CHARS_MAX = 1000


def is_reason(text: str) -> bool:
    """Say whether a text can be kept as the reason of a deed: before that is done, which may be at Stripe."""
    return 1 <= len(text) <= REASON_CHARS_MAX and "\x00" not in text


class ProjectActionsAdmin(ProjectScopedAdmin):
    """An admin whose actions developers may use on their own projects, and staff who have `act_right` on all."""

    # Empty: Django's permission to change these rows.
    act_right = ""

    def may_act(self, request: HttpRequest, right: str = "") -> bool:
        """Say whether there is any project that the viewer may act in; support, who only read, may not."""
        return self.has_right(request, right or self._act_right())

    def actionable(self, request: HttpRequest, rows: QuerySet[Any], right: str = "") -> QuerySet[Any]:
        """Keep the rows of projects that the viewer may act in."""
        return self.rows_within(request, right or self._act_right(), rows)

    def when_confirmed(
        self,
        request: HttpRequest,
        *,
        title: str,
        action: str,
        question: str,
        rows: Sequence[Any],
        carry_out: Callable[[str], None],
    ) -> HttpResponse | None:
        """Ask whether an action is meant for these rows, and why; once that is answered, carry it out with the reason."""
        reason = request.POST.get("reason", "").strip()
        confirmed = request.POST.get("confirmed") == "yes"
        if confirmed and is_reason(reason):
            carry_out(reason)
            return None
        problem = f"Say why, in at most {REASON_CHARS_MAX} characters." if confirmed else ""
        return self._ask_first(request, title=title, action=action, question=question, rows=rows, problem=problem)

    def _act_right(self) -> str:
        return self.act_right or f"{self.opts.app_label}.change_{self.opts.model_name}"

    def _ask_first(
        self, request: HttpRequest, *, title: str, action: str, question: str, rows: Sequence[Any], problem: str
    ) -> HttpResponse:
        """The answer comes back to the same action with `confirmed` and a `reason`."""
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
            "problem": problem,
        }
        return TemplateResponse(request, "payments/admin/action_confirmation.html", context)
