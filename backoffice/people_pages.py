"""Staff's pages about one person: ban and let in again, hand out what is kept, erase it. Each asks first, and why."""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from backoffice.services.people.anonymising import anonymise, why_not_yet
from backoffice.services.people.handing_out import hand_out
from backoffice.staff_pages import actor_of
from common.errors import ApiError, FieldError
from moderation.services.review import REASON_CHARS_MAX
from projects.admin_scope import ProjectScopedAdmin
from projects.models import EndUser, Role
from projects.services.end_users import set_end_user_active

BAN, ANONYMISE = "projects.ban_enduser", "projects.anonymise_enduser"


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the action log.",
    )


class AnonymiseForm(ReasonForm):
    """Why, and the user's id once more."""

    confirm = forms.CharField(
        label="The app's own id of the user, typed again",
        max_length=255,
        strip=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    field_order = ["confirm", "reason"]


def _ban(request: HttpRequest, end_user_id: uuid.UUID) -> HttpResponse:
    """Ban somebody."""
    end_user = _found(request, end_user_id, BAN, Role.DEVELOPER)
    return _ask_and_do(
        request,
        end_user,
        title="Ban a user",
        leads_to="Their token is refused from the next request on, the app's server is told so when it asks for them, and offline "
        "tokens end with their next check. What they paid for goes on being billed: cancel it on its own page.",
        problems=["This user is banned already."] if not end_user.is_active else [],
        button="Ban this user",
        carry_out=lambda found: set_end_user_active(
            end_user=end_user, is_active=False, actor=actor_of(request), reason=found["reason"]
        ),
    )


def _unban(request: HttpRequest, end_user_id: uuid.UUID) -> HttpResponse:
    """Let somebody in again."""
    end_user = _found(request, end_user_id, BAN, Role.DEVELOPER)
    problems = ["This user is not banned."] if end_user.is_active else []
    problems += ["This user was anonymised."] if end_user.anonymised_at else []
    return _ask_and_do(
        request,
        end_user,
        title="Let a user in again",
        leads_to="Their token works again from the next request on.",
        problems=problems,
        button="Let this user in again",
        carry_out=lambda found: set_end_user_active(
            end_user=end_user, is_active=True, actor=actor_of(request), reason=found["reason"]
        ),
    )


def _personal_data(request: HttpRequest, end_user_id: uuid.UUID) -> Any:
    """Hand out what is kept about somebody, as a file."""
    end_user = _found(request, end_user_id, ANONYMISE, Role.DEVELOPER)
    if request.method == "POST":
        answer = StreamingHttpResponse(
            hand_out(end_user=end_user, actor=actor_of(request)), content_type="application/json"
        )
        answer["Content-Disposition"] = f'attachment; filename="personal-data-{end_user.pk}.json"'
        answer["Cache-Control"] = "no-store"
        return answer
    return _page(
        request,
        end_user,
        title="Hand out what is kept about a user",
        leads_to="A JSON file with every row that is about this user, without secrets and staff's own notes. It is written in the "
        "action log that you fetched it.",
        button="Download",
    )


def _anonymise(request: HttpRequest, end_user_id: uuid.UUID) -> HttpResponse:
    """Erase what identifies somebody."""
    end_user = _found(request, end_user_id, ANONYMISE, Role.OWNER)
    problems = ["This user was anonymised already."] if end_user.anonymised_at else why_not_yet(end_user)
    return _ask_and_do(
        request,
        end_user,
        title="Anonymise a user",
        leads_to="Addresses, names, usernames, mails, bodies of events and answers are erased from every table, for good. Amounts, "
        "ids and the ledger of credits stay. Stripe keeps what it has: delete the customer there as well.",
        problems=problems,
        button="Erase for good",
        form_class=AnonymiseForm,
        carry_out=lambda found: anonymise(
            end_user=end_user, confirm=found["confirm"], actor=actor_of(request), reason=found["reason"]
        ),
    )


def _found(request: HttpRequest, end_user_id: uuid.UUID, right: str, developers: Role) -> EndUser:
    """Return the user when the viewer may do this to them. Raises: Http404 for whom they may not see, PermissionDenied."""
    scope: Any = admin.site._registry[EndUser]
    assert isinstance(scope, ProjectScopedAdmin)
    end_user = scope.get_queryset(request).select_related("project").filter(pk=end_user_id).first()
    if end_user is None:
        raise Http404
    if not scope.has_right(request, right, end_user, developers=developers):
        raise PermissionDenied
    return end_user


def _ask_and_do(
    request: HttpRequest,
    end_user: EndUser,
    *,
    title: str,
    leads_to: str,
    problems: list[str],
    button: str,
    carry_out: Callable[[dict[str, Any]], Any],
    form_class: type[ReasonForm] = ReasonForm,
) -> HttpResponse:
    form = form_class(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            carry_out(form.cleaned_data)
        except FieldError as error:
            name = str(error.errors[0]["loc"][-1])
            form.add_error(name if name in form.fields else None, str(error.errors[0]["msg"]))
        except ApiError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, f"{title}: done.")
            return HttpResponseRedirect(reverse("backoffice:end-user", args=[end_user.pk]))
    return _page(
        request, end_user, title=title, leads_to=leads_to, problems=problems, button=button, form=form, media=form.media
    )


def _page(request: HttpRequest, end_user: EndUser, **more: Any) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "opts": EndUser._meta,
        "end_user": end_user,
        **more,
    }
    return TemplateResponse(request, "backoffice/person_act.html", context)


ban_user = admin.site.admin_view(_ban)
unban_user = admin.site.admin_view(_unban)
personal_data = admin.site.admin_view(_personal_data)
anonymise_user = admin.site.admin_view(_anonymise)
