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
        ask_reason: bool = True,
    ) -> HttpResponse | None:
        """Ask whether an action is meant for these rows, and why; once that is answered, carry it out with the reason."""
        reason = request.POST.get("reason", "").strip()
        confirmed = request.POST.get("confirmed") == "yes"
        good = not ask_reason or 1 <= len(reason) <= REASON_CHARS_MAX
        if confirmed and good:
            carry_out(reason)
            return None
        problem = f"Say why, in at most {REASON_CHARS_MAX} characters." if confirmed else ""
        return self.ask_first(
            request, title=title, action=action, question=question, rows=rows, ask_reason=ask_reason, problem=problem
        )

    def _act_right(self) -> str:
        return self.act_right or f"{self.opts.app_label}.change_{self.opts.model_name}"

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
