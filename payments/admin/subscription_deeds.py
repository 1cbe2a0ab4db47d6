"""What is done to a subscription from its page: canceling it, free days, and reading it from Stripe at once."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminRadioSelectWidget

from accounts.models import User
from licenses.nudge import nudge_outbox
from moderation.services.action_log import log_action
from payments.admin.deeds import Deed, DeedForm, deed_page
from payments.models import Subscription
from payments.services.staff_subscriptions import (
    CANCEL_LATER,
    CANCEL_NOW,
    FREE_DAYS,
    FREE_DAYS_MAX,
    StaffChange,
    check_staff_change,
    request_staff_change,
    why_not_changeable,
)
from payments.services.sync_subscription import sync_subscription
from projects.admin_scope import ProjectScopedAdmin

CANCEL, COMP, READ = "payments.cancel_subscription", "payments.comp_subscription", "payments.read_from_stripe"
UNDER_WAY = "This is being done at Stripe; the page shows it within seconds."


class CancelForm(DeedForm):
    """When it ends."""

    change = forms.ChoiceField(
        label="When",
        choices=[
            (CANCEL_LATER, "At the end of the period that is paid"),
            (CANCEL_NOW, "At once, without giving money back"),
        ],
        widget=UnfoldAdminRadioSelectWidget,
    )
    field_order = ("change", "reason")


class FreeDaysForm(DeedForm):
    """How many days are free."""

    days = forms.IntegerField(
        label="Free days",
        min_value=1,
        max_value=FREE_DAYS_MAX,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="The next payment comes so many days later. Until then Stripe calls the subscription trialing.",
    )
    field_order = ("days", "reason")


class SubscriptionDeeds(ProjectScopedAdmin):
    """The actions of a subscription's page: by staff with the right, and by developers of its project."""

    actions_detail = ["cancel", "comp", "sync"]

    def has_cancel_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whose subscription it is decides the page itself."""
        return self.has_right(request, CANCEL)

    def has_comp_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whose subscription it is decides the page itself."""
        return self.has_right(request, COMP)

    def has_sync_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whose subscription it is decides the page itself."""
        return self.has_right(request, READ)

    @action(description="Cancel", url_path="cancel", permissions=["cancel"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel at Stripe, now or at the end of the period."""
        row = self._row(request, object_id, CANCEL)
        if isinstance(row, HttpResponse):
            return row
        when = {
            CANCEL_LATER: [
                "Cancel at the end of the period?",
                f"It goes on until {row.current_period_end:%Y-%m-%d}, and is not renewed.",
            ]
            if row.current_period_end
            else ["Cancel at the end of the period?"],
            CANCEL_NOW: ["Cancel at once?", "Access ends now. Nothing is given back: refund the payment for that."],
        }
        return self._change_page(
            request,
            row,
            title="Cancel the subscription",
            form=CancelForm,
            ask=lambda given: when[given["change"]],
            change=lambda given: given["change"],
            why_not=why_not_changeable(row, CANCEL_NOW),
        )

    @action(description="Give free days", url_path="comp", permissions=["comp"])
    def comp(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put the next payment off."""
        row = self._row(request, object_id, COMP)
        if isinstance(row, HttpResponse):
            return row
        return self._change_page(
            request,
            row,
            title="Give free days",
            form=FreeDaysForm,
            ask=lambda given: [
                f"Give {given['days']} free days?",
                "What is paid for stays; the next payment comes so many days later, and the plan holds until then.",
            ],
            change=lambda given: FREE_DAYS,
            why_not=why_not_changeable(row, FREE_DAYS),
        )

    @action(description="Read from Stripe now", url_path="sync", permissions=["sync"])
    def sync(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Bring the row up to what Stripe says."""
        row = self._row(request, object_id, READ)
        if isinstance(row, HttpResponse):
            return row

        def read(given: dict[str, Any]) -> str:
            log_action(
                action="stripe.read_now",
                subject=row.stripe_subscription_id,
                actor=_actor(request),
                reason=given["reason"],
                project_id=row.project_id,
                mode=row.mode,
            )
            now = sync_subscription(project=row.project, mode=row.mode, subscription_id=row.stripe_subscription_id)
            return f"Stripe says: {now.status}." if now else "Stripe has no such subscription."

        deed = Deed(
            title="Read the subscription from Stripe now",
            facts=_facts(row),
            back=_page(row),
            form=DeedForm,
            ask=lambda given: ["Read it from Stripe now?", "Nothing is changed there."],
            carry_out=read,
        )
        return deed_page(request, deed, self.opts)

    def _change_page(
        self, request: HttpRequest, row: Subscription, *, title: str, form: Any, ask: Any, change: Any, why_not: str
    ) -> HttpResponse:
        def asked(given: dict[str, Any]) -> StaffChange:
            return StaffChange(given["request"], change(given), given["reason"], int(given.get("days") or 0))

        def carry_out(given: dict[str, Any]) -> str:
            request_staff_change(subscription=row, asked=asked(given), actor=_actor(request))
            nudge_outbox()
            return UNDER_WAY

        deed = Deed(
            title=title,
            facts=_facts(row),
            back=_page(row),
            form=form,
            ask=ask,
            check=lambda given: check_staff_change(subscription=row, asked=asked(given), actor=_actor(request)),
            carry_out=carry_out,
            why_not=why_not,
        )
        return deed_page(request, deed, self.opts)

    def _row(self, request: HttpRequest, object_id: str, right: str) -> Any:
        """Return the row that the viewer may act on, or what is answered instead of it."""
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_right(request, right, row):
            raise PermissionDenied
        return row


def _facts(row: Subscription) -> list[str]:
    plan = row.plan.name if row.plan else row.stripe_price_id or "no known price"
    until = f", paid until {row.current_period_end:%Y-%m-%d}" if row.current_period_end else ""
    return [
        f"{row.stripe_subscription_id}: {row.status}",
        f"{plan} of {row.end_user or 'an unknown user'}{until}. {row.get_mode_display()} mode, {row.project.name}.",
    ]


def _page(row: Subscription) -> str:
    return reverse("admin:payments_subscription_change", args=[row.pk])


def _actor(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
