"""What is done to a whole project from the back office: have it compared with Stripe now."""

import uuid
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from backoffice.staff_pages import actor_of
from backoffice.visible import page_of, row_or_404
from payments.admin.deeds import Deed, DeedForm, deed_page
from payments.nudge import nudge_reconciliation
from payments.services.reconcile.asking import ask_for_reconciliation
from projects.models import Project

RIGHT = "payments.change_stripeconfig"
NAMES = {"events": "events that never arrived", "objects": "every object"}


@admin.site.admin_view
def reconcile(request: HttpRequest, project_id: uuid.UUID, mode: str) -> HttpResponse:
    """Have a project's account compared with Stripe in the background."""
    project: Project = row_or_404(request, Project, project_id)
    if project.deleted_at is not None:
        raise Http404
    if not page_of(Project).has_right(request, RIGHT, project):
        raise PermissionDenied

    def carry_out(asked: dict[str, Any]) -> str:
        planned = ask_for_reconciliation(project=project, mode=mode, actor=actor_of(request), reason=asked["reason"])
        nudge_reconciliation()
        return f"Begins within seconds: {' and '.join(NAMES[kind] for kind in planned)}. This page shows how far it is."

    deed = Deed(
        title="Compare with Stripe now",
        facts=[project.name, f"{mode} mode"],
        back=f"{reverse('backoffice:project', args=[project.pk])}?mode={mode}",
        form=DeedForm,
        ask=lambda asked: [
            f"Compare everything of {project.name} in {mode} mode with Stripe?",
            "Nothing is changed there. Rows that differ are written anew, and what was missed counts from now on.",
        ],
        carry_out=carry_out,
    )
    return deed_page(request, deed, page_of(Project).opts)
