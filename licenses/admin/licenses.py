"""Licences in the admin: who waits, how they fare, and the page on which staff act on one."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts.models import User
from common import clock
from common.errors import ApiError, FieldError
from common.money import money_text
from licenses.models import License, LicenseChange, LicenseState
from licenses.nudge import nudge_outbox
from licenses.services.metrics import LicenseMetrics, license_metrics
from licenses.services.progress import Progress, progress_of
from licenses.services.revoking import REASON_CHARS_MAX, restore_license, revoke_license
from licenses.services.support import change_username, invite_by_staff, resend_mail
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin

ACT, RESEND, REINVITE = "licenses.act_on_license", "licenses.resend_license_mail", "licenses.reinvite_license"
STATE_COLORS = {
    LicenseState.PENDING.label: "warning",
    LicenseState.USERNAME_SUBMITTED.label: "info",
    LicenseState.INVITED.label: "info",
    LicenseState.ACTIVE.label: "success",
    LicenseState.REVOKED.label: "danger",
}
IN_WORDS = {
    Progress.NOTHING: "–",
    Progress.UNDER_WAY: "GitHub is being asked.",
    Progress.SLOW: "GitHub was asked in vain, and is asked again by itself.",
    Progress.SELLER: "Waits until the connection to GitHub is mended, and then goes on by itself.",
    Progress.FAILED: "GitHub refused it or was asked in vain for long: see the dead letters for why, then invite again.",
}
MAIL, INVITE, CHANGE, REVOKE, RESTORE = "resend_mail", "invite_again", "change_username", "revoke", "restore"
# What can be done, and what is asked before it is.
DEEDS = {
    MAIL: ("Send the mail again", "The mail that fits where the licence stands is sent again."),
    INVITE: (
        "Invite again",
        "The same person is invited again. Whoever has access keeps it, unless GitHub says that they are out.",
    ),
    CHANGE: ("Change the username", "The new account is invited, and the one before is taken out of GitHub."),
    REVOKE: ("Revoke the licence", "The licence ends, its keys stop working, and its holder is taken out of GitHub."),
    RESTORE: ("Give it back", "The licence is good again; a username that is known is invited at once."),
}


class StuckFilter(admin.SimpleListFilter):
    """Those that wait too long."""

    title = "stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the one choice."""
        return [("yes", "Waits too long")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep them."""
        if self.value() != "yes":
            return queryset
        return queryset.filter(pk__in=License.objects.stuck(clock.now()).values("pk"))


class ActForm(forms.Form):
    """What is done to a licence, and why."""

    deed = forms.ChoiceField(
        label="What", choices=[(name, label) for name, (label, _) in DEEDS.items()], widget=UnfoldAdminSelectWidget
    )
    github_username = forms.CharField(
        label="New username", max_length=40, required=False, widget=UnfoldAdminTextInputWidget
    )
    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the action log.",
    )

    def clean(self) -> dict[str, Any] | None:
        """Ask for the username where one is needed."""
        cleaned = super().clean()
        if self.cleaned_data.get("deed") == CHANGE and not self.cleaned_data.get("github_username"):
            self.add_error("github_username", "Give the new username.")
        return cleaned

    def refuse(self, error: ApiError) -> None:
        """Show a refusal at the field that it names."""
        if not isinstance(error, FieldError):
            self.add_error(None, error.detail)
            return
        for problem in error.errors:
            name = str(problem["loc"][-1])
            self.add_error(name if name in self.fields else None, str(problem["msg"]))


# How many licences the figures above the list are about.
COUNTED = 10_000


@admin.register(License)
class LicenseAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = ["email", "product", "colored_state", "username", "purchased_at", "paid", "mode", "project"]
    list_filter = ["mode", "state", StuckFilter, "purchased_at"]
    list_select_related = ["project", "product"]
    search_fields = [
        "email",
        "username",
        "payment_intent_id",
        "stripe_session_id",
        "end_user__external_id",
        "project__slug",
    ]
    date_hierarchy = "purchased_at"
    exclude = ["key_hash"]
    readonly_fields = ["invitation", "history", "seat_list"]
    actions_detail = ["act"]
    show_full_result_count = False
    change_list_template = "licenses/admin/license_list.html"

    def get_list_display(self, request: HttpRequest) -> Any:
        """Offer beside each licence that waits too long what usually mends it, to those who may."""
        shown = super().get_list_display(request)
        if request.GET.get(StuckFilter.parameter_name) != "yes" or not self.has_act_permission(request):
            return shown

        @display(description="Mend")
        def mend(row: License) -> SafeString | str:
            deed, right = (INVITE, REINVITE) if row.state != LicenseState.PENDING else (MAIL, RESEND)
            if not (self.has_right(request, ACT, row) or self.has_right(request, right, row)):
                return "-"
            address = f"{reverse('admin:licenses_license_act', args=[row.pk])}?deed={deed}"
            return format_html('<a href="{}">{}</a>', address, DEEDS[deed][0])

        return [*shown, mend]

    @display(description="State", ordering="state", label=STATE_COLORS)
    def colored_state(self, row: License) -> str:
        """Show how far the access has come."""
        return str(LicenseState(row.state).label)

    @display(description="Paid")
    def paid(self, row: License) -> str:
        """Show what was paid."""
        return money_text(row.amount_cents, row.currency)

    @display(description="Invitation")
    def invitation(self, row: License) -> str:
        """Say what an invitation that is to be sent waits for."""
        return IN_WORDS[progress_of(row)]

    @display(description="History")
    def history(self, row: License) -> SafeString:
        """Show what happened to it, newest first."""
        lines = [
            (f"{one.at:%Y-%m-%d %H:%M}", one.change, one.before or "–", one.after, one.by, one.note)
            for one in LicenseChange.objects.for_project(row.project_id).filter(license=row).order_by("-at", "-id")
        ]
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} {}: {} → {} by {} {}</li>", lines))

    @display(description="People at GitHub")
    def seat_list(self, row: License) -> SafeString | str:
        """Show whom it has let in."""
        lines = [
            (
                seat.login,
                seat.github_user_id,
                seat.organization,
                seat.team_slug,
                seat.removal_note or "wanted or being removed",
            )
            for seat in row.seats.order_by("-revision")
        ]
        if not lines:
            return "Nobody yet."
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} ({}) in {}/{}: {}</li>", lines))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show above the list how the licences that the viewer sees fare, each mode for itself; of many, the latest."""
        seen = self.get_queryset(request).order_by("-purchased_at", "-id")
        figures = [(mode, license_metrics(rows=seen.filter(mode=mode)[:COUNTED])) for mode in ("live", "test")]
        shown = [(mode, _in_words(found)) for mode, found in figures if found.sold]
        return super().changelist_view(request, {**(extra_context or {}), "license_figures": shown})

    def has_act_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Staff with a right to act, invite or resend, and developers; whose licence it is decides the page itself."""
        return any(self.has_right(request, right) for right in (ACT, RESEND, REINVITE))

    @action(description="Act on it", url_path="act", permissions=["act"])
    def act(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask what and why, then once more whether it is meant; only then is it done."""
        row = self.get_object(request, object_id)
        if row is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        # A link from elsewhere names what is to be done; it is still asked, and done by a confirmed POST alone.
        form = ActForm(request.POST or None, initial={"deed": request.GET.get("deed")})
        form.fields["deed"].choices = [(name, DEEDS[name][0]) for name in self._deeds(request, row)]  # type: ignore[attr-defined]
        if not form.fields["deed"].choices:  # type: ignore[attr-defined]
            raise PermissionDenied
        meant = request.method == "POST" and form.is_valid()
        if meant and request.POST.get("confirmed") == "yes" and self._carry_out(request, row, form):
            return HttpResponseRedirect(reverse("admin:licenses_license_change", args=[row.pk]))
        confirming = meant and form.is_valid()
        context = {
            **self.admin_site.each_context(request),
            "title": f"Licence of {row.email or row.pk}",
            "opts": self.opts,
            "license": row,
            "form": form,
            "confirming": confirming,
            "question": DEEDS[form.cleaned_data["deed"]][1] if confirming else "",
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "licenses/admin/act.html", context)

    def _deeds(self, request: HttpRequest, row: License) -> list[str]:
        """Name what this viewer may do to this licence now."""
        acts = self.has_right(request, ACT, row)
        if row.state == LicenseState.REVOKED:
            return [RESTORE] if acts else []
        can_invite = row.state in (LicenseState.INVITED, LicenseState.ACTIVE) or progress_of(row) == Progress.FAILED
        invites = [INVITE] if can_invite and (acts or self.has_right(request, REINVITE, row)) else []
        resends = [MAIL] if acts or self.has_right(request, RESEND, row) else []
        return [*resends, *invites, *([CHANGE, REVOKE] if acts else [])]

    def _carry_out(self, request: HttpRequest, row: License, form: ActForm) -> bool:
        actor = request.user
        if not isinstance(actor, User):
            raise PermissionDenied
        deed, reason, username = (form.cleaned_data[name] for name in ("deed", "reason", "github_username"))
        given: dict[str, Any] = {"row": row, "reason": reason, "actor": actor}
        carry_out: dict[str, Callable[[], Any]] = {
            MAIL: lambda: resend_mail(**given),
            INVITE: lambda: invite_by_staff(**given),
            CHANGE: lambda: change_username(**given, username=username),
            REVOKE: lambda: revoke_license(**given),
            RESTORE: lambda: restore_license(**given),
        }
        try:
            carry_out[deed]()
        except ApiError as error:
            form.refuse(error)
            return False
        nudge_outbox()
        self.log_change(request, row, f"{DEEDS[deed][0]}: {reason}")
        messages.success(request, f"{DEEDS[deed][0]}: done.")
        return True


def _in_words(found: LicenseMetrics) -> list[tuple[str, str]]:
    took = f"{found.accept_seconds / 3600:.1f} h" if found.accept_seconds is not None else "–"
    return [
        ("Sold", str(found.sold)),
        ("Active", str(found.by_status[LicenseState.ACTIVE])),
        ("Revoked", str(found.revoked)),
        ("Invited → active", f"{found.conversion:.0%}" if found.conversion is not None else "–"),
        ("Time to accept", took),
        ("No username for 24 h", str(found.stuck_pending)),
        ("Not invited for 24 h", str(found.stuck_submitted)),
        ("Invited 7 days ago", str(found.stuck_invited)),
    ]
