"""What is done to an end user from the back office: a plan by hand, and reading everything of theirs from Stripe at once."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget

from backoffice.staff_pages import actor_of
from backoffice.visible import page_of, row_or_404
from entitlements.models import Entitlement, Plan
from licenses.nudge import nudge_outbox
from payments.admin.deeds import Deed, DeedForm, deed_page
from payments.services.given_plans import put_on_plan
from payments.services.sync_user import sync_end_user
from projects.models import EndUser

GIVE, READ = "entitlements.give_plan", "payments.read_from_stripe"
PLANS_MAX = 200
NO_CUSTOMER = (
    "Nobody of this name is known at Stripe in this mode: nothing was bought, or under another account of the app."
)


class GivePlanForm(DeedForm):
    """Which plan."""

    plan = forms.ChoiceField(
        label="Plan",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="It stands above whatever was bought until it is taken back; nothing is charged, and nothing given back.",
    )
    field_order = ("plan", "reason")


@admin.site.admin_view
def give_plan(request: HttpRequest, end_user_id: uuid.UUID, mode: str) -> HttpResponse:
    """Put a user on a plan by hand, or take that back."""
    end_user = _end_user(request, end_user_id, GIVE)
    held = Entitlement.objects.for_project(end_user.project_id).in_mode(mode).filter(end_user=end_user)
    row = held.select_related("plan").first()
    given = bool(row and row.is_given)
    plans = Plan.objects.for_project(end_user.project_id).filter(archived=False).order_by("rank", "code")
    names = dict(plans.values_list("code", "name")[:PLANS_MAX])
    take_back = [("", "None: take the given plan back")] if given else []

    def carry_out(asked: dict[str, Any]) -> str:
        code = asked["plan"] or None
        if code is None and not given:
            return "Nothing was given, and nothing changed."
        put_on_plan(
            project=end_user.project,
            mode=mode,
            end_user=end_user,
            code=code,
            reason=asked["reason"],
            actor=actor_of(request),
        )
        nudge_outbox()
        return f"The plan is {names[code]} now." if code else "The plan was taken back; what was bought counts."

    deed = Deed(
        title="Give a plan",
        facts=[*_facts(end_user, mode), _plan_now(row)],
        back=_user_page(end_user, mode),
        form=GivePlanForm,
        choices={"plan": [*take_back, *names.items()]},
        ask=lambda asked: [
            f"Put the user on {names[asked['plan']]}?" if asked["plan"] else "Take the given plan back?",
            "It holds at once, and until somebody takes it back." if asked["plan"] else "What was bought counts again.",
        ],
        carry_out=carry_out,
        why_not="" if names else "This project has no plans.",
    )
    return deed_page(request, deed, page_of(EndUser).opts)


@admin.site.admin_view
def sync_user(request: HttpRequest, end_user_id: uuid.UUID, mode: str) -> HttpResponse:
    """Read the user's customers, checkouts, subscriptions and payments from Stripe now."""
    end_user = _end_user(request, end_user_id, READ)

    def carry_out(asked: dict[str, Any]) -> str:
        read = sync_end_user(end_user=end_user, mode=mode, actor=actor_of(request), reason=asked["reason"])
        for problem in read.problems:
            messages.warning(request, problem)
        nudge_outbox()
        return f"Read {read.count} objects from Stripe." if read.count else NO_CUSTOMER

    deed = Deed(
        title="Read from Stripe now",
        facts=_facts(end_user, mode),
        back=_user_page(end_user, mode),
        form=DeedForm,
        ask=lambda asked: [
            "Read everything of this user from Stripe now?",
            "Nothing is changed there. A payment whose event never came counts from now on.",
        ],
        carry_out=carry_out,
    )
    return deed_page(request, deed, page_of(EndUser).opts)


def _end_user(request: HttpRequest, end_user_id: uuid.UUID, right: str) -> EndUser:
    """Return the user that the viewer may act on. Raises: Http404, PermissionDenied."""
    end_user: EndUser = row_or_404(request, EndUser, end_user_id, "project")
    if not page_of(EndUser).has_right(request, right, end_user):
        raise PermissionDenied
    return end_user


def _facts(end_user: EndUser, mode: str) -> list[str]:
    address = f", {end_user.email}" if end_user.email else ""
    return [end_user.external_id, f"{end_user.project.name}, {mode} mode{address}"]


def _plan_now(row: Entitlement | None) -> str:
    if row is None or not row.active:
        return "No plan holds now."
    name = row.plan.name if row.plan else "a price that is on no plan"
    return f"Now on {name}, given by hand." if row.is_given else f"Now on {name}, bought as {row.subscription_id}."


def _user_page(end_user: EndUser, mode: str) -> str:
    return reverse("backoffice:end-user-in-mode", args=[end_user.pk, mode])
